# Everything here needs Python 3.11 or newer, make and git; the rest is fetched on first use.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= $(shell for python in python3.14 python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import venv, ensurepip' 2>/dev/null && echo $$python && break; done)
UV := $(or $(shell command -v uv),.tools/bin/uv)
BIN := .venv/bin
export UV_PYTHON_PREFERENCE := system
ARGS ?=

.PHONY: help install demo up test check lint fmt bench clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

demo: install ## Run a real campaign through every part (make demo ARGS="--exit --json")
	@$(BIN)/kairan demo $(ARGS)

up: install ## Start the installation: API, worker, dashboard
	@$(BIN)/kairan up $(ARGS)

test: install ## Run all tests (make test ARGS="tests/unit -x")
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint test ## Everything CI runs: format, lint, types, import contracts, tests

lint: install ## Format, lint, types and import contracts, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: install ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Run benchmarks (make bench ARGS="--list")
	$(BIN)/python -m benchmarks $(ARGS)

install: .venv/.installed ## Install what everything above needs into .venv

.venv/.installed: pyproject.toml uv.lock | $(UV)
	$(UV) sync --frozen --quiet
	@touch $@

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv

clean: ## Remove the environment, tools and caches; data in .kairan stays
	rm -rf .venv .tools .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
