# Everything one does here. The first command on a fresh machine may be any of these: each makes `.venv` if need be,
# from the pinned and hashed packages of requirements.lock. Only make and a Python 3.11 or newer have to be there.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The interpreter: `make PYTHON=/opt/python/bin/python3 test` names one; otherwise the first of these that will do.
PYTHON ?=
PYTHONS := python3 python3.13 python3.12 python3.11 /usr/bin/python3
FITS := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

# Passed through to demo, test, bench, lock and docs: `make test ARGS="-k saga -x"`.
ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv
# What the type checker reads.
TYPED := src tests examples

# An environment that happens to be active must not redirect ours.
unexport VIRTUAL_ENV PYTHONHOME PYTHONPATH

.PHONY: help
help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(READY)  ## Watch sagas commit and be undone; ARGS="--seconds 20 --json"
	@$(BIN)/finality demo $(ARGS)

.PHONY: test
test: $(READY)  ## Run all tests but those of check, the slow ones too; ARGS="-k saga"
	@$(BIN)/pytest -n 2 --dist loadgroup --ignore=tests/tidy --durations=20 --durations-min=8 $(ARGS)

.PHONY: check
check: $(READY)  ## Style, types, the import rule, tidiness
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict $(TYPED)
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/tidy

.PHONY: fix
fix: $(READY)  ## Format, and repair what can be repaired mechanically
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

.PHONY: bench
bench: $(READY)  ## Measure; ARGS as for `finality bench`
	@$(BIN)/finality bench $(ARGS)

.PHONY: docs
docs: $(READY)  ## Build the documentation into build/docs
	$(BIN)/sphinx-build --fail-on-warning --keep-going -b html -d build/doctrees $(ARGS) docs build/docs

.PHONY: lock
lock: $(UV)  ## Pin the dependencies anew; ARGS="--upgrade" for newer ones
	$(UV) pip compile --quiet --universal --generate-hashes --python-version 3.11 --all-extras --group dev \
		--custom-compile-command "make lock" $(ARGS) --output-file requirements.lock pyproject.toml
	@if grep -n '://' requirements.lock; then echo "requirements.lock must not hold an address" >&2; exit 1; fi

# Where tests look for it: outside of the repository, so that it is fetched once.
KAFKA := $(HOME)/.cache/finality/kafka

.PHONY: kafka
kafka:  ## Fetch Apache Kafka, for the tests that want the real one; needs Java 17 and Maven
	@mkdir -p $(dir $(KAFKA))
	@test -e $(KAFKA) || { mvn --quiet --batch-mode --file .ci/kafka.xml \
		org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
		-DincludeScope=runtime -DoutputDirectory=$(KAFKA).part && mv $(KAFKA).part $(KAFKA); }

.PHONY: clean
clean:  ## Remove the environment and everything built
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests examples bench docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The environment, in two steps. First an empty one with uv in it, fetched by pip and checked against the lock.
$(UV):
	@for python in $(or $(PYTHON),$(PYTHONS)); do \
		if "$$python" -c '$(FITS)' >/dev/null 2>&1; then found="$$python"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
		echo "no Python 3.11 or newer with the venv module was found: install python3 and python3-venv (or name one: make PYTHON=/path/to/python3)" >&2; \
		exit 1; \
	fi; \
	echo "making $(VENV) with $$("$$found" --version) ..." >&2; \
	"$$found" -m venv --clear $(VENV) >&2; \
	awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements.lock > $(VENV)/uv.txt; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(VENV)/uv.txt >&2

# Then exactly what the lock says, and the project itself, editable.
$(READY): requirements.lock pyproject.toml | $(UV)
	@echo "installing the packages of requirements.lock ..." >&2
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock >&2
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable . >&2
	@touch $@
