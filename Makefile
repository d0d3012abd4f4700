# `make train` and `make test` do their own set-up. `make` alone lists the targets.

PYTHON ?= python3
SOURCE ?= ffpp
PRESET ?= laptop
FACES ?=
# Not empty: `make book` trains the runs of the tables, instead of showing the committed records.
FRESH ?=
ARGS ?=
# OWNER/NAME, where this copy comes from GitHub: then each chapter gets buttons to Binder and Colab.
REPOSITORY ?= $(shell git remote get-url origin 2>/dev/null | sed -nE 's,.*github\.com[:/]([^/]+/[^/]+)$$,\1,p' | sed 's,\.git$$,,')
RESULTS = start table1_intra_cross table2_diffusion table3_backbones fig4_alpha table4_ablation \
          fig5_domains fig6_saliency fig7_embeddings training_length open_choices adversary \
          what_carries independence without_labels loss_weights better_data \
          leave_one_out ten_worlds

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/notebooks/nbval_sanitize.cfg
PAPERMILL = -p source "$(SOURCE)" -p preset "$(PRESET)" $(if $(FACES),-r faces "$(FACES)") $(ARGS) </dev/null

.DEFAULT_GOAL := help
.PHONY: help install train test test-all test-newest lint format notebooks notebooks-shown results book book-student book-quick book-student-quick book-browser book-pdf bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
	@echo "  variables: SOURCE=$(SOURCE) PRESET=$(PRESET) FACES=folder-of-portraits ARGS='-p name value' PYTHON=$(PYTHON)"

# The stamp is written last: an interrupted installation is taken up again, never taken for done.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "did needs Python 3.10 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Installing into $(VENV): about 3.5 GB to download and 6.7 GB of disk on Linux (less on macOS), a few minutes."
	@rm -f $@
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(PY) -m pip install -r requirements.lock
	$(PY) -m pip install --no-deps --no-build-isolation -e .
	@touch $@

install: $(STAMP) ## install the locked packages into .venv (the other targets do it too)

train: $(STAMP) ## train and test DID: notebooks/train.ipynb, executed into runs/
	@mkdir -p runs
	$(PY) -m papermill notebooks/train.ipynb runs/train-$(SOURCE).ipynb $(PAPERMILL)
	@echo "The executed notebook: runs/train-$(SOURCE).ipynb"

lint: $(STAMP) ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# In a project folder of their own: a run that an earlier version of the code left behind must not answer for this one.
# A file is tested by one process: nbval needs the cells of a notebook in their order. The processes fill the cores, so
# that each computes with one thread: with more, the threads of one wait for those of the other.
TESTS = home=$$(mktemp -d) && trap 'rm -rf "$$home"' EXIT && DID_HOME=$$home OMP_NUM_THREADS=1 $(PY) -m pytest $(NBVAL) \
        --numprocesses logical --maxprocesses 4 --dist loadfile tests

test: lint ## style, types, the quick tests and the committed notebooks
	@$(TESTS) -m "not slow and not browser"

test-all: lint ## as `test`, with the slow tests
	@$(TESTS) -m "not browser"

test-newest: ## the quick tests with the newest packages that pyproject.toml allows
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install -e '.[test,dev]'
	@$(subst $(PY),.venv-newest/bin/python,$(TESTS)) -m "not slow and not browser"

format: $(STAMP) ## put code and notebooks into the project's style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

notebooks: $(STAMP) ## execute again the notebooks that the tests compare, at preset smoke
	$(VENV)/bin/did book refresh

notebooks-shown: $(STAMP) ## execute again the notebooks that people read, at preset laptop: half an hour on 2 cores
	$(VENV)/bin/did book refresh --shown
	$(PY) -m ruff format notebooks

# A second build executes only the notebooks that have changed, or that stand on code that has.
BOOK = $(VENV)/bin/did book build $(if $(REPOSITORY),--repository "$(REPOSITORY)")
EXECUTE = --preset "$(PRESET)" --source "$(SOURCE)" $(if $(FACES),--faces "$(FACES)") $(if $(FRESH),--fresh)

