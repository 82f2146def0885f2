# Vitalseal. `make demo` shows it, `make test` proves it, `make check` keeps it tidy, `make help` lists the rest.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION) -X github.com/openziti/ziti/common/version.Version=v1.7.2
GOBUILD  := go build -ldflags '$(LDFLAGS)'
FUZZTIME ?= 2m
# The same flags for every go command, so that nothing is compiled twice; no path of this machine in the binary.
export GOFLAGS := $(GOFLAGS) -trimpath
export CGO_ENABLED := 0
LINT     := bin/tools/golangci-lint
SBOM     := bin/tools/cyclonedx-gomod
VULN     := bin/tools/govulncheck
DIST     := internal/view/dashboard/dist/index.html

LAYERS   := doc/layers.svg
MUTATION := bin/tools/gremlins

.PHONY: help demo build weakened attack bench-cost reproducible web test quick coverage mutation layers unit norace race postgres fuzz fuzzshort e2e soak check vulnerabilities lint format cross licences sbom generated deps clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

demo: build ## build, start everything on this machine, print an address and five sign-ins (ARGS="--for 60s --json")
	@bin/vitalseal demo $(ARGS)

build: web ## bin/vitalseal with the real dashboard, and bin/vitalseal-lab, which attacks and measures it
	@echo "building bin/vitalseal and bin/vitalseal-lab (the first time takes some minutes: OpenZiti is in them)" >&2
	@mkdir -p bin
	@$(GOBUILD) -o bin/ ./cmd/vitalseal ./cmd/vitalseal-lab

weakened: web ## bin/vitalseal-weakened and its bin/vitalseal-lab-weakened, for the controls of `vitalseal attack`: never for patients
	@mkdir -p bin
	@go run ./internal/lab/mutate/cmd bin/_weakened
	@$(GOBUILD) -tags weaken -overlay bin/_weakened/overlay.json -o bin/vitalseal-weakened ./cmd/vitalseal
	@$(GOBUILD) -tags weaken -overlay bin/_weakened/overlay.json -o bin/vitalseal-lab-weakened ./cmd/vitalseal-lab

attack: build weakened ## attack a deployment of its own, from every position, with controls (ARGS="--report FILE.md")
	@bin/vitalseal attack $(ARGS)

bench-cost: weakened ## what each layer of security costs (ARGS="--patients 96 --for 30s --repeats 3"): half an hour, on a machine that does nothing else
	@bin/vitalseal-weakened bench cost $(ARGS)

reproducible: web ## two builds of both binaries from two folders are the same, byte for byte
	@scripts/reproducible.sh

web: $(DIST) ## the dashboard's front end (needs Node 20 or later)

