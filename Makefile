# Everything a developer types. `make help` lists it; each target installs what it needs first.

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' && echo $$p && break; done)
STAMP := $(VENV)/.installed
WORKERS ?= 3
SOURCES := registry placement scheduler agentd fleettui tests bench scripts/structure scripts/reference scripts/manuals.py packaging packaging/build packaging/lock
# Nodes need root: run as root when we are, or when sudo lets us; otherwise say so and go on without.
AS_ROOT := scripts/as-root

.DEFAULT_GOAL := help
.PHONY: help setup system compiled packages demo down test test-debian13 check lint types structure docs format bench bench-console bench-peers bench-scale chaos simulate fuzz screenshots clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: system $(STAMP) ## Install what is missing: system packages and the virtual environment

system:
	@scripts/install-packages

$(STAMP): pyproject.toml | system
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; install it, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the Python packages into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

demo: setup ## Boot a local cluster of three machines and open the console (leaves the cluster up)
	@$(AS_ROOT) $(BIN)/fleettui demo

down: setup ## Stop the local cluster and leave nothing behind
	@$(AS_ROOT) $(BIN)/fleettui demo down

# Tests start our programs some thousand times, mostly where those cannot keep what they compiled.
compiled: $(STAMP)
	@$(BIN)/python -m compileall -q -x /artifacts/ registry placement scheduler agentd fleettui tests

# Most tests of machines wait for something, so several at a time are quicker; each worker boots its own.
test: setup compiled ## Run every test, on real machines too (ARGS="-k name" picks, WORKERS=0 is one at a time)
	@scripts/fetch-etcd >/dev/null || true
	@$(AS_ROOT) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-debian13: setup ## Run the tests of machines on nodes of Debian 13 (ARGS="-k name" picks)
	@scripts/fetch-etcd >/dev/null || true
	@FLEET_NODES=debian13 $(AS_ROOT) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder tests/cluster $(ARGS)

check: lint types ## Lint, formatting, import rules and types; no test

lint: $(STAMP) ## ruff and import-linter
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check --quiet $(SOURCES)
	@$(BIN)/lint-imports --no-cache

types: $(STAMP) ## mypy, strict
	@$(BIN)/mypy

structure: $(STAMP) ## Count cycles, largest classes, purity and the like (ARGS="--list" names what was counted)
	@$(BIN)/python scripts/structure $(ARGS)

docs: $(STAMP) ## Write what docs/ takes from the code: the configuration, the records, the man pages
	@$(BIN)/python scripts/reference

packages: setup ## Build the wheel, the sdist and the .deb packages into dist/ (ARGS="--help" for the choices)
	@$(BIN)/python packaging/build $(ARGS)

format: $(STAMP) ## Rewrite the sources in the one format
	@$(BIN)/ruff check --fix-only --quiet $(SOURCES)
	@$(BIN)/ruff format --quiet $(SOURCES)

bench: setup ## Measure on a local cluster (ARGS="--help" for the choices)
	@$(AS_ROOT) $(BIN)/python -m bench $(ARGS)

chaos: setup ## Ten minutes of seeded faults on real machines (ARGS="--seed N --seconds N --replay FILE")
	@$(AS_ROOT) $(BIN)/python -m tests.chaos $(ARGS)

simulate: setup ## The fleet in a simulated world (ARGS="--seed N" tells one seed's story, "--seeds A..B" walks many)
	@$(BIN)/python -m tests.simulation $(ARGS)

fuzz: setup ## An hour of new inputs for everything that reads untrusted text (ARGS="--seconds N --seed N")
	@$(BIN)/python -m tests.fuzz $(ARGS)

bench-scale: setup ## Measure a large fleet with simulated machines (ARGS="--help" for the choices)
	@$(BIN)/python -m bench.scale $(ARGS)

bench-console: setup ## Measure the console in a terminal, over a large fleet (ARGS="--help" for the choices)
	@$(BIN)/python -m bench.console $(ARGS)

bench-peers: setup ## Measure beside Pacemaker and Docker Swarm, on nodes of their own (ARGS="--help" for the choices)
	@$(AS_ROOT) $(BIN)/python -m bench.peers $(ARGS)

screenshots: setup ## Draw the pictures in screenshots/ again
	@$(BIN)/python -m tests.console.screenshots $(ARGS)

clean: ## Remove caches and what tests left; the virtual environment stays
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist tests/artifacts
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
