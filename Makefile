# make demo       trains a small reasoning model under RED on this machine's CPU
# make test-fast  the tests that start no ranks and no engines: a minute or two; before each commit
# make test       all tests                   make lint   ruff and mypy
# make docs       the documentation, as a site in site/, without network
# make venv       only the environment        make lock   new versions in requirements-cpu.lock
# make clean      removes the environment and all caches; runs/ stays
#
# Each target first brings .venv up to date: minutes the first time and after a change of pyproject.toml
# or of the lock file, nothing otherwise.
#
# PYTHON        interpreter that .venv is made from, 3.11 or newer
# TORCH_SOURCE  where the CPU build of torch comes from: a folder of wheels, or a web page that links to
#               them. By default the first folder that pip is configured to look in (find-links) and that
#               holds torch, else PyTorch's page.

PYTHON ?= python3
TORCH_SOURCE ?= $(or $(TORCH_FOLDER),https://download.pytorch.org/whl/cpu/torch/)
TORCH_FOLDER = $(firstword $(foreach folder,$(PIP_FOLDERS),$(if $(wildcard $(folder)/torch-*),$(folder))))
PIP_FOLDERS = $(shell .venv/bin/python -m pip config list | sed -nE "s/^[^=]*\.find-links='(.*)'$$/\1/p" | sed 's/\\n/ /g')

STAMP := .venv/.installed
SHELL := /bin/bash

.PHONY: demo test test-fast lint docs lock venv clean

demo: venv
	.venv/bin/python -m red_mcore.run recipes/red_tiny.py

test: venv
	.venv/bin/python -m pytest

test-fast: venv
	.venv/bin/python -m pytest -m 'not slow'

lint: venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

docs: venv
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo site/index.html

venv: $(STAMP)

# pip has no way to drop a requirement of a requirement, uv has. Byte code is compiled here, once: without
# it every process that imports vLLM would spend 15 seconds on it where PYTHONDONTWRITEBYTECODE keeps
# Python from saving its own. What the lock file has no line for, torch, is as pyproject.toml says.
$(STAMP): pyproject.toml cpu-overrides.txt requirements-cpu.lock | .venv/bin/uv
	.venv/bin/uv pip install --python .venv/bin/python --find-links $(TORCH_SOURCE) \
	  --override cpu-overrides.txt --system-certs --compile-bytecode \
	  --requirement requirements-cpu.lock --editable '.[cpu,dev]'
	@touch $@

# For all platforms at once. torch is left out, for its CPU builds differ by where they come from.
lock: | .venv/bin/uv
	.venv/bin/uv pip compile pyproject.toml --extra cpu --extra dev --override cpu-overrides.txt \
	  --find-links $(TORCH_SOURCE) --system-certs --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-package torch --no-annotate --quiet \
	  --custom-compile-command 'make lock' --output-file requirements-cpu.lock

.venv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); want Python 3.11 or newer:" \
	    "make PYTHON=python3.11" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.13,<0.14'

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache site *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
