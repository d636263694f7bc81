# Eight verbs. Each creates what it needs in .venv; `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help install demo test lint bench lock clean
.DELETE_ON_ERROR:

help:  ## print this list
	@sed -n 's/^\([a-z]*\):.*## /make \1@/p' Makefile | awk -F@ '{ printf "  %-14s%s\n", $$1, $$2 }'

install: $(VENV)/.runtime  ## create .venv with Interlock and what it needs to run
	@echo "Interlock is installed: $(BIN)/interlock --help"

demo: $(VENV)/.runtime  ## see it work: a scripted agent, a refusal, a recovery, an approval
	@$(BIN)/interlock demo

test: $(VENV)/.dev  ## run every test this machine can run
	@$(BIN)/python -m pytest $(TESTS)

lint: $(VENV)/.dev  ## linter, format, types, import direction, the house's own rules (also the pre-commit hook)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/mypy benchmarks examples
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/test_house.py

bench: $(VENV)/.dev  ## measure what the targets are about, and print them beside the targets (under ten minutes)
	@$(BIN)/python -m benchmarks

lock:  ## pin every dependency again, with hashes (UPGRADE=--upgrade for newer ones)
	@PYTHON="$(PYTHON)" UPGRADE="$(UPGRADE)" sh .ci/lock

clean:  ## remove .venv and everything that was built
	@rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Interlock needs Python 3.11 or newer, and $(PYTHON) is not: try 'make PYTHON=python3.12 $(MAKECMDGOALS)'." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) has no venv module: on Debian and Ubuntu 'apt install python3-venv' brings it." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# The locks pin the build backend too, so that nothing is installed without a hash.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Installing what Interlock needs into $(VENV)"
	@$(PIP) install -qq --require-hashes --no-deps -r requirements.lock
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Installing what Interlock and its tests need into $(VENV)"
	@$(PIP) install -qq --require-hashes --no-deps -r requirements-dev.lock
	@$(PIP) install -qq --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime
