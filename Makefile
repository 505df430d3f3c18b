# Every target makes .venv and fills it by itself, once: a second call installs nothing again until pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RIVALS := .venv-rivals

# Byte code is written when a module is first imported: compiling all of it while installing takes 11 s.
PIP_INSTALL := $(BIN)/python -m pip install -qq --no-input --disable-pip-version-check --no-compile
TRAIN = $(BIN)/python -m train
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo run bench bench-rivals check test chaos emotion wheel-test audit clean
.NOTPARALLEL:

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.base  ## fill .venv with what demo, run and bench need

demo: $(VENV)/.base  ## four cameras, a Redis of their own, events on the screen; ARGS="--json" and so on
	@$(BIN)/emostream demo $(ARGS)

run: $(VENV)/.base  ## make run SOURCE=video.mp4 (or rtsp://..., or 0), ARGS="--out events.jsonl" and so on
	@test -n "$$SOURCE" || { echo "which video? make run SOURCE=video.mp4, or an rtsp:// address" >&2; exit 2; }
	@$(BIN)/emostream run $(ARGS) "$$SOURCE"

bench: $(VENV)/.base  ## what it costs, measured, and a row of figures in stream/README.md; ARGS="video.mp4 --part all" and so on
	@$(BIN)/emostream bench --append stream/README.md $(ARGS)

bench-rivals: $(VENV)/.base $(RIVALS)/.made  ## what others cost on the same frames, in an environment of their own (8 GB); ARGS="video.mp4" and so on
	@EMOSTREAM_MODELS="$${EMOSTREAM_MODELS:-$${EMOSTREAM_SHARED:-../shared}/models}" \
		$(BIN)/emostream bench --part rivals $(ARGS)

check: $(VENV)/.dev  ## format, lint, types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

test: $(VENV)/.train  ## every test, those of the training too (installs PyTorch); ARGS="-k tracking" and so on
	$(BIN)/python -m pytest -p tests.skips -p tests.alone -n 2 --dist loadfile $(ARGS)

chaos: $(VENV)/.dev  ## cameras, Redis and workers that fail, the long form: 45 minutes; ARGS="--short" or "redis killed" and so on
	@$(BIN)/python -m tests.chaos $(ARGS)

emotion: $(VENV)/.train  ## train the emotion network that ships, its teachers first, and export it: hours; a second call goes on; ARGS="--device cuda" and so on
	$(TRAIN) fit emotion $(ARGS)
	$(TRAIN) export runs/emotion/best.safetensors engines/models/emotion --elsewhere ckplus --elsewhere jaffe

wheel-test: $(VENV)/.dev  ## build the wheel, install it in an empty environment, run the demo from another folder
	$(BIN)/python .ci/wheel_test.py

audit: $(VENV)/.base  ## known vulnerabilities of the installed packages, where the index of them can be reached
	@$(BIN)/python .ci/audit.py

clean:  ## remove .venv, .venv-rivals, caches and built packages; training runs stay
	rm -rf $(VENV) $(RIVALS) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find stream engines train tests -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/pip:
	@echo "making $(VENV)" >&2
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(BIN)/pip
	@echo "installing emostream into $(VENV): about half a minute" >&2
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/pip
	@echo "installing emostream and the tools for its checks into $(VENV): about a minute" >&2
	@$(PIP_INSTALL) -e '.[dev]'
	@touch $(VENV)/.base $@

# Tests run on the oldest PyTorch that pyproject.toml admits, so that its lower bound is no mere claim.
$(VENV)/.train: pyproject.toml | $(BIN)/pip
	@echo "installing emostream with all backends, the tools for its checks and PyTorch into $(VENV): minutes" >&2
	@$(PIP_INSTALL) -e '.[dev,openvino,tensorrt-rtx,train]' 'torch==2.15.*'
	@touch $(VENV)/.base $(VENV)/.dev $@

# OpenCV 5 has no cascades, and OpenCV 4 computes YuNet more slowly; fer asks for PyTorch and TensorFlow, and for a
# module that setuptools has lost.
$(RIVALS)/.made: Makefile
	@echo "installing what others need into $(RIVALS): minutes" >&2
	@$(PYTHON) -m venv $(RIVALS)
	@$(RIVALS)/bin/python -m pip install -qq --no-input --disable-pip-version-check --no-compile \
		'setuptools<80' 'opencv-python<5' 'opencv-contrib-python<5' fer
	@$(RIVALS)/bin/python -m pip install -qq --no-input --disable-pip-version-check --no-compile --no-deps --upgrade \
		--target $(RIVALS)/opencv5 'opencv-python>=5,<6'
	@touch $@
