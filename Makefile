# On a fresh clone: `make demo`, `make test`. Everything is installed into .venv.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.ready

.PHONY: setup demo test test-system test-all lint docs reference notebooks audit readers frameworks label-studio emulators workflows bench bench-quick lock clean

setup: $(STAMP)

# uv is installed into the environment; the compiled file pins every package by its hash.
$(STAMP): deploy/requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "masksift needs Python 3.11 or newer: make setup PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --requirement deploy/requirements-dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	$(BIN)/python -m masksift.scoring.kernels.warm_cache
	touch $@

demo: setup
	$(BIN)/masksift demo

# Lint, types, import contracts, unit and integration tests.
test: setup lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/system

# Clusters, stores, browsers and deployments, as real processes, whose servers and workers share the cores with the tests.
test-system: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/system

test-all: test test-system

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest --quiet -p no:cacheprovider tests/test_style.py

# Known vulnerabilities of the pinned packages. A warning only: a new advisory is not the fault of the current change, and
# the service may not answer. Strict: a package that cannot be checked is reported.
audit: setup
	@timeout 60 $(BIN)/uv tool run --quiet --from pip-audit==2.10.1 pip-audit --strict --progress-spinner off --timeout 5 \
		--disable-pip --require-hashes --requirement deploy/requirements.txt \
		|| echo "audit: warning (exit code $$?): see the findings above, or the service that did not answer"

# The annotation tools' libraries, with which the tests read exports back. They need other versions of pandas, Pillow and
# pyarrow than masksift is tested with, and a gigabyte: a separate environment, without which those tests are skipped.
readers: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-readers
	$(BIN)/uv pip install --quiet --python .venv-readers/bin/python --require-hashes --requirement deploy/requirements-readers.txt

# PyTorch (for the CPU) and the frameworks that masksift.integrations and trainers adapt to, with the tests that need them. Two
# gigabytes: a separate environment, without which those tests are skipped. Not pinned by hash: PyTorch's wheels for the CPU
# come from an index other than PyPI.
frameworks: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-frameworks
	$(BIN)/uv pip install --quiet --python .venv-frameworks/bin/python --require-hashes --requirement deploy/requirements-dev.txt
	$(BIN)/uv pip install --quiet --python .venv-frameworks/bin/python --torch-backend cpu --group frameworks
	$(BIN)/uv pip install --quiet --python .venv-frameworks/bin/python --no-deps --no-build-isolation --editable .
	.venv-frameworks/bin/python -m pytest tests/integrations tests/prepare/predict/trainers tests/prepare/test_writers_torch.py \
		tests/docs/test_what_to_type.py

# Label Studio's server, through which a system test sends an export and back.
label-studio: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-label-studio
	$(BIN)/uv pip install --quiet --python .venv-label-studio/bin/python --require-hashes --requirement deploy/requirements-label-studio.txt

# Emulators of Google Cloud Storage and, where npm is found, Azure Blob Storage, without which the tests of these are skipped.
emulators: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-emulators
	$(BIN)/uv pip install --quiet --python .venv-emulators/bin/python --require-hashes --requirement deploy/requirements-emulators.txt
	if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix .venv-emulators azurite@3.35.0; \
		else echo "emulators: npm (Node.js) is missing, so Azurite is not installed"; fi

# Airflow and Dagster, which run the examples of deploy/workflows in their tests, each with its pinned packages.
workflows: setup
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-airflow
	$(BIN)/uv pip install --quiet --python .venv-airflow/bin/python --require-hashes --requirement deploy/requirements-airflow.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-dagster
	$(BIN)/uv pip install --quiet --python .venv-dagster/bin/python --require-hashes --requirement deploy/requirements-dagster.txt

# Generated reference pages: configuration, command line, output tables.
reference: setup
	$(BIN)/python docs/generate_reference.py

# Execute the example notebooks and store their outputs, which a test compares with fresh ones.
notebooks: setup
	PYTHONPATH=tests $(BIN)/python -m support.notebooks

# The documentation site, in site/. Broken links and stale reference pages fail.
docs: setup .venv-docs/.ready
	$(BIN)/python docs/generate_reference.py --check
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet --strict --config-file .mkdocs.yml

.venv-docs/.ready: deploy/requirements-docs.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-docs
	$(BIN)/uv pip install --quiet --python .venv-docs/bin/python --require-hashes --requirement deploy/requirements-docs.txt
	touch $@

bench: setup
	PYTHONPATH=tests $(BIN)/python -m benchmarks.run

# Before a release: compare a few ratios with the kept figures.
bench-quick: setup
	PYTHONPATH=tests $(BIN)/python -m benchmarks.quick

# Pins: the files contain versions and hashes, and no index address.
lock:
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--extra dev --output-file deploy/requirements-dev.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--extra export --extra gcs --extra iceberg --extra kubernetes --extra telemetry \
		--constraint deploy/requirements-dev.txt --output-file deploy/requirements.txt pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--group build --output-file deploy/requirements-build.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--group readers --output-file deploy/requirements-readers.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--group label-studio --output-file deploy/requirements-label-studio.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--group airflow --output-file deploy/requirements-airflow.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--group dagster --output-file deploy/requirements-dagster.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--group emulators --output-file deploy/requirements-emulators.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
		--group docs --output-file deploy/requirements-docs.txt

clean:
	rm -rf .venv .venv-docs .venv-readers .venv-frameworks .venv-label-studio .venv-emulators .venv-airflow .venv-dagster demo-run bench-run site
