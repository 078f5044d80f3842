# Every target runs on a bare machine with Go: what else is needed is fetched
# by tools/setup (npm) and by Go itself (modules, the linter).

SHELL   := /bin/sh
GO      ?= go
CACHE   := $(CURDIR)/.cache
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
# The stamp comes from git describe: a checkout of another user still builds.
BUILD   := -buildvcs=false -trimpath -ldflags "-X main.version=$(VERSION)"
# The race detector needs a C compiler.
RACE    ?= $(if $(shell command -v gcc 2>/dev/null || command -v cc 2>/dev/null),-race)
FRESH   := $(if $(CI),-count=1)

SEEDS    ?= 2000
SEED0    ?= 1
FUZZTIME ?= 10s
DURATION ?= 10m

.PHONY: build test demo bench lint fuzz golden sim crash proof soak fmt setup clean

build: ## bin/shiplift
	@mkdir -p bin
	$(GO) build $(BUILD) -o bin/shiplift ./cmd/shiplift

setup:
	@tools/setup

test: setup lint ## everything that must hold
	$(GO) vet ./...
	$(GO) test -buildvcs=false $(RACE) $(FRESH) -timeout 40m ./...

demo: setup build ## a rolling upgrade of a real cluster under load, about a minute
	bin/shiplift demo

bench: setup ## interruption against what an operator scripts; overhead per step; 1,000 hosts; distribution; upgrades a second
	$(GO) test -buildvcs=false -run '^$$' -bench Switchover -benchtime 20x -timeout 30m ./internal/driver/postgres
	$(GO) test -buildvcs=false -run '^$$' -bench . -benchmem -timeout 30m ./internal/run ./internal/host ./internal/journal ./internal/lab/sim
	$(GO) test -buildvcs=false -run '^$$' -bench Distribute -benchtime 5x -timeout 30m ./internal/bench
	$(GO) test -buildvcs=false -run '^$$' -bench Upgrades -timeout 30m ./internal/proof

lint: $(CACHE)/golangci-lint ## style, errors, import direction
	$(CACHE)/golangci-lint run ./...

# Built from the module in tools/, so that its needs stay out of the program's.
$(CACHE)/golangci-lint: tools/go.mod tools/go.sum
	@mkdir -p $(CACHE)
	cd tools && $(GO) build -buildvcs=false -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

fmt: $(CACHE)/golangci-lint
	$(CACHE)/golangci-lint fmt ./...

fuzz: ## each fuzz test for FUZZTIME
	@grep -rlE '^func Fuzz' --include=*_test.go internal cmd | xargs -n1 dirname | sort -u | while read -r pkg; do \
		for f in $$(grep -hoE '^func Fuzz[A-Za-z0-9_]+' $$pkg/*_test.go | sed 's/func //'); do \
			echo "== $$pkg $$f"; \
			$(GO) test -buildvcs=false -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) ./$$pkg || exit 1; \
		done; \
	done

golden: ## rewrite what tests compare with; review the diff like code
	@grep -rlE 'flag\.Bool\("update"' --include=*_test.go internal cmd | xargs -n1 dirname | sort -u | while read -r pkg; do \
		$(GO) test -buildvcs=false ./$$pkg -update || exit 1; \
	done

sim: ## seeded runs with faults: make sim SEEDS=20000 SEED0=7
	$(GO) test -buildvcs=false -count=1 -timeout 0 ./internal/proof -run TestSim -seeds $(SEEDS) -seed0 $(SEED0) $(if $(CASE),-case $(CASE)) $(if $(TROUBLE),-trouble '$(TROUBLE)')

crash: ## the tool killed at every point, and every pair of step boundaries, of every simulated upgrade: hours
	$(GO) test -buildvcs=false -count=1 -timeout 0 -v -run TestExhaustive ./internal/proof -every 1
	$(GO) test -buildvcs=false -count=1 -timeout 0 -run 'Conform|Crash' ./internal/driver/opengauss -every 1
	$(GO) test -buildvcs=false -count=1 -timeout 0 -run 'Conform|Crash' ./internal/driver/mogdb -every 1
	$(GO) test -buildvcs=false -count=1 -timeout 0 -run 'Conform|Crash' ./internal/driver/postgres -every 1
	$(GO) test -buildvcs=false -count=1 -timeout 0 -run 'Conform|Crash' ./internal/driver/gbase8a -every 1
	SHIPLIFT_SEEDS=200 $(GO) test -buildvcs=false -count=1 -timeout 0 -run 'Conform|Crash|Death|PowerLost|OverSSH|Seeds' ./internal/driver/dameng -every 1

proof: ## each guard behind a safety rule removed, the tests must notice: docs/proof.md; make proof PKG=mogdb RULES='M1[0-5]'
	$(GO) run -buildvcs=false ./internal/proof/mutant $(if $(PKG),-pkg '$(PKG)') $(if $(RULES),-rules '$(RULES)')

soak: setup ## real servers upgraded under load, the built tool killed at drawn moments, real faults: make soak DURATION=2h SEED0=7
	$(GO) test -buildvcs=false $(RACE) -count=1 -timeout 0 -v -run TestSoak ./internal/proof -soak $(DURATION) -soakseed $(SEED0)

clean:
	rm -rf bin dist
