#!/bin/sh
# test.sh [PYTEST OPTION...]: all tests and doctests.
set -eu
cd "$(dirname "$0")/.."
sh scripts/triton.sh
echo "== pytest $*"
exec .venv/bin/python -m pytest "$@"
