# plainfilm. `make` lists the targets. Everything lives in .venv and var/; nothing is installed elsewhere, except for
# the caches of pip and uv in ~/.cache, and Debian's chromium for the browser tests (only as root, and only if missing).
SHELL := /bin/bash
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv
EXTRAS := --extra web --extra worker --extra training --extra broker
export UV_PROJECT_ENVIRONMENT := $(CURDIR)/$(VENV)
export UV_HTTP_TIMEOUT ?= 300

.PHONY: help run test lint check integration browser openapi format lock clean doctor train chromium chaos nightly soak bench bench-scale bench-gpu

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

run: $(VENV)/.run ## the whole service on this machine: http://127.0.0.1:8000
	@exec $(BIN)/plainfilm up

test: $(VENV)/.test chromium ## install what the tests need and run all of them
	$(BIN)/pytest --numprocesses=2 --reruns=1

lint: $(VENV)/.test ## check formatting, lint rules, types and imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint ## lint, then the unit and contract tests except the slow ones
	$(BIN)/pytest tests/unit tests/contract -m "not slow"

integration: $(VENV)/.test ## the tests that start servers and processes
	$(BIN)/pytest --numprocesses=2 tests/integration

browser: $(VENV)/.test chromium ## the tests that drive a browser
	$(BIN)/pytest tests/browser

chaos: $(VENV)/.test ## chaos test with processes killed at random: make chaos JOBS=300 SEED=1
	$(BIN)/python -m tests.chaos --jobs $(or $(JOBS),300) --seed $(or $(SEED),1)

nightly: ## a long chaos test with 10,000 films
	$(MAKE) chaos JOBS=10000

soak: $(VENV)/.test ## half load for so long; fails where memory or descriptors grow: make soak MINUTES=30
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),30)

bench: $(VENV)/.bench ## compare plainfilm with its peers, about 22 minutes; in 3 minutes: make bench QUICK=1
	$(BIN)/python -m tests.bench $(if $(QUICK),--quick)

bench-scale: $(VENV)/.bench ## benchmark claims and lists in long tables, with 1 to 16 simulated workers
	$(BIN)/python -m tests.bench.scale

bench-gpu: $(UV) ## compare a GPU with the CPU of its machine, in a separate environment: .venv-gpu
	UV_PROJECT_ENVIRONMENT=$(CURDIR)/$(VENV)-gpu $(UV) sync --frozen --no-default-groups --group bench --inexact --extra web --extra gpu --extra broker
	$(UV) pip install --quiet --python $(VENV)-gpu/bin/python 'openvino>=2026.4,<2027'
	$(VENV)-gpu/bin/python -m tests.bench.gpu

openapi: $(VENV)/.run ## regenerate docs/openapi.json after a change to the API
	$(BIN)/python -m web.api.openapi > docs/openapi.json

format: $(VENV)/.test ## format the code and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

train: $(VENV)/.run ## train a model: make train RECIPE=default DATA=folder
	$(BIN)/plainfilm train --recipe $(or $(RECIPE),default) $(if $(DATA),--data $(DATA))

doctor: $(VENV)/.run ## report what is missing on this machine
	@$(BIN)/plainfilm doctor

lock: $(UV) ## renew uv.lock from pyproject.toml
	$(UV) lock --upgrade

clean: ## remove the environment and caches; var/ stays
	rm -rf $(VENV) $(VENV)-gpu .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist

$(UV):
ifeq ($(PYTHON),)
	@python=$$(python3 .ci/quickest_python.py) && "$$python" -m venv $(VENV)
else
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) else "plainfilm needs Python 3.11, 3.12 or 3.13; this is %d.%d. Name another: make PYTHON=python3.12 run" % v)'
	$(PYTHON) -m venv $(VENV)
endif
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(VENV)/.run: $(UV) uv.lock pyproject.toml
	$(UV) sync --frozen --no-dev --inexact --compile-bytecode $(EXTRAS)
	@touch $@

$(VENV)/.test: $(UV) uv.lock pyproject.toml
	$(UV) sync --frozen --inexact --compile-bytecode $(EXTRAS)
	@touch $@ $(VENV)/.run

$(VENV)/.bench: $(UV) uv.lock pyproject.toml
	$(UV) sync --frozen --no-default-groups --group bench --inexact --compile-bytecode $(EXTRAS)
	@touch $@ $(VENV)/.run

chromium: ## install chromium for the browser tests
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; \
	else \
	  echo "The browser tests need chromium: install it (Debian: sudo apt-get install chromium), or they are skipped."; \
	fi
