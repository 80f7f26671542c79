# Everything works in .venv of this checkout; `make` lists the targets.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
KILLS ?= 60
SEED ?= 1
COHORTS ?= 8
QUICK ?=
JOBS ?= 3
IMAGE ?= localhost/classification-game:0.1.0
BUILD ?=
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: help demo test test-cluster test-image bench soak servers simulate lint install constraints clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

demo: $(VENV)/.installed  ## play a whole game with the embedded data set
	$(BIN)/gamectl demo

test: $(VENV)/.installed-dev  ## run the test suite; JOBS=2 for less at a time
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-cluster: $(VENV)/.installed-dev  ## the tests with servers and clusters of their own
	$(BIN)/python -m pytest -m cluster

# BUILD may hold options: `--build-arg BASE_IMAGE=...`, where Docker Hub is out of reach.
test-image: $(VENV)/.installed-dev  ## build the image, and play a cohort in containers, as root
	podman build --skip-unused-stages=false -f deploy/Dockerfile -t $(IMAGE) $(BUILD) .
	GAME_TEST_IMAGE=$(IMAGE) $(BIN)/python -m pytest -m cluster tests/deploy/test_runs.py

bench: $(VENV)/.installed-bench  ## this project beside what people would use instead; QUICK=1 for less
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick)

soak: $(VENV)/.installed-dev  ## kill slots, controllers and Ray at random; KILLS=300 SEED=2 for more
	$(BIN)/python -m tests.bench.soak --kills $(KILLS) --seed $(SEED)

servers: $(VENV)/.installed-dev  ## cohorts at once, PostgreSQL and MLflow killed meanwhile; COHORTS=2 for less
	$(BIN)/python -m tests.bench.servers --cohorts $(COHORTS)

simulate: $(VENV)/.installed  ## the queue with 50,000 members on 1,000 pretended slots, as JSON
	$(BIN)/python -m tests.bench.simulate

lint: $(VENV)/.installed-dev  ## formatting, lint, strict types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

install: $(VENV)/.installed  ## make .venv with gamectl in it

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d: make PYTHON=python3.11 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV): torch, Ray and MLflow, about 7 GB and some minutes"
	$(PIP_INSTALL) --no-compile -e .
	@# What pip does with one core, with all of them; templates among the files are no Python.
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	$(PIP_INSTALL) -e '.[dev,bench]'
	@touch $@

constraints: $(VENV)/.installed-bench  ## write down the versions that .venv has
	@echo '# Exact versions, so that an install is repeatable. Made by `make constraints`.' > constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable >> constraints.txt

clean:  ## remove .venv and caches; what games have kept in .game stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
