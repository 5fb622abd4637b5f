#!/bin/sh
# test.sh [PYTEST OPTION...]: all tests and doctests.
set -eu
cd "$(dirname "$0")/.."
echo "== pytest $*"
exec .venv/bin/python -m pytest "$@"
