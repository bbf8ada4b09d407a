# Everything a fresh machine with Python and make needs: each target sets the environment up by itself.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test browser slow check lint types layers format

demo: $(READY)
	$(BIN)/refconv demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

browser: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m browser -q -rs

slow: $(READY)
	$(BIN)/python -m pytest -m slow -q

check: lint types layers test browser

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .

types: $(READY)
	$(BIN)/mypy

layers: $(READY)
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@
