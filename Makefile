# make demo and make test need python3 (with venv), make and git; nothing else.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
.PHONY: help demo test check bench chaos lock dev clean

help: ## what can be made
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(VENV)/.installed: requirements.lock pyproject.toml
	@command -v git >/dev/null || { echo "git is missing: apt-get install git"; exit 2; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: apt-get install python3 python3-venv"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 14)))' || { echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.11 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "python3-venv is missing: apt-get install python3-venv"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # on all cores, which pip does not; some packages ship templates
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(VENV)/.installed ## the whole pipeline on the embedded preview backend
	$(BIN)/ryla demo

dev: $(VENV)/.installed ## Dagster and the HTTP app on what the demo made
	$(BIN)/ryla dev

# Each of the two runs leaves a JUnit report in REPORTS, where that is set: .ci/run reads them.
report = $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml)
test: check ## everything that CI runs; chaos by itself, for its clock runs 40 times as fast
	$(BIN)/pytest -n 0 -s $(call report,chaos) tests/chaos
	$(BIN)/pytest $(call report,all)

check: $(VENV)/.installed ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# BullMQ's row needs node, npm and redis-server (apt-get install nodejs npm redis-server); without them it says so.
bench: $(VENV)/.installed ## measure and rewrite docs/benchmarks.md
	$(BIN)/python -m tests.bench

SEEDS ?= 5000
chaos: $(VENV)/.installed ## kill the runner in SEEDS=5000 ways and rewrite docs/chaos.md
	$(BIN)/python -W error -m tests.chaos --seeds $(SEEDS) --bugs --report docs/chaos.md

lock: ## resolve requirements.lock anew (needs uv; writes no address)
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --python-version 3.11 --universal -o requirements.lock

clean: ## remove what was built; .ryla (your data) stays
	rm -rf $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache
