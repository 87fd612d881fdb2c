# SPDX-License-Identifier: Apache-2.0
# Needs make and a Python from 3.11 to 3.13; everything else is built here, under .venvs and .tox.

.DEFAULT_GOAL := help
# In front of shims that need to be told which version to run.
TOX = PATH="$$(tools/find-python --path):$$PATH" .venvs/tools/bin/tox
export PYTHON
# The Pythons of this machine that the unit tests run on: two, where there are two.
UNITS = $(shell tools/find-python --all | head -n 2 | sed 's/^3\./unit-py3/' | paste -sd, -)

.PHONY: help demo test bench lint format clean tools

help: ## Say what can be made
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: ## Wait for five lessons from Ansible and from Airflow, on this machine alone (KEEP=1: stay open)
	@tools/make-env demo --with-project
	@PATH="$(CURDIR)/.venvs/demo/bin:$$PATH" KEEP="$(KEEP)" .venvs/demo/bin/python demo/demo.py

test: tools ## Run every test, the linters and the type checker
	@tools/find-python --all | sed 's/^/Found Python /'
	$(TOX) run -e $(UNITS),provider,collection,lint

bench: tools ## Measure against what a user would have done instead
	$(TOX) run -e bench

lint: tools ## Run the linters and the type checker
	$(TOX) run -e lint

format: tools ## Format the code
	$(TOX) run -e format

clean: ## Remove what was built here
	rm -rf .venvs .tox .demo dist build

tools:
	@tools/make-env tools
