# make demo    three hospitals train on real studies, as processes on this machine; ends with the result
# make test    every test; the integration tests need Debian's peers: `make peers` installs them (as root)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo demo-stop test lint unit peers clean bench-%

help:
	@sed -n 's/^# //p' Makefile

# The environment, from constraints.txt; made again when what it is made from has changed.
$(VENV)/.complete: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "fedpacs needs Python 3.11 or newer, this is $$($(PYTHON) --version): try make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "no virtual environment could be made: on Debian and Ubuntu, apt-get install python3-venv"; exit 1; }
	@echo "Installing the packages of constraints.txt into $(VENV) (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[test]" > $(VENV)/install.log 2>&1 || \
		{ tail -n 3 $(VENV)/install.log; \
		  echo "The packages could not be installed: check the network (or pip's proxy and index); see $(VENV)/install.log"; exit 1; }
	@touch $@

# KEEP=1 leaves the federation running; MONITOR=1 adds Prometheus and Alertmanager; ROUNDS=n
demo: $(VENV)/.complete
	@$(BIN)/python -m demo $(if $(KEEP),--keep) $(if $(MONITOR),--monitor) $(if $(ROUNDS),--rounds $(ROUNDS))

demo-stop: $(VENV)/.complete
	@$(BIN)/python -m demo --stop

test: lint
	@$(BIN)/python -m pytest

unit: $(VENV)/.complete
	@$(BIN)/python -m pytest tests/unit

lint: $(VENV)/.complete
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

# The real peers of the integration tests. Their services are not wanted: the tests start their own on free ports.
peers:
	@scripts/install-peers

# make bench-NAME [QUICK=1]    one benchmark beside its peers, for the README's figures
bench-%: $(VENV)/.complete
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]" > $(VENV)/install.log 2>&1
	@$(BIN)/python -m benchmarks.$(subst -,_,$*) $(if $(QUICK),--quick)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache *.egg-info
