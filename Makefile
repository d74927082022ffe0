# Few verbs, the same for people and CI. Needs Python 3.11+ and make; everything else is fetched, checked by hash and cached.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
WORKERS ?= 3
RUNTIMES ?= langgraph crewai autogen

# Every verb starts Python again and again: what is imported is compiled once, whatever the caller's environment says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install lint format check test demo demo-replay up runtimes faults bench lock helm manifests clean

help: ## Show these verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv from the hashed locks

$(INSTALLED): requirements/dev.lock requirements/uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "headrace needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@echo "install: virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
	@echo "install: packages of requirements/dev.lock"
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

lint: $(INSTALLED) ## Formatting, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: lint ## lint, and the contracts: schemas true and compatible
	$(BIN)/headrace schemas check

test: $(INSTALLED) ## All tests, on real Kafka, schema registry and Postgres
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup

demo: $(INSTALLED) ## The main job from end to end: webhooks in, agent results out
	$(BIN)/headrace demo

demo-replay: $(INSTALLED) ## 5,000 events, a version that is live, and the shadow of another one
	$(BIN)/headrace replay demo $(ARGS)

up: $(INSTALLED) ## The whole mesh on this machine, until Ctrl-C
	$(BIN)/headrace up

runtimes: $(INSTALLED) ## Tests of the agent runtimes that need an extra, each in an environment of its own
	for runtime in $(RUNTIMES); do \
		python=.venv-runtimes/$$runtime/bin/python; \
		echo "runtimes: $$runtime"; \
		$(BIN)/uv venv --quiet --allow-existing .venv-runtimes/$$runtime && \
		$(BIN)/uv pip sync --quiet --python $$python --require-hashes requirements/runtimes/$$runtime.lock && \
		$(BIN)/uv pip install --quiet --python $$python --no-deps --no-build-isolation -e . && \
		$$python -m pytest -p no:cacheprovider tests/reasoning/test_framework*.py || exit 1; \
	done

faults: $(INSTALLED) ## The fault matrix on three brokers, the long form (ARGS="--list" and more)
	$(BIN)/python -m tests.faults $(ARGS)

bench: $(INSTALLED) ## headrace beside its peers; ARGS=--quick for a short form, ARGS=--help for more
	$(BIN)/python -m benchmarks $(ARGS)

lock: $(INSTALLED) ## Resolve the locks anew
	$(BIN)/uv pip compile pyproject.toml --extra local --extra dev --generate-hashes --python-version 3.11 --no-header -q -o requirements/dev.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements/dev.lock --generate-hashes --python-version 3.11 --no-header -q -o requirements/runtime.lock
	for runtime in $(RUNTIMES); do $(BIN)/uv pip compile pyproject.toml --extra local --extra dev --extra $$runtime --generate-hashes --python-version 3.11 --no-header -q -o requirements/runtimes/$$runtime.lock || exit 1; done
	echo hatchling | $(BIN)/uv pip compile - -c requirements/dev.lock --generate-hashes --python-version 3.11 --no-header --no-annotate -q -o requirements/build.lock
	echo uv | $(BIN)/uv pip compile - --generate-hashes --python-version 3.11 --no-header --no-annotate -q -o requirements/uv.lock
	for peer in benchmarks/peers/*/requirements.in; do $(BIN)/uv pip compile $$peer --generate-hashes --python-version 3.11 --no-header --no-annotate -q -o $${peer%.in}.lock || exit 1; done

helm: $(INSTALLED) ## Build the pinned helm into the cache, once (needs Go)
	$(BIN)/python deploy/helm.py

manifests: $(INSTALLED) ## Write deploy/k8s anew from the chart (needs helm)
	$(BIN)/python deploy/render.py

clean: ## Remove .venv and caches (not ~/.cache/headrace, not data)
	rm -rf $(VENV) .venv-runtimes .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
