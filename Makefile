# SPDX-License-Identifier: Apache-2.0
# Needs make and Python 3.11 or later; everything else is built here, in .venvs and .tox.

.DEFAULT_GOAL := help
.PHONY: help demo check test check-all test-all bench docs docs-links lint format release clean
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

docs: ## Build the documentation as a site, in build/docs; needs no network
	@tools/tox run -e docs
	@echo "Open build/docs/index.html."

docs-links: ## Check the links of the documentation to other sites; needs the network
	@tools/tox run -e docs -- -b linkcheck docs build/docs-links

lint: ## Run the linters and the type checker
	@tools/tox run -e lint

format: ## Format the code
	@tools/tox run -e format

release: ## Check a release: VERSION=x; WRITE=1 also writes its version into the checkout
	@tools/make-env release && PYTHONPATH=tools .venvs/release/bin/python -m release $(VERSION) $(if $(WRITE),--write)

clean: ## Remove what was built here
	rm -rf .venvs .tox .demo .cache dist build
