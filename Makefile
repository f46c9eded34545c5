# Everything a newcomer needs. Each target sets up what it uses; Python 3.11 or newer and make are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo serve test check bench format lock clean

help:
	@echo "make demo    buy a digital, a physical and a bundled product, and watch"
	@echo "make serve   keep a gateway running and print its addresses"
	@echo "make test    run the tests"
	@echo "make check   format, lint, types, import contract, generated files"
	@echo "make bench   measure speed and memory as ratios"
	@echo "make format  format the code; make lock  pin dependencies anew; make clean  remove what was made"

$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies into $(VENV), once, about a minute ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

demo: $(READY)
	@$(BIN)/python -m samples.demo

serve: $(READY)
	@$(BIN)/python -m samples.serve

test: $(READY)
	@$(BIN)/python -m pytest -n auto --dist loadfile

check: $(READY)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m wallets.minting.contract.build --check
	@$(BIN)/python -m gateway.protocol.generate --check

bench: $(READY)
	@$(BIN)/python -m bench

format: $(READY)
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .venv-peers .venv-peers.lock var .pytest_cache .mypy_cache .ruff_cache

PIP_COMPILE := uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
  --no-emit-find-links --no-annotate --no-header --prerelease=if-necessary-or-explicit --quiet

lock:
	@$(PIP_COMPILE) pyproject.toml --all-extras --output-file requirements.lock
	@sed -i "1i # Pinned versions of everything, with hashes. Made by 'make lock'; installed by every make target." requirements.lock
	@$(PIP_COMPILE) tests/peers/requirements.in --output-file tests/peers/requirements.lock
	@sed -i "1i # The programs of others that tests start, pinned with hashes. Made by 'make lock'." tests/peers/requirements.lock
