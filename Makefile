# Two commands for a newcomer: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

# Compiled modules are kept even where the environment says otherwise: each command and many tests start Python anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test coverage lint clean

demo: $(VENV)/.ready
	$(BIN)/python -m pnag.demo

# Types are checked beside the tests: by itself mypy would leave all cores but one idle.
# `COUNTING` is what counts the lines that run, where they are to be counted.
test: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; \
	OMP_NUM_THREADS=1 $(BIN)/python $(COUNTING) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder; \
	tests=$$?; wait $$types && exit $$tests

# SlipCover takes away what it has counted; a tracer makes Python 3.11 take half as long again.
coverage:
	$(MAKE) test COUNTING="-m slipcover"

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# torch and torchvision first and by themselves: pip then takes a pair that fits together.
# Not compiled: Python does that for the modules that are imported, which are the smaller part.
$(VENV)/.ready: pyproject.toml
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-compile torch torchvision
	$(BIN)/pip install --quiet --no-compile --editable '.[dev,docs]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
