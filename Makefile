# make demo   try medood on generated images: train, score a DICOM series, maps, a 3D Slicer scene
# make test   run the tests
# Both make a virtual environment in .venv first, if there is none, from the exact versions in requirements.lock.

PYTHON ?= python3
ifeq ($(OS),Windows_NT)
BIN := .venv/Scripts
else
BIN := .venv/bin
endif

.PHONY: demo test lint docs check install lock clean

demo: install
	$(BIN)/python examples/demo.py

test: install
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documentation site, into site/: pages made from the code, tutorials run while it is built, warnings are errors
docs: install
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r docs/requirements.txt -c requirements.lock
	$(BIN)/python -m mkdocs build --quiet --site-dir site

check: lint test

install: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@echo installed > .venv/installed

# torch stays where it is tested until somebody changes this line
lock: install
	$(BIN)/python -m pip install --quiet uv
	echo "torch==2.13.0" > .venv/torch.txt
	( echo "# Exact versions of everything that medood runs and is tested with, for Python 3.10 and newer on Linux, macOS and Windows."; \
	  echo "# Made by 'make lock'. The CUDA libraries are left out on purpose: a CUDA build of torch brings its own, the CPU build needs none."; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --extra features --constraint .venv/torch.txt \
	    --no-header --no-annotate pyproject.toml | grep -v -E '^(nvidia-|cuda-|triton)' ) > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf .venv demo site build dist .pytest_cache .ruff_cache .mypy_cache
