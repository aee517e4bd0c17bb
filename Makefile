# `make demo` and `make test` set up all they need in .venv; see README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install demo test trial-anise fuzz soak trials mutants release lint bench clean
.DEFAULT_GOAL := help

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed ## Set up .venv from the lock file

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

demo: install ## Build a small nightly batch on an embedded farm
	$(BIN)/stagefarm demo

test: install ## Run every check and test
	$(BIN)/pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile

trial-anise: install ## Try the real anise: ANISE=path LUET_BUILD=path, and MARK_DEVKIT=path to compare
	@test -x "$(ANISE)" -a -x "$(LUET_BUILD)" || { echo "name the programs: make $@ ANISE=path LUET_BUILD=path" >&2; exit 2; }
	ANISE=$(abspath $(ANISE)) LUET_BUILD=$(abspath $(LUET_BUILD)) \
	  MARK_DEVKIT=$(abspath $(MARK_DEVKIT)) ANISE_BUILDS=48 \
	  $(BIN)/pytest -v -o timeout=1500 tests/integration/test_anise.py

fuzz: install ## Attack archives for some minutes
	FUZZ_EXAMPLES=5000 $(BIN)/pytest -q -o timeout=1800 tests/integration/test_hostile_archives.py

bench: install ## Measure archives, inventories, the farm, the store, reports and, as root, containment
	unshare --mount $(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.rendering
	$(BIN)/python -m tests.bench.trust
	$(BIN)/python -m tests.bench.farm
	$(BIN)/python -m tests.bench.containment
	$(BIN)/python -m tests.bench.store
	$(BIN)/python -m tests.bench.publishing
	$(BIN)/python -m tests.bench.gate
	$(BIN)/python -m tests.bench.report

soak: install ## Break a farm at random for some minutes; SOAK_SEED=N does it again
	SOAK_BUILDS=120 SOAK_FAULTS=36 SOAK_LIMIT_S=900 $(BIN)/pytest -q -s -o timeout=1500 tests/faults/test_soak.py

trials: install ## Kill a publisher before every one of its writes
	KILL_EVERY=1 $(BIN)/pytest -q -s -o timeout=1800 tests/faults/test_publishing.py

mutants: install ## Take guards away one at a time, as root: a test has to notice; MUTANTS=claim.lua
	$(BIN)/python -m tests.mutants $(MUTANTS)

release: install ## Build wheel and sdist, and run the demonstration from the installed wheel
	rm -rf dist && $(BIN)/hatchling build
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/pip install --quiet --require-hashes -r requirements.lock
	dist/venv/bin/pip install --quiet --no-deps dist/*.whl
	cd dist && venv/bin/stagefarm --version && venv/bin/stagefarm demo --folder demo

lint: install ## Format and check the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/mypy

lock: ## Bring the lock file up to date
	uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file requirements.lock

clean: ## Remove what the targets above made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis demo-output dist
