# simline. `make` lists what there is; CONTRIBUTING.md says how we work.

SHELL := /usr/bin/env bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export GOTOOLCHAIN ?= local

GO      ?= go
BIN     := bin
MAINS   := $(notdir $(wildcard cmd/*))
PKGS    ?= ./...
# On two cores more test binaries at once only get in each other's way.
TESTFLAGS ?= -race -shuffle=on -count=1 -p 2 -timeout 20m
FUZZTIME  ?= 30s
SOAK_FOR  ?= 3m

##@ See it work
.PHONY: run demo
run: prepare build ## run it all here on small, steady business, until Ctrl-C
	$(BIN)/demo -bin $(BIN)

demo: prepare build ## the same for a minute and a half; fails unless all books agree
	$(BIN)/demo -bin $(BIN) -bounded

##@ Prove it
.PHONY: test check bench recon-large soak fuzz chaos chaos-real storm
test: prepare ## every test, on real NATS and the real ClickHouse engine, with the race detector; 10,000 runs of the order engine without it
	$(GO) test $(TESTFLAGS) $(PKGS)
	$(GO) test -count=1 -timeout 20m -run 'TestChaos$$|TestFaultTable' ./internal/orderer

check: ## format, vet, staticcheck, govulncheck, generated files, import rules, tidy module
	tools/check

bench: prepare ## measure against floor and peers; prints a table, writes bench/latest.json
	$(GO) run ./bench $(BENCH)

recon-large: prepare ## every reconciliation job over 100,000 and 1,000,000 orders: memory, time, calls; many minutes
	$(GO) run ./bench recon_large

soak: prepare ## three NATS nodes, two of each worker, misfortunes for SOAK_FOR (3m); on loopback, bounded
	SOAK=1 $(GO) test -count=1 -v -timeout 30m -run TestSoak ./internal/soak -soak.for $(SOAK_FOR)

fuzz: ## fuzz each decoder for FUZZTIME (30s), canonicalisation with a million inputs
	tools/fuzz $(FUZZTIME)

chaos: ## as many random runs of the order engine as SEEDS says (20000); SEED=n repeats one
	CHAOS_SEEDS=$(or $(SEEDS),20000) CHAOS_SEED=$(SEED) $(GO) test -count=1 -timeout 0 -run 'TestChaos$$|TestFaultTable' ./internal/orderer

chaos-real: prepare ## 2,000 orders through 3 real orderers that are killed, stopped, restarted; NATS too; about four minutes
	CHAOS_REAL=1 CHAOS_SEED=$(SEED) $(GO) test -count=1 -v -timeout 15m ./internal/chaos

storm: prepare ## notifications at the real ingest while its broker is stopped, hung, out of disk and ingest is killed; two minutes
	$(GO) test -count=1 -v -timeout 15m -run 'TestWebhookStorm|TestTenThousandIdleConnections' ./internal/e2e -storm.answers $(or $(ANSWERS),2000) -storm.kills $(or $(KILLS),5)

##@ Make it
.PHONY: build images images-check generate generate-check prepare clean
build: ## the binaries, into bin/
	@mkdir -p $(BIN)
	$(GO) build -trimpath -o $(BIN)/ $(addprefix ./cmd/,$(MAINS)) ./internal/e2e/demo

images: ## static binaries into dist/, and container images if there is a docker engine
	tools/images

images-check: ## build every program twice, elsewhere and with an empty cache, and compare the bytes
	tools/images -check

generate: ## write the reference pages from the code
	$(GO) run ./internal/tools/reference docs/reference
	$(GO) run ./internal/tools/natsusers deploy/nats/users.conf
	$(GO) run ./cmd/simctl reference docs/reference/simctl.md

generate-check: ## fail if generated pages are not what the code says
	$(GO) run ./internal/tools/reference -check docs/reference
	$(GO) run ./internal/tools/natsusers -check deploy/nats/users.conf
	$(GO) run ./cmd/simctl reference --check docs/reference/simctl.md

prepare: ## install what tests and the demo need and this machine lacks
	tools/prepare

clean: ## remove what the other targets made; caches outside of the tree stay
	rm -rf $(BIN) dist bench/latest.json .cache

##@ Help
.PHONY: help
help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
