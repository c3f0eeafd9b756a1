# Every target installs what it needs into .venv; `make help` lists them.

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check bench format clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/demo ## Serve the sign-up site on http://127.0.0.1:8000 (PORT=8765 for another port)
	PORT=$(PORT) $(BIN)/python examples/signup/serve.py

test: .venv/test ## Run the tests
	$(BIN)/python -m pytest

lint: .venv/lint ## Check style and formatting
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: .venv/lint ## Check the types, with mypy and with pyright
	$(BIN)/mypy
	$(BIN)/pyright

check: lint types test ## Everything that has to pass before a commit

bench: .venv/bench ## Measure speed against the alternatives and print a table
	$(BIN)/python -m benchmarks

format: .venv/lint ## Format the code and mend what can be mended by itself
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the environment and all caches
	rm -rf .venv .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist

# One stamp for each dependency group of pyproject.toml that is installed.
.venv/pip:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	touch $@

.venv/%: .venv/pip pyproject.toml
	$(BIN)/python -m pip install --quiet --editable . --group $*
	touch $@
