# SPDX-License-Identifier: Apache-2.0
# Needs make and Python 3.11 or later; everything else is built here, in .venvs and .tox.

.DEFAULT_GOAL := help
.PHONY: help demo check test check-all test-all bench lint format clean
export PYTHON KEEP

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r what does; do \
		printf '%-16s %s\n' "$$what" "$$does"; done

demo: ## Wait for five lessons from Ansible and from Airflow, on this machine alone (KEEP=1: stay open)
	@tools/make-env demo --with-project && exec .venvs/demo/bin/python demo/demo.py

run = @tools/make-env tools && .venvs/tools/bin/python tools/run-tests

check: ## Check style and types, and run the unit tests of one Python
	$(run) check

test: ## Run the tests, the linters and the type checker
	$(run) test

check-all: ## The same, and ansible-test: what CI runs
	$(run) check-all

test-all: ## Run every environment that this machine can run, and write docs/tested.md
	$(run) --all

bench: ## Measure against what a user would have done instead
	@tools/tox run -e bench

lint: ## Run the linters and the type checker
	@tools/tox run -e lint

format: ## Format the code
	@tools/tox run -e format

clean: ## Remove what was built here
	rm -rf .venvs .tox .demo .cache dist build
