# `make demo` and `make test` do everything on a fresh machine: the environment is made first, and only when needed.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DOCS := $(VENV)/.docs
.DEFAULT_GOAL := help
.PHONY: help install demo test test-quick test-long lint format clean example docs

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(INSTALLED) ## make the environment

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test]'
	touch $@

demo: $(INSTALLED) ## simulate a cohort and run the whole line on it
	$(BIN)/siamese-med demo

lint: $(INSTALLED) ## style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

PYTEST := $(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

test: $(INSTALLED) ## everything that must hold, but for what takes longest; style and types are checked beside the tests
	$(MAKE) --no-print-directory -j 2 lint test-quick

test-quick: $(INSTALLED)
	$(PYTEST) -m "not long"

test-long: $(INSTALLED) ## what takes longest: the README's commands, kills, whole benchmarks; LONG_S=600 ends it in time
	$(PYTEST) -m long $(if $(LONG_S),--within $(LONG_S))

format: $(INSTALLED) ## put the code into shape
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## remove the environment, caches, the demo and the site
	rm -rf $(VENV) demo site .cache/tests .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

example: $(INSTALLED) ## renew the example report and the README's picture from the demo
	$(BIN)/python -m benchmarks.example demo

docs: $(DOCS) ## build the documentation as a site: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(DOCS): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	touch $@
