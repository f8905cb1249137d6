# Everything a newcomer needs: make demo, make test. On a bare Debian or Raspberry Pi OS they install what is missing.
PYTHON ?= python3
PREFIX ?= /opt/bocage
DESTDIR ?=
VENV := .venv
BIN := $(VENV)/bin
# Mosquitto lies where an ordinary user does not look.
export PATH := $(PATH):/usr/sbin:/sbin

TEST_PACKAGES := mosquitto mosquitto-clients mbpoll libmodbus-dev pkgconf gcc libc6-dev socat openssl faketime iproute2 nftables strace
# Node by whatever way it came: the makers' own packages of it shut out Debian's npm.
NODE := nodejs npm
TEST_PACKAGES += $(if $(shell command -v npm 2>/dev/null),,$(NODE))

.PHONY: help demo test lint bench torture simulate mutants install lock sbom uninstall clean test-packages
.SILENT:

help: ## this list
	sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(VENV)/.demo ## a village on this machine, live in the terminal; SECONDS=90 ends it, SPEED=600 hurries, SITE=file
	$(BIN)/bocage demo$(if $(SITE), --site '$(SITE)')$(if $(SECONDS), --seconds $(SECONDS))$(if $(SPEED), --speed $(SPEED))

# Processes of pytest take one file after the other, those with the most tests first. One more than processors, for most
# tests wait most of the time; four at the most: a container that may use two processors of sixty-four sees them all.
test: JOBS ?= $(shell n=$$(nproc); echo $$((n > 3 ? 4 : n + 1)))
test: test-packages $(VENV)/.test lint ## lint, types, import contracts and all tests; JOBS=1 one by one; ARGS goes to pytest
	$(BIN)/python -m pytest $(if $(filter-out 1,$(JOBS)),-n $(JOBS) --dist loadfile) $(ARGS)

lint: $(VENV)/.test ## ruff, mypy --strict, vulture, import-linter
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/vulture
	$(BIN)/lint-imports

bench: test-packages $(VENV)/.test ## measure; a table, and bench-result.json (OUT=another file, ONLY=a,b)
	$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) --out $(or $(OUT),bench-result.json)

torture: test-packages $(VENV)/.test ## every fault that the guarantees name, for real; LONG=1 takes hours; ONLY=a,b
	$(BIN)/python -m tests.torture $(if $(LONG),--long) $(if $(ONLY),--only $(ONLY)) --out $(or $(OUT),torture-result.json)

SIMULATE = $(if $(SEEDS),--seeds $(SEEDS)) $(if $(HOURS),--hours $(HOURS)) $(if $(FROM),--from $(FROM)) \
    $(if $(JOBS),--jobs $(JOBS)) $(if $(OUT),--out $(OUT))
simulate: $(VENV)/.test ## lives full of faults in virtual time: SEEDS=1000 HOURS=24 FROM=n JOBS=n OUT=file ONLY=a,b
	$(BIN)/python -m tests.simulation $(SIMULATE) $(if $(ONLY),--only $(ONLY)) $(if $(WORLD),--world $(WORLD))

mutants: $(VENV)/.test ## defects put in on purpose: which seed finds each; SEEDS=200 HOURS=1 ONLY=a,b OUT=file
	$(BIN)/python -m tests.simulation.mutants $(SIMULATE) $(if $(ONLY),--only $(ONLY))

install: ## into PREFIX=/opt/bocage, with the systemd unit; as root, or into a DESTDIR; LOCKED=0 takes what fits
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PYTHON='$(PYTHON)' LOCKED='$(LOCKED)' scripts/install

lock: ## the locks in requirements/ anew, with the hash of every file, for each Python and machine
	PYTHON='$(PYTHON)' scripts/lock

sbom: ## what an installation consists of, from the locks: dist/*.cdx.json (CycloneDX 1.5)
	mkdir -p dist
	version=$$(sed -n 's/^VERSION = "\(.*\)"/\1/p' agent/__init__.py); for lock in requirements/py*.txt; do \
	    out=dist/bocage-$$version-$$(basename "$$lock" .txt).cdx.json; \
	    $(PYTHON) scripts/sbom "$$lock" "$$version" >"$$out" || exit 1; echo "$$out"; \
	done

uninstall: ## the opposite; keeps configuration and state unless PURGE=1
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' PURGE='$(PURGE)' scripts/uninstall

clean: ## remove the virtual environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

test-packages:
	scripts/packages "make test" $(TEST_PACKAGES)

# Installed again when the dependencies change, or the Python below went away with an upgrade; the code itself is linked,
# not copied.
GONE := $(shell $(BIN)/python -Bc 'import pip' 2>/dev/null || echo no-python)
.PHONY: $(GONE)

$(VENV)/.demo: setup.cfg pyproject.toml $(GONE)
	scripts/venv $(PYTHON) $(VENV) -e '.[demo]'
	touch $@

$(VENV)/.test: setup.cfg pyproject.toml $(GONE)
	scripts/venv $(PYTHON) $(VENV) -e '.[demo,test]'
	touch $@ $(VENV)/.demo
