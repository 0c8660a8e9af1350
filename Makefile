# Every target makes its own environment when it is missing; nothing but Python 3.11 or newer is needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test unit lint docs errors bench edge browser soak lock clean

demo: $(VENV)/.demo
	$(BIN)/distilshift demo --overwrite

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n logical --dist worksteal -m "not slow and not gpu"

unit: $(VENV)/.dev
	$(BIN)/python -m pytest tests/unit tests/parity

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.dev
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/errors_catalogue.py

# Which errors the tests provoke, for the end of docs/errors.md.
errors: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m pytest tests/unit tests/parity -p errors_met --errors-met $(VENV)/met.jsonl
	$(BIN)/python docs/errors_catalogue.py --met $(VENV)/met.jsonl

bench: $(VENV)/.dev
	$(BIN)/distilshift bench benchmarks/configs/amazon12-minilm.toml --keep-older
	$(BIN)/distilshift bench benchmarks/configs/all30-minilm.toml --keep-older
	$(BIN)/distilshift bench report --page docs/results.md --figures docs/figures

edge: $(VENV)/.dev
	$(BIN)/python benchmarks/edge.py

# What tests/edge needs beside Python: Node's packages here; Node itself and Chromium come from the system.
browser:
	npm ci --ignore-scripts --no-audit --no-fund --prefix tests/edge

soak: $(VENV)/.dev
	$(BIN)/python benchmarks/soak.py --kills 32
	$(BIN)/python benchmarks/fuzz.py --cases 4200
	$(BIN)/python benchmarks/scan_fuzz.py --cases 100000
	$(BIN)/python benchmarks/degenerate.py

lock: $(VENV)/.dev
	echo '# Exact versions that the results and the tests were made with; made by `make lock`.' > constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu//' >> constraints.txt

clean:
	rm -rf $(VENV) dist build

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[demo]'
	touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.demo
