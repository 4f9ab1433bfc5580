# `make demo` and `make test` need Python 3.10 or newer and nothing else; they install into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt
WHEEL_TOOLS := build/wheels/venv
SOURCES := pyproject.toml constraints.txt $(wildcard CMakeLists.txt csrc/*/*)

.PHONY: always demo test test-extras test-wheels wheels lint types docs kernel clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python examples/demo.py

# A file of tests is one job; as many run at once as there are cores.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# What the last `make test` skipped for want of an optional package (Ray, S3, plots, …), with all of them installed.
test-extras: $(VENV)/.installed-dev
	MAMBAIRV2_CLUSTER=1 $(BIN)/python -m pytest --skipped-before --numprocesses auto --dist loadfile

# A wheel for each platform, kernels inside, compiled here by zig. The tools have a venv of their own, which needs no PyTorch.
wheels: $(WHEEL_TOOLS)/.installed
	$(WHEEL_TOOLS)/bin/python tools/wheels/make_wheels.py

# Needs a network. Kernels of other systems run by qemu and Wine, where these are installed.
test-wheels: wheels $(VENV)/.installed-test
	@$(INSTALL) -r tools/wheels/requirements.txt
	MAMBAIRV2_WHEELS=$(CURDIR)/dist $(BIN)/python -m pytest tests/wheels

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror csrc/*/*.h csrc/*/*.cpp
	$(BIN)/lint-imports --no-logo

types: $(VENV)/.installed-dev
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict

# Install again, for instance once there is a C++ compiler.
kernel:
	rm -f $(VENV)/.installed*
	@$(MAKE) --no-print-directory $(VENV)/.installed

clean:
	rm -rf $(VENV) build .demo

# A stamp is older than what it was installed from: install again. The kernels are compiled once: an extra adds packages only.
$(VENV)/.installed: $(SOURCES) $(VENV)/.modules | $(BIN)/pip
	@echo "Installing mambairv2 into $(VENV) (PyTorch is a large download)"
	@$(INSTALL) --editable .
	@$(BIN)/python -c "$$KERNEL_NOTE"
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@$(INSTALL) 'mambairv2[test]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(INSTALL) 'mambairv2[dev]'
	@touch $@

$(WHEEL_TOOLS)/.installed: tools/wheels/requirements.txt
	@$(PYTHON) -m venv $(WHEEL_TOOLS)
	@$(WHEEL_TOOLS)/bin/python -m pip install --quiet --constraint constraints.txt -r $<
	@touch $@

# The installation in place knows modules by their files: install again when a file comes, goes or becomes a folder.
$(VENV)/.modules: always | $(BIN)/pip
	@find src -name '*.py' | sort | cmp -s - $@ || find src -name '*.py' | sort > $@

$(BIN)/pip:
	@$(PYTHON) -c "$$PYTHON_CHECK"
	@$(PYTHON) -m venv $(VENV)

define PYTHON_CHECK
import sys
if sys.version_info < (3, 10):
    sys.exit("mambairv2 needs Python 3.10 or newer, $(PYTHON) is %d.%d; say `make PYTHON=python3.12`" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit("$(PYTHON) has no %s; install it (Debian, Ubuntu: sudo apt install python3-venv)" % error.name)
endef
export PYTHON_CHECK

define KERNEL_NOTE
from mambairv2.ops import backends
why = backends()["native"]
if why:
    print(f"note: in plain PyTorch, all works but slower: {why} (`make kernel`)")
endef
export KERNEL_NOTE
