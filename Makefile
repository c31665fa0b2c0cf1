# codepath: replication suite for Coded ResNeXt. `make` lists the targets.

PYTHON ?= python3
# How many seeds.
SEEDS ?= 1
# cpu, short (60 of 300 epochs, CIFAR) or paper; empty: paper where there is a GPU, else the experiment's smallest.
SCALE ?=
# Folder with the data set's archive (downloaded there), or folder or tar of images; empty: data/.
DATA ?=
# ffcv, torch or auto.
LOADER ?= auto
# FFCV=0 leaves FFCV out of the installation.
FFCV ?= 1
# LOCKED=0 installs the versions of constraints.txt without comparing checksums.
LOCKED ?= 1

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
TOOLS := .venv-tools
CODEPATH := $(BIN)/codepath
HEADERS := libopencv-dev libturbojpeg0-dev pkg-config
DEMO := runs/demo

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-ablations replicate-cifar10 replicate-cifar100 replicate-imagenet
.PHONY: figures tables compare verdict report docs numbers test test-slow test-slurm test-timm test-lowest test-newest lint bench lock audit clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: $(STAMP) ## create .venv with the tested versions, and FFCV where it can be built

# The packages that requirements.lock was made for; elsewhere pip takes the versions of constraints.txt.
IS_LOCKED = [ "$(LOCKED)" = 1 ] && $(BIN)/python -c 'import platform as p, sys; \
  sys.exit(not (sys.platform == "linux" and p.machine() == "x86_64" and (3, 11, 5) <= sys.version_info < (3, 12)))'
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(STAMP): pyproject.toml constraints.txt requirements.lock requirements-ffcv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "error: Python 3.11 or newer is needed; say which one: make setup PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (about 6 GB, some minutes)"
	@if $(IS_LOCKED); then \
	  $(PIP) --require-hashes -r requirements.lock && $(PIP) --no-index --no-deps --no-build-isolation -e .; \
	else \
	  echo "without checksums: requirements.lock is for CPython 3.11.5 or a later 3.11, Linux x86-64"; \
	  $(PIP) -c constraints.txt -e '.[dev,docs,export,explore]'; \
	fi
	@$(MAKE) --no-print-directory ffcv
	@touch $@

.PHONY: ffcv
ffcv: ## build FFCV in .venv (part of setup; alone: after installing its headers)
	@rm -f $(VENV)/ffcv-not-built.txt
	@if [ "$(FFCV)" = 0 ]; then echo "left out by FFCV=0" >$(VENV)/ffcv-not-built.txt; \
	elif $(BIN)/python -c 'import importlib.util as u, sys; sys.exit(u.find_spec("ffcv") is None)'; then :; \
	else \
	  if ! { pkg-config --exists opencv4 && pkg-config --exists libturbojpeg; } 2>/dev/null; then \
	    if [ "$$(id -u)" = 0 ]; then as=; else as='sudo -n'; fi; \
	    { $$as apt-get update && $$as apt-get install -y --no-install-recommends $(HEADERS); } >$(VENV)/apt.log 2>&1 || true; \
	  fi; \
	  if ! { pkg-config --exists opencv4 && pkg-config --exists libturbojpeg; } 2>/dev/null; then \
	    echo "headers missing; run: sudo apt-get install $(HEADERS); then make ffcv" >$(VENV)/ffcv-not-built.txt; \
	  elif ! { if $(IS_LOCKED); then $(PIP) --require-hashes --no-deps --no-build-isolation --use-pep517 -r requirements-ffcv.lock; \
	           else $(PIP) -c constraints.txt -e '.[ffcv]'; fi; } >$(VENV)/ffcv-build.log 2>&1; then \
	    echo "its build failed, see $(VENV)/ffcv-build.log" >$(VENV)/ffcv-not-built.txt; \
	  fi; \
	fi
	@if [ -s $(VENV)/ffcv-not-built.txt ]; then echo "FFCV not installed: $$(cat $(VENV)/ffcv-not-built.txt). The torch loader serves."; fi

demo: $(STAMP) ## train a coded network on digits and draw its figures (no data set needed; minutes)
	@$(CODEPATH) demo --seeds $(SEEDS)

