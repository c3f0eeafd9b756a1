# Every target installs what it needs into .venv; `make help` lists them.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
STORE ?= disk
SECONDS ?= 60
PYTHONS ?= 3.11 3.12 3.13
DEPENDENCIES ?= oldest newest
WORKERS ?= auto
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal
OWN_TARGETS := servers frameworks judges services faults benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test test-servers test-frameworks test-services test-faults test-bench judges lint types check coverage matrix \
	bench bench-quick guard guard-record fuzz format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo ## Serve the sign-up site on http://127.0.0.1:8000 (PORT=8765, STORE=redis, HOST=0.0.0.0 for others)
	HOST=$(HOST) PORT=$(PORT) STORE=$(STORE) $(BIN)/python examples/signup/serve.py

test: .venv/test ## Run the tests, except those that have a target of their own
	$(PYTEST) $(foreach folder,$(OWN_TARGETS),--ignore tests/$(folder))

test-servers: .venv/test ## Run the tests on real WSGI and ASGI servers, and in a browser
	$(PYTEST) tests/servers

test-frameworks: .venv/test ## Run the tests of Flask, Django, Starlette, FastAPI and other frameworks
	$(PYTEST) tests/frameworks

# In one process: each would start all the servers.
test-services: .venv/test ## Run the tests on Redis, Valkey, PostgreSQL, MariaDB and PgBouncer
	$(BIN)/python -m pytest tests/services

test-faults: .venv/test ## Run the tests of faults: killed processes, full disks, damaged files
	$(PYTEST) tests/faults

test-bench: .venv/test ## Run the tests of the benchmarks
	$(BIN)/python -m pytest tests/benchmarks

judges: .venv/test ## Run the frameworks' own test-suites against our doors
	$(PYTEST) tests/judges

lint: .venv/lint ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/lint ## Check the types, with mypy and with pyright
	$(BIN)/mypy
	$(BIN)/pyright

check: lint types guard test test-servers test-frameworks judges test-services test-faults test-bench ## Everything that has to pass before a commit

# Tracing would distort what servers, fuzzers and the guard are tested for.
coverage: .venv/test ## Run the tests of the modules, and measure the branches they cover
	$(BIN)/python -m pytest tests/session tests/request tests/stores tests/wsgi tests/asgi tests/testing \
		tests/config tests/test_*.py --cov --cov-report=term \
		--hypothesis-profile=few

matrix: ## Run the tests on each Python found, with oldest and newest dependencies
	tests/matrix.sh "$(PYTHONS)" "$(DEPENDENCIES)"

bench: .venv/bench ## Measure speed beside other libraries: a quarter of an hour, into docs/benchmarks
	$(BIN)/python -m benchmarks --output docs/benchmarks

bench-quick: .venv/bench ## The same in a minute, to see that it works, into build/benchmarks
	$(BIN)/python -m benchmarks --quick --output build/benchmarks

guard: .venv/test ## Count the work of the hot path, and fail if it has grown
	$(BIN)/python -m benchmarks.guard

guard-record: .venv/test ## Record today's counts as the new budget
	$(BIN)/python -m benchmarks.guard --record

fuzz: .venv/fuzz ## Look for input that breaks a reader (SECONDS=600 for longer)
	$(BIN)/python -m fuzz --seconds $(SECONDS)

format: .venv/lint ## Format the code and apply automatic fixes
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the environment and all caches
	rm -rf .venv .venv-matrix .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

# One stamp for each dependency group of pyproject.toml that is installed.
.venv/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	touch $@

.venv/%: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group $*
	touch $@
