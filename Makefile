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
TESTS := $(wildcard $(DATA)/test/happy $(DATA)/test/sad $(DATA)/test/surprise)
SOURCES := $(shell find models runtime train export -name '*.py' -o -name '*.onnx' -o -name SHA256SUMS)

.DEFAULT_GOAL := help
.PHONY: help infer test quick lint types layers words light old pytest coverage format fuzz train bench page clean

help: ## List the targets.
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

infer: $(LIGHT)/.done ## Make the light install (without PyTorch) and classify samples/.
	$(LIGHT)/bin/emotion-infer samples

test: lint types layers light old pytest ## Make the full install and run lint, types, layers and all tests.

lint: $(FULL)/.done ## Check rules and format with ruff.
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .

types: $(FULL)/.done ## Check types with mypy (strict).
	$(FULL)/bin/mypy

layers: $(FULL)/.done ## Check the imports between packages with import-linter.
	$(FULL)/bin/lint-imports

light: $(LIGHT)/.done ## Test the light install, without any development package.
	$(LIGHT)/bin/python -m unittest discover --start-directory tests/light --pattern 'check_*.py'

old: $(OLD)/.done ## Test the light install with the oldest onnxruntime for this Python.
	$(OLD)/bin/python -c "import onnxruntime; print('onnxruntime', onnxruntime.__version__)"
	$(OLD)/bin/python -m unittest discover --start-directory tests/light --pattern 'check_*.py'

# One worker for each CPU, each with one arithmetic thread, because more threads than CPUs slow each
# other down. The tests of a file run in one worker and share its fixtures; slow files come first.
PYTEST := OMP_NUM_THREADS=1 $(FULL)/bin/pytest --numprocesses auto --maxprocesses 8 \
	--dist loadfile --no-loadscope-reorder

pytest: $(FULL)/.done ## Run all tests.
	$(PYTEST)

quick: lint ## Run lint and the quick tests (pytest -m "not slow"), for daily work.
	$(PYTEST) -m "not slow"

words: $(FULL)/.done ## Check spelling and private vocabulary (part of the tests).
	$(FULL)/bin/pytest tests/test_words.py

coverage: $(FULL)/.done ## Run all tests and report the coverage; at least that in pyproject.toml.
	$(PYTEST) --cov --cov-report=term

format: $(FULL)/.done ## Format the code and apply fixes with ruff.
	$(FULL)/bin/ruff check --fix .
	$(FULL)/bin/ruff format .

fuzz: $(FULL)/.done ## Read mutated files of every kind: make fuzz MINUTES=30 (findings in fuzz-findings/).
	PYTHONPATH=tests $(FULL)/bin/python -m fuzz --minutes $(MINUTES)

train: $(FULL)/.done ## Train the reference network: make train DATA=fer2013 (resumes an earlier run).
	$(FULL)/bin/emotion-train $(DATA) -o $(RUN) --network baseline $(if $(wildcard $(RUN)/last.pt),--resume)

bench: $(BENCH)/.done ## Run the benchmarks: make bench DATA=fer2013 [PEER=PYTHON] (on an idle machine).
	$(BENCH)/bin/python benchmarks/latency.py
	$(BENCH)/bin/python benchmarks/backends.py
	$(BENCH)/bin/python benchmarks/cold_start.py
	$(BENCH)/bin/python benchmarks/photos.py
	$(BENCH)/bin/python benchmarks/faces.py
	$(if $(PHOTOGRAPHS),$(BENCH)/bin/python benchmarks/photographs.py $(PHOTOGRAPHS))
	-$(BENCH)/bin/python benchmarks/browser.py
	$(BENCH)/bin/python benchmarks/scaling.py
	$(BENCH)/bin/python benchmarks/folder.py $(TESTS) $(if $(PEER),--peer $(PEER))
	$(if $(TESTS),$(BENCH)/bin/python benchmarks/workers.py $(DATA)/train)
	$(BENCH)/bin/python benchmarks/footprint.py
	$(BENCH)/bin/python benchmarks/training.py
	$(if $(TESTS),$(BENCH)/bin/python benchmarks/accuracy.py $(DATA),@echo "accuracy.py is skipped: $(DATA) has no test pictures")

page: $(LIGHT)/.done ## Write page/, a web page that runs the released model (needs npm).
	$(LIGHT)/bin/emotion-page edge-int8 --output page --overwrite

clean: ## Remove the virtual environments and caches.
	rm -rf $(FULL) $(LIGHT) $(OLD) $(BENCH) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Not editable, to test what users install. pip installs a folder again each time.
define install-into
$(1)/bin/python -m pip install --quiet --disable-pip-version-check '.$(2)'
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
		$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check \
			onnxruntime==$$version 2>/dev/null && break; \
	done
	$(call install-into,$(OLD))
	@touch $@

$(FULL)/.done: pyproject.toml
	$(PYTHON) -m venv $(FULL)
	$(FULL)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(BENCH)/.done: pyproject.toml README.md $(SOURCES)
	$(PYTHON) -m venv $(BENCH)
	$(call install-into,$(BENCH),[bench])
	@touch $@