demo-ablations: demo ## the ablations on digits: mu, p_drop, exponent, concatenation, objective (some minutes)
	@for experiment in $(DIGITS); do $(CODEPATH) run $$experiment --scale demo --seeds $(SEEDS) || exit $$?; done
	$(call redraw,--results $(DEMO)/results --out $(DEMO))

# What each data set's replication trains, in this order; EXPERIMENTS= narrows it.
EXPERIMENTS ?=
CIFAR10 := table2-cifar10 fig6-cifar10 exponent-cifar10 concat-cifar10 fig5-cifar10
CIFAR100 := table2-cifar100 fig5-cifar100
ifeq ($(SCALE),short) # the ablations have none
CIFAR10 := table2-cifar10
CIFAR100 := table2-cifar100
endif
IMAGENET := table2-imagenet fig4-imagenet variants-imagenet
DIGITS := fig6-digits exponent-digits concat-digits fig5-digits objective-digits

# Demo-scale rows, made-up images among them, stay out of the committed results.
ROWS := $(if $(filter demo,$(SCALE)),--results $(DEMO)/results,--results results)
PAPER := $(if $(filter demo,$(SCALE)),--out $(DEMO),--out paper)

define redraw
@for what in figures tables compare verdict report; do $(CODEPATH) $$what $(1) || exit $$?; done
endef

define replicate
@for experiment in $(or $(EXPERIMENTS),$(1)); do \
  $(CODEPATH) run $$experiment $(ROWS) --seeds $(SEEDS) --loader $(LOADER) \
    $(if $(SCALE),--scale $(SCALE)) $(if $(DATA),--data $(DATA)) || exit $$?; \
done
$(call redraw,$(ROWS) $(PAPER))
endef

replicate-cifar10: $(STAMP) ## train and measure all of CIFAR-10's items (SCALE= SEEDS= DATA= LOADER= EXPERIMENTS=table2-cifar10)
	$(call replicate,$(CIFAR10))

replicate-cifar100: $(STAMP) ## the same for CIFAR-100
	$(call replicate,$(CIFAR100))

replicate-imagenet: $(STAMP) ## the same for ImageNet (DATA=folder with its archives or train/ and val/)
	$(call replicate,$(IMAGENET))

# STRICT=1 fails where rows are missing; FORCE=1 makes anew what is up to date, too.
STRICT ?=
WIDE ?=
FORCE ?=
ANEW := $(if $(FORCE),--force)

# Called together they run two at a time; the report then waits for the figures, which it shows.
ifeq ($(filter-out figures tables compare verdict report,$(MAKECMDGOALS)),)
MAKEFLAGS += -j2 --output-sync=target
endif
ifneq ($(filter figures,$(MAKECMDGOALS)),)
report: | figures
endif

figures: $(STAMP) ## redraw paper/figures from results/ (STRICT=1: fail where rows are missing; WIDE=1: both widths)
	@$(CODEPATH) figures $(if $(STRICT),--strict) $(if $(WIDE),--wide) $(ANEW)

tables: $(STAMP) ## rewrite paper/tables from results/
	@$(CODEPATH) tables $(if $(STRICT),--strict) $(ANEW)

compare: $(STAMP) ## rewrite paper/tables/baselines.md: coded networks and their baselines
	@$(CODEPATH) compare $(ANEW)

verdict: $(STAMP) ## rewrite paper/claims.md and paper/DEVIATIONS.md from results/
	@$(CODEPATH) verdict $(ANEW)

report: $(STAMP) ## rewrite paper/report.html from results/, one page that needs no network
	@$(CODEPATH) report $(if $(STRICT),--strict) $(ANEW)

docs: $(STAMP) ## build the pages of docs/ as a site, docs/build/html; a dead link or an old number fails
	@$(BIN)/sphinx-build -q -W --keep-going -E -a -b html docs docs/build/html
	@echo "docs/build/html/index.html (its search works without a server)"

numbers: $(STAMP) ## refresh the numbers between marks in README.md, docs/ and paper/NOTES.md from results/
	@$(CODEPATH) numbers

# Tests run side by side, one thread each: threads that wait for each other are slow on busy cores.
PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist worksteal

test: $(STAMP) ## run the tests
	@$(PYTEST) $(SIDE_BY_SIDE) -m "not slow"

test-slow: $(STAMP) test-slurm ## run all tests, the slow ones too
	@$(PYTEST) $(SIDE_BY_SIDE) -m "not slurm"

