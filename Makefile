# Attention in Context. `make help` lists what there is.

PYTHON ?= python3.11
VENV   ?= .venv
BIN     = $(VENV)/bin
DEVICE ?= cpu
JOBS   ?= 2
PORT   ?= 8000

# JupyterLab refuses to run as root, as in a container, unless told.
AS_ROOT = $(shell test "$$(id -u)" = 0 && echo --allow-root)

# One thread per process: several processes run side by side.
export OMP_NUM_THREADS ?= 1
export PYTHONUTF8 = 1
# nbgrader calls alembic by name.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help setup system hub hub-setup lab demo test build bundle site nbval nbval-gpu unit lint types bench kill lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

# The first Python of these that is 3.11 or newer.
FOUND := $(shell for p in $(PYTHON) python3.11 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

STAMP = $(VENV)/.stamp-$(shell cat requirements.lock pyproject.toml | cksum | cut -d' ' -f1)

setup: $(STAMP) ## make the environment in .venv; install Chromium and bubblewrap (apt)
	@sh tools/system.sh

$(STAMP):
	@test -n "$(FOUND)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@echo "Setting up $(VENV) with $(FOUND): a minute or two the first time."
	@test -x $(BIN)/python || $(FOUND) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@$(BIN)/jupyter labextension disable --level=sys_prefix @jupyterlab/apputils-extension:announcements
	@rm -f $(VENV)/.stamp-* && touch $@

system: ## install the browser and the sandbox that tests and grading use (apt)
	@sh tools/system.sh

lab: setup ## open JupyterLab on the release notebooks
	$(BIN)/jupyter lab --notebook-dir=release $(AS_ROOT)

demo: setup ## take a sample class through the whole course
	@$(BIN)/attention-course demo

build: setup ## build every edition that is not current
	@$(BIN)/attention-course build --jobs $(JOBS)

bundle: setup ## write what a student receives: build/attention-course.zip
	@$(BIN)/attention-course bundle

site: setup ## build the site in build/website/html (no network needed)
	@$(BIN)/python website/build.py

unit: setup
	$(BIN)/python -m pytest -q -n $(JOBS) --dist loadscope tests

nbval: setup ## re-execute notebooks/ and solutions/ (DEVICE=cuda: on the GPU)
	@$(BIN)/attention-course nbval --device $(DEVICE) --jobs $(JOBS)

# The GPU half says so if there is no GPU.
nbval-gpu: setup
	@$(BIN)/attention-course nbval --device cuda --jobs 1 --if-present

hub: hub-setup ## a JupyterHub on loopback: one instructor, two students (as root)
	@$(BIN)/python -m attention_course.hub build/hub --port $(PORT) --proxy build/node/node_modules/.bin/configurable-http-proxy

hub-setup: setup
	@test -x build/node/node_modules/.bin/configurable-http-proxy || \
		npm install --silent --no-save --prefix build/node configurable-http-proxy@5

lint: setup ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: setup ## everything that CI runs
	@command -v npm > /dev/null && $(MAKE) --no-print-directory hub-setup || \
		echo "Node.js is not installed: the hub and the site's pages are not tested."
	@$(MAKE) --no-print-directory lint
	@$(BIN)/attention-course build --check
	@$(MAKE) --no-print-directory nbval
	@$(MAKE) --no-print-directory nbval-gpu
	@$(MAKE) --no-print-directory unit

bench: setup ## measure; prints a table and writes build/bench.json
	@$(BIN)/python benchmarks/bench.py

kill: setup ## kill the grader at 50 random moments: nothing may be lost
	@$(BIN)/python benchmarks/kill_grader.py --kills 50 --students 120

lock: ## write requirements.lock anew from pyproject.toml's ranges
	@sh tools/lock.sh $(FOUND)

clean: ## remove the environment and everything built on the side
	rm -rf $(VENV) build
