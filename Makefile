# igc: set up, try, test. Every target sets up .venv by itself.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
JOBS   ?= 2
MINUTES ?= 30
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-torch fuzz bench lint format clean

help: ## show this help
	@echo "usage: make TARGET [PYTHON=python3.12] [ARGS='...']"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv and install igc into it, editable, with the pinned versions

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "making $(VENV) (a few minutes: PyTorch is large)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## compile the shipped gated network, verify it, report, predict on real images
	@$(BIN)/igc demo $(ARGS)

test: $(STAMP) ## run the fast tests (SLOW=1 or test-all: every test)
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(if $(SLOW),,-m "not slow") $(ARGS)

test-all: $(STAMP) ## run every test, the slow ones too
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(ARGS)

test-torch: $(STAMP) ## the op rules and a compilation under another torch: TORCH=2.9.0
	@.ci/torch $(TORCH)

fuzz: $(STAMP) ## random gated networks for MINUTES=30; what fails is kept in tests/testing/regressions
	@OMP_NUM_THREADS=1 $(BIN)/python -m igc.testing.soak --minutes $(MINUTES) --jobs $(JOBS) --save tests/testing/regressions $(ARGS)

bench: $(STAMP) ## measure gated against compiled against dense, side by side
	@$(BIN)/python -m benchmarks.run $(ARGS)

lint: $(STAMP) ## ruff check, ruff format --check, mypy --strict
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { echo "not formatted: run 'make format'" >&2; $(BIN)/ruff format --check . ; exit 1; }
	@$(BIN)/mypy --no-error-summary

format: $(STAMP) ## sort imports and format every file
	@$(BIN)/ruff check --quiet --select I --fix .
	@$(BIN)/ruff format --quiet .

docs/ops.md: $(STAMP) $(wildcard igc/ops/*.py igc/emit/onnx/lower/*.py igc/emit/torch/*.py igc/audit/surrogates.py igc/testing/op_*.py) ## write the list of operations from the tables
	@$(BIN)/python -m igc.testing.op_listing > $@.new && mv $@.new $@

clean: ## remove .venv, caches and builds
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