book: $(STAMP) ## execute the notebooks at PRESET, build the book, check it; FRESH=1 trains the tables' runs too
	$(BOOK) $(EXECUTE)

book-student: $(STAMP) ## the book without solutions
	$(BOOK) $(EXECUTE) --student

book-quick: $(STAMP) ## the book from the committed notebooks, with the numbers of their runs, in two minutes
	$(BOOK) --committed

book-student-quick: $(STAMP) ## the same without solutions
	$(BOOK) --committed --student

BROWSER = $(PY) -m pip install --quiet --constraint requirements.lock -e '.[browser]'

book-browser: $(STAMP) ## read the built book in Chromium, which must be installed: errors, search, dark mode, axe-core
	@$(BROWSER)
	$(PY) -m pytest -m browser tests/browser

book-pdf: $(STAMP) ## the built book as _build/did.pdf, printed by Chromium
	@$(BROWSER)
	$(VENV)/bin/did book pdf

# Interrupted, it goes on: a run that is finished is not trained again, one that is half done is taken up.
results: $(STAMP) ## every table and figure of the paper at PRESET: notebooks in runs/results, records in results/
	@mkdir -p runs/results
	@start=$$(date +%s); set -e; for nb in $(RESULTS); do \
	  $(PY) -m papermill notebooks/$$nb.ipynb runs/results/$$nb$(if $(FACES),-portraits).ipynb \
	    -p preset "$(PRESET)" $(if $(FACES),-r faces "$(FACES)") $(ARGS) </dev/null; done; \
	$(VENV)/bin/did ledger --wall $$(( $$(date +%s) - start )) "$(PRESET)" $(words $(RESULTS))

# LibAUC alone: what it asks for would put another OpenCV over ours and needs some gigabytes.
# PEAK: TFLOP/s of a GPU in fp32, for the share of it that is reached. ARGS=--quick is a trial of the scripts.
bench: $(STAMP) ## times and memory as ratios side by side, into benchmarks/results/: 35 minutes or more on 2 cores
	$(PY) -m pip install --quiet --no-deps libauc==2.0.1
	$(PY) benchmarks/step.py --json $(if $(PEAK),--peak $(PEAK)) $(ARGS)
	$(PY) benchmarks/loader.py --json $(ARGS)
	$(PY) benchmarks/losses.py --json $(ARGS)
	$(PY) benchmarks/rivals.py --json $(ARGS)
	$(PY) benchmarks/extensions.py --json $(ARGS)
	$(PY) benchmarks/evaluation.py --json $(ARGS)
	$(PY) benchmarks/predict.py --json $(ARGS)
	$(PY) benchmarks/prepare.py --videos 30 --json $(ARGS)
	$(PY) benchmarks/store.py --json $(ARGS)
	$(PY) benchmarks/scale.py --json $(ARGS)
	$(PY) benchmarks/plan.py --json $(ARGS)
	$(PY) benchmarks/standins.py --json $(ARGS)

lock: $(STAMP) ## renew requirements.lock (Linux and macOS, Python 3.10 and newer)
	$(PY) -m uv pip compile --universal --upgrade --python-version 3.10 --extra test --extra dev --no-annotate \
	  --no-header --no-emit-index-url --quiet -o requirements.lock.new pyproject.toml
	@# uv repeats "Linux or macOS" on every line; the header says it once.
	@{ echo "# Exact versions for Linux and macOS (Apple silicon), Python 3.10 and newer; made by \`make lock\`."; \
	  sed -E "s/( ;| and) \(?sys_platform == 'darwin' or sys_platform == 'linux'\)?$$//" requirements.lock.new; } \
	  > requirements.lock
	@rm -f requirements.lock.new

clean: ## remove what was built; keeps .venv, data and runs
	rm -rf _build book/executed .pytest_cache .mypy_cache .ruff_cache
