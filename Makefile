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
DIST ?= dist
SBOM ?= build/sbom
OWN_TARGETS := servers frameworks judges release services faults benchmarks

.DEFAULT_GOAL := help
.PHONY: help demo test test-servers test-frameworks test-services test-faults test-bench judges lint types check coverage matrix \
	docs dist sbom test-release release-check bench bench-quick guard guard-record fuzz format clean

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

# The time of the last commit, so that everybody who builds it gets the same bytes.
dist sbom: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 1580601600)

dist: .venv/release ## Build the sdist and the wheel into dist, and check them
	rm -rf $(DIST)
	$(BIN)/python -m build --no-isolation --outdir $(DIST)
	$(BIN)/python -m twine check --strict $(DIST)/*

sbom: dist ## List what an installation of the wheel brings, as CycloneDX, in build/sbom
	rm -rf $(SBOM)
	$(BIN)/python -m venv --without-pip $(SBOM)/environment
	$(BIN)/python -m pip --python $(SBOM)/environment/bin/python install --quiet $(DIST)/*.whl
	sed "s/^dynamic = .*/version = \"$$($(BIN)/hatchling version)\"/" pyproject.toml >$(SBOM)/pyproject.toml
	$(BIN)/cyclonedx-py environment --pyproject $(SBOM)/pyproject.toml --mc-type library --output-reproducible \
		--output-file $(SBOM)/glimr-session.cdx.json $(SBOM)/environment

test-release: .venv/test .venv/release ## Run the tests of a release: what is built, shown, installed and published
	$(PYTEST) tests/release

release-check: .venv/test .venv/release ## Check what has to hold before a version is tagged
	RELEASE=1 $(PYTEST) tests/release

docs: .venv/docs ## Build the documentation site, strictly, into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: .venv/lint ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/lint ## Check the types, with mypy and with pyright
	$(BIN)/mypy
	$(BIN)/pyright

# What waits for servers runs beside what computes, and what has workers of its own runs alone.
check: .venv/test .venv/lint .venv/release ## Everything that has to pass before a commit
	$(MAKE) --jobs 2 --output-sync=line lint types guard
	$(MAKE) test
	$(PYTEST) $(foreach folder,$(filter-out services benchmarks,$(OWN_TARGETS)),tests/$(folder))
	$(MAKE) --jobs 2 --output-sync=line test-services test-bench

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
