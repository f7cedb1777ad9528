"""Store the headers of a folder in a DuckDB database.

python scan_to_duckdb.py FOLDER DATABASE

Needs fastdcm-dicom[table] and duckdb.
"""

import sys

import duckdb

import fastdcm

folder, database = sys.argv[1:]

# The scan is an Arrow stream: DuckDB reads it batch by batch, so that the number of
# files does not matter.
headers = fastdcm.scan(folder)
with duckdb.connect(database) as db:
    db.execute("CREATE OR REPLACE TABLE headers AS SELECT * FROM headers")
    db.sql("""
        SELECT Modality, count(DISTINCT SeriesInstanceUID) AS series, count(*) AS files,
            sum(size)::BIGINT AS bytes
        FROM headers WHERE error IS NULL GROUP BY ALL ORDER BY files DESC
    """).show()
print(f"{headers.stats['files']} files, {headers.stats['errors']} unreadable: {database}")
