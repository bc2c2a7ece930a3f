PYTHON ?= python3
BIN := .venv/bin

.PHONY: bench test soak lint leaderboards clean

bench: .venv/installed
	$(BIN)/python run_bench.py

test: .venv/installed
	$(BIN)/python -m pytest -q -n logical --maxprocesses 8 --dist loadfile

# The long forms of the tests: thousands of damaged files, a hundred kills (docs/reliability.md), the wheel on quick.
soak: .venv/installed
	$(BIN)/python -m pytest -q -m soak

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Every leaderboard with its tables, plots and page (`make leaderboards SUITES=avatars` takes hours), except the baseline
# of the project's own gate, which only `run_bench.py check --update` changes (docs/regression-gate.md).
SUITES ?= quick avatars-prompts unguided
TEMPLATES := balancing_act attribute_switching tiw costs full
TEMPLATES_avatars-prompts := prompts attribute_switching costs full
TEMPLATES_unguided := costs full

leaderboards: $(SUITES:%=leaderboard-%)

leaderboard-%: .venv/installed
	$(BIN)/python run_bench.py run $*
	for template in $(or $(TEMPLATES_$*),$(TEMPLATES)); do \
	  for format in latex:tex markdown:md; do \
	    $(BIN)/python run_bench.py table $$template leaderboards/$* --format $${format%:*} \
	      --out leaderboards/$*/tables/$$template.$${format#*:} || exit; \
	  done; \
	done
	$(BIN)/python run_bench.py plot leaderboards/$*
	$(BIN)/python run_bench.py report leaderboards/$*

# The stamp is newer than both files after an installation, so a second call installs nothing.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[dev]'
	touch $@

clean:
	rm -rf build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
