# Two commands that do everything on a fresh machine:
#   make infer   a virtual environment, the light install, and samples/ classified
#   make test    a virtual environment, the full install, and every check
# For daily work, `make quick`: lint, and the tests that take no seconds.

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

help: ## Say what there is.
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

infer: $(LIGHT)/.done ## Light install (no PyTorch), then classify samples/.
	$(LIGHT)/bin/emotion-infer samples

test: lint types layers light old pytest ## Full install, then lint, types, layers and all tests.

lint: $(FULL)/.done ## ruff: rules and format.
	$(FULL)/bin/ruff check .
	$(FULL)/bin/ruff format --check .

types: $(FULL)/.done ## mypy, strict.
	$(FULL)/bin/mypy

layers: $(FULL)/.done ## import-linter: imports run one way, the device side stays light.
	$(FULL)/bin/lint-imports

light: $(LIGHT)/.done ## The light install, where no development package can help.
	$(LIGHT)/bin/python -m unittest discover --start-directory tests/light --pattern 'check_*.py'

old: $(OLD)/.done ## The same with the oldest onnxruntime that this Python can install.
	$(OLD)/bin/python -c "import onnxruntime; print('onnxruntime', onnxruntime.__version__)"
	$(OLD)/bin/python -m unittest discover --start-directory tests/light --pattern 'check_*.py'

# A worker for each CPU, with one arithmetic thread: more threads than CPUs wait for each other.
# The tests of a file stay together, and share what they make; slow files come first.
PYTEST := OMP_NUM_THREADS=1 $(FULL)/bin/pytest --numprocesses auto --maxprocesses 8 \
	--dist loadfile --no-loadscope-reorder

pytest: $(FULL)/.done ## All tests.
	$(PYTEST)

quick: lint ## Lint and the quick tests (pytest -m "not slow"), for daily work.
	$(PYTEST) -m "not slow"

words: $(FULL)/.done ## Spelling, and words that only we understand (part of the tests).
	$(FULL)/bin/pytest tests/test_words.py

coverage: $(FULL)/.done ## All tests, and what they did not run; held to the floor in pyproject.toml.
	$(PYTEST) --cov --cov-report=term

format: $(FULL)/.done ## Put the code in order.
	$(FULL)/bin/ruff check --fix .
	$(FULL)/bin/ruff format .

fuzz: $(FULL)/.done ## Mutated files of every kind that is read: make fuzz MINUTES=30 (findings in fuzz-findings/).
	PYTHONPATH=tests $(FULL)/bin/python -m fuzz --minutes $(MINUTES)

train: $(FULL)/.done ## Train the reference network: make train DATA=fer2013 (resumes what is there).
	$(FULL)/bin/emotion-train $(DATA) -o $(RUN) --network baseline $(if $(wildcard $(RUN)/last.pt),--resume)

bench: $(BENCH)/.done ## The benchmarks, one after the other: make bench DATA=fer2013 [PEER=PYTHON] (idle machine).
	$(BENCH)/bin/python benchmarks/latency.py
	$(BENCH)/bin/python benchmarks/backends.py
	$(BENCH)/bin/python benchmarks/cold_start.py
	$(BENCH)/bin/python benchmarks/photos.py
	$(BENCH)/bin/python benchmarks/faces.py
	$(if $(PHOTOGRAPHS),$(BENCH)/bin/python benchmarks/photographs.py $(PHOTOGRAPHS))
	-$(BENCH)/bin/python benchmarks/browser.py
	$(BENCH)/bin/python benchmarks/scaling.py
	$(BENCH)/bin/python benchmarks/folder.py $(TESTS) $(if $(PEER),--peer $(PEER))
	$(BENCH)/bin/python benchmarks/footprint.py
	$(BENCH)/bin/python benchmarks/training.py
	$(if $(TESTS),$(BENCH)/bin/python benchmarks/accuracy.py $(DATA),@echo "accuracy.py is left out: $(DATA) has no test pictures")

page: $(LIGHT)/.done ## A web page that runs the released model: writes page/ (needs npm).
	$(LIGHT)/bin/emotion-page edge-int8 --output page --overwrite

clean: ## Remove the virtual environments and caches.
	rm -rf $(FULL) $(LIGHT) $(OLD) $(BENCH) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# Not editable: what is tested is what a user gets. pip installs a folder anew each time.
define install-into
$(1)/bin/python -m pip install --quiet --disable-pip-version-check '.$(2)'
endef

$(LIGHT)/.done: pyproject.toml README.md $(SOURCES)
	$(PYTHON) -m venv $(LIGHT)
	$(call install-into,$(LIGHT))
	@touch $@

# The first that has a wheel for this Python; up to 1.18 they were built for numpy 1.
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
