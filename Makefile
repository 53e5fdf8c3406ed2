PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
SAMPLES := $(VENV)/samples

.PHONY: demo test test-exactness test-system lint bench faults clean

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "bigseg needs Python 3.11 or later: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $(READY)

# Real grey-scale CT: the wheel's TIFF files are read, the package itself is never imported.
$(SAMPLES): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(SAMPLES) qim3d==1.5.3 || \
		echo "the sample package cannot be had here: the demo will use a generated volume"
	mkdir -p $(SAMPLES) && touch $(SAMPLES)

demo: $(SAMPLES)   ## the main job on a real sample, from raw file to report
	BIGSEG_SAMPLES=$(SAMPLES) $(BIN)/bigseg demo demo-run

EXACTNESS := tests/ops
SYSTEM := tests/faults tests/recipes tests/benchmarks

test: $(SAMPLES)   ## kernels against their oracles, storage, engine, commands, report, every example: 6 minutes
	BIGSEG_SAMPLES=$(abspath $(SAMPLES)) $(BIN)/python -m pytest $(addprefix --ignore=,$(EXACTNESS) $(SYSTEM))

test-exactness: $(READY)   ## every operation against its oracle: 2-D, 3-D, blocks, executors, dtypes
	$(BIN)/python -m pytest $(EXACTNESS)

test-system: $(SAMPLES)   ## recipes on real data, notebooks, Slurm, `make faults` and `make bench` in short
	BIGSEG_SAMPLES=$(abspath $(SAMPLES)) $(BIN)/python -m pytest $(SYSTEM) notebooks --nbmake

lint: $(READY)     ## style, types, layers
	$(BIN)/ruff check bigseg tests
	$(BIN)/ruff format --check bigseg tests
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY)    ## bigseg against its peers, 40 minutes; writes tests/benchmarks/RESULTS.md and LEARNING.md
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	$(BIN)/python -m tests.benchmarks.run
	$(BIN)/python -m tests.benchmarks.learning

faults: $(READY)   ## kill, corrupt, refuse, fill: every fault, in full; writes tests/faults/RESULTS.md
	$(BIN)/python -m tests.faults.run

clean:             ## what the other targets made
	rm -rf $(VENV) demo-run build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
