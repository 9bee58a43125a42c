# PhysEmbed. `make demo` and `make test` need nothing but Python 3.12, git and make.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
UV := 0.13.8
CORES ?= all
# Without a network: make install WHEELS=folder, with the files that `make wheels` fetched elsewhere.
WHEELS ?=
OFFLINE := $(if $(WHEELS),--no-index --find-links $(abspath $(WHEELS)))
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
TESTS_AT_ONCE ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder

.PHONY: help install wheels demo run plan report results archive test unit-test test-long test-cluster lint format lock schema clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) system-libraries  ## everything into .venv, from envs/requirements.lock

$(INSTALLED): envs/requirements.lock pyproject.toml
	@case "$(CURDIR)" in *[[:space:]]*) echo "'$(CURDIR)' contains a blank, and Snakemake cannot call a Python there;" \
	  "move PhysEmbed to a path without blanks." >&2; exit 1;; esac
	@python=$$(envs/find-python) && { test -x $(BIN)/python || "$$python" -m venv $(VENV); }
	@echo "installing $$(grep -c == envs/requirements.lock) packages into $(VENV)"
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check $(OFFLINE) uv==$(UV)
	@$(BIN)/uv pip sync --quiet --compile-bytecode $(OFFLINE) --python $(BIN)/python <(cat envs/requirements.lock; echo uv==$(UV))
	@$(BIN)/uv pip install --quiet $(OFFLINE) --python $(BIN)/python --no-deps --editable .
	@touch $@

wheels:  ## download the packages of `make install` into wheels/, for a machine without a network
	@python=$$(envs/find-python) && "$$python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
	  --wheel-dir wheels --requirement envs/requirements.lock uv==$(UV)

.PHONY: system-libraries
system-libraries:
	@envs/system-libraries liblapack.so.3:liblapack3 libblas.so.3:libblas3 libgfortran.so.5:libgfortran5

demo: install  ## both workflows, for a molecule and a liquid, with the report
	@$(SNAKEMAKE) --configfile config/demo.yaml
	@$(MAKE) --no-print-directory report CONFIG=config/demo.yaml STUDY=demo

run: install  ## the study of config/config.yaml
	@$(SNAKEMAKE)

plan: install  ## what would run and what it would cost (CONFIG=config/x.yaml; CALIBRATE=1 measures this machine first)
	@$(BIN)/python workflow/plan.py $(if $(CALIBRATE),--calibrate) $(CONFIG)

archive: install  ## pack the results of a study for publication (STUDY=x)
	@$(BIN)/python -m physembed.archive "results/$(STUDY)"

results: install  ## a finished study as a page in docs/results (CONFIG=config/x.yaml, or several in quotes)
	@$(BIN)/python workflow/publish.py $(CONFIG)

report:  ## Snakemake's report as one HTML file (CONFIG=config/x.yaml STUDY=x)
	@if [ results/$(STUDY)/report.html -nt results/$(STUDY)/summary.html ]; then \
	  echo "results/$(STUDY)/report.html is up to date."; \
	else \
	  $(BIN)/snakemake --configfile $(CONFIG) --report results/$(STUDY)/report.html --quiet all \
	  && echo "See results/$(STUDY)/summary.html and results/$(STUDY)/report.html"; \
	fi

.PHONY: browser
browser:
	@envs/system-libraries chromium:chromium chromedriver:chromium-driver

test: install browser lint  ## formatters, linters, types and all tests except the long ones
	@$(PYTEST) -m "not long" --durations 25 --cov physembed --cov-report term

unit-test: install  ## only the unit tests
	@$(PYTEST) -m "not long" tests/unit

test-long: install  ## long statistics: MD against exact and literature values, coverage of intervals (2 to 5 minutes)
	@$(PYTEST) -m long --durations 10 tests/unit

test-cluster: install  ## the workflow on a local Slurm started for the test (root, Debian, 6 minutes)
	@$(BIN)/python -m pytest tests/cluster

lint: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/snakefmt --check Snakefile workflow/rules
	@$(BIN)/mypy
	@$(BIN)/snakemake --lint --configfile config/demo.yaml

format: install  ## format Python and Snakemake code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet . ; $(BIN)/snakefmt Snakefile workflow/rules

lock: install  ## resolve the dependencies of pyproject.toml again
	@$(BIN)/uv pip compile --quiet --upgrade --python-version 3.12 --no-emit-index-url --no-annotate --no-header \
	  --extra workflow --extra dev pyproject.toml --output-file envs/requirements.lock
	@$(BIN)/python envs/conda-environment > envs/physembed.yaml

schema: install  ## regenerate config/schema.json, the tables of config/README.md and the captions in workflow/report
	@$(BIN)/python -m physembed.config.documents
	@$(BIN)/python -m physembed.report.catalogue

clean:  ## remove the virtual environment and caches (not results)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
