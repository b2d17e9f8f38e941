# `make help` lists the targets. What they need, `make setup` installs.

# One set of features for lint, doc and test, so that the dependencies are compiled once for each kind of build.
FEATURES     ?= cli,relay,sim
# The same for wasm32; what browsers run.
WASM_FEATURES := text,p2p,sim
# The binaries as `test-native` builds them: a test beside them gives their dependencies the same features.
BINARIES     := --locked --features $(FEATURES) --bins --test architecture
# Many tests wait for a network or another process: more than there are cores.
TEST_THREADS ?= 4
SEEDS        ?= 1000
FUZZ_SECONDS ?= 60
CARGO        ?= cargo

# The tools that scripts/setup installs come first on PATH, whether it has run already or not.
TOOLS := $(or $(PRIVSTACK_TOOLS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/privstack-sync/tools)
export PATH := $(TOOLS)/bin:$(PATH)

.PHONY: help setup demo demo-headless demo-native page test lint doc test-native wasm browser module pkg pkg-test package sim mutants bench bench-sync bench-browser fuzz clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: ## install what the targets below need (a second run does nothing)
	@scripts/setup native wasm browsers checks

demo: ## the notes board in www/, with a relay and a native device, on http://127.0.0.1:8080/
	@scripts/setup native wasm
	@scripts/page

page: demo

demo-headless: ## the same in Chromium and Firefox without a screen: all edit apart, and agree
	@scripts/setup native wasm browsers
	@scripts/page headless

demo-native: ## two native devices on real files: both edit the same notes apart, and agree (NOTES=DIR)
	@scripts/setup native
	@scripts/demo

test: ## lint, doc, test-native, wasm, browser, pkg, package; the time of each
	@scripts/parts setup lint doc test-native+module wasm browser pkg-test package

lint: ## formatting, clippy, licences and sources of the dependencies; whether all mutants fit
	scripts/mutants --check
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --features $(FEATURES) --all-targets -- -D warnings
	$(CARGO) deny --locked --log-level error check --hide-inclusion-graph bans licenses sources

doc: ## the API's documentation, without warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --features $(FEATURES) --lib --no-deps

test-native: ## unit, integration, property tests and the fuzz corpus, natively
	RUST_TEST_THREADS=$(TEST_THREADS) $(CARGO) test --locked --features $(FEATURES)

wasm: ## the core for wasm32: clippy (where it can), unit tests and a short simulation under Node
	@if ! scripts/wasm-cargo clippy --version >/dev/null 2>&1; then echo "no clippy for the compiler that builds wasm"; else \
	    scripts/wasm-cargo clippy --locked --target wasm32-unknown-unknown --lib -- -D warnings; fi
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$(CURDIR)/scripts/wasm-run-some \
	    scripts/wasm-cargo test --locked --target wasm32-unknown-unknown --no-default-features --features $(WASM_FEATURES) --lib

browser: ## store, keys, a simulation, and sessions with a native device, in Chromium and in Firefox, headless
	$(CARGO) build $(BINARIES)
	scripts/browser-tests chromium
	scripts/browser-tests firefox

pkg: ## the npm package: module, then pkg-test
	@scripts/parts module pkg-test

module: ## the npm package's wasm and facade, into pkg: size, tarball
	scripts/npm-package

pkg-test: ## the npm package as module has left it: types, Node, bundlers; tabs, devices, faults, the notes board in browsers
	$(CARGO) build $(BINARIES)
	scripts/npm-tests

package: ## the packed crate builds in an empty project
	scripts/check-package

sim: ## the simulation, SEEDS=100000 for many
	$(CARGO) run --release --locked --no-default-features --features text,sim --example sim -- --seeds $(SEEDS)

mutants: ## do the tests notice broken rules? (tests/mutations)
	scripts/mutants

bench: ## all benchmarks
	$(CARGO) bench --locked --features $(FEATURES)

bench-sync: ## whole syncs, also into target/bench-sync.jsonl (QUICK=1: under a minute)
	$(CARGO) bench --locked --bench sync

bench-browser: ## the npm package in Chromium and Firefox, Yjs and automerge-repo beside it, also into target/bench-browser.jsonl (after `make pkg`; QUICK=1: a tenth of the data)
	cd tests/npm/bench && npm install --ignore-scripts --no-audit --no-fund --silent
	node tests/npm/bench/main.mjs

fuzz: ## each fuzz target for FUZZ_SECONDS=60 (needs cargo-fuzz)
	@cargo fuzz --version >/dev/null 2>&1 || { echo "run: cargo install cargo-fuzz --locked"; exit 1; }
	@set -e; for target in $$(RUSTC_BOOTSTRAP=1 cargo fuzz list); do \
	    echo "=== $$target"; RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS); done

clean: ## remove what was built
	$(CARGO) clean
