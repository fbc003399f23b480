# The project's commands. `make` alone lists them.

CARGO ?= cargo
CARGO_HOME ?= $(HOME)/.cargo

# A release is the same, byte for byte, wherever its sources lie: it holds none of this machine's paths.
RELEASE = RUSTFLAGS="$$RUSTFLAGS --remap-path-prefix=$(CURDIR)=. --remap-path-prefix=$(CARGO_HOME)=cargo" \
	CFLAGS="$$CFLAGS -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(CARGO_HOME)=cargo" \
	$(CARGO)

.DEFAULT_GOAL := help
.PHONY: help run demo test api-test soak lint bench docs screenshots build deb test-package install

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build the daemon and run it, with no further set-up
	$(CARGO) run --profile quick --locked --bin fireworq -- $(ARGS)

demo: ## see a few jobs delivered, one of them retried, and clean up
	$(CARGO) build --profile quick --locked --bin fireworq --example worker
	sh examples/demo.sh

test: ## run every test; installs what it needs: MariaDB, strace, faketime, Chromium, promtool
	sh tests/support/ensure.sh mariadbd mariadb-server
	sh tests/support/ensure.sh strace strace
	sh tests/support/ensure.sh faketime faketime
	sh tests/support/ensure.sh chromium chromium
	sh tests/support/ensure.sh chromedriver chromium-driver
	sh tests/support/promtool.sh
	$(CARGO) test --locked

api-test: ## send the API what its description allows, and more; installs schemathesis in target/
	$(CARGO) build --locked --bin fireworq
	sh tests/api/run.sh target/debug/fireworq

soak: export ROUNDS ?= 1000
soak: ## break things for an hour or so; ROUNDS=1000 says how often, SEED=N what
	sh tests/support/ensure.sh mariadbd mariadb-server
	sh tests/support/ensure.sh faketime faketime
	$(CARGO) test --locked --test simulator -- --nocapture
	$(CARGO) test --locked --test sqlite_store -- --nocapture kill::
	$(CARGO) test --locked --test faults -- --nocapture --include-ignored --test-threads=1

lint: ## check formatting, lints, documentation, layering, generated pages, and dependencies if cargo-deny is here
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) test --locked --test layering --test generated_docs
	@if $(CARGO) deny --version >/dev/null 2>&1 && [ -d "$${CARGO_HOME:-$$HOME/.cargo}/advisory-dbs" ]; \
	then $(CARGO) deny --locked --offline check; \
	else echo 'cargo-deny or its data are not here: licences and advisories were not checked'; fi

bench: ## measure pushes, deliveries and latencies on each store
	sh tests/support/ensure.sh mariadbd mariadb-server
	$(RELEASE) bench --locked --bench throughput -- $(ARGS)

docs: ## make the generated pages anew
	UPDATE_DOCS=1 $(CARGO) test --locked --test generated_docs

screenshots: ## take the documentation's pictures of the console anew
	sh tests/support/ensure.sh chromium chromium
	sh tests/support/ensure.sh chromedriver chromium-driver
	sh tests/support/ensure.sh pngquant pngquant
	$(CARGO) test --locked --test console -- --ignored screenshots
	pngquant --force --ext .png --strip 64 doc/images/console-*.png

build: ## build the daemon: target/release/fireworq
	$(RELEASE) build --release --locked --bin fireworq

BINARY = target/release/fireworq

deb: build ## make the Debian package: target/fireworq_VERSION_ARCH.deb
	sh packaging/deb.sh $(BINARY)

test-package: deb ## try the Debian package in a systemd of its own; needs root, installs what it uses
	sh packaging/test/run.sh $(BINARY)

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR ?= $(PREFIX)/lib/systemd/system

install: ## copy the daemon that `make build` built to DESTDIR, below PREFIX (/usr/local)
	@test -x $(BINARY) || { echo "$(BINARY) is missing: run make build first" >&2; exit 1; }
	sh packaging/install.sh "$(BINARY)" "$(DESTDIR)" "$(PREFIX)" "$(SYSCONFDIR)" "$(UNITDIR)"
