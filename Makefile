# Every target is one command. `make help` lists them.
PYTHON ?= python3
BOARD ?= native
VENV := .venv
BIN := $(VENV)/bin
SPARCL := $(BIN)/sparcl
# Where torch comes from: on Linux the default wheel brings several GB of CUDA libraries. The installation page of
# pytorch.org names the index of the CPU wheels; `make setup TORCH="--index-url URL"` takes the wheel from there.
TORCH ?=

CPPCHECK := cppcheck --quiet --error-exitcode=1 --std=c11 --inline-suppr --enable=warning,portability,performance \
    --suppressions-list=firmware/cppcheck.suppressions -I firmware/lib/sparcl/include -I firmware/lib/port_api/include

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint format doctor bench results results-operators results-ewc results-faults results-latent results-methods results-reference sizes clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/ready ## make the virtual environment with everything the demo and the tests need

$(VENV)/ready: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): about 1 GB of disk (torch for CPUs) and 2 minutes, once."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "sparcl-mcu needs Python 3.11 or newer; choose one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || \
	    { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 2; }
	@echo "[1/3] torch" && $(BIN)/pip install --quiet --constraint constraints.txt $(TORCH) torch
	@echo "[2/3] build tools" && $(BIN)/pip install --quiet --constraint constraints.txt setuptools
	@echo "[3/3] sparcl-mcu, PlatformIO and the rest" && \
	    $(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

demo: setup ## the main job on real digits, from pretraining to the report (BOARD=qemu_m4 for an emulated Cortex-M4)
	@$(SPARCL) demo --board $(BOARD)

test: setup ## all tests; emulated boards are left out, and listed, where their tools are missing (never in CI)
	@$(BIN)/pytest -n auto $(PYTEST)

lint: setup ## style, types and static analysis of Python and C
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h')
	$(BIN)/python tests/lint_models.py build/lint
	$(CPPCHECK) firmware tests/c build/lint
	$(CPPCHECK) tests/target examples/standalone

format: setup ## rewrite Python and C in the house style
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	clang-format -i $$(git ls-files '*.c' '*.h')

doctor: setup ## what is installed, what is missing, and the command to get it
	@$(SPARCL) doctor

bench: setup ## docs/results/bench.md, measured again: instructions of kernels, steps and epochs (about an hour)
	@$(SPARCL) bench

results: setup ## docs/results/digits.md, measured again (10 seeds; about 5 minutes); sparcl.md drawn from what was run
	@$(SPARCL) results digits
	@$(SPARCL) results sparcl

results-%: setup ## docs/results/sparcl.md: one of its scenarios measured again (sparcl results sparcl --help names them)
	@$(SPARCL) results sparcl $*

results-operators: setup ## docs/results/operators.md, measured again (about 90 minutes; needs SPARCL_DATA_DIR)
	@$(BIN)/pytest -n auto -m 'slow or not slow' --junitxml build/operators.xml tests/test_networks.py tests/test_mutations.py
	@$(SPARCL) results operators

results-faults: setup ## docs/results/faults.md, measured again (about 30 minutes)
	@$(SPARCL) results faults

results-ewc: setup ## docs/results/ewc.md, measured again (about 15 minutes)
	@$(SPARCL) results ewc

results-methods: setup ## docs/results/methods.md, measured again (about 90 minutes; needs SPARCL_DATA_DIR)
	@$(SPARCL) results methods

results-reference: setup ## docs/results/reference.md, measured again (about 6 minutes; needs SPARCL_DATA_DIR)
	@$(SPARCL) results reference

results-latent: setup ## docs/results/latent.md, measured again (about 5 minutes)
	@$(SPARCL) results latent

sizes: setup ## accept the code, RAM and stack of today's firmware as what tests compare with
	@SPARCL_ACCEPT_SIZES=1 $(BIN)/pytest -q tests/test_sizes.py && git diff --stat -- docs/results/sizes.json

clean: ## remove what builds made; runs/ stays
	rm -rf .pio build $(VENV)
