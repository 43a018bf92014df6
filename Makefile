# Everything here works on a fresh machine with Python 3.11 or later. `make help` says what there is.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
.DEFAULT_GOAL := help

.PHONY: help run test test-sip lint bench bench-queue bench-detection chaos lock clean

help:  ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

run: $(STAMP)  ## watch 60 simulated calls being placed; no phone rings; Ctrl-C to stop
	@$(BIN)/orchestrator run --demo 60

test: $(STAMP)  ## all tests: unit, database, conformance, end to end
	@$(BIN)/python -m tests.fixtures.livekit
	@$(BIN)/python -m pytest -n auto --dist loadgroup

test-sip: $(STAMP)  ## tests against a real LiveKit SIP service that the environment names
	@$(BIN)/python -m pytest tests/sip -v

lint: $(STAMP)  ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## the figures of the README, as a table
	@$(BIN)/python -m tests.bench

bench-queue: $(STAMP)  ## the queue's figures, beside pgqueuer and procrastinate on the same Postgres
	@$(BIN)/python -m tests.bench.queue

bench-detection: $(STAMP)  ## who answered: the detectors on 3,900 labelled calls, beside the cadence rules (needs espeak-ng, flite; 25 minutes)
	@$(BIN)/python -m tests.bench.detection --keep

chaos: $(STAMP)  ## 2,000 calls while workers, Postgres and LiveKit fail; each protection taken out in turn (15 minutes)
	@$(BIN)/python -m tests.fixtures.livekit
	@$(BIN)/python -m tests.chaos
	@$(BIN)/python -m tests.chaos --breaches

lock:  ## make requirements.lock anew from pyproject.toml (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
		--python-version 3.11 --extra dev --output-file requirements.lock pyproject.toml tests/build-requirements.in

clean:  ## remove the environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist
