# Borealis. `make` or `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.DEFAULT_GOAL := help
.PHONY: help install demo test lint format stub base image test-containers test-slurm test-remote test-chaos test-compile clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(STAMP) ## make the environment in .venv and install everything, pinned by constraints.txt

# torch first: a later requirement for it is then met, and nothing pulls another build of it.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Borealis needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	@touch $@

demo: $(STAMP) ## papers to a served model on this machine: make the corpus, run the life cycle, ask the model, stop it
	$(BIN)/python -m examples
	$(BIN)/parsl run workflows/pretrain.py --site laptop
	$(BIN)/parsl ask 'What is the lattice constant of Bromvel-8?'
	$(BIN)/parsl stop

# A file's tests stay together: many share what was trained or parsed for the first of them.
test: lint ## lint, types and all tests, on two processes
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: $(STAMP) ## ruff and the strict type check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

stub: $(STAMP) ## the whole graph with sample rows, in seconds
	$(BIN)/parsl run workflows/pretrain.py --site laptop --stub

# Offline: `make base` first; `make image` then builds from it, else from an image of a registry.
KIND ?= cpu
BASE ?= $(wildcard build/base.tar)

base: $(STAMP) ## a base for images where no registry of images can be reached (needs mmdebstrap)
	$(BIN)/python -m containers base build/base.tar

image: $(STAMP) ## build and test the image of a stage: make image STAGE=parse [KIND=cuda] [BASE=...]
	$(BIN)/python -m containers build $(STAGE) --kind $(KIND) $(if $(BASE),--base $(BASE))

test-containers: $(STAMP) ## the same rows in the environment, under bubblewrap and in real images (slow; needs Apptainer)
	$(BIN)/python -m containers build ingest parse dedup tokenize pretrain $(if $(BASE),--base $(BASE))
	$(BIN)/python -m pytest -q -rs tests/containers/test_parity.py

test-slurm: $(STAMP) ## the life cycle on a real Slurm of four node names on this machine (slow; needs slurm-wlm and munge)
	BOREALIS_LONG_TESTS=1 $(BIN)/python -m pytest -q -rs tests/workflows/slurm

test-remote: $(STAMP) ## runs through Globus Compute's own client and a loopback of its service (slow; needs rabbitmq-server)
	BOREALIS_LONG_TESTS=1 $(BIN)/python -m pytest -q -rs tests/workflows/remote

test-chaos: $(STAMP) ## 25 faults injected into runs on simulated machines: each ends right or in a clear stop (slow)
	BOREALIS_LONG_TESTS=1 $(BIN)/python -m pytest -q -rs tests/workflows/simulate/test_chaos.py

test-compile: $(STAMP) ## layouts with compiled layers against one process (slow; needs a C++ compiler)
	BOREALIS_LONG_TESTS=1 $(BIN)/python -m pytest -q -rs tests/stages/model/test_parallelize.py

clean: ## remove runs, the demo corpus and caches; keeps .venv
	rm -rf runs build examples/corpus examples/corpus-truth .mypy_cache .ruff_cache .pytest_cache
