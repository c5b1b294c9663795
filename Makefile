# Two commands for a fresh machine:
#   make infer   create a virtual environment, make the light install, classify samples/
#   make test    create a virtual environment, make the full install, run all checks
# For daily work: `make quick` runs lint and the quick tests.

PYTHON ?= python3
DATA ?= fer2013
RUN ?= runs/baseline
MINUTES ?= 10

LIGHT := .venv-infer
OLD := .venv-old
FULL := .venv
BENCH := .venv-bench
# The folder of programs in a virtual environment.
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
TESTS := $(wildcard $(DATA)/test/happy $(DATA)/test/sad $(DATA)/test/surprise)
SOURCES := $(shell find models runtime train export -name '*.py' -o -name '*.onnx' -o -name SHA256SUMS)

.DEFAULT_GOAL := help
.PHONY: help infer test quick lint types layers words light old chips arm old-x86 pytest coverage format docs fuzz train bench page clean

help: ## List the targets.
	@grep -E '^[a-z0-9-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

infer: $(LIGHT)/.done ## Make the light install (without PyTorch) and classify samples/.
	$(LIGHT)/$(BIN)/emotion-infer samples

test: lint types layers light old chips pytest ## Make the full install and run lint, types, layers and all tests.

lint: $(FULL)/.done ## Check rules and format with ruff.
	$(FULL)/$(BIN)/ruff check .
	$(FULL)/$(BIN)/ruff format --check .

types: $(FULL)/.done ## Check types with mypy (strict).
	$(FULL)/$(BIN)/mypy

layers: $(FULL)/.done ## Check the imports between packages with import-linter.
	$(FULL)/$(BIN)/lint-imports

light: $(LIGHT)/.done ## Test the light install, without any development package.
	$(LIGHT)/$(BIN)/python -m unittest discover --start-directory tests/light --pattern 'check_*.py'

old: $(OLD)/.done ## Test the light install with the oldest onnxruntime for this Python.
	$(OLD)/$(BIN)/python -c "import onnxruntime; print('onnxruntime', onnxruntime.__version__)"
	$(OLD)/$(BIN)/python -m unittest discover --start-directory tests/light --pattern 'check_*.py'

# Downloads 130 MB once, into ~/.cache/emotion-edge/chips (or CHIPS_CACHE); see docs/devices.md.
CHIPS := PYTHONPATH=tests $(LIGHT)/$(BIN)/python -m chips

chips: $(LIGHT)/.done ## Compare emulated chips with this machine (a short part; skipped without qemu).
	$(CHIPS) --quick --skip

arm: $(LIGHT)/.done ## Run the light install on emulated Cortex-A53, Cortex-A72 and newer ARM cores.
	$(CHIPS) arm

old-x86: $(LIGHT)/.done ## Run the light install on emulated Nehalem (no AVX) and Haswell (AVX2).
	$(CHIPS) old-x86

# One worker for each CPU, each with one arithmetic thread, because more threads than CPUs slow each
# other down. The tests of a file run in one worker and share its fixtures; slow files come first.
PYTEST := OMP_NUM_THREADS=1 $(FULL)/$(BIN)/pytest --numprocesses auto --maxprocesses 8 \
	--dist loadfile --no-loadscope-reorder

pytest: $(FULL)/.done ## Run all tests.
	$(PYTEST)

quick: lint ## Run lint and the quick tests (pytest -m "not slow"), for daily work.
	$(PYTEST) -m "not slow"

words: $(FULL)/.done ## Check spelling and private vocabulary (part of the tests).
	$(FULL)/$(BIN)/pytest tests/test_words.py

coverage: $(FULL)/.done ## Run all tests and report the coverage; at least that in pyproject.toml.
	$(PYTEST) --cov --cov-report=term

format: $(FULL)/.done ## Format the code and apply fixes with ruff.
	$(FULL)/$(BIN)/ruff check --fix .
	$(FULL)/$(BIN)/ruff format .

