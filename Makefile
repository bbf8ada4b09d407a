# Everything a fresh machine with Python and make needs: each target sets the environment up by itself.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

SEED ?= $(shell date +%s)

PLATFORMS := linux win32 darwin
INTEGRATIONS := $(patsubst tests/integrations/%/requirements.txt,%,$(wildcard tests/integrations/*/requirements.txt))

.PHONY: demo test test-executors test-integrations test-faults test-gpu test-wheel browser slow literature explore check lint types layers format docs

demo: $(READY)
	$(BIN)/refconv demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

# Ray and submitit lie in a folder of their own beside the environment, which so stays as it is.
test-executors: $(VENV)/.ready-executors
	OMP_NUM_THREADS=1 PYTHONPATH=$(VENV)/executors $(BIN)/python -m pytest tests -m executors -q

# Each folder of tests/integrations has an environment of its own, which sees the packages of this one and adds to them.
ENVIRONMENTS ?= $(VENV)/integrations

test-integrations: $(INTEGRATIONS:%=test-integrations-%)

test-integrations-%: $(ENVIRONMENTS)/%/.ready
	OMP_NUM_THREADS=1 $(ENVIRONMENTS)/$*/bin/python -m pytest tests/integrations/$* -m integrations -q

# FIGURES=1 keeps what was found for docs/reliability.md.
test-faults: $(READY)
	$(if $(FIGURES),rm -f benchmarks/reliability.jsonl)
	$(if $(FIGURES),REFCONV_FIGURES=$(CURDIR)/benchmarks/reliability.jsonl) OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests -m faults -n 2 --dist worksteal -q -rs

test-gpu: $(READY)
	$(BIN)/python -m pytest tests -m gpu -q -rs

test-wheel: $(READY)
	$(BIN)/python -m pytest tests/test_wheel.py -m wheel -q -rs

browser: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/report/browser -m browser -q -rs

explore: $(READY)
	@echo "seed $(SEED); to draw the same again: make explore SEED=$(SEED)"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q -m hypothesis --hypothesis-profile=explore --hypothesis-seed=$(SEED)

slow: $(READY)
	$(BIN)/python -m pytest -m slow -q

literature: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/literature -n 2 --dist worksteal -m "literature or not literature" -q

check: lint types layers test browser docs

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-cache .

# The second and third look at what other systems lack, such as fcntl on Windows. Each has a cache of its own, as mypy
# forgets what it knows where the platform changes.
types: $(READY)
	$(MAKE) --no-print-directory -j 3 $(PLATFORMS:%=types-%)

types-%: $(READY)
	$(BIN)/mypy --platform $* --cache-dir .mypy_cache/$* $(if $(filter $*,linux),,src)

layers: $(READY)
	$(BIN)/lint-imports

docs: $(VENV)/.ready-docs
	rm -rf build/site
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/site
	@echo "open build/site/index.html"

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(VENV)/.ready-executors: $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --upgrade --target $(VENV)/executors "ray>=2.40" "submitit>=1.5"
	touch $@

$(ENVIRONMENTS)/%/.ready: tests/integrations/%/requirements.txt $(READY)
	$(BIN)/python -m venv --clear $(@D)
	echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" \
	  > $$($(@D)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/beneath.pth
	$(@D)/bin/python -m pip install -q --disable-pip-version-check -r $<
	touch $@

.PRECIOUS: $(ENVIRONMENTS)/%/.ready

$(VENV)/.ready-docs: $(READY)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@
