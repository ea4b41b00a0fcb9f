# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: demo practice test slow lint docs check clean

demo: $(VENV)/.has-demo  ## make a small data set and run the whole pipeline on it, offline
	$(BIN)/affectkit demo

practice: $(VENV)/.has-demo  ## five recipes, small and offline, on synthetic sets in the layouts of the real ones
	PATH="$(abspath $(BIN)):$$PATH" examples/recipes.sh

test: $(VENV)/.has-dev  ## the fast tests
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n auto $(PYTEST_ARGS)

slow: $(VENV)/.has-dev  ## the slow tests: every crash moment, long clips
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.has-dev  ## style, types, layers, generated docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

docs: $(VENV)/.has-dev  ## write docs/cli.md, docs/weights.md and affectkit/__init__.pyi
	$(BIN)/python docs/generate.py

check: test lint

clean:
	rm -rf $(VENV) affectkit-demo affectkit-practice

$(VENV)/.has-%: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "affectkit needs Python 3.11 or newer")'
	@echo "setting up $(VENV): affectkit and what it needs (torch with CUDA: some GB to fetch, minutes)"
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[$*]'
	touch $@
	@echo "$(VENV) is set up"
