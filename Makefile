# Copyright (c) 2026, the xen.driver_domains authors
# GNU General Public License v3.0-or-later (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# `make` shows what there is. The variables that matter:
#   XEN_INVENTORY=FILE   work on the Xen hosts of this inventory (group xen_hosts), with the variables it has; no test bed is started
#   TESTBED_OPTIONS=...  options for `tests/support/testbed up`, such as --suite trixie
#   BOARD_INVENTORY=FILE use the Arm board of this inventory (group boards) in the scenario `board`, instead of an emulated one
#   SCENARIOS='site'     the scenarios that `make molecule` runs, instead of all
#   PYTHON=python3.13    make .venv with this interpreter
#   KEEP_GOING=1         `make test` goes on after a stage that failed
#   LONG=1               `make test` has the scenarios, too, that it leaves out as a rule
#   MINUTES=65           `make test` leaves out scenarios that would end later than after so many minutes; 0 for none

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
# Linters are independent of each other, everything else is in order.
.NOTPARALLEL: demo test

PYTHON ?= python3
VENV ?= .venv
XEN_INVENTORY ?=
BOARD_INVENTORY ?=
TESTBED_OPTIONS ?=
SCENARIOS ?=
LONG ?=
MINUTES ?= $(if $(filter 1,$(LONG)),0,65)
FLEET_OPTIONS ?=

export PATH := $(abspath $(VENV))/bin:$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PYTHON
export TESTBED_OPTIONS
export LONG

testbed := python tests/support/testbed
boards := PYTHONPATH=tests:tests/support python -m boards
# Also those that molecule scenarios start beside the common one.
stop_all := for state in $(or $(XEN_TESTBED_STATE),.testbed) .testbed-*; do if [ -d $$state ]; then $(testbed) down --state-dir $$state; fi; done; \
	$(boards) down .build/board
ready := $(VENV)/.ready

ifeq ($(strip $(XEN_INVENTORY)),)
  host := testbed-up
  export HOSTS_INVENTORY := $(abspath $(or $(XEN_TESTBED_STATE),.testbed))/inventory.yml
  export VARS_INVENTORY := $(CURDIR)/examples/testbed
else
  host := $(ready)
  override XEN_INVENTORY := $(abspath $(XEN_INVENTORY))
  export XEN_INVENTORY
  export HOSTS_INVENTORY := $(XEN_INVENTORY)
  export VARS_INVENTORY := $(XEN_INVENTORY)
endif
ifneq ($(strip $(BOARD_INVENTORY)),)
  override BOARD_INVENTORY := $(abspath $(BOARD_INVENTORY))
  export BOARD_INVENTORY
endif
playbook := ansible-playbook -i "$$HOSTS_INVENTORY" -i "$$VARS_INVENTORY"

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile

# --- set-up ---------------------------------------------------------------------------------------------------------
.PHONY: setup
setup: $(ready) ## install missing Debian packages and make .venv; everything below does it first

$(ready): tests/requirements.txt tests/support/tools/setup
	@tests/support/tools/setup $(VENV)
	@touch $@

# --- the main job ---------------------------------------------------------------------------------------------------
.PHONY: demo bench
demo: $(host) ## run playbooks/site.yml on the test bed's Xen and show a guest's traffic going through the driver domain
	$(playbook) tests/hosts.yml
	$(playbook) playbooks/site.yml
	$(playbook) playbooks/verify.yml
	$(playbook) tests/demo.yml

bench: $(host) ## measure the performance budgets on the test bed's Xen
	python tests/benchmarks

.PHONY: bench-xenstore
bench-xenstore: $(host) ## measure what a XenStore key costs, by all ways there are
	python tests/benchmarks/xenstore

.PHONY: bench-fleet
bench-fleet: $(ready) ## count SSH round trips for the guests of many simulated hosts; FLEET_OPTIONS='--hosts 200'. As root
	PYTHONPATH=.collections python tests/benchmarks/fleet $(FLEET_OPTIONS)

# --- the test bed ---------------------------------------------------------------------------------------------------
.PHONY: testbed-up testbed-ssh testbed-down
testbed-up: $(ready) ## start a nested Xen (built when needed) and write .testbed/inventory.yml
	@$(testbed) up $(TESTBED_OPTIONS)

testbed-ssh: $(ready) ## a shell in the test bed's dom0
	@$(testbed) ssh

testbed-down: $(ready) ## stop the test bed
	@$(testbed) down

# --- tests ----------------------------------------------------------------------------------------------------------
# Two lanes for two processors. The first has the shared test bed to itself, and priority: Xen's toolstack gives a hotplug script 40 s
# there. What has a machine of its own is taken by the lane that is done first, the longest scenario first. Not more than two emulated
# machines work at once.
own := $(shell grep -l '^shared_state: false' extensions/molecule/*/molecule.yml | xargs grep -Ho 'Costs [0-9]*' | sort -k 2 -rn | cut -d / -f 3)
long := $(if $(filter 1,$(LONG)),,$(shell grep -l 'without LONG=1' extensions/molecule/*/molecule.yml | cut -d / -f 3))
lanes := '$(if $(XEN_INVENTORY),,testbed-up) molecule-shared artifact' 'lint unit cores sanity device-trees boards' --rest '$(patsubst %,molecule-%,$(filter-out $(long),$(own)))'
.PHONY: test
test: $(ready) ## everything below: lint, unit, cores, sanity, device-trees, boards, artifact, molecule
	@rm -f .build/pace; \
	$(if $(filter-out 0,$(MINUTES)),export TESTS_END=$$(($$(date +%s) + 60 * $(MINUTES)));) \
	$(if $(XEN_INVENTORY),,trap '$(stop_all)' EXIT;) python tests/support/tools/stages.py $(lanes)

