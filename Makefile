# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: env demo studio studio-env docs docs-env test test-oldest slow lint types contracts check golden clean

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "synesthete needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: env
	$(BIN)/synesthete demo

# gradio wants an older Pillow than the tests are pinned to, so it stands in an environment of its own, over the other.
studio-env: .venv-studio/.ready

.venv-studio/.ready: $(VENV)/.ready
	test -x .venv-studio/bin/python || $(BIN)/python -m venv .venv-studio
	$(BIN)/python -c 'import site; print("import site; site.addsitedir(%r)" % site.getsitepackages()[0])' \
		> $$(.venv-studio/bin/python -c 'import site; print(site.getsitepackages()[0])')/beside.pth
	.venv-studio/bin/python -m pip install --quiet 'gradio>=6,<7' playwright
	touch $@

studio: studio-env
	.venv-studio/bin/python -m synesthete studio --open

# The site of docs/, in site/: open site/index.html.
docs: docs-env
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build

docs-env: .venv-docs/.ready

.venv-docs/.ready: constraints.txt
	test -x .venv-docs/bin/python || $(PYTHON) -m venv .venv-docs
	.venv-docs/bin/python -m pip install --quiet --constraint constraints.txt mkdocs mkdocs-material 'mkdocstrings[python]' ruff
	touch $@

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
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/codespell src tests docs benchmarks README.md CHANGELOG.md

types: env
	$(BIN)/mypy

contracts: env
	$(BIN)/lint-imports

check: test lint types contracts

golden: env
	$(BIN)/python -m pytest --update-golden -k golden

clean:
	rm -rf $(VENV) .venv-oldest .venv-studio .venv-docs site build dist src/*.egg-info
