# The two commands to know: `make demo` and `make test`. Both set up what is missing.
SHELL := /bin/bash
QGIS_RUN := source tools/env.sh && qgis_env XDG_RUNTIME_DIR="$$(runtime_dir)"
DEV_PROFILES := build/dev/profiles

.PHONY: help setup demo test test-engine test-qgis soak bench bench-gpu event-loop lint package plugin dev sample-model clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | column -t -s $$'\t'

setup:  ## QGIS, .venv (engine and command line) and .venv-qgis (QGIS tests)
	@bash tools/setup.sh

demo: setup  ## classify the sample scene in qgis_process, draw build/demo/map.png
	@bash tools/demo.sh

plugin:  ## link the plugin together in build/plugin
	@/usr/bin/python3 tools/build_plugin.py link

test: setup plugin test-engine test-qgis  ## all tests

test-engine:
	.venv/bin/python -m pytest tests/contract tests/engine
	PATH=/usr/bin:/bin .venv-qgis/bin/python -m pytest -p no:pytest_qgis tests/contract

test-qgis: plugin
	$(QGIS_RUN) QT_QPA_PLATFORM=offscreen MULTIMODAL_WORKER_PYTHON="$(CURDIR)/.venv/bin/python" \
		.venv-qgis/bin/python -m pytest tests/qgis tests/desktop

soak: setup  ## 500 killed runs, then two hours in one worker (SOAK_HOURS, SOAK_KILLS)
	.venv/bin/python tests/soak/soak.py

bench: setup  ## the figures of docs/benchmarks.md on this machine: half an hour on a CPU
	.venv/bin/python tools/bench.py
	@$(MAKE) --no-print-directory event-loop

event-loop: setup plugin  ## for how long QGIS does not answer while 8,281 rows arrive
	$(QGIS_RUN) QT_QPA_PLATFORM=offscreen MULTIMODAL_WORKER_PYTHON="$(CURDIR)/.venv/bin/python" \
		.venv-qgis/bin/python tools/event_loop.py $(EVENT_LOOP)

bench-gpu: setup  ## those of a GPU
	.venv/bin/python tools/bench.py --gpu

lint: setup  ## ruff and mypy; what plugins.qgis.org runs on the zip
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python tools/scan_plugin.py

package:  ## the installable zip in dist/
	@/usr/bin/python3 tools/build_plugin.py zip

dev: setup plugin  ## QGIS desktop with the linked plugin, in a profile of its own
	@mkdir -p $(DEV_PROFILES)/default/python/plugins $(DEV_PROFILES)/default/QGIS
	@ln -sfn "$(CURDIR)/build/plugin/mm_qgis_plugin" $(DEV_PROFILES)/default/python/plugins/mm_qgis_plugin
	@test -f $(DEV_PROFILES)/default/QGIS/QGIS3.ini || \
		printf '[PythonPlugins]\nmm_qgis_plugin=true\nprocessing=true\n' > $(DEV_PROFILES)/default/QGIS/QGIS3.ini
	@source tools/env.sh && MULTIMODAL_WORKER_PYTHON="$(CURDIR)/.venv/bin/python" \
		qgis_env qgis --profiles-path "$(CURDIR)/build/dev"

sample-model: setup  ## train sample_data/model again
	.venv/bin/python sample_data/train_sample_model.py

clean:  ## remove what was built, keep the environments
	rm -rf build dist *.egg-info
