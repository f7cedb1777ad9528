# Needs Python 3.11 or newer with venv and headers, and a C compiler.
#   make run        build, then turn a folder of DICOM files into a Parquet table
#   make test       build, then the tests (minutes)
#   make test-all   with the slow ones
#   make bench      wall times beside other libraries, then the instruction gate
#   make clean

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := PYTHONWARNINGS=ignore $(PY) -m pip --quiet --disable-pip-version-check
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
BENCH := $(VENV)/.bench
RELEASE := env -u FASTDCM_BUILD
# What is tested: what tests need, or also all that they can run beside.
EXTRA := $(if $(FASTDCM_REQUIRE_PEERS),peers,test)
SOURCES := $(wildcard src_c/*.[ch]) $(shell find fastdcm -name '*.p[yx][xd]')
FRAME := pyproject.toml setup.py

# The sample data is what pydicom's wheel ships for its own tests.
TABLE := build/sample.parquet
define FIND
import os, pydicom.data
print(os.path.join(os.path.dirname(pydicom.data.__file__), "test_files"))
endef
define SHOW
import os, sys
from pyarrow import parquet
names = ["path", "Modality", "PatientID", "SeriesNumber", "InstanceNumber", "Rows", "Columns", "error"]
table = parquet.read_table(sys.argv[1])
rows = table.select(names).slice(0, 192).to_pylist()[::24]
for row in [dict(zip(names, names)), *rows]:
    row["path"] = os.path.basename(row["path"])
    print(*(str("" if row[name] is None else row[name])[:20].ljust(20 if name == "path" else 14) for name in names))
print(f"... {table.num_rows} rows, {table.num_columns} columns: {sys.argv[1]}")
endef
export FIND SHOW

.PHONY: build run test test-all bench clean

run: build
	@mkdir -p build
	@sample=$$($(PY) -c "$$FIND") && \
	$(VENV)/bin/fastdcm scan "$$sample" -o $(TABLE) && \
	$(PY) -c "$$SHOW" $(TABLE) && \
	printf '\nNext:\n  %s\n  %s\n  %s\n' \
	    "$(VENV)/bin/fastdcm summary $$sample" \
	    "$(VENV)/bin/fastdcm dump $$sample/CT_small.dcm" \
	    "$(VENV)/bin/fastdcm scan YOUR_FOLDER -o table.parquet"

build: $(BUILT)

$(READY):
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip 'setuptools>=77' wheel 'Cython>=3.3,<4'
	@touch $@

# A change of the frame installs anew; a change of a source only compiles.
$(BUILT): $(FRAME) $(SOURCES) | $(READY)
	$(if $(filter $(FRAME),$?),\
	$(RELEASE) $(PIP) install --no-build-isolation -e '.[$(EXTRA)]',\
	$(RELEASE) $(PY) setup.py --quiet build_ext --inplace)
	@touch $@

test: build
	$(PY) -m pytest -q

test-all: build
	$(PY) -m pytest -q -m 'slow or not slow'

$(BENCH): pyproject.toml | $(BUILT)
	$(RELEASE) $(PIP) install --no-build-isolation -e '.[bench]'
	@touch $@

bench: build $(BENCH)
	$(PY) benches/report.py
	$(PY) benches/gate.py

clean:
	rm -rf build dist $(VENV) *.egg-info .pytest_cache .hypothesis .benchmarks
	find fastdcm \( -name '*.so' -o -name '*.pyd' \) -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
