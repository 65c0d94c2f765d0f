# leash_ray: `make demo` is the way in. PYTHON names the Python to start from (3.11 or 3.12); KIND is auto, cpu or gpu.
PYTHON ?= python3
KIND ?= auto
ARGS ?=
BIN := $(CURDIR)/.venv/bin
# DeepSpeed calls `ninja` by name, and it lives in BIN. Not for `setup`, which is to run with PYTHON.
IN_VENV := PATH="$(BIN):$$PATH" $(BIN)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all lint clean

help:  ## this list
	@echo 'make TARGET [ARGS="..."]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 14

setup:  ## create .venv with everything in it (minutes the first time, nothing after that)
	@$(PYTHON) scripts/setup.py --kind $(KIND)

demo: setup  ## the whole question on a laptop: train, sample base and trained, measure, report
	@$(IN_VENV)/leash demo $(ARGS)

test: setup  ## lint, types and every test that is not slow; ARGS go to pytest
	$(IN_VENV)/python -m pytest -m "not slow" $(ARGS)

test-all: setup  ## every test, the slow ones too
	$(IN_VENV)/python -m pytest $(ARGS)

lint: setup  ## ruff and mypy alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:  ## remove caches and build leftovers; .venv and runs/ stay
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +
