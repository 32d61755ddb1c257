# What people type. tools/setup.sh keeps .venv equal to the pinned requirements; when it already
# is, that costs a few hundredths of a second.
#   make run PORT=8502                     another port
#   make run PYTHON=/path/to/python3.12    another Python (3.11 to 3.13)

UV_VERSION = 0.13.9
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help run test check browser migrate bench docs-pictures lock clean runtime dev

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

run: ## install what is missing, then serve on http://localhost:8501
	@exec sh tools/setup.sh run

test: dev ## unit, integration and page tests
	@$(PYTEST) -n 2

check: dev ## ruff, format, import contracts, mypy and the tests: what CI runs
	@echo "== ruff check"
	@$(BIN)/ruff check .
	@echo "== ruff format --check"
	@$(BIN)/ruff format --check .
	@echo "== lint-imports"
	@$(BIN)/lint-imports --no-logo
	@echo "== mypy"
	@$(BIN)/python -m mypy
	@echo "== pytest"
	@$(PYTEST) -n 2

browser: dev ## the browser tests, with the system's Chromium
	@[ ! -d tests/browser ] || $(PYTEST) tests/browser || [ $$? -eq 5 ] # 5: there are none yet

migrate: runtime ## bring the database to the newest migration
	@$(BIN)/python -m alembic upgrade head

bench: dev ## run each benchmark; JSON on stdout
	@for bench in bench/[!_]*.py; do \
		echo "== $$bench" >&2; \
		PYTHONPATH=. $(BIN)/python "$$bench" || exit 1; \
	done

docs-pictures: dev ## make the pictures of the documentation again
	@PYTHONPATH=. $(BIN)/python docs/pictures.py

lock: runtime ## compile requirements*.txt from requirements*.in
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --target .venv/lock-tool --upgrade uv==$(UV_VERSION)
	@for name in requirements requirements-dev; do \
		.venv/lock-tool/bin/uv pip compile --quiet --universal --python-version 3.11 \
			--custom-compile-command "make lock" --output-file $$name.txt $$name.in || exit 1; \
	done

clean: ## remove .venv and the tools' caches; documents in .vecscope stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.vecscope/*' -prune -exec rm -rf {} +

runtime:
	@sh tools/setup.sh runtime

dev:
	@sh tools/setup.sh dev
