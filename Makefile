# pyrunc: make, make demo, make test, make install, make bench. `make help` says more.

PYTHON   ?= /usr/bin/python3
PREFIX   ?= /usr/local
DESTDIR  ?=
BUILD    := build
LIB      := $(PREFIX)/lib/pyrunc
PACKAGES := pyrunc libcontainer nsexec
VENV     := $(BUILD)/venv
VPY      := $(VENV)/bin/python
# The command of this checkout, and where `make test` and `make bench` install one of their own.
COMMAND  := $(BUILD)/pyrunc
STAGE    := $(abspath $(BUILD))/stage

# A space in a path would make two words of it in every recipe below.
ifneq ($(words $(CURDIR)),1)
$(error the checkout's path has a blank in it: $(CURDIR))
endif

SOURCES := $(shell find $(PACKAGES) launcher tools/vendor.py -name '*.py' -o -name '*.[ch]' -o -name '*.lds' 2>/dev/null | \
             grep -v -e /_nsexec.c -e /_seccomp.c -e /_sdbus.py -e /init_blob.h -e /built.py)

.PHONY: FORCE all help deps test-deps demo test lint types unit integration vm test-vm install uninstall bench clean
.DELETE_ON_ERROR:

all: $(COMMAND)  ## build in place: build/pyrunc runs this checkout

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# ---- building ----

$(BUILD)/deps:
	@mkdir -p $(BUILD)
	tools/deps build
	@touch $@

nsexec/_nsexec.abi3.so: nsexec/build.py nsexec/src/init.c nsexec/src/host.c nsexec/src/host.h nsexec/src/kernel.h nsexec/src/protocol.h | $(BUILD)/deps
	$(PYTHON) nsexec/build.py

nsexec/_seccomp.abi3.so: nsexec/seccomp_build.py nsexec/src/nsexec_seccomp.h | $(BUILD)/deps
	$(PYTHON) nsexec/seccomp_build.py

nsexec/_sdbus.py: nsexec/sdbus_build.py | $(BUILD)/deps
	$(PYTHON) nsexec/sdbus_build.py >/dev/null

pyrunc/built.py: FORCE
	@tools/commit $@

FORCE:

EXTENSIONS := nsexec/_nsexec.abi3.so nsexec/_seccomp.abi3.so nsexec/_sdbus.py
GENERATED  := $(EXTENSIONS) pyrunc/built.py

$(BUILD)/launcher.done: $(wildcard launcher/*) $(EXTENSIONS)
	@rm -f $(BUILD)/launcher $(BUILD)/launcher.missing
	$(PYTHON) launcher/build.py compile $(BUILD)
	@touch $@

$(COMMAND): $(SOURCES) pyrunc/built.py $(BUILD)/launcher.done
	@mkdir -p $(BUILD)/vendor
	$(PYTHON) tools/vendor.py $(BUILD)/vendor
	$(PYTHON) -IS -m compileall -q $(BUILD)/vendor
	$(PYTHON) launcher/build.py image $(BUILD) $(CURDIR):$(CURDIR)/$(BUILD)/vendor "" $@

# ---- installing ----

install: $(GENERATED) $(BUILD)/launcher.done  ## PREFIX=/usr/local DESTDIR=
	@case "$(PREFIX)" in /*) ;; *) echo "PREFIX must be absolute: $(PREFIX)" >&2; exit 1;; esac
	rm -rf "$(DESTDIR)$(LIB)"
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(LIB)"
	tools/stage "$(DESTDIR)$(LIB)" $(PACKAGES)
	$(PYTHON) tools/vendor.py "$(DESTDIR)$(LIB)"
	$(PYTHON) -IS -m compileall -q -f --invalidation-mode unchecked-hash -s "$(DESTDIR)" -p / "$(DESTDIR)$(LIB)"
	$(PYTHON) launcher/build.py image $(BUILD) "$(LIB)" "$(DESTDIR)" "$(DESTDIR)$(PREFIX)/bin/pyrunc"

uninstall:  ## what install put there
	rm -rf "$(DESTDIR)$(LIB)"
	rm -f "$(DESTDIR)$(PREFIX)/bin/pyrunc"

# ---- trying ----

demo:  ## install what is missing, build, run a container, and time it beside runc and crun
	@tools/deps demo
	@$(MAKE) --no-print-directory all
	@tools/demo $(COMMAND)

bench: all  ## the whole table, with the kernel's floor; BENCH="--only run --rounds 20 --format json"
	@tools/deps bench
	$(PYTHON) benchmarks/bench.py $(BENCH)

# ---- testing ----

deps:  ## what building needs, by apt-get
	tools/deps build

test-deps:
	tools/deps test

$(VENV)/done: pyproject.toml | test-deps
	$(PYTHON) -m venv --clear --system-site-packages $(VENV)
	$(PYTHON) tools/requirements.py pyproject.toml dev > $(BUILD)/requirements.txt
	$(VPY) -m pip install --quiet --disable-pip-version-check -r $(BUILD)/requirements.txt
	@touch $@

test: test-deps  ## everything that this machine can test: lint, types, pytest, bats
	@$(MAKE) --no-print-directory all $(VENV)/done
	@command -v criu >/dev/null || tools/criu || echo "no CRIU: the tests of checkpoint and restore are skipped"
	@$(MAKE) --no-print-directory lint unit integration
	@integration/vm/if-possible integration/vm/run -t 2400 integration/vm/suite ci

lint: $(VENV)/done $(GENERATED)  ## ruff and mypy --strict
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

unit: $(VENV)/done $(COMMAND)  ## pytest; PYTEST="-k name"
	PYRUNC=$(abspath $(COMMAND)) $(VPY) -m pytest $(PYTEST)

integration: $(COMMAND)  ## bats, on a command installed under build/stage; BATS="integration/run.bats"
	@$(MAKE) --no-print-directory install PREFIX=$(STAGE) DESTDIR=
	PYRUNC=$(STAGE)/bin/pyrunc bats $(or $(BATS),integration)
ifndef BATS
	PYRUNC=$(STAGE)/bin/pyrunc integration/cgroup2 bats $$(grep -l file_tags=cgroups integration/*.bats)
endif

vm:  ## the test VM, in ~/.cache/pyrunc-vm: integration/vm/README.md
	@tools/deps vm
	@integration/vm/build

test-vm: vm  ## the suites in it; VM="systemd cgroups" some of them: integration/vm/suite
	integration/vm/run -t $(or $(VM_SECONDS),7200) integration/vm/suite $(VM)

clean:  ## all that was built
	rm -rf $(BUILD) dist *.egg-info pyrunc/built.py nsexec/_nsexec.c nsexec/_seccomp.c nsexec/_sdbus.py nsexec/*.o nsexec/*.so nsexec/src/*.o \
	    nsexec/src/init nsexec/src/init_blob.h
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
