# The menu. `make` alone prints it.

CARGO ?= cargo
# `make test CONTRACT=skip` leaves out what needs Python, npm and the network. The continuous integration does not.
CONTRACT ?= run
# `make test WEB=skip` leaves out what needs npm, Chromium and the network: the client package and the pages.
WEB ?= run

.DEFAULT_GOAL := help
.PHONY: help setup demo test bench soak fuzz fmt lint docs

help: ## print this menu
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## install what is missing: PostgreSQL server binaries, a C compiler, the Rust toolchain
	@bash .ci/setup

demo: setup ## see it work: a private PostgreSQL, three tenants, pages on http://127.0.0.1:8080
	$(CARGO) run --release --locked -- demo

test: setup ## everything that must hold before a change is pushed: format, lints, docs, tests, the published documents, the pages
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	@# The advisories need a database from the network, so they are left to `make lint`.
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check bans licenses sources; \
	else echo 'cargo-deny is not installed: licences and sources are not checked'; fi
	$(CARGO) test --locked
	@# What a feature adds is built and tried beside the rest, which is tried without it.
	$(CARGO) clippy --locked --all-targets --features otel -- -D warnings
	$(CARGO) test --locked --features otel --test it telemetry::
	@if [ '$(CONTRACT)' = skip ]; then echo 'the published documents are not tried against a running server: CONTRACT=skip'; \
	else bash .ci/setup contract && bash .ci/contract; fi
	@if [ '$(WEB)' = skip ]; then echo 'the client package and the pages are not tried: WEB=skip'; \
	else bash .ci/setup web && bash .ci/web; fi

bench: setup ## measure latency, throughput and memory on this machine
	$(CARGO) run --release --locked -- bench

soak: setup ## ten minutes of random faults under writers and 200 clients; SOAK_SECONDS=60 for less
	$(CARGO) test --release --locked --test it soak -- --ignored --nocapture

fuzz: ## look for input that cannot be taken, a minute at each door (wants cargo-fuzz and a nightly compiler)
	@for door in fuzz/fuzz_targets/*.rs; do door=$$(basename $$door .rs); found=$$(mktemp -d); \
	$(CARGO) +nightly fuzz run $$door $$found fuzz/corpus/$$door -- -max_total_time=60 -max_len=8192 || exit 1; rm -r $$found; done

fmt: ## format the sources
	$(CARGO) fmt

lint: setup ## clippy, and licences, sources and advisories where cargo-deny is installed
	$(CARGO) clippy --locked --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --locked check; \
	else echo 'cargo-deny is not installed: cargo install --locked cargo-deny'; fi

docs: ## build the API documentation and say where it is
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps
	@echo "$(CURDIR)/target/doc/tidings/index.html"
