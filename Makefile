# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: env demo test test-oldest slow lint types contracts check golden clean

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synesthete needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: env
	$(BIN)/synesthete demo

# A worker takes file after file as they stand; by the number of their tests, those of few and long ones would come last.
test: env
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The same with the oldest versions that pyproject.toml allows, in an environment of its own.
test-oldest:
	test -x .venv-oldest/bin/uv || ($(PYTHON) -m venv .venv-oldest && .venv-oldest/bin/python -m pip install --quiet uv)
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable '.[dev]'
	.venv-oldest/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

slow: env
	$(BIN)/python -m pytest -m slow

lint: env
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/codespell src tests docs benchmarks README.md CHANGELOG.md

types: env
	$(BIN)/mypy

contracts: env
	$(BIN)/lint-imports

check: test lint types contracts

golden: env
	$(BIN)/python -m pytest --update-golden -k golden

clean:
	rm -rf $(VENV) .venv-oldest build dist src/*.egg-info
