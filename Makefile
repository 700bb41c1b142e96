# All tasks. They need Python 3.11 or newer and make. `make` lists the targets.
.DEFAULT_GOAL := help
.PHONY: help install up test test-long test-properties test-pythons mutants clients browser clients-table check docs fuzz fuzz-native chaos soak bench lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PACKAGES := $(VENV)/.packages
LOCK := requirements.lock
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# The first interpreter that starts and is new enough; `make install PYTHON=...` overrides it.
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)

# Live tests wait for other processes a third of their time, so three processes keep two cores busy. Files that share a
# server go to one process (tests/spread.py). Files in the order they are named, long ones first: xdist's own order, by
# number of tests, left one long file for the end.
SPREAD := -n 3 --dist loadfile --no-loadscope-reorder

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile

install: $(STAMP) ## Make .venv with exactly what requirements.lock names; does nothing the second time

# Never an error: without a C compiler everything runs in Python, and a message says so.
$(STAMP): $(PACKAGES) schemas/compiled/build_readers.py $(wildcard schemas/compiled/_*.c schemas/compiled/include/*.h)
	@$(BIN)/python -m schemas.compiled.build_readers
	@touch $@

$(PACKAGES): $(LOCK) pyproject.toml
	@test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer as python3.11 or python3, found none;" \
		"install it, or name it: make install PYTHON=/where/it/is/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --requirement $(LOCK)
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

up: $(STAMP) ## Start everything on this machine (ARGS="--port 9000 ..." is passed on); Ctrl-C stops it
	@exec $(BIN)/axonpush up $(ARGS)

test: $(STAMP) ## Run the unit and live tests (ARGS="-k name" is passed on)
	$(BIN)/python -m pytest -q $(SPREAD) -m "not long" tests/live tests/unit $(ARGS)

test-long: $(STAMP) ## Run the tests that take minutes: attacks, full disks, every engine function, compiled parsers with holes
	$(BIN)/python -m pytest -q $(SPREAD) -m long tests/live tests/unit $(ARGS)

test-properties: $(STAMP) ## Run the property tests with all examples that they name; `make test` draws a third
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "hypothesis and not long" --all-examples tests/unit $(ARGS)

# One of each version from 3.12 on that is here; `make test-pythons OTHER_PYTHONS=/where/it/is/python3.12` names one.
OTHER_PYTHONS ?= $(shell for v in 12 13 14; do for p in python3.$$v $(HOME)/.pyenv/versions/3.$$v.*/bin/python; do \
	$$p -c "import sys; sys.exit(sys.version_info[:2] != (3, $$v))" >/dev/null 2>&1 && echo $$p && break; done; done; true)

test-pythons: ## Run the unit tests on every other Python from 3.12 on that is here (OTHER_PYTHONS=... names them), in .venv-other
	@test -n "$(OTHER_PYTHONS)" || { echo "expected Python 3.12 or newer beside this one, found none;" \
		"name it: make test-pythons OTHER_PYTHONS=/where/it/is/python3.13" >&2; exit 1; }
	@set -e; for python in $(OTHER_PYTHONS); do \
		venv=.venv-other/$$($$python -c "import sys; print('%d.%d' % sys.version_info[:2])"); \
		echo "$$venv, made with $$python"; \
		test -x $$venv/bin/python || $$python -m venv $$venv; \
		$$venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --constraint $(LOCK) \
			--editable '.[dev,embedded,symbols]'; \
		$$venv/bin/python -m pytest -q $(SPREAD) tests/unit $(ARGS); \
	done

mutants: $(STAMP) ## Put small faults into the code, one at a time: do unit tests notice? (ARGS="--sample 200 --seed 1 workers/")
	$(PIP) install --no-build-isolation --editable '.[mutants]'
	$(BIN)/python -m tests.mutants $(ARGS)

clients: $(STAMP) ## Run real SDKs against a running system (ARGS="-k rust" runs some)
	$(BIN)/python -m pytest -q tests/clients $(ARGS)

browser: $(STAMP) ## Use the console's page in a real Chromium, with hostile events (ARGS="-k hostile" runs some)
	$(BIN)/python -m pytest -q tests/browser $(ARGS)

clients-table: $(STAMP) ## Run real SDKs and write the results into docs/clients.md
	AXONPUSH_WRITE_CLIENTS_TABLE=1 $(BIN)/python -m pytest -q tests/clients $(ARGS)

check: $(STAMP) ## Lint, format, types, imports between packages, installed versions, known vulnerabilities
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pip check
	$(BIN)/python .ci/audit.py

fuzz: $(STAMP) ## Feed mutated inputs to everything that reads bytes from outside (ARGS="--inputs 5000 otlp")
	$(BIN)/python -m tests.fuzz $(ARGS)

fuzz-native: $(STAMP) ## The compiled parsers under sanitizers, compared with the Python versions (ARGS="--inputs 5000")
	$(BIN)/python -m tests.fuzz.sanitized $(ARGS)

chaos: $(STAMP) ## Break a system under load, one fault after another; writes docs/chaos.md (ARGS="--seconds 20")
	$(BIN)/python -m tests.chaos $(ARGS)

soak: $(STAMP) ## A steady load for twenty minutes; memory and lag must stay flat (ARGS="--minutes 20 --write")
	$(BIN)/python -m tests.chaos.soak $(ARGS)

bench: $(STAMP) ## Measure this machine beside baselines and write docs/benchmarks.md (ARGS="--quick", "--only stored", "--only abuse --check")
	$(BIN)/python -m ops.bench $(ARGS)

docs: $(STAMP) ## Write docs/settings.md again from the settings classes
	$(BIN)/python docs/generate_settings.py

lock: $(STAMP) ## Write requirements.lock again from pyproject.toml (ARGS=--upgrade takes newer versions)
	$(BIN)/pip-compile --quiet --extra dev --extra embedded --extra symbols --extra tracing --strip-extras --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --no-emit-trusted-host $(ARGS) --output-file $(LOCK) pyproject.toml

clean: ## Remove .venv, compiled files and every cache; stored data (.axonpush) stays
	rm -rf $(VENV) .venv-other .mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .clients dist
	rm -f schemas/compiled/*.so schemas/compiled/.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