docs: $(FULL)/.done ## Build the documentation site in build/docs, with warnings as errors.
	$(FULL)/$(BIN)/python scripts/command_reference.py
	$(FULL)/$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs
	@echo "open build/docs/index.html"

fuzz: $(FULL)/.done ## Read mutated files of every kind: make fuzz MINUTES=30 (findings in fuzz-findings/).
	PYTHONPATH=tests $(FULL)/$(BIN)/python -m fuzz --minutes $(MINUTES)

train: $(FULL)/.done ## Train the reference network: make train DATA=fer2013 (resumes an earlier run).
	$(FULL)/$(BIN)/emotion-train $(DATA) -o $(RUN) --network baseline $(if $(wildcard $(RUN)/last.pt),--resume)

bench: $(BENCH)/.done ## Run the benchmarks: make bench DATA=fer2013 [PEER=PYTHON] (on an idle machine).
	$(BENCH)/$(BIN)/python benchmarks/latency.py
	$(BENCH)/$(BIN)/python benchmarks/backends.py
	$(BENCH)/$(BIN)/python benchmarks/cold_start.py
	$(BENCH)/$(BIN)/python benchmarks/photos.py
	$(BENCH)/$(BIN)/python benchmarks/faces.py
	$(if $(PHOTOGRAPHS),$(BENCH)/$(BIN)/python benchmarks/photographs.py $(PHOTOGRAPHS))
	-$(BENCH)/$(BIN)/python benchmarks/browser.py
	$(BENCH)/$(BIN)/python benchmarks/scaling.py
	$(BENCH)/$(BIN)/python benchmarks/folder.py $(TESTS) $(if $(PEER),--peer $(PEER))
	$(if $(TESTS),$(BENCH)/$(BIN)/python benchmarks/workers.py $(DATA)/train)
	$(BENCH)/$(BIN)/python benchmarks/footprint.py
	$(BENCH)/$(BIN)/python benchmarks/power.py
	$(BENCH)/$(BIN)/python benchmarks/training.py
	$(if $(TESTS),$(BENCH)/$(BIN)/python benchmarks/accuracy.py $(DATA),@echo "accuracy.py is skipped: $(DATA) has no test pictures")

page: $(LIGHT)/.done ## Write page/, a web page that runs the released model (needs npm).
	$(LIGHT)/$(BIN)/emotion-page edge-int8 --output page --overwrite

clean: ## Remove the virtual environments and caches.
	rm -rf $(FULL) $(LIGHT) $(OLD) $(BENCH) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Not editable, to test what users install. pip installs a folder again each time.
define install-into
$(1)/$(BIN)/python -m pip install --quiet --disable-pip-version-check '.$(2)' $(3)
endef

# For --group (PEP 735).
define upgrade-pip
$(1)/$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
endef

$(LIGHT)/.done: pyproject.toml README.md $(SOURCES)
	$(PYTHON) -m venv $(LIGHT)
	$(call install-into,$(LIGHT))
	@touch $@

# The first version with a wheel for this Python is used. Up to 1.18 they need numpy 1.
OLDEST := "1.17.0 numpy<2" "1.18.0 numpy<2" "1.19.2" "1.20.1" "1.22.0" "1.23.2" "1.24.0"

$(OLD)/.done: pyproject.toml README.md $(SOURCES)
	$(PYTHON) -m venv $(OLD)
	for version in $(OLDEST); do \
		$(OLD)/$(BIN)/python -m pip install --quiet --disable-pip-version-check \
			onnxruntime==$$version 2>/dev/null && break; \
	done
	$(call install-into,$(OLD))
	@touch $@

$(FULL)/.done: pyproject.toml
	$(PYTHON) -m venv $(FULL)
	$(call upgrade-pip,$(FULL))
	$(FULL)/$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all]' --group dev
	@touch $@

$(BENCH)/.done: pyproject.toml README.md $(SOURCES)
	$(PYTHON) -m venv $(BENCH)
	$(call upgrade-pip,$(BENCH))
	$(call install-into,$(BENCH),[all],--group bench)
	@touch $@
