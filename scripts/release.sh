#!/bin/sh
# release.sh [PYTHON]: build what is committed into dist/: sdist, wheel (from that sdist) and the
# release notes, which are the version's section of CHANGELOG.md.
set -eu
cd "$(dirname "$0")/.."
python=$(realpath -s "${1:-.venv/bin/python}")
[ -z "$(git status --porcelain)" ] || { echo "Commit or stash your changes first." >&2; exit 1; }
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
notes=$(awk -v head="## [$version]" 'index($0, "## ") == 1 { on = index($0, head) == 1; next } on' CHANGELOG.md)
[ -n "$notes" ] || { echo "CHANGELOG.md has no section [$version]." >&2; exit 1; }
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
# From a copy: setuptools takes what earlier builds left in a tree into the next wheel.
git archive HEAD | tar -x -C "$copy"
rm -rf dist
"$python" -m build --no-isolation --outdir dist "$copy"
printf '# jdetrt %s\n%s\n' "$version" "$notes" >"dist/jdetrt-$version-notes.md"
