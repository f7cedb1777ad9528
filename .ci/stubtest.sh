#!/usr/bin/env bash
# Compare the stub of every extension module with the compiled module.
set -euo pipefail
cd "$(dirname "$0")/.."

# Names that Cython adds to modules and classes; no stub needs to declare them.
generated='.*\.__(pyx_capi|test|reduce_cython|setstate_cython)__'
modules=$(git ls-files 'fastdcm/*.pyx' | sed 's/\.pyx$//; s|/|.|g')
# shellcheck disable=SC2086
exec stubtest --mypy-config-file pyproject.toml --ignore-unused-allowlist --allowlist <(echo "$generated") $modules
