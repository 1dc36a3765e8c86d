# Everything on a fresh Debian or Ubuntu with a Rust toolchain: what is missing is installed first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

PREFIX ?= /usr/local
DESTDIR ?=

.PHONY: help build demo test test-vm bench bench-net bench-oci fmt lint clean install

help: ## Show this
	@echo 'make TARGET'
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-9s %s\n", $$1, $$2 }' Makefile

build: ## Build the static binary
	@scripts/build.sh

demo: ## Build, run a container, and show what isolates it beside Docker's defaults
	@scripts/demo.sh

test: ## Format, lints, unit tests, and the built program as root and as an ordinary user
	@scripts/test.sh

test-vm: ## The suite on another kernel: cgroup v2 alone, systemd, AppArmor, in a virtual machine
	@scripts/vm.sh

bench: ## Time the start of a container against what is installed, as ratios
	@scripts/bench.sh

bench-net: ## Time networks of containers against bare links, as ratios
	@scripts/bench-net.sh

bench-oci: ## Time bulkhead-runc against other OCI runtimes, as ratios
	@scripts/bench-oci.sh

fmt: ## Format the code
	@. scripts/env.sh; cargo fmt --all

lint: ## Format check and lints
	@scripts/test.sh lint

install: build ## Install the binary, also as bulkhead-runc, manual pages, completions and systemd units below DESTDIR and PREFIX
	@. scripts/env.sh; binary="$$(built_binary)"; share="$(DESTDIR)$(PREFIX)/share"; \
	install -D -m 0755 "$$binary" "$(DESTDIR)$(PREFIX)/bin/bulkhead"; \
	ln -sfn bulkhead "$(DESTDIR)$(PREFIX)/bin/bulkhead-runc"; \
	"$$binary" man "$$share/man/man1"; \
	install -d "$$share/bash-completion/completions" "$$share/zsh/site-functions" "$$share/fish/vendor_completions.d"; \
	"$$binary" completion bash > "$$share/bash-completion/completions/bulkhead"; \
	"$$binary" completion zsh > "$$share/zsh/site-functions/_bulkhead"; \
	"$$binary" completion fish > "$$share/fish/vendor_completions.d/bulkhead.fish"
	@scripts/units.sh '$(PREFIX)/bin/bulkhead' '$(DESTDIR)$(PREFIX)/lib/systemd'
	@echo 'installed $(DESTDIR)$(PREFIX)/bin/bulkhead, its name bulkhead-runc, and its units for systemd: bulkhead.service'

clean: ## Remove what was built
	@. scripts/env.sh; cargo clean
