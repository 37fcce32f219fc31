# Two commands for newcomers: `make demo` and `make test`. Both make their own virtual environment in .venv.

PYTHON ?= python3
# Installed before everything else: an open requirement would take the newest release, with gigabytes of CUDA libraries on
# Linux. Another one may be named, as in `make demo TORCH=./torch-2.13.0+cpu.whl`.
TORCH ?= torch==2.13.0
PYTEST_ARGS ?= -n auto --dist loadscope

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test format clean

demo: .venv/installed-demo
	$(BIN)/sparsecomp demo

test: .venv/installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

format: .venv/installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache build *.egg-info

.venv/torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "sparsecomp needs Python 3.10 or newer")'
	$(PYTHON) -m venv .venv
	@echo "installing $(TORCH) (once; some minutes)"
	$(PIP) install "$(TORCH)"
	@touch $@

.venv/installed-demo: .venv/torch pyproject.toml
	@echo "installing sparsecomp[demo]"
	$(PIP) install --editable ".[demo]"
	@touch $@

.venv/installed-test: .venv/torch pyproject.toml
	@echo "installing sparsecomp[demo,dev,test]"
	$(PIP) install --editable ".[demo,dev,test]"
	@touch $@
