#!/bin/sh
# All checks that do not run the code.
set -eu
cd "$(dirname "$0")/.."
step() { echo "== $*"; ".venv/bin/$@"; }
step ruff check .
step ruff format --check .
step mypy
step lint-imports
step codespell