$(DIST): web/package-lock.json web/package.json $(wildcard web/*.html web/*.ts) $(shell find web/src web/public -type f 2>/dev/null)
	@scripts/need-node.sh
	@cd web && npm ci --no-audit --no-fund --loglevel=error >&2 && npm run --silent build >&2
	@touch $@

deps: ## what the tests need and the system may lack (Chromium, a C compiler, mosquitto, PostgreSQL), by the system's package manager
	@scripts/install-test-tools.sh

test: deps build weakened norace race postgres fuzzshort e2e ## everything: unit tests, race detector, short fuzz runs, demo script, browser

# RACED are the packages whose tests do not embed OpenZiti. `make test` runs these under the race detector only, and the others
# without it: every test once.
RACED = $(shell go list -test -f '{{.ImportPath}} {{join .Deps " "}}' ./internal/... | grep '\.test ' | grep -v github.com/openziti | sed 's/\.test .*//')

# UNRACED are tests of these packages that say nothing about races: the browser is not ours, and what a password costs is the product's. norace
# has them.
UNRACED = ^(TestScreens|TestLateScreens|TestAbsentScreens|TestSteppedScreens|TestGerman|TestPasswordHash|TestForeignHashes)$$
UNRACEDIN = ./internal/hub/signin ./internal/view/dashboard

# SQLite comes as Go code, half of the time under the race detector, and locks nothing that we could get wrong: its own memory is not watched, ours
# around it is. cheaphash is the seam for password hashes of little cost; cmd/vitalseal does not compile with it.
RACEFLAGS = -race -tags cheaphash -gcflags='github.com/ncruces/go-sqlite3-wasm/...=-race=false' -skip '$(UNRACED)'

# What tests write lies in memory where there is room, what go itself writes does not.
TESTTMP = GOTMPDIR=$${TMPDIR:-/tmp} TMPDIR=$$(scripts/test-tmp.sh)

quick: ## vet and the tests of all that does not embed OpenZiti, without web and browser: for work
	@[ -n "$(RACED)" ] || { echo "go list found no package without OpenZiti" >&2; exit 1; }
	go vet -tags cheaphash . ./scripts/... $(RACED)
	$(TESTTMP) go test -tags cheaphash -skip '$(UNRACED)' . ./scripts/... $(RACED)

coverage: web ## how much of each package its own tests run (ARGS="--json", ARGS="seal vitals" for some packages)
	@node scripts/coverage.mjs $(ARGS)

# MUTATED are the packages in which a wrong line does the most harm.
MUTATED = vitals seal outbox delivery audit access signin signal

mutation: $(MUTATION) ## small changes of the code that the tests must notice, some hours (ARGS="seal vitals", ARGS="--seed 7 --sample 0 seal")
	@node scripts/mutation.mjs $(if $(filter-out --%,$(ARGS)),,$(MUTATED)) $(ARGS)

unit: web ## every unit test without the race detector: quicker, for work
	go test $$(go list ./... | grep -v /cmd/vitalseal)

norace: web
	@[ -n "$(RACED)" ] || { echo "go list found no package for the race detector" >&2; exit 1; }
	$(TESTTMP) go test -timeout 20m $$(go list ./... | grep -v /cmd/vitalseal | grep -vxF $(RACED:%=-e %))
	$(TESTTMP) go test -timeout 20m -run '$(UNRACED)' $(UNRACEDIN)

race: web ## the unit tests under the race detector: all that do not embed OpenZiti
	@[ -n "$(RACED)" ] || { echo "go list found no package for the race detector" >&2; exit 1; }
	CGO_ENABLED=1 $(TESTTMP) go test $(RACEFLAGS) -timeout 20m $(RACED)

postgres: deps ## the store's tests once more, with PostgreSQL in place of files
	VITALSEAL_STORE=postgres $(TESTTMP) go test -count=1 -timeout 20m ./internal/hub/store ./internal/hub/channel ./internal/hub/archive/...

fuzz: ## every fuzz target for FUZZTIME (2m)
	@scripts/fuzz.sh $(FUZZTIME)

fuzzshort: ## every fuzz target for a few seconds, as `make test` does
	@scripts/fuzz.sh 2000x

e2e: deps build weakened ## the demo by script, and in a real browser
	VITALSEAL_BIN=$(CURDIR)/bin/vitalseal go test -count=1 -v -timeout 30m ./cmd/...

SOAK ?= 30m
soak: SHELL := /bin/bash
soak: build ## every fault for SOAK (30m), four tests one after the other; ends with the accounts, soak.log has everything
	set -o pipefail; VITALSEAL_SOAK=$(SOAK) go test -count=1 -p 1 -timeout 0 -v -run '^(TestPowerLoss|TestBadWire|TestFaults)$$' \
	  ./internal/way/outbox ./internal/hub/store ./internal/patient/gateway ./cmd/vitalseal | tee soak.log | grep -E 'ACCOUNT|[0-9]+ x |^(---|ok|FAIL|panic)'

vulnerabilities: $(VULN) web ## known vulnerabilities that the code can reach (asks vuln.go.dev)
	$(VULN) ./...

check: lint format cross licences generated ## golangci-lint, formatting, arm64 build, licences, generated files

lint: web $(LINT)
	$(LINT) run ./...
	$(LINT) run --build-tags weaken ./...
	go run ./internal/lab/mutate/cmd bin/_weakened
	go vet -tags weaken -overlay bin/_weakened/overlay.json ./internal/... ./cmd/...
	cd web && npm run --silent check

format:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not gofmt'd: $$bad"; exit 1; }

cross: web ## one static binary for linux/arm64, and the laboratory's
	@mkdir -p bin
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o bin/vitalseal-arm64 ./cmd/vitalseal
	GOOS=linux GOARCH=arm64 $(GOBUILD) -o bin/vitalseal-lab-arm64 ./cmd/vitalseal-lab
	@ls -l bin/vitalseal-arm64 bin/vitalseal-lab-arm64 | awk '{printf "%s: %.1f MiB\n", $$NF, $$5/1048576}'

sbom: web $(SBOM) ## bin/sbom.cdx.json and bin/sbom-lab.cdx.json: every dependency with version and licence
	@mkdir -p bin
	$(SBOM) app -json -licenses -packages=false -main cmd/vitalseal-lab -output bin/sbom-lab.cdx.json . 2>/dev/null
	$(SBOM) app -json -licenses -packages=false -main cmd/vitalseal -output bin/sbom.cdx.json . 2>/dev/null

licences: sbom ## every dependency's licence, of both binaries, is one that this project may use
	@node scripts/licences.mjs bin/sbom.cdx.json web/package-lock.json
	@node scripts/licences.mjs bin/sbom-lab.cdx.json web/package-lock.json

layers: ## doc/layers.svg, the picture of the packages and their imports, from the code
	go run ./scripts/layers internal $(LAYERS)

generated: ## go.mod, go.sum and doc/layers.svg are what the sources need
	@drawn=$$(mktemp) && go run ./scripts/layers internal $$drawn && cmp -s $$drawn $(LAYERS) || { rm -f $$drawn; echo "$(LAYERS) is old: run make layers" >&2; exit 1; }; rm -f $$drawn
	GONOSUMDB='github.com/openziti/*' go mod tidy -diff

# The tools have a module of their own, so that their dependencies are not ours.
$(LINT) $(SBOM) $(VULN): tools/go.mod tools/go.sum
	@echo "building $@ (some minutes, once)" >&2
	@mkdir -p bin/tools
	@cd tools && go build -o ../bin/tools/ tool

# Mutation testing has a module of its own as well: it would change versions that the linter rests on.
$(MUTATION): tools/mutation/go.mod tools/mutation/go.sum
	@mkdir -p bin/tools
	@cd tools/mutation && go build -o ../../bin/tools/ tool

clean:
	rm -rf bin web/node_modules internal/view/dashboard/dist/assets $(DIST)
