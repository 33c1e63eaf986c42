# The commands of the project. Each first makes .venv what requirements.txt
# says; nothing but Python 3.12 to 3.14, or uv, has to be there before.

VENV := .venv
PYTHON := $(VENV)/bin/python
# A copy of the requirements.txt that .venv was made from, written last.
STAMP := $(VENV)/requirements.installed
# The console script, which runs this checkout.
PROGRAM := $(VENV)/bin/mn-jax
# More arguments for the command of the target: make test ARGS="-k optim"
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup train report test test-all lint lock clean FORCE

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' \
	  $(firstword $(MAKEFILE_LIST))

setup: $(STAMP) $(PROGRAM)  ## create .venv: pinned requirements, mn-jax

train: $(STAMP)  ## train on the embedded sample (ARGS="--workdir=DIR ...")
	$(PYTHON) -m mn_jax.main --config=idc_v1:sample \
	  --workdir=runs/idc_v1_sample $(ARGS)

report: $(STAMP)  ## a study on the embedded sample, its page in a browser
	$(PYTHON) -m mn_jax.tools.study idc --sample --seeds=2 \
	  --only=v1,v2,v1_by_image,v2_by_image --workdir=runs/idc_sample \
	  data.image_size=32 train.epochs=6.0 optim.learning_rate=3e-3
	$(PYTHON) -m mn_jax.tools.report runs/idc_sample --open $(ARGS)

test: $(STAMP)  ## run the fast tests, some minutes on two cores
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile $(ARGS)

test-all: $(STAMP)  ## also large networks and whole studies (CI)
	$(PYTHON) -m pytest -n auto --maxprocesses 4 --dist loadfile \
	  -m "not slow" $(ARGS)

lint: $(STAMP)  ## check style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

lock:  ## regenerate requirements.txt with uv (ARGS=--upgrade for new versions)
	@command -v uv >/dev/null || { echo "make lock needs uv on PATH" >&2; exit 1; }
	uv pip compile --quiet --universal --python-version 3.12 \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --extra dev --extra export --extra hub --extra kaggle --extra parity \
	  --extra parquet $(ARGS) pyproject.toml -o requirements.txt

clean:  ## remove .venv, caches and build products; keeps runs/
	rm -rf $(VENV) .pytest_cache .ruff_cache build dist *.egg-info
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

# Prints the interpreter's path, or fails where the version is not one that
# every pinned package has wheels for.
PROBE := import sys; v = sys.version_info[:2]; \
  ok = (3, 12) <= v < (3, 15); ok and print(sys.executable); sys.exit(not ok)

# .venv is always made from nothing: what an interrupted run left behind, or an
# older requirements.txt, is gone. A .venv whose interpreter no longer runs is
# made again too. The candidates are run, not only found: a version manager's
# shim can be on PATH and still fail.
RUNS := $(shell $(PYTHON) -c 'print("yes")' 2>/dev/null)
$(STAMP): requirements.txt $(if $(RUNS),,FORCE)
	@if [ "$(RUNS)" ] && cmp -s requirements.txt $@; then touch $@; exit; fi; \
	command -v uv >/dev/null && uv=yes || uv=; \
	python=; bare=; \
	for candidate in python3.13 python3.12 python3.14 python3 python \
	    "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[2-4]*/bin/python; do \
	  path=$$("$$candidate" -c '$(PROBE)' 2>/dev/null) || continue; \
	  if [ "$$uv" ] || "$$path" -c 'import ensurepip, venv' 2>/dev/null; then \
	    python=$$path; break; \
	  fi; \
	  bare=$$path; \
	done; \
	if [ -z "$$python$$uv" ]; then \
	  if [ "$$bare" ]; then \
	    echo "setup: $$bare lacks the venv module: install it, or uv" >&2; \
	  else \
	    echo "setup: needs Python 3.12 to 3.14, or uv, on PATH" >&2; \
	  fi; \
	  exit 1; \
	fi; \
	set -e; \
	if [ "$$uv" ]; then \
	  echo "setup: installing requirements.txt into $(VENV) with uv"; \
	  uv venv --quiet --clear --python "$${python:-3.13}" $(VENV); \
	  $(PYTHON) -m ensurepip --default-pip >/dev/null 2>&1 || true; \
	  uv pip install --quiet --python $(PYTHON) --require-hashes \
	    -r requirements.txt; \
	else \
	  echo "setup: installing requirements.txt into $(VENV) with pip:" \
	    "about a minute"; \
	  "$$python" -m venv --clear $(VENV); \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check \
	    --require-hashes -r requirements.txt; \
	fi; \
	cp requirements.txt $@.part; mv $@.part $@

# Editable, so that a change of the checkout is seen at once.
$(PROGRAM): $(STAMP) pyproject.toml setup.py
	@set -e; \
	if command -v uv >/dev/null; then pip="uv pip"; for="--python $(PYTHON)"; \
	else pip="$(PYTHON) -m pip --disable-pip-version-check"; for=; fi; \
	$$pip install --quiet $$for --no-deps --no-build-isolation -e .; \
	touch $@