test-slurm: $(STAMP) ## run jobs on a real Slurm, brought up for it (as root; installs Debian's packages)
	@$(PYTEST) -m slurm

# timm's own tests with the installed timm; take the checkout's tag of that version.
test-timm: $(STAMP) ## run timm's own tests of models on our networks: make test-timm TIMM=CHECKOUT
	@test -f "$(TIMM)/tests/test_models.py" \
	  || { echo "error: say where a checkout of timm is: make test-timm TIMM=../pytorch-image-models"; exit 1; }
	@$(BIN)/python -m pytest -c "$(TIMM)/pyproject.toml" --rootdir "$(TIMM)" --import-mode=importlib \
	  -p codepath.models -q $(SIDE_BY_SIDE) "$(TIMM)/tests/test_models.py" -k "coded_ or resnext29_ or resnext20_"

# $(call other_versions,RESOLUTION,ENVIRONMENT): the tests in an environment of their own, without FFCV.
other_versions = $(BIN)/python -m pip install --quiet --disable-pip-version-check uv \
	  && $(BIN)/uv venv --quiet --seed --allow-existing -p $(PYTHON) $(2) \
	  && $(BIN)/uv pip install --quiet -p $(2)/bin/python --resolution $(1) --upgrade -e '.[dev,export]' \
	  && PYTHONPATH=. OMP_NUM_THREADS=1 $(2)/bin/python -m pytest $(PYTEST_ARGS) $(SIDE_BY_SIDE) -m "not slow"

test-lowest: $(STAMP) ## run the tests with the lowest versions that pyproject.toml allows (6 GB)
	@$(call other_versions,lowest-direct,.venv-lowest)

test-newest: $(STAMP) ## run the tests with the newest versions of all packages (6 GB)
	@$(call other_versions,highest,.venv-newest)

lint: $(STAMP) ## style, types and architecture
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

# uv and pip-audit are no part of what the project runs with.
$(TOOLS)/.made:
	@$(PYTHON) -m venv $(TOOLS) && $(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 pip-audit==2.10.1
	@touch $@

# $(call compile,OPTIONS,FILE): the versions of constraints.txt with the checksums of their files on PyPI.
define compile
	@{ echo "# Made by make lock: the versions of constraints.txt, with the checksums of their files on PyPI."; \
	   echo ffcv | $(TOOLS)/bin/uv pip compile --quiet -c constraints.txt --generate-hashes --python-version 3.11.5 \
	     --python-platform x86_64-manylinux_2_28 --no-annotate --no-header $(1); } >$(2).new \
	  && mv $(2).new $(2) || { rm -f $(2).new; exit 1; }
endef

lock: $(TOOLS)/.made ## make requirements.lock and requirements-ffcv.lock anew from constraints.txt
	$(call compile,pyproject.toml --all-extras --no-emit-package ffcv,requirements.lock)
	$(call compile,- --no-deps,requirements-ffcv.lock)

audit: $(TOOLS)/.made ## compare the locked versions with PyPI's list of known vulnerabilities (asks PyPI)
	@$(TOOLS)/bin/pip-audit --require-hashes --disable-pip --progress-spinner off \
	  -r requirements.lock -r requirements-ffcv.lock >$(TOOLS)/audit.txt 2>&1; code=$$?; \
	missed=$$(grep -c 'could not be audited' $(TOOLS)/audit.txt); \
	if grep -q 'Found .* known vulnerabilit' $(TOOLS)/audit.txt; then \
	  cat $(TOOLS)/audit.txt; echo "answer each in docs/decisions/locked-versions.md, or raise its version"; exit 1; \
	elif [ $$code != 0 ] || [ $$missed != 0 ]; then \
	  tail -n 1 $(TOOLS)/audit.txt; \
	  echo "NOT AUDITED ($$missed packages without an answer): PyPI's vulnerability service cannot be reached from here"; exit 1; \
	else echo "audited: nothing is known against the locked versions"; fi

bench: $(STAMP) ## run the benchmarks
	@$(CODEPATH) bench architectures
	@$(CODEPATH) bench codes
	@$(CODEPATH) bench block
	@$(CODEPATH) bench network
	@$(CODEPATH) bench extraction

clean: ## remove caches and the demo's runs (not .venv, not other runs)
	rm -rf $(DEMO) docs/build docs/reference paper/.drawn .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build *.egg-info
	find codepath benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
