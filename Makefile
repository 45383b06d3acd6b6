# Endcap. `make run` is all that a newcomer needs; every target makes the environment first if there is none.
# Nothing here names a package registry: where packages come from is the machine's own setting.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help install java run demo up down status doctor reset test check bench bench-scale bench-privacy bench-gate \
  kills clean

PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SHOP ?= grocer
FROM ?=
FIRST ?=
LAST ?=
PAIRS ?=
comma := ,
ifneq ($(strip $(PIP_FIND_LINKS)),)
export UV_FIND_LINKS ?= $(subst $() ,$(comma),$(strip $(PIP_FIND_LINKS)))
endif
unexport PYTHONDONTWRITEBYTECODE # hundreds of processes of ours would each compile our modules anew
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DO_NOT_TRACK := 1

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12
	@echo 'Variables: SHOP=grocer|sample|electronics|wands|esci|open_bandit|ubi|files FROM=folder FIRST=day LAST=day PAIRS=number'

java:
	@java=$${JAVA_HOME:+$$JAVA_HOME/bin/}java; \
	version=$$("$$java" -version 2>&1 | sed -nE '1,3s/.*version "(1\.)?([0-9]+).*/\2/p' | head -1) || version=; \
	if [ -z "$$version" ] || [ "$$version" -lt 17 ]; then \
	  echo "error: Java 17 or later is needed, found: $${version:-none}." \
	    "To do: 'sudo apt-get install openjdk-17-jre-headless' (Debian, Ubuntu)," \
	    "'brew install openjdk@17' (macOS), or set JAVA_HOME." >&2; exit 1; fi

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is missing." \
	  "To do: install Python 3.11, or 'make PYTHON=/path/to/python3.11'." >&2; exit 1; }
	@echo "installing into $(VENV) (minutes, the first time) ..." >&2
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install --quiet uv
	@VIRTUAL_ENV=$(abspath $(VENV)) $(BIN)/uv pip install --quiet --compile-bytecode -c constraints.txt \
	  -e '.[data,learn,serve,orchestrate,dev]'
	@$(BIN)/python -m jobs warm
	@touch $@

install: java $(STAMP)  ## make the environment, if pyproject.toml or constraints.txt is newer

run: install  ## the whole way of one shop: import to champions, ending in a page of results
	@$(BIN)/python -m jobs run --shop '$(SHOP)' $(if $(FROM),--from '$(FROM)') $(if $(FIRST),--first '$(FIRST)') \
	  $(if $(LAST),--last '$(LAST)') $(if $(PAIRS),--pairs '$(PAIRS)')

demo: install  ## a first useful result on a small generated shop
	@$(BIN)/python -m jobs demo

up: install  ## start Airflow, MLflow, Feast's page and the API on loopback; safe to repeat
	@$(BIN)/python -m jobs up --shop '$(SHOP)'

down: $(STAMP)  ## stop them all; leaves no process behind
	@$(BIN)/python -m jobs down

status: $(STAMP)  ## what runs where, and every folder of state
	@$(BIN)/python -m jobs status

doctor: $(STAMP)  ## judge the machine and the state, and say how to mend each
	@$(BIN)/python -m jobs doctor

reset: $(STAMP)  ## empty the home of SHOP, after listing what goes
	@$(BIN)/python -m jobs reset --shop '$(SHOP)'

test: install  ## all tests
	@$(BIN)/pytest -n 3 --dist worksteal

check: $(STAMP)  ## style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: install  ## measure, each figure against a named peer in the same run
	@$(BIN)/python -m tests.bench.measure
	@$(BIN)/python -m tests.bench.lookups
	@$(BIN)/python -m tests.bench.point_in_time

bench-gate: install  ## what the model gate promises, and how often off-policy intervals hold the truth: 1,000 trials of each kind
	@$(BIN)/python -m tests.bench.gate
	@$(BIN)/python -m tests.bench.off_policy

bench-privacy: install  ## the scrubber beside Presidio; the strongest attacks on SHOP's models; what privacy costs them
	@$(BIN)/python -m tests.bench.scrubbing
	@$(BIN)/python -m tests.bench.privacy '$(SHOP)'
	@$(BIN)/python -m tests.bench.private '$(SHOP)'
	@$(BIN)/python -m tests.bench.rare_queries '$(SHOP)'

bench-scale: install  ## 1 and 10 million events from raw to safe, beside a plain copy and DuckDB (some 25 minutes)
	@$(BIN)/python -m tests.bench.scale 1000000 10000000

kills: install  ## a hundred kills, each followed by a run that must give the same bytes (some 20 minutes)
	@$(BIN)/python -m tests.kills

clean:  ## remove the environment and caches; shops' homes stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
