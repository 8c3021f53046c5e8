# Everything runs from .venv, which `make install` makes; no other tool is needed than Python 3.11+.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
OUT ?= results/demo-$(shell date +%Y%m%d-%H%M%S)
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench clean

help: ## Show this list.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: $(STAMP) ## Make .venv and install wardround with all extras into it.

# The stamp is written last, so that an install that broke off is taken up again.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python: got %d.%d, expected 3.11 or newer; name one with make PYTHON=..." % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[site,sim,dev]' -c constraints.txt
	@touch $@

demo: $(STAMP) ## Train four generated hospitals together and print where the report is (OUT=folder).
	$(BIN)/wardround-sim run simulations/scenarios/demo.yaml --out $(OUT) $(ARGS)
	@echo "Report: $(OUT)/report.html"

test: $(STAMP) ## Run the tests (ARGS="-k name -m 'not slow'" goes to pytest).
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP) ## Lint, check formatting, types and who imports whom.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code into the project's form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## Measure costs against the goals (ARGS="masking --quick" for less).
	$(BIN)/python -m wardround_sim.bench --out results/bench-$(shell date +%Y%m%d-%H%M%S) $(ARGS)

clean: ## Remove .venv, caches and build products; results stay.
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find client common server simulations tests -name __pycache__ -type d -prune -exec rm -rf {} +
