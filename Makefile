# make build   bin/twined
# make check   formatting, vet, staticcheck
# make test    everything that must pass, after installing what it needs; ends with PASS or FAIL
# make unit    the tests that need Go alone
# make stores  the tiers of the log against real servers that the tests start
# make e2e     the daemon with unchanged clients in Node and Chromium, and the tools against it
# make bench   speed and memory next to Node's socket.io and centrifuge, into testdata/bench; BENCH=--quick for a short run

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
.NOTPARALLEL:

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
TAGS := e2e,dynamodb,redis
NODE_MODULES := testdata/js/node_modules/.package-lock.json
BENCH_MODULES := testdata/bench/node/node_modules/.package-lock.json
# sudo forgets where Go is
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin
export CHROMIUM ?= /usr/bin/chromium

.PHONY: build
build:
	go build -o bin/twined ./cmd/twined

.PHONY: test
test:
	@if $(MAKE) --no-print-directory install check unit stores e2e; then echo PASS; else echo FAIL; exit 1; fi

.PHONY: check
check:
	@unformatted=$$(gofmt -l $$(find . -name node_modules -prune -o -name '*.go' -print)); \
	if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet -tags $(TAGS) ./...
	go run $(STATICCHECK) -tags $(TAGS) ./...
	cd twine/webtransport && go vet -tags $(TAGS) ./... && go run $(STATICCHECK) -tags $(TAGS) ./...
	cd testdata/bench/centrifuge && go vet ./... && go run $(STATICCHECK) ./...

.PHONY: unit
unit:
	go test -race -timeout 45m ./...
	cd twine/webtransport && go test -race -timeout 45m ./...

.PHONY: stores
stores: $(NODE_MODULES)
	go test -tags dynamodb -count 1 -short -timeout 45m ./recovery/dynamodb -rapid.checks=10
	go test -race -tags redis,dynamodb -count 1 -timeout 45m ./recovery/redis/... ./twine
	go test -tags redis,e2e -count 1 -timeout 45m ./adapter/...

.PHONY: e2e
e2e: $(NODE_MODULES) $(BENCH_MODULES)
	go test -tags e2e -count 1 -timeout 45m ./cmd/... ./examples/...
	cd twine/webtransport && go test -tags e2e -count 1 -timeout 45m ./...

.PHONY: bench
bench: $(NODE_MODULES) $(BENCH_MODULES)
	go run ./cmd/twinebench --out testdata/bench $(BENCH)

# What the tests need and the machine lacks, from the system's packages and from npm.
.PHONY: install
install: packages $(NODE_MODULES) $(BENCH_MODULES)

.PHONY: packages
packages:
	@missing=(); \
	command -v gcc >/dev/null || missing+=(gcc libc6-dev); \
	command -v node >/dev/null || missing+=(nodejs); \
	command -v npm >/dev/null || missing+=(npm); \
	command -v redis-server >/dev/null || missing+=(redis-server); \
	command -v haproxy >/dev/null || [ -x /usr/sbin/haproxy ] || missing+=(haproxy); \
	command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || missing+=(nginx-light); \
	command -v systemd-analyze >/dev/null || missing+=(systemd); \
	[ -x "$$CHROMIUM" ] || missing+=(chromium); \
	if [ $${#missing[@]} -gt 0 ]; then \
		as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
		echo "installing $${missing[*]}"; \
		$$as_root apt-get update -qq; \
		$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$${missing[@]}" >/dev/null; \
	fi

$(NODE_MODULES): testdata/js/package-lock.json
	cd testdata/js && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@

$(BENCH_MODULES): testdata/bench/node/package-lock.json
	cd testdata/bench/node && npm ci --no-audit --no-fund --ignore-scripts
	@touch $@
