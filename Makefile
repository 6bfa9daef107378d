# `make` lists the targets. The first one that needs it builds the virtual environment.
# The first one that starts: a name may be there without its Python.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.10,\
  $(shell $(p) -c 'print("$(p)")' 2>/dev/null)) python3)
NAME ?=
PORT ?= 5000
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install sweep report studies ui plan deploy doctor card gpu-check test check lint clean soak docs lock
.PHONY: bench-vram bench-smallest bench-crowding bench-recompute bench-emulated bench-sweep bench-scale bench-answer bench-cluster

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

install: .venv/.ready ## build the virtual environment
	@echo ".venv has $$($(BIN)/python --version); for another one: rm -r .venv, then make install PYTHON=…"

.venv/.ready: pyproject.toml
	@echo "installing torch and the rest into .venv, 7.5 GB; pip is silent meanwhile, ten minutes or so"
	$(PYTHON) -m venv $(if $(wildcard .venv/.ready),,--clear) .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@

deploy: .venv/.ready ## export the winner and measure each export (NAME=study, default the latest)
	$(BIN)/python -m sweeper.deploy $(if $(NAME),study.name=$(NAME))

doctor: .venv/.ready ## check this machine before a long study
	$(BIN)/python -m sweeper.doctor

card: .venv/.ready ## build the emulated card, for GPU runs on a machine without a GPU
	$(BIN)/python -m sweeper.emulator

gpu-check: .venv/.ready ## try the GPU path on this card, ten minutes; a report to pass on
	$(BIN)/python -m sweeper.gpu_check

sweep: .venv/.ready ## run the demo study on the embedded digits, then its report
	$(BIN)/python -m sweeper -m experiment=demo
	$(BIN)/python -m sweeper.report study.name=demo

report: .venv/.ready ## write runs/<study>/report.md (NAME=study, default the latest)
	$(BIN)/python -m sweeper.report $(if $(NAME),study.name=$(NAME))

studies: .venv/.ready ## list the studies under runs/ (NAME=study shows one)
	$(BIN)/python -m sweeper.studies $(if $(NAME),study.name=$(NAME))

ui: .venv/.ready ## open the MLflow UI on http://127.0.0.1:5000 (PORT=another, where that is in use)
	@$(BIN)/python -c "import socket; socket.create_server(('127.0.0.1', $(PORT)))" 2>/dev/null || \
		{ echo "port $(PORT) cannot be opened, it may be in use; another one: make ui PORT=5001" >&2; exit 1; }
	@echo "runs: http://127.0.0.1:$(PORT)/#/experiments/1/runs?workflowType=machine_learning"
	$(BIN)/mlflow ui --host 127.0.0.1 --port $(PORT) --backend-store-uri sqlite:///runs/mlflow.db

plan: .venv/.ready ## what fits on which card, simulated (ARGS="model=yolo11x vram=rtx3090")
	$(BIN)/python -m sweeper.plan $(ARGS)

bench-vram: .venv/.ready ## compare predicted with published memory, as docs/memory.md states it
	$(BIN)/python benchmarks/bench_vram.py

bench-emulated: .venv/.ready ## compare predicted memory with torch's allocator on cards (ARGS=--read emulates anew)
	$(BIN)/python benchmarks/bench_emulated.py $(ARGS)

bench-smallest: .venv/.ready ## the smallest emulated card on which several epochs survive (ARGS=--read finds it anew)
	$(BIN)/python benchmarks/bench_smallest.py $(ARGS)

bench-crowding: .venv/.ready ## fullest image found in labels against Ultralytics' loader (ARGS=DATA.yaml)
	$(BIN)/python benchmarks/bench_crowding.py $(ARGS)

bench-recompute: .venv/.ready ## what memory.checkpoint costs, side by side (ARGS=--predict: what it saves)
	$(BIN)/python benchmarks/bench_recompute.py $(ARGS)

bench-sweep: .venv/.ready ## the same decision by a plain Hydra grid and by a study, half an hour
	$(BIN)/python benchmarks/bench_sweep.py

bench-scale: .venv/.ready ## 10,000 instant trials through storage, MLflow and report, a quarter of an hour
	$(BIN)/python benchmarks/bench_scale.py $(ARGS)

bench-cluster: .venv/.ready ## what Ray and Slurm add to trials of a second, beside joblib and Ray Tune, half an hour (ARGS="ray --slots 8")
	$(BIN)/python -m pip install --quiet hydra-joblib-launcher 'ray[tune]' submitit
	$(BIN)/python benchmarks/bench_cluster.py $(ARGS)

bench-answer: .venv/.ready ## replay whole runs: how good the recommended cell is in the end, two minutes
	$(BIN)/python benchmarks/bench_answer.py

soak: .venv/.ready ## kill studies at random moments for ten minutes, then check their records (ARGS="servers executor=ray")
	$(BIN)/python -m tests.kill_loop 600 0 $(ARGS)

docs: .venv/.ready ## run the commands of the README and docs/, trainings cut short
	$(BIN)/python -m tests.run_docs

test: .venv/.ready lint ## run the checks and the tests
	$(BIN)/mypy & types=$$!; $(BIN)/python -m pytest && wait $$types

check: .venv/.ready lint ## ruff and mypy
	$(BIN)/mypy

lock: .venv/.ready ## fit requirements.lock to pyproject.toml (ARGS=--upgrade: to the newest versions)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --extra dev --extra postgres --extra ray --extra slurm --no-annotate \
	  --custom-compile-command 'make lock' --output-file requirements.lock $(ARGS) pyproject.toml

lint: .venv/.ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

clean: ## remove caches and the virtual environment, never runs/
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
