# Needs: make, bash, Python 3.11 or newer. `make help` lists what there is.

DATA_DIR ?= $(or $(SECONDPASS_DATA_DIR),data)
PORT ?= $(or $(SECONDPASS_PORT),8000)
# Some shells export HOST as the machine's own name, which would open the server to its network:
# this one is taken from make's arguments alone.
ifeq ($(origin HOST),environment)
HOST_NOTE := echo 'HOST=$(HOST) of the environment is left alone; to serve there: make serve HOST=$(HOST)' &&
endif
HOST = $(or $(SECONDPASS_HOST),127.0.0.1)

BIN := .venv/bin
export PYTHON TORCH

.DEFAULT_GOAL := help
.PHONY: help setup serve test lint format docs lock audit bench fuzz docker-check image-check clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 | /p' Makefile | awk -F'|' '{ printf "%-20s%s\n", $$1, $$2 }'
	@echo
	@echo '  make serve takes HOST=, PORT= and DATA_DIR=; make setup takes PYTHON=/path/to/python'
	@echo '  and TORCH=default for the build of torch that pip chooses (CUDA on Linux).'
	@echo '  make bench takes QUICK=1 and BENCH="--collection FOLDER": see docs/performance.md.'

setup: ## environment in .venv, locked packages, prepared models
	@scripts/setup.sh

serve: ## setup, the server, and behind it the demo corpus if there are no documents
	@$(HOST_NOTE) scripts/setup.sh "$(HOST)" "$(PORT)"
	@$(BIN)/secondpass serve --demo --host "$(HOST)" --port "$(PORT)" --data-dir "$(DATA_DIR)"

test: lint ## setup, then every check and test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --cov -m "not slow"

lint: setup ## format, lint, types and import rules, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: setup ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup ## write the generated pages of docs/
	$(BIN)/python scripts/config_docs.py docs/configuration.md

lock: setup ## resolve pyproject.toml for every Python; UPGRADE=1 takes the newest versions
	$(BIN)/python scripts/lock.py $(if $(UPGRADE),--upgrade)

audit: setup ## look the locked packages up in a database of known vulnerabilities
	scripts/audit.sh

bench: setup ## speed and quality beside other packages on the same weights; QUICK=1 for a try
	$(BIN)/python -m benchmarks.speed $(if $(QUICK),--quick) $(BENCH)

fuzz: setup ## 20,000 random requests to every route with every kind of key (schemathesis)
	test -x .bench/fuzz/bin/schemathesis || { $(BIN)/python -m venv .bench/fuzz && \
		.bench/fuzz/bin/pip install --quiet 'schemathesis>=4.32,<5'; }
	$(BIN)/python -m benchmarks.fuzz --schemathesis .bench/fuzz/bin/schemathesis

docker-check: setup ## every step of the image's build and start, without Docker (minutes)
	$(BIN)/python -m pytest -m slow tests/project/test_docker.py

image-check: ## build the image (Docker, or buildah and mmdebstrap as root), start it, ask it
	scripts/image_check.sh

clean: ## remove the environment and caches; documents and models stay
	rm -rf .venv .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage .coverage.* htmlcov build dist *.egg-info clients/python/build clients/python/src/*.egg-info
