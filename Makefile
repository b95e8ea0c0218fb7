# Every target works in a fresh clone: each makes .venv first, which is a moment's work once it stands.
.DEFAULT_GOAL := help
.PHONY: help venv lock demo docs up check test hardening bench format release-check audit
PYTHON ?= python3.11
# Workers of the tests: on two cores three, because one of them mostly waits for processes that it started.
WORKERS ?= 3
BIN := .venv/bin
# What a process compiled is kept for the hundreds after it, whatever the machine's habit: it halves the tests.
export PYTHONDONTWRITEBYTECODE :=

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

venv: ## .venv with everything in it, from the hashed locks
	@$(PYTHON) scripts/environment.py venv

lock: ## write requirements/*.txt anew from pyproject.toml
	@$(PYTHON) scripts/environment.py lock

demo: venv ## the main job, end to end, on real currency data
	@$(BIN)/python scripts/demo.py $(ARGS)

docs: venv ## every notebook run, and the docs as a site in build/site (ARGS="--no-notebooks": seconds)
	@$(BIN)/python scripts/docs.py $(ARGS)

up: venv ## run the embedded marketplace until Ctrl-C (ARGS="--port 3010 --home DIR")
	@$(BIN)/mp up $(ARGS)

format: venv ## put all code into the house's format
	@$(BIN)/ruff format .

check: venv ## ruff, format, types, direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check ## check, then every test
	@$(BIN)/python scripts/test_packages.py
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

hardening: venv ## what takes longest: storms, a rehearsed month, JupyterLab
	@$(BIN)/python scripts/test_packages.py
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder -m hardening $(ARGS)

bench: venv ## one script per hot path, as ratios
	@$(BIN)/python -m bench $(ARGS)

audit: venv ## pins and hashes of all dependencies, and advisories where they can be had
	@$(BIN)/python scripts/audit.py

release-check: venv ## all that stands between the code and a release, as a table (ARGS="--skip tests")
	@$(BIN)/python scripts/release_check.py $(ARGS)
