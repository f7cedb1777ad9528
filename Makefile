# Needs Python 3.11 or newer with venv and headers, and a C compiler.
#   make run        build, then turn a folder of DICOM files into a Parquet table
#   make test       build, then the tests (minutes)
#   make test-all   with the slow ones
#   make bench      wall times beside other libraries, then the instruction gate
#   make clean

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --quiet --disable-pip-version-check
READY := $(VENV)/.ready
BUILT := $(VENV)/.built
BENCH := $(VENV)/.bench
RELEASE := env -u FASTDCM_BUILD
SOURCES := $(wildcard src_c/*.c src_c/*.h fastdcm/*.pyx fastdcm/*.pxd)
FRAME := pyproject.toml setup.py

.PHONY: build run test test-all bench clean

run: build
	@$(PY) .ci/sample.py build/sample.parquet

build: $(BUILT)

$(READY):
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip 'setuptools>=77' wheel 'Cython>=3.3,<4'
	@touch $@

# A change of the frame installs anew; a change of a source only compiles.
$(BUILT): $(FRAME) $(SOURCES) | $(READY)
	$(if $(filter $(FRAME),$?),\
	$(RELEASE) $(PIP) install --no-build-isolation -e '.[test]',\
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
	rm -f fastdcm/*.so fastdcm/*.pyd
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
