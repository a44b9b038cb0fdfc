# Everything a developer runs. Each target sets up what it needs; nothing but make, a shell and npm must be there before.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# npm itself runs on the machine's Node, because it replaces ours; all else runs on ours.
machine_path := $(PATH)
export PATH := $(CURDIR)/node_modules/node/bin:$(CURDIR)/node_modules/.bin:$(PATH)

installed := node_modules/.installed

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(installed): package.json package-lock.json .npmrc test/setup/npm.sh
	@PATH="$(machine_path)" sh test/setup/npm.sh
	@touch $@

.PHONY: build
build: $(installed) ## install the npm packages and compile to dist/; then bin/chunkstore runs
	@tsc -p .

.PHONY: tools
tools: ## install or build the programs that tests need: Debian packages (as root), csi-sanity and helm
	@sh test/setup/debian-packages.sh
	@sh test/setup/go-programs.sh

.PHONY: test
test: build tools ## run all tests, layer by layer; LAYERS="unit system" runs some of them
	@node test/setup/run-tests.ts $(LAYERS)

.PHONY: e2e
e2e: build ## run the tests on a Kubernetes of two nodes (as root), or on the cluster of KUBECONFIG=FILE
	@sh test/setup/e2e-packages.sh
	@node test/setup/run-tests.ts e2e

.PHONY: lint
lint: $(installed) ## oxlint (with the direction of dependency), types of src and test, format
	@npm run --silent lint

.PHONY: format
format: $(installed) ## format all files
	@npm run --silent format

.PHONY: demo
demo: build ## show the whole path on this machine: volumes, snapshots, clones, revert (as root)
	@sh test/setup/debian-packages.sh
	@node test/demo/demo.ts

# QUICK=1 takes five minutes, FULL=1 much longer; BENCH holds more flags, which the head of test/bench/bench.ts lists:
# make bench QUICK=1 BENCH="--only io --json figures.json".
BENCH ?=

.PHONY: bench
bench: build ## measure beside a plain loop device and other stores (as root); QUICK=1 takes five minutes, FULL=1 longer
	@sh test/setup/debian-packages.sh
	@sh test/setup/bench-packages.sh
	@node test/bench/bench.ts $(if $(QUICK),--quick) $(if $(FULL),--full) $(BENCH)

# One campaign alone, as the line of a failure says: make torture SECONDS=1 CAMPAIGN=walks SEED=18.
SECONDS ?= 600
SEED ?=
CAMPAIGN ?=

.PHONY: torture
torture: build tools ## look for damage for SECONDS=600 from SEED=…, or by one CAMPAIGN=… alone (as root)
	@node test/torture/torture.ts --seconds "$(SECONDS)" --seed "$(SEED)" --campaign "$(CAMPAIGN)"

.PHONY: clean
clean: ## remove what was built and installed here
	rm -rf dist .tools node_modules
