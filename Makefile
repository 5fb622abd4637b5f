# Each target sets up all that it needs, in .venv/.
.PHONY: setup demo test lint fuzz docs release clean

setup:
	sh scripts/setup.sh dev

demo:
	sh scripts/setup.sh video
	.venv/bin/jdetrt demo --output demo

test: lint
	sh scripts/test.sh

lint: setup
	sh scripts/lint.sh

# Damaged files for every reader: a quarter of an hour, the table as JSON.
fuzz: setup
	PYTHONPATH=tests/oracles .venv/bin/python tests/fuzz/run.py --inputs 20000 --output benchmarks/results/fuzz.json

docs: setup
	.venv/bin/mkdocs build --strict

release: setup
	sh scripts/release.sh

clean:
	rm -rf .venv demo build dist site *.egg-info .*_cache .hypothesis .coverage
