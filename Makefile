# Everything a newcomer runs. `make help` lists it.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
LOCK := locks/$(if $(CUDA),cuda,cpu).txt
# More arguments for the one pip call that installs torch, such as another index.
TORCH_ARGS ?=
UV := uv==0.13.9
TESTS ?= tests
WORKERS ?= 2
# Where the real data sets lie; see docs/data.md.
DATA ?= ../shared/data
.DEFAULT_GOAL := help

.PHONY: help setup demo test check bench bench-setup serve clean lock

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.done ## Make .venv with all pinned packages (CUDA=1 for the CUDA build)

$(VENV)/.done: pyproject.toml $(LOCK)
	@command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON); install Python 3.11 (Debian 12: apt-get install python3.11 python3.11-venv) or give PYTHON=/path/to/python3.11" >&2; exit 69; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "error: $(PYTHON) is not Python 3.11; give PYTHON=/path/to/python3.11" >&2; exit 69; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no ensurepip; on Debian: apt-get install python3.11-venv" >&2; exit 69; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 $(TORCH_ARGS)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --compile-bytecode --requirement $(LOCK)
	VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --config-settings editable_mode=compat --editable .
	@touch $@

demo: setup ## The whole loop on the simulated marketplace, with real answers at the end
	$(BIN)/python scripts/demo.py

test: setup ## All tests
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile $(TESTS)

check: setup ## Format, lint, types, import contracts, container and compose files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/yamllint --strict .
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/hadolint Dockerfile.gpu
	$(BIN)/kubernetes-validate --strict --quiet -k 1.26 deploy/kubernetes/*.yaml
	$(BIN)/shellcheck .ci/run locks/lock.sh deploy/slurm/train.sbatch

bench-setup: setup ## Make .venv-peers with the systems that the benchmarks compare with
	for name in peers peers-anomaly; do \
		test -x .venv-$$name/bin/python || $(PYTHON) -m venv .venv-$$name; \
		.venv-$$name/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 $(TORCH_ARGS) && \
		VIRTUAL_ENV=.venv-$$name $(BIN)/uv pip install --quiet --no-deps --requirement locks/$${name/-/_}.txt || exit 1; \
	done

bench: bench-setup ## Measure speed beside the peers (DATA=folder of the data sets); see benchmarks/RESULTS.md
	$(BIN)/python benchmarks/recommenders.py path=$(DATA)/movielens-1m
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/pit_join.py
	$(BIN)/python benchmarks/online_features.py
	$(BIN)/python benchmarks/stream_features.py
	$(BIN)/python benchmarks/stream.py
	$(BIN)/python benchmarks/adbench.py path=$(DATA)/adbench
	$(BIN)/python benchmarks/nab.py path=$(DATA)/nab
	$(BIN)/python benchmarks/nsl_kdd.py path=$(DATA)/nsl-kdd

serve: setup ## TorchServe and the gateway over the newest artifact
	$(BIN)/python scripts/serve.py

lock: ## Resolve pyproject.toml into locks/ again
	PATH="$(CURDIR)/$(BIN):$$PATH" sh locks/lock.sh

clean: ## Remove what runs, tests and the set-up left
	rm -rf $(VENV) .venv-peers .venv-peers-anomaly data artifacts runs multirun model_store .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
