# evtill: everything a newcomer needs is behind `make demo` and `make test`.
PYTHON ?= python3
PY := .venv/bin/python
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
CASES ?= 200
SEED ?= 1

.PHONY: help setup demo test lint bench screens powercut soak clean

help:            ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

setup: .venv/.ready build/runtime/.ready  ## venv, pinned dependencies, MicroPython (idempotent)

.venv/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "evtill: $(PYTHON) is older than 3.11: install python3.11 or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "evtill: $(PYTHON) cannot make a venv: apt install python3-venv" >&2; exit 1; }
	@echo "setup: Python packages into .venv (a minute)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install -qq --disable-pip-version-check -e '.[test]'
	@touch $@

build/runtime/.ready: .venv/.ready tools/tillsim/runtime.lock.json tools/tillsim/runtime.py
	@$(PY) -m tillsim.runtime fetch
	@touch $@

build/ocpi/.ready: .venv/.ready host_tests/tillback/ocpi/requirements.txt
	@echo "setup: extrawest-ocpi, which CDRs are read with, into build/ocpi"
	@$(PYTHON) -m venv build/ocpi
	@build/ocpi/bin/pip install -qq --disable-pip-version-check --no-deps \
	  -r host_tests/tillback/ocpi/requirements.txt
	@touch $@

demo: setup      ## one charging session, end to end, on the virtual charger
	@.venv/bin/tillsim demo --out out/demo

test: setup build/ocpi/.ready  ## the whole suite
	@$(PY) -m pytest -n $(JOBS) --dist worksteal

lint: setup      ## ruff and mypy
	@.venv/bin/ruff check .
	@.venv/bin/mypy

bench: setup     ## sizes and speeds, printed, never failing
	@$(PY) -m tillsim.bench

screens: setup   ## a picture of every screen of the driver's display, in out/screens/
	@EVTILL_SCREENS=out/screens $(PY) -m pytest -n $(JOBS) host_tests/app/test_pictures.py

powercut: setup  ## whole sessions, the power cut at any flash write (CASES=n|all SEED=n)
	@$(PY) -m tillsim.powercut --jobs $(JOBS) --cases $(CASES) --seed $(SEED) $(CASE:%=--case %)

soak: setup build/ocpi/.ready  ## exhaustive runs that make test samples
	@EVTILL_SOAK=1 $(PY) -m pytest -n $(JOBS) -m soak --deselect \
	  host_tests/e2e/test_powercut.py::test_a_power_cut_at_every_write
	@$(PY) -m tillsim.powercut --jobs $(JOBS) --cases all --seed $(SEED)

clean:           ## forget everything that setup made
	rm -rf .venv build out
