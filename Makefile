# Everything that people and CI do with this repository. `make help` lists it.
SHELL := /bin/bash
GO    ?= go
BIN   := bin

# VERSION is weir's own; the Envoy version it is compatible with lives in pkg/agent/version.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X github.com/weir-proxy/weir/pkg/agent/version.build=$(VERSION) -X github.com/weir-proxy/weir/pkg/agent/version.commit=$(COMMIT)

# The tests share two cores and open many sockets; packages run two at a time.
TESTFLAGS ?= -p 2 -timeout 20m
FUZZTIME  ?= 20s

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: build
build: ## build bin/weir and bin/weirctl (needs Go alone)
	@mkdir -p $(BIN)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...

.PHONY: demo
demo: build ## an online shop, intercepted: capture, TLS, canary, traffic shift over xDS (root)
	@tools/deps/install.sh demo
	$(BIN)/weirctl demo

.PHONY: test
test: build ## all tests, on the real kernel (root); installs what they need
	@tools/deps/install.sh test
	$(GO) test -shuffle=on $(TESTFLAGS) ./...

.PHONY: test-race
test-race: build ## the same under the race detector (needs a C compiler)
	@tools/deps/install.sh test
	CGO_ENABLED=1 $(GO) test -race -shuffle=on $(TESTFLAGS) ./...

.PHONY: lint
lint: ## gofumpt, vet, staticcheck, import directions
	@out=$$($(GO) tool -modfile=tools/lint/go.mod gofumpt -l $$(git ls-files '*.go' | grep -v '\.pb\.go$$')); \
	  if [ -n "$$out" ]; then echo "not gofumpt-ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool -modfile=tools/lint/go.mod staticcheck ./...
	$(GO) test -count=1 ./tools/archcheck

.PHONY: generate
generate: ## regenerate BPF objects and protobuf code (installs the pinned clang and protoc)
	@tools/deps/install.sh generate
	$(GO) run ./tools/generate

.PHONY: check-generated
check-generated: ## fail when generated files differ from what their sources give
	@tools/deps/install.sh generate
	$(GO) run ./tools/generate -check

.PHONY: bench
bench: build ## cost of proxying beside nginx and haproxy, in one run (BENCH="-scenarios http1 -rounds 3", ...)
	@tools/deps/install.sh bench
	$(GO) build -o $(BIN)/bench ./tools/bench
	$(BIN)/bench -json $(BIN)/bench.json $(BENCH)

.PHONY: bench-xds
bench-xds: build ## what configuration costs at 5,000 clusters and 100,000 endpoints (BENCH_XDS="-scenarios updates -rounds 3", ...)
	@tools/deps/install.sh bench
	$(GO) build -o $(BIN)/benchxds ./tools/benchxds
	$(BIN)/benchxds -json $(BIN)/benchxds.json $(BENCH_XDS)

.PHONY: bench-kernel
bench-kernel: build ## what connect() costs, offload, acceleration, updates and maps (root; BENCH_KERNEL="-scenarios update -rounds 3", ...)
	@tools/deps/install.sh bench
	$(GO) build -o $(BIN)/benchkernel ./tools/benchkernel
	$(BIN)/benchkernel -json $(BIN)/benchkernel.json $(BENCH_KERNEL)

.PHONY: test-kernels
test-kernels: ## the kernel tests on Debian's 6.1 and 6.12 under QEMU (KMATRIX="-kernels 6.1 -suites pkg/kernel/intercept", ...)
	@tools/deps/install.sh kernels
	$(GO) build -o $(BIN)/kmatrix-host ./tools/kmatrix
	$(BIN)/kmatrix-host $(KMATRIX)

.PHONY: profile
profile: build ## refresh cmd/weir/default.pgo, the profile that the compiler optimises by
	@tools/deps/install.sh bench
	$(GO) build -o $(BIN)/bench ./tools/bench
	$(BIN)/bench -duration 10s -profile cmd/weir/default.pgo

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME each
	@tools/fuzz/run.sh $(FUZZTIME)

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN)
