# gpufleet: every target installs what it needs into .venv (and .tools, for programs that pip has not).
PYTHON ?= python3
BIN := .venv/bin
TOOLS := $(CURDIR)/.tools
export PATH := $(TOOLS)/usr/bin:$(PATH)
PYTEST := $(BIN)/python -m pytest
# Each process begins with a part of its own and helps others when it is done: what tests share is not made by all at once.
SPREAD := -n auto --dist worksteal
# The simulated driver is C: a compiler from PyPI serves where the machine has none.
COMPILER := $(if $(shell command -v cc || command -v gcc || command -v clang),,--group compiler)
SUDO := $(shell test "$$(id -u)" = 0 || echo sudo -n)

.PHONY: up demo test test-agent lint docs boards deb bench bench-agent bench-ingest bench-scale bench-queries bench-backlog bench-offline bench-growth bench-alerts bench-month bench-dashboards docs-pictures chaos tools bench-tools alert-tools clean help

help:  ## What there is to make
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

up: .venv/installed  ## Serve this machine: server and agent, until Ctrl-C
	$(BIN)/gpufleet up

demo: .venv/installed  ## Serve a simulated fleet of 64 GPUs, until Ctrl-C
	$(BIN)/gpufleet demo --gpus 64

test: .venv/dev tools test-agent  ## All tests
	$(PYTEST) $(SPREAD) tests

test-agent: .venv-agent/installed  ## The agent's tests with only the agent's own dependencies installed
	.venv-agent/bin/python -m pytest $(SPREAD) tests/agent tests/wire

lint: .venv/dev .venv/bench  ## Style, types, imports, sizes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --python-version 3.10 agent/gpufleet_agent
	$(BIN)/lint-imports
	$(BIN)/python -m tests.lint.budgets

docs: .venv/installed  ## Write the generated pages again
	$(BIN)/python docs/build.py

boards: .venv/installed  ## Write the boards' JSON again
	$(BIN)/gpufleet dashboards build

docs-pictures: .venv/dev  ## Draw the boards for the documentation, of a simulated fleet
	$(BIN)/python -m tests.dashboards.drawing

deb: .venv/bin/pip  ## The agent as a Debian package for this machine's Python, in dist/
	PIP="$(BIN)/python -m pip" agent/packaging/deb/build.sh dist

bench: bench-agent bench-ingest bench-scale bench-queries bench-backlog bench-offline bench-growth bench-alerts bench-month bench-dashboards  ## All benchmarks

bench-agent: .venv/dev .venv/bench  ## The agent's CPU and memory beside nvitop-exporter
	$(BIN)/python -m tests.bench.agent

bench-ingest: .venv/dev .venv/bench bench-tools  ## The store's CPU, memory and disk beside VictoriaMetrics and Prometheus
	$(BIN)/python -m tests.bench.ingest

bench-scale: .venv/dev .venv/bench  ## 100,000 simulated GPUs into one server and one PostgreSQL
	$(BIN)/python -m tests.bench.scale

bench-queries: .venv/dev .venv/bench bench-tools  ## How long the questions asked of 100,000 GPUs take, beside VictoriaMetrics
	$(BIN)/python -m tests.bench.queries

bench-backlog: .venv/dev .venv/bench  ## What a fleet notices while a fifth of it tells of a day offline
	$(BIN)/python -m tests.bench.backlog

bench-offline: .venv/dev .venv/bench  ## What an agent keeps of a day without a server, and that it arrives once
	$(BIN)/python -m tests.bench.offline

bench-growth: .venv/dev .venv/bench  ## What a GPU costs among 1,000, 10,000 and 100,000
	$(BIN)/python -m tests.bench.growth

bench-alerts: .venv/dev .venv/bench alert-tools  ## From an XID on a node to a real Alertmanager; evaluating all rules
	$(BIN)/python -m tests.bench.alerts

bench-month: .venv/dev .venv/bench  ## A month of 10,000 GPUs with the failures of published studies: alerts, found and false
	$(BIN)/python -m tests.bench.month

bench-dashboards: .venv/dev .venv/bench  ## How long Grafana's boards take over 100,000 GPUs
	$(BIN)/python -m tests.bench.dashboards

chaos: .venv/dev  ## 200 kills and cuts of everything under load; then every sample and event is looked for
	$(BIN)/python -m tests.chaos.run

# --- what the above need -------------------------------------------------------------------------------------------

.venv/bin/pip:
	$(PYTHON) -m venv .venv || ( $(SUDO) apt-get update -q && $(SUDO) apt-get install -qy python3-venv && $(PYTHON) -m venv .venv )
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'

.venv/installed: .venv/bin/pip agent/pyproject.toml server/pyproject.toml dashboards/pyproject.toml
	$(BIN)/python -m pip install -q -e ./agent -e ./server -e ./dashboards
	@touch $@

# grafana-client's HTTP library would put itself in urllib3's place, and requests does not run on it. Built from source
# with this set, it stays beside it.
APART := URLLIB3_NO_OVERRIDE=1

.venv/dev: .venv/installed pyproject.toml
	$(APART) $(BIN)/python -m pip install -q --no-binary urllib3-future --group dev --group compiler
	@touch $@

.venv/bench: .venv/installed pyproject.toml
	$(BIN)/python -m pip install -q --group bench
	@touch $@

.venv-agent/installed: .venv/bin/pip agent/pyproject.toml pyproject.toml
	$(PYTHON) -m venv .venv-agent
	.venv-agent/bin/python -m pip install -q --upgrade 'pip>=25.1'
	.venv-agent/bin/python -m pip install -q -e ./agent --group agent-test $(COMPILER)
	@touch $@

# Programs of Debian's packages; these are unpacked, not installed: no service is started on your machine.
PACKAGE_promtool := prometheus
PACKAGE_prometheus := prometheus
PACKAGE_prometheus-alertmanager := prometheus-alertmanager
PACKAGE_victoria-metrics := victoria-metrics

tools: tool-promtool tool-prometheus alert-tools

bench-tools: tool-prometheus tool-victoria-metrics

# Debian's Alertmanager reads its templates from this place and from no other.
AM_TEMPLATES := /usr/share/prometheus/alertmanager
alert-tools: tool-prometheus-alertmanager
	@test -e $(AM_TEMPLATES)/default.tmpl || \
		$(SUDO) install -D -m 644 -t $(AM_TEMPLATES) $(TOOLS)$(AM_TEMPLATES)/default.tmpl $(TOOLS)$(AM_TEMPLATES)/email.tmpl || \
		echo "warning: $(AM_TEMPLATES) can't be written: what needs Alertmanager is left out" >&2

tool-%:
	@command -v $* >/dev/null || $(MAKE) --no-print-directory $(TOOLS)/usr/bin/$* || \
		echo "warning: $* could not be had; what needs it is left out" >&2

$(TOOLS)/usr/bin/%:
	mkdir -p $(TOOLS)
	$(SUDO) apt-get update -q
	cd $(TOOLS) && apt-get download $(PACKAGE_$*) && dpkg-deb -x $(PACKAGE_$*)_*.deb . && rm $(PACKAGE_$*)_*.deb

clean:  ## Remove what was installed and built here
	rm -rf .venv .venv-agent .tools tests/nvml_sim/.build
