#!/bin/sh
# test.sh [PYTEST OPTION...]: all tests and doctests, those of a file in one of two processes.
set -eu
cd "$(dirname "$0")/.."
sh scripts/triton.sh
echo "== pytest $*"
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@"
