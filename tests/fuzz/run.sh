#!/usr/bin/env bash
# Fuzz each target under ASan and UBSan, one after the other.
#
#     tests/fuzz/run.sh [SECONDS [TARGET...]]
#
# Targets: part10 value columns rle csa codestream frames python.
#
# Needs clang with libFuzzer. The target `python` needs a Python for which fastdcm is built
# (PYTHON=..., by default .venv/bin/python). The inputs that reach new code are kept in
# build/fuzz/TARGET and merged at the end; inputs that fail are in build/fuzz/found.
# FUZZ_SEEDS lists folders of more files.
set -euo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
targets=${*:-part10 value columns rle csa codestream frames python}
out=build/fuzz
mkdir -p "$out/found"

for target in $targets; do
    echo "== $target, $seconds s"
    if [ "$target" = python ]; then
        # shellcheck disable=SC2046
        PYTHONPATH=$PWD "${PYTHON:-.venv/bin/python}" tests/fuzz/fuzz_python.py --seconds "$seconds" --crashes "$out/found" \
            $(find ${FUZZ_SEEDS:+$FUZZ_SEEDS} /dev/null -type f -size -64k)
        continue
    fi
    case $target in
        value) seeds=values longest=256 ;;
        frames) seeds=frames longest=4096 ;;
        rle | csa) seeds=$target longest=4096 ;;
        codestream) seeds=codestreams longest=1024 ;;
        *) seeds=files longest=16384 ;;
    esac
    "${CC:-clang}" -std=c11 -g -O1 -DFUZZER -fsanitize=fuzzer,address,undefined \
        -fno-sanitize-recover=undefined -Isrc_c "tests/fuzz/fuzz_$target.c" src_c/*.c \
        -o "$out/fuzz_$target" -lm
    mkdir -p "$out/$target" "$out/merged"
    # shellcheck disable=SC2086
    "$out/fuzz_$target" -max_total_time="$seconds" -max_len=$longest -timeout=20 -rss_limit_mb=2048 \
        -artifact_prefix="$out/found/$target-" -print_final_stats=1 \
        "$out/$target" "tests/fuzz/seeds/$seeds" ${FUZZ_SEEDS:-}
    # shellcheck disable=SC2086
    "$out/fuzz_$target" -merge=1 -max_len=$longest "$out/merged" "$out/$target" 2> /dev/null
    rm -rf "${out:?}/$target"
    mv "$out/merged" "$out/$target"
done
