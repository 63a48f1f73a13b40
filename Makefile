# Every target sets up what it needs, once: a fresh machine needs Python 3.11 or newer and make.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
# Tests wait a good deal, so there is one more at a time than there are processors; JOBS=0 for one after the
# other. What must not run beside each other is in one group (pytest.mark.xdist_group).
JOBS ?= $(shell expr $$(nproc) + 1)
FUZZ_SECONDS ?= 60
PYTEST := $(BIN)/python -m pytest -q -n $(JOBS) --dist loadgroup

.PHONY: help demo serve-demo test check lint integration faults soak fuzz tape bench bench-2g bench-nights bench-pages bench-governor bench-sweep bench-restores bench-speed servers peers clean

help:
	@echo "make demo         back up a sample store, restore it, compare"
	@echo "make serve-demo   a week of nights on it, then the page of \`mailhaul serve\`, until Ctrl-C"
	@echo "make test         every test (installs Dovecot and what else they need, where it can)"
	@echo "make check        format, lint, types, import rules, quick tests"
	@echo "make integration  tests against a real Dovecot"
	@echo "make faults       planned failures; make soak: the same for much longer"
	@echo "make fuzz         the scanner of the hot path in C, with sanitizers, for FUZZ_SECONDS (60)"
	@echo "make tape         tests of real tape drives and a robot, in an emulated machine (10 minutes)"
	@echo "make bench        mailhaul beside restic, borg, tar on 200 MB; make bench-2g: on 2 GB"
	@echo "make bench-nights nights after the first backup (needs the corpus)"
	@echo "make bench-restores  restores beside restic and borg, on 2 GB; one message, with the start of the program"
	@echo "make bench-speed  all of these, on three stores; BASE=CHECKOUT: these five beside an earlier state"
	@echo "make bench-pages  the page of serve on a catalog of 100,000 mailboxes and 400 nights"
	@echo "make bench-governor  what users of a Dovecot wait while backups run, with the governor and without (10 minutes, root)"
	@echo "make bench-sweep  sweeps beside cp, rclone and dd (2 GB)"
	@echo "make clean        remove all that these targets made here"
	@echo "JOBS=4 runs four tests at a time; PYTHON=python3.12 chooses another interpreter"

demo: $(READY)
	@$(BIN)/python deploy/demo/demo.py

serve-demo: $(READY)
	@$(BIN)/python deploy/demo/serve_demo.py

test: $(READY) servers
	$(PYTEST)

check: lint
	$(PYTEST) tests/unit tests/contract

lint: $(READY)
	$(BIN)/ruff format --quiet --check .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	MYPYPATH=deploy/demo $(BIN)/mypy --config-file= --strict -m demo -m make_store -m serve_demo
	PYTHONPATH=.typing $(BIN)/lint-imports --no-logo

integration: $(READY) servers
	$(PYTEST) tests/integration

faults: $(READY) servers
	$(PYTEST) tests/faults

soak: $(READY) servers
	$(PYTEST) tests/faults tests/property --rounds 1000 --hypothesis-profile soak --timeout 14400

fuzz: $(READY)
	@.ci/need clang:clang clang:libclang-rt-dev
	@mkdir -p build/fuzz/found
	@$(BIN)/python -P -m mailhaul.tests.fuzz.seeds build/fuzz
	clang -std=c11 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
	    tests/fuzz/scan.c -o build/fuzz/scan
	@cd build/fuzz && { ./scan -max_total_time=$(FUZZ_SECONDS) -max_len=30000 -timeout=10 -dict=words \
	    -print_final_stats=1 found seeds 2>log || { tail -n 40 log; exit 1; }; } && grep stat::number log

tape: $(READY)
	@.ci/need qemu-system-x86_64:qemu-system-x86 busybox:busybox-static depmod:kmod cpio:cpio tgtd:tgt \
	    iscsid:open-iscsi mtx:mtx sg_logs:sg3-utils
	$(BIN)/python -P -m mailhaul.tests.emulated.machine sh tests/emulated/tape_library.sh

# BASE=CHECKOUT: an earlier state takes part, built and installed for the system's interpreter as this one is.
BENCH = $(BIN)/python -P -m mailhaul.bench.macro
BESIDE = $(if $(BASE),--base $(BASE))

bench: $(READY) peers
	$(BENCH).peers small $(BESIDE)

bench-2g: $(READY) peers
	$(BENCH).peers 2g $(BESIDE)

bench-nights: $(READY) peers
	$(BENCH).nights small $(BESIDE) $(NIGHTS)

bench-restores: $(READY) peers
	$(BENCH).restores 2g $(BESIDE)

# Full backups, nights, restores; small mail, attachments, many mailboxes: about an hour.
bench-speed: $(READY) peers
	for setting in small 2g many; do \
	    $(BENCH).nights $$setting --rounds 5 $(BESIDE) && $(BENCH).restores $$setting --repetitions 3 $(BESIDE) \
	        || exit; done

bench-sweep: $(READY) servers
	@.ci/need rclone:rclone
	$(BIN)/python -P -m mailhaul.bench.macro.sweep 2g

bench-governor: $(READY)
	@.ci/need dovecot:dovecot-imapd /usr/lib/dovecot/lmtp:dovecot-lmtpd
	$(BENCH).governor --results bench/results

bench-pages: $(READY)
	$(BIN)/python -P -m mailhaul.bench.macro.pages --lived

# The virtual environment, with the project in it (editable), and the link by which type and
# import checkers find the package: the repository's root is the package `mailhaul`.
$(READY): pyproject.toml $(wildcard worker/packing/_*.[ch] proto/archive/_*.[ch])
	@command -v $(PYTHON) >/dev/null || .ci/need python3:python3
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	    f"mailhaul needs Python 3.11 or newer, {sys.executable} is {v[0]}.{v[1]}: make PYTHON=...")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || .ci/need python3-venv
	@.ci/need gcc:gcc gcc:libc6-dev || true # without them the hot path is pure Python
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" || \
	    .ci/need python3-dev || true
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@mkdir -p .typing && ln -sfn .. .typing/mailhaul
	@echo "installing mailhaul and what its tests need into .venv"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[test]'
	@$(BIN)/mailhaul --version
	@touch $@

servers:
	@.ci/need dovecot:dovecot-imapd /usr/lib/dovecot/lmtp:dovecot-lmtpd /usr/lib/dovecot/pop3:dovecot-pop3d \
	    mbsync:isync debootstrap:debootstrap mkfs.ext4:e2fsprogs mkfs.btrfs:btrfs-progs ip:iproute2 \
	    nft:nftables openssl:openssl promtool:prometheus \
	    radosgw:radosgw ceph-mon:ceph-mon ceph-osd:ceph-osd ceph:ceph-common \
	    swift-proxy-server:swift-proxy swift-account-server:swift-account \
	    swift-container-server:swift-container swift-object-server:swift-object swift-ring-builder:swift \
	    memcached:memcached \
	    amdump:amanda-server amdump:libencode-locale-perl amdump:libjson-perl \
	    /usr/lib/amanda/application/amgtar:amanda-client bacula-dir:bacula-director \
	    bacula-dir:bacula-director-sqlite3 bacula-sd:bacula-sd bacula-fd:bacula-fd bconsole:bacula-console \
	    sqlite3:sqlite3 chromium:chromium
	@.ci/browser
	@.ci/cyrus make || [ $$? = 77 ]
	@.ci/debian13 make || [ $$? = 77 ]

peers:
	@.ci/need restic:restic borg:borgbackup lz4:lz4

clean:
	rm -rf .venv .typing build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
