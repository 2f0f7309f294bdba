# `make` lists the targets. An active virtual or conda environment is used, else .venv is made.
.DEFAULT_GOAL := help
# The first Python that runs and is new enough: a name on the PATH may be an empty shim.
SYSTEM_PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
ENV := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX),.venv)
PYTHON := $(ENV)/bin/python
STAMP := $(ENV)/.potstill-$(shell cat pyproject.toml constraints.txt | cksum | cut -d' ' -f1)
# A file to a process: fixtures of a file are made once.
PYTEST := "$(PYTHON)" -m pytest -n auto --maxprocesses 4 --dist loadfile

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

install: $(STAMP) ## install potstill and what it needs

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(SYSTEM_PYTHON)" || { echo "error: no Python 3.11 or newer found. Fix: make SYSTEM_PYTHON=/path/to/python3.11"; exit 2; }
	test -x "$(PYTHON)" || "$(SYSTEM_PYTHON)" -m venv "$(ENV)"
	"$(PYTHON)" -m pip install --disable-pip-version-check --quiet -e ".[dev]" -c constraints.txt
	@touch "$@"

demo: $(STAMP) ## install, then distil a student on bundled images
	"$(PYTHON)" train.py

quick: $(STAMP) ## the fast tests, for every save
	$(PYTEST) -m quick

test: $(STAMP) ## install, then run all tests but the slow ones
	$(PYTEST) -m "not slow"

slow: $(STAMP) ## the tests of whole runs
	$(PYTEST) -m slow

lint: $(STAMP) ## check style and types
	"$(PYTHON)" -m ruff check .
	"$(PYTHON)" -m ruff format --check .
	"$(PYTHON)" -m mypy

format: $(STAMP) ## mend style where a tool can
	"$(PYTHON)" -m ruff check --fix-only .
	"$(PYTHON)" -m ruff format .

.PHONY: help install demo quick test slow lint format