.PHONY: lint lint-ruff lint-yaml lint-types lint-shell lint-words lint-docs lint-changelog lint-ansible lint-release
lint: lint-ruff lint-yaml lint-types lint-shell lint-words lint-changelog lint-docs lint-ansible lint-release ## all linters

lint-ruff: $(ready)
	ruff check
	ruff format --check

lint-yaml: $(ready)
	yamllint --strict .

lint-types: $(ready)
	mypy

lint-shell: $(ready)
	tests/support/tools/lint-shell

# Typing errors, and then the phrases of the word list in CONTRIBUTING.md: codespell looks up what the regular expression finds.
word_list := tests/support/words.txt
lint-words: $(ready)
	codespell
	codespell --dictionary $(word_list) --regex "(?i)\b($$(sed 's/->.*//' $(word_list) | paste -sd '|'))\b"

lint-docs: $(ready)
	python tests/support/tools/role_readmes.py --check
	antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs all --skip-rstcheck .

lint-changelog: $(ready)
	antsibull-changelog lint
	antsibull-changelog lint-changelog-yaml --strict changelogs/changelog.yaml

lint-ansible: $(ready)
	ansible-lint --offline --strict

# What Galaxy and the builder of execution environments say of the tarball.
lint-release: $(ready)
	tests/support/tools/release

.PHONY: docs docs-site changelog
changelog: $(ready) ## add the fragments to the release that galaxy.yml names, and write CHANGELOG.md and CHANGELOG.rst
	antsibull-changelog release --update-existing

docs: $(ready) ## rewrite the tables of variables in the READMEs of the roles
	python tests/support/tools/role_readmes.py

docs-site: $(ready) ## the documentation as a site in .build/site, with the reference of all plugins; warnings are errors
	python tests/support/tools/docs_site.py

.PHONY: format
format: $(ready) ## rewrite Python files the way lint wants them
	ruff check --fix
	ruff format

.PHONY: unit cores sanity device-trees compare-device-trees boards artifact molecule molecule-shared $(own:%=molecule-%)
unit: $(ready) ## unit tests, by ansible-test
	tests/support/tools/ansible-test units --python "$$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')"

cores: $(ready) ## what depends on ansible-core, on its other versions; the import of modules on the oldest Python of hosts
	tests/support/tools/cores

sanity: $(ready) ## ansible-test's sanity tests, all of them
	tests/support/tools/ansible-test sanity

device-trees: $(ready) ## every device tree of Debian's arm64 kernel (downloaded once), and what is known of some boards
	cd .collections/ansible_collections/xen/driver_domains && \
	PYTHONPATH=$(CURDIR)/.collections:$(CURDIR)/tests pytest --numprocesses auto --quiet -rs tests/device_trees

compare-device-trees: $(ready) ## the table in docs/device_trees.md: our analysis beside sdfgen and Lopper; VIRT=FILE adds QEMU's board
	test -d .venv-compare || $(PYTHON) -m venv .venv-compare
	.venv-compare/bin/pip install --quiet --requirement tests/device_trees/compare_requirements.txt
	PYTHONPATH=$(CURDIR)/.collections:$(CURDIR)/tests:$(CURDIR)/tests/support .venv-compare/bin/python -m device_trees.compare $(if $(VIRT),--virt $(VIRT))

BOARD_TESTS ?= tests/boards
boards: $(ready) ## emulated Arm boards, from U-Boot to the domains that Xen starts; BOARD_TESTS=FILE for some
	python -m pytest --verbose -rs $(BOARD_TESTS)

artifact: $(host) ## build the tarball and use it, installed, from outside the checkout, on the test bed's Xen
	tests/artifact/run

molecule: $(host) ## each scenario of extensions/molecule on the test bed's Xen, from a fresh dom0
	tests/support/tools/molecule $(SCENARIOS)

# Its parts, for the lanes of `make test`: the scenarios that share the test bed, and those with a machine of their own.
molecule-shared: $(host)
	tests/support/tools/molecule --shared

$(own:%=molecule-%): molecule-%: $(ready)
	tests/support/tools/molecule $*

# --- cleaning -------------------------------------------------------------------------------------------------------
.PHONY: clean
clean: ## remove what make made in the checkout; images in the user's cache stay
	@if [ -e $(ready) ]; then $(stop_all); fi
	rm -rf .ansible .build .testbed .testbed-* .venv-compare $(VENV) .venv-core-* .mypy_cache .pytest_cache .ruff_cache .hypothesis tests/output
