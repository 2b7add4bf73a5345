# Every target sets up what it needs; the second time that is a look at two time stamps.

PYTHON ?= python3
ARGS ?=
WORKERS ?= 5
VENV ?= .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
TOOLS := $(VENV)-tools
COMPILE = $(CURDIR)/$(TOOLS)/bin/pip-compile --quiet $(ARGS) --allow-unsafe --generate-hashes --strip-extras --no-header \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
# What needs no Kafka and no tool; what is new is in it by itself. Left out: the long ones of the simulation, and the
# tests of how tests are run.
FAST := tests/unit tests/contract tests/model tests/simulation tests/release $(filter-out tests/test_ci.py,$(wildcard tests/test_*.py)) \
	-m "not deploy and not slow and not kafka" \
	--deselect=tests/simulation/test_simulation.py::test_the_schedules

# The tests start hundreds of processes: each would compile every module again.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-fast test-all coverage check check-deploy check-cluster tools chart docs site format bench soak simulate model broker emulator lock lock-aws lock-docs lock-tools audit sbom image release-dry-run clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## the whole way on this machine: Kafka, Wootric's emulator, events, report (ARGS="--events 5000")
	@$(BIN)/wootric-stream demo $(ARGS)

test: $(READY) tools ## the tests, on a real Apache Kafka (ARGS="-k codec", "--randomly-seed=7", WORKERS=1 one at a time)
	@$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope $(ARGS)

coverage: WORKERS = auto
test-fast: $(READY) ## those that need no Kafka, in a minute, for every change
	@WOOTRIC_TESTS=fast $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope $(FAST) $(ARGS)

test-all: $(READY) tools ## the slow ones too, and more schedules of the simulation
	@WOOTRIC_TESTS=all $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadscope -m "not deploy" $(ARGS)

coverage: $(READY) ## what test-fast reaches of lines and branches; fails below 95 % of the core's branches
	@WOOTRIC_TESTS=fast $(BIN)/python -m tests.fixtures.core_coverage --numprocesses $(WORKERS) $(FAST) $(ARGS)

check: $(READY) ## style, types, import contracts and the word list
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m scripts.prose

check-deploy: $(READY) ## the image, the status page in a browser, the chart by a real API server (buildah, mmdebstrap, chromium, Go)
	@$(BIN)/python -m pytest -m deploy $(ARGS)

check-cluster: $(READY) ## the chart on a real Kubernetes node, in namespaces of its own (root, Go, buildah; ARGS="--only upgrade")
	@$(BIN)/python -m tests.cluster $(ARGS)

tools: $(READY)
	@$(BIN)/python -m tests.chart.chart_tools

chart: $(READY) ## write the chart's README, schema of values and dashboards
	@$(BIN)/python -m scripts.documents

docs: $(READY) ## write the generated pages of docs/
	@$(BIN)/python -m scripts.docs

site: ## build the documents' site into site/, with tools of its own
	@$(PYTHON) -m venv $(VENV)/site
	@$(VENV)/site/bin/python -m pip install --quiet --require-hashes --requirement docs/requirements.lock
	@$(VENV)/site/bin/zensical build --clean --config-file mkdocs.yml

format: $(READY) ## put the code into its usual form
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(READY) ## speed beside a bare aiohttp loop, scaling, requests, and the goals (ARGS="--only recovery", "--against REV"; needs Go)
	@$(BIN)/python -m tests.bench $(ARGS)

soak: $(READY) ## everything goes wrong at once for 10 minutes (SOAK_MINUTES=60 ARGS="--seed 2")
	@$(BIN)/python -m tests.soak $(ARGS)

simulate: $(READY) ## schedules of faults on simulated time (ARGS="--schedules 1000000", "--service --seed 7")
	@$(BIN)/python tests/simulation $(ARGS)

model: $(READY) ## the protocol as a model: what goes wrong without which safeguard, in how few steps
	@$(BIN)/python tests/model $(ARGS)

broker: $(READY) ## a local Kafka, until Ctrl-C (ARGS="--port 9092")
	@$(BIN)/wootric-stream broker $(ARGS)

emulator: $(READY) ## Wootric on loopback, until Ctrl-C (ARGS="--port 8081")
	@$(BIN)/wootric-stream emulator $(ARGS)

lock: $(TOOLS)/.ready ## write requirements.lock and keep its versions (ARGS="--upgrade" raises them)
	@CUSTOM_COMPILE_COMMAND="make lock" $(COMPILE) --extra dev --extra tracing --all-build-deps \
		--output-file requirements.lock pyproject.toml

lock-aws: $(TOOLS)/.ready ## write requirements-aws.lock: what the extra aws adds to the image
	@$(TOOLS)/bin/python scripts/runtime_lock.py . >$(TOOLS)/runtime.lock
	@$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["aws"])' \
		| CUSTOM_COMPILE_COMMAND="make lock-aws" $(COMPILE) --constraint $(TOOLS)/runtime.lock --output-file requirements-aws.lock -

lock-docs: $(TOOLS)/.ready ## write docs/requirements.lock: the site's generator
	@cd docs && $(COMPILE) --output-file requirements.lock requirements.in

lock-tools: $(TOOLS)/.ready ## write scripts/requirements.lock: the tools that lock, audit and build
	@cd scripts && $(COMPILE) --output-file requirements.lock requirements.in

audit: $(TOOLS)/.ready ## ask the databases of vulnerabilities about every pinned package (needs the internet)
	@$(TOOLS)/bin/pip-audit --disable-pip --require-hashes --strict \
		--requirement requirements.lock --requirement requirements-aws.lock --requirement docs/requirements.lock --requirement scripts/requirements.lock

sbom: $(TOOLS)/.ready ## write the image's bill of materials, as CycloneDX, into dist/
	@$(TOOLS)/bin/python -m scripts.sbom dist/wootric-stream.cdx.json

image: $(READY) ## build the image for amd64 and arm64 into dist/ (Docker; else buildah, as a rehearsal)
	@$(BIN)/python -m scripts.image dist/wootric-stream-image.tar

release-dry-run: $(READY) $(TOOLS)/.ready tools ## build all that a release publishes into dist/, and install each part in an empty place
	@$(BIN)/python -m scripts.release $(TOOLS)/bin/python

clean: ## remove the virtual environment and all caches
	@rm -rf $(VENV) $(TOOLS) dist .evidence .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info

# A changed lock recreates the environment, so that nothing old stays in it.
$(LOCKED): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; Python 3.11 or newer is needed" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed, $(PYTHON) is older: make PYTHON=python3.11" >&2; exit 1; }
	@echo "setting up $(VENV) (once)" >&2
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	@touch $@

$(TOOLS)/.ready: scripts/requirements.lock
	@$(PYTHON) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --require-hashes --requirement scripts/requirements.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
