# Each target sets up all that it needs, in .venv/.
.PHONY: setup demo test lint clean

setup:
	sh scripts/setup.sh dev

demo:
	sh scripts/setup.sh video
	.venv/bin/jdetrt demo --output demo

test: lint
	sh scripts/test.sh

lint: setup
	sh scripts/lint.sh

clean:
	rm -rf .venv demo build dist *.egg-info .*_cache .hypothesis .coverage
