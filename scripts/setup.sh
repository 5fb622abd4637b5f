#!/bin/sh
# setup.sh EXTRAS: make .venv with these extras, unless it is there and nothing has changed.
set -eu
cd "$(dirname "$0")/.."
key=$(cat pyproject.toml .ci/constraints.txt scripts/setup.sh | cksum)
for stamp in ".venv/setup-$1" .venv/setup-dev; do # dev has all that the others have
    [ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || exit 0
done
sh scripts/system.sh "$1"
[ -x .venv/bin/python ] || "$(sh scripts/python.sh)" -m venv .venv
# JDETRT_PIP_ARGS: more options for pip, such as where torch's CPU build is (CONTRIBUTING.md).
.venv/bin/python -m pip install ${JDETRT_PIP_ARGS:-} -c .ci/constraints.txt -e ".[$1]"
echo "$key" >".venv/setup-$1"
