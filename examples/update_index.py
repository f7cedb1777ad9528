"""Keep an index of a folder up to date, and list what changed.

python update_index.py FOLDER INDEX

Needs fastdcm-dicom[table]. The first run creates the index. Later runs read only files
that are new or changed, and remove the rows of deleted files. An interrupted run is
resumed by the next one.
"""

import sys
from pathlib import Path

import fastdcm

folder, index = sys.argv[1:]

scan = fastdcm.scan(folder)
exists = Path(index).is_dir()
stats = scan.write(f"{index.rstrip('/')}/", update=exists)
if exists:
    changes = ", ".join(f"{stats[name]} {name}" for name in ("same", "changed", "new", "gone"))
    print(f"updated: {changes}")
rows = fastdcm.open_index(index)
print(f"{rows.rows} rows in {len(rows.parts)} files, {rows.errors} unreadable")
