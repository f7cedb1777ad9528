#!/usr/bin/env bash
# Install the programs that tests and benches compare with or run under. This is their
# only list.
set -euo pipefail

declare -A peers=( # program: Debian package
    [valgrind]=valgrind
    [clang]=clang
    [dcmdump]=dcmtk
)

missing=()
for program in "${!peers[@]}"; do
    command -v "$program" >/dev/null 2>&1 || missing+=("${peers[$program]}")
done
# The sanitizers' run-time library is a package of its own; without it, or without clang,
# this program does not link.
if ! echo 'int main(void) { return 0; }' |
    clang -fsanitize=address,undefined -x c - -o /dev/null >/dev/null 2>&1; then
    missing+=(libclang-rt-dev)
fi
[ "${#missing[@]}" -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    as_root=(sudo -n)
fi
if ! command -v apt-get >/dev/null 2>&1 || ! "${as_root[@]}" true 2>/dev/null; then
    echo "peers: please install: ${missing[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq </dev/null
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
