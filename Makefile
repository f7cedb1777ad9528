# Needs Python 3.11 or newer with venv and headers, and a C compiler.
# `make` or `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := PYTHONWARNINGS=ignore $(PY) -m pip --quiet --disable-pip-version-check
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
BENCH := $(VENV)/.bench
LINT := $(VENV)/.lint
DOCS := $(VENV)/.docs
RELEASE := env -u FASTDCM_BUILD
# The packages that the tests need, or all packages and programs that they compare with.
EXTRA := $(if $(FASTDCM_REQUIRE_PEERS),peers,test)
SOURCES := $(wildcard src_c/*.[ch]) $(shell find fastdcm -name '*.p[yx][xd]')
PROJECT := pyproject.toml setup.py

# The sample data are the files that pydicom's wheel contains for its own tests.
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
# The requirements of one extra of pyproject.toml, one per line.
define PINS
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"][sys.argv[1]], sep="\n")
endef
export FIND SHOW PINS

.DEFAULT_GOAL := help
.PHONY: help run build test test-all lint format docs bench clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, then scan a folder of sample files into a Parquet table
	@mkdir -p build
	@sample=$$($(PY) -c "$$FIND") && \
	$(VENV)/bin/fastdcm scan "$$sample" -o $(TABLE) && \
	$(PY) -c "$$SHOW" $(TABLE) && \
	printf '\nNext:\n  %s\n  %s\n  %s\n' \
	    "$(VENV)/bin/fastdcm summary $$sample" \
	    "$(VENV)/bin/fastdcm dump $$sample/CT_small.dcm" \
	    "$(VENV)/bin/fastdcm scan YOUR_FOLDER -o table.parquet"

build: $(BUILT) ## create .venv and build the package in place

$(READY):
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip 'setuptools>=77' wheel 'Cython>=3.3,<4'
	@touch $@

# A changed project file reinstalls the package; a changed source only compiles it.
$(BUILT): $(PROJECT) $(SOURCES) | $(READY)
	$(if $(filter $(PROJECT),$?),\
	$(RELEASE) $(PIP) install --no-build-isolation -e '.[$(EXTRA)]',\
	$(RELEASE) $(PY) setup.py --quiet build_ext --inplace)
	@touch $@

test: build ## build, then run the tests (minutes)
	$(PY) -m pytest -q -n auto --maxprocesses 8

test-all: build ## run the slow tests, too
	$(PY) -m pytest -q -n auto --maxprocesses 8 -m 'slow or not slow'

# The packages of the extra [lint] or [docs] at their pinned versions. (Installing the extra
# itself would compile the package again.)
$(LINT) $(DOCS): $(VENV)/.%: pyproject.toml | $(BUILT)
	$(PY) -c "$$PINS" $* | $(PIP) install -r /dev/stdin
	@touch $@

lint: build $(LINT) ## run all linters and type checkers on the whole tree
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m pre_commit run --all-files --show-diff-on-failure

format: $(LINT) ## format Python and C
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format --quiet .
	git ls-files 'src_c/*.[ch]' 'tests/*.[ch]' 'benches/*.[ch]' | grep -v dict_table.h | \
	    xargs $(VENV)/bin/clang-format -i

docs: build $(DOCS) ## build the documentation site into build/site
	$(VENV)/bin/mkdocs build --strict --quiet --site-dir build/site
	@echo "Open build/site/index.html"

$(BENCH): pyproject.toml | $(BUILT)
	$(RELEASE) $(PIP) install --no-build-isolation -e '.[bench]'
	@touch $@

bench: build $(BENCH) ## measure wall times beside other libraries, then count instructions
	$(PY) benches/report.py
	$(PY) benches/gate.py

clean: ## delete everything that was built, and .venv
	rm -rf build dist $(VENV) *.egg-info .pytest_cache .hypothesis .benchmarks .mypy_cache .ruff_cache
	find fastdcm \( -name '*.so' -o -name '*.pyd' \) -delete
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
