# make            builds ./pop3d, the session, and ./pop3d-check, which pop3d -c starts;
#                 V=1 shows each command as it is run
# make demo       one session through real PAM, in a temporary folder
# make check      all tests
# make sanitize   all tests under the address and undefined-behaviour sanitizers;
#                 COMPILERS=clang: by this compiler alone
# make torture    every system call fails, every instant is the last, each fence is tried; TURN=N: a third of
#                 what takes long
# make fleet      three nodes behind HAProxy, over GlusterFS and NFS: what breaks, and what must hold;
#                 STORAGE=NFS: over that alone
# make machines   the tests on other machines, emulated: MACHINES="s390x armhf" takes these two
# make mutants    wrong changes to the product that a test must notice; TENTH=N: a tenth of them
# make prove      the pure parts for all inputs up to a length, by Frama-C or by trying them all
# make fuzz       each parser under libFuzzer, FUZZ_SECONDS each
# make bench      figures beside the peers', which are fetched as Debian packages, not installed
# make install    see below

VERSION = 1.1

CC = gcc
# What touches each octet or each entry is to be fast; the rest is better small.
CFLAGS = $(SMALL) -g $(WHOLE)
FAST_OBJECTS = $(patsubst %,$(BUILD)/maildir/%.o,wire record folder)
WARNINGS = -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
	-Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wundef -Wvla \
	-Wwrite-strings -Wcast-qual -Wno-unused-parameter -Werror=format-security
# Hardening; a compiler for another machine may lack one or the other.
has = $(shell $(CC) $(1) -Werror -x c -c /dev/null -o /dev/null 2>/dev/null && echo $(1))
SMALL := $(firstword $(call has,-Oz) -Os)
FAST := -O2 $(foreach flag,-falign-functions=1 -falign-loops=1 -falign-jumps=1,$(call has,$(flag)))
# The whole program at once, a tenth smaller. Without it (make WHOLE=-fno-lto) the linker sees each call from
# file to file, as it must to put a test's function in between (--wrap).
WHOLE := $(call has,-flto -flto-partition=one -ffat-lto-objects)
HARDENING := $(foreach flag,-fstack-protector-strong -fstack-clash-protection \
	-fcf-protection=full -ftrivial-auto-var-init=zero -fno-asynchronous-unwind-tables \
	-fno-plt -ffunction-sections -fdata-sections,$(call has,$(flag)))
FORTIFY = -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3
# Sizes and times have 64 bits also where a long has 32; elsewhere these two change nothing.
WIDE = -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64
CPPFLAGS = -D_GNU_SOURCE $(WIDE) -DVERSION='"$(VERSION)"' $(FORTIFY)
LINKING = -pie -Wl,--gc-sections -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code,--as-needed $(PACKED)
# Relocations in a twentieth of the room, where the C library of this machine can read them.
PACKED := $(shell mkdir -p build; probe=build/packed.$$$$; \
	echo 'int to, *volatile from = &to; int main(void) { return from != &to; }' | \
	$(CC) -x c - -fPIE -pie -Wl,-z,pack-relative-relocs -o $$probe 2>/dev/null && ($$probe) 2>/dev/null && \
	echo -Wl,-z,pack-relative-relocs; rm -f $$probe)
BUILD = build
PROGRAM = pop3d

# say WHAT NAME prints a short line for a file; Q keeps make from printing the command itself.
# With V=1 it is the other way round; with -s there is neither.
Q = $(if $(filter-out 0,$(V)),,@)
IS_SILENT = $(findstring s,$(firstword -$(MAKEFLAGS)))
say = $(if $(IS_SILENT),,$(if $(Q),@echo '  $(1)  $(2)'))

# What only the check runs is in no session's binary.
CHECK_SOURCES = $(wildcard xinetd.d/*.c) $(patsubst %,maildir/%.c,check command mount way home elsewhere) \
	$(patsubst %,auth/%.c,check check_pam rules modules stack addresses ask password remedies lists directory inquiry lines tool)
SHARED_SOURCES = $(filter-out $(CHECK_SOURCES),$(wildcard auth/*.c maildir/*.c)) $(MORE_SOURCES)
SHARED_OBJECTS = $(SHARED_SOURCES:%.c=$(BUILD)/%.o)
CHECK_OBJECTS = $(CHECK_SOURCES:%.c=$(BUILD)/%.o)
SOURCES = pop3d.c $(SHARED_SOURCES) $(CHECK_SOURCES)
HEADERS = $(wildcard auth/*.h maildir/*.h xinetd.d/*.h)
LINK = $(CC) $(CFLAGS) $(HARDENING) -fPIE $(LINKING) $(LDFLAGS)
CHECK = $(PROGRAM)-check

all: $(PROGRAM) $(CHECK)

$(PROGRAM): $(BUILD)/pop3d.o $(SHARED_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) -o $@ $^ -ldl

$(CHECK): $(CHECK_OBJECTS) $(SHARED_OBJECTS)
	$(call say,LD,$@)
	$(Q)$(LINK) -o $@ $^ -ldl

$(BUILD)/%.o: %.c $(HEADERS) Makefile
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 $(CPPFLAGS) $(CFLAGS) $(WARNINGS) $(HARDENING) -fPIE -c -o $@ $<

$(FAST_OBJECTS): CFLAGS += $(FAST)

demo: all
	@python3 tests/demo.py

check: all programs
	@python3 tests/run.py

# A test may stand in for a part: what it defines is not taken from the archive.
$(BUILD)/product.a: $(SHARED_OBJECTS) $(filter-out $(BUILD)/xinetd.d/check.o,$(CHECK_OBJECTS))
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rc $@ $^

# Unit tests, and what drives maildir/ without a session for tests/property.
UNITS = $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*.c))
programs: $(UNITS) $(BUILD)/tests/property/drive.bin

$(BUILD)/tests/unit/wire_plain: tests/unit/wire.c
$(BUILD)/tests/unit/%: tests/unit/%.c $(wildcard tests/unit/*.h) $(BUILD)/product.a
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 $(CPPFLAGS) $(CFLAGS) $(WARNINGS) -Imaildir -o $@ $< $(BUILD)/product.a

$(BUILD)/tests/property/%.bin: tests/property/%.c $(BUILD)/product.a
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 $(CPPFLAGS) $(CFLAGS) $(WARNINGS) -Imaildir -o $@ $< $(BUILD)/product.a

# Leaks are not looked for: each process ends with its one session. libcrypt is named because
# the sanitizers stand in for crypt(), and find nothing to call if a PAM module brings it later.
# Each compiler builds pop3d, whose every process can report (tests/harness/reports.c), and
# pop3d-wrong, which has a fault on purpose that must be reported (tests/harness/wrong.c).
SANITIZE = -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
REPORTS = tests/harness/reports.c
WRONG = tests/harness/wrong.c
COMPILERS = gcc clang
WRAP = $(shell python3 -B tests/harness/variant.py $(WRONG))
sanitize:
	@for compiler in $(COMPILERS); do \
		echo "== $$compiler, the address and the undefined-behaviour sanitizer" && \
		folder=build/$$compiler-sanitize && \
		build() { $(MAKE) --no-print-directory CC=$$compiler CFLAGS='$(SANITIZE)' FORTIFY= HARDENING= \
		    BUILD=$$folder "$$@"; } && \
		build LDFLAGS='-Wl,--no-as-needed -lcrypt' MORE_SOURCES='$(REPORTS)' \
		    PROGRAM=$$folder/pop3d $$folder/pop3d $$folder/pop3d-check programs && \
		build LDFLAGS='-Wl,--no-as-needed -lcrypt $(WRAP)' MORE_SOURCES='$(REPORTS) $(WRONG)' \
		    PROGRAM=$$folder/pop3d-wrong $$folder/pop3d-wrong && \
		ASAN_OPTIONS=detect_leaks=0 POP3D=$$folder/pop3d \
		    POP3D_TEST_PROGRAMS=$(CURDIR)/$$folder/tests python3 tests/run.py || exit 1; \
	done

# Each system call fails, each instant is the last, each fence is tried; some minutes, as root.
torture: all
	@python3 tests/torture/run.py $(if $(TURN),--turn $(TURN))

# Other widths and orders of octets, by Debian's cross compilers and qemu.
MACHINES = s390x armhf i386 arm64 ppc64el riscv64
machines: $(BUILD)/tests/property/drive.bin
	@python3 tests/machines/run.py $(MACHINES)

clean:
	@rm -rf pop3d pop3d-check build

.PHONY: all demo check programs sanitize torture machines clean

# Installing: make install [DESTDIR=...] [PREFIX=/usr] [SYSCONFDIR=/etc] ...
# A configuration file that is there and differs is left as it is; the new one
# is put beside it. Neither xinetd nor systemd is told: nothing starts by itself.
# Without DESTDIR the account pop3d is made, under which strangers are listened to.
PREFIX = /usr/local
SYSCONFDIR = /etc
SBINDIR = $(PREFIX)/sbin
MANDIR = $(PREFIX)/share/man
DOCDIR = $(PREFIX)/share/doc/pop3d
EXAMPLES = $(filter-out %.c %.h,$(wildcard xinetd.d/*))
REWRITE = sed -e 's|/usr/local/sbin/|$(SBINDIR)/|g' -e 's|/usr/local/share/doc/pop3d|$(DOCDIR)|g'

# install_configuration SOURCE TARGET; a name with a dot is passed over by xinetd
define install_configuration
@$(REWRITE) $(1) >$(2).new && chmod 644 $(2).new
@if [ ! -e $(2) ]; then mv $(2).new $(2); \
elif cmp -s $(2).new $(2); then rm $(2).new; \
else echo 'kept $(2) as it is; the new one is $(2).new'; fi
endef

# uninstall_configuration SOURCE TARGET
define uninstall_configuration
@rm -f $(2).new
@if [ ! -e $(2) ]; then :; \
elif $(REWRITE) $(1) | cmp -s - $(2); then rm $(2); \
else echo 'left $(2), which is not as it was installed'; fi
endef

# The account is nobody else's, so that no other service can end or stop a process of its. Without
# it pop3d takes nobody, so a machine on which it cannot be made is told so, and served.
NOLOGIN = $(firstword $(wildcard /usr/sbin/nologin /sbin/nologin) /bin/false)
define install_account
@if [ -n "$(DESTDIR)" ]; then \
	echo 'with DESTDIR no account is made: a package makes the system account pop3d when it is installed'; \
elif getent passwd pop3d >/dev/null || id pop3d >/dev/null 2>&1; then :; \
elif ! useradd --system --user-group --no-create-home --home-dir /nonexistent --shell $(NOLOGIN) \
	--comment 'POP3 before login' pop3d; then \
	echo 'the system account pop3d could not be made: make it by hand, or pop3d shares nobody with others'; \
fi
endef

install: all
	install -d $(DESTDIR)$(SBINDIR) $(DESTDIR)$(MANDIR)/man8 $(DESTDIR)$(DOCDIR) \
		$(DESTDIR)$(SYSCONFDIR)/xinetd.d $(DESTDIR)$(SYSCONFDIR)/pam.d
	install -m 755 pop3d pop3d-check $(DESTDIR)$(SBINDIR)
	$(REWRITE) pop3d.8 >$(DESTDIR)$(MANDIR)/man8/pop3d.8
	chmod 644 $(DESTDIR)$(MANDIR)/man8/pop3d.8
	install -m 644 LICENSE $(DESTDIR)$(DOCDIR)
	$(REWRITE) README.md >$(DESTDIR)$(DOCDIR)/README.md
	chmod 644 $(DESTDIR)$(DOCDIR)/README.md
	for file in $(notdir $(EXAMPLES)); do \
		$(REWRITE) xinetd.d/$$file >$(DESTDIR)$(DOCDIR)/$$file && \
		chmod 644 $(DESTDIR)$(DOCDIR)/$$file || exit 1; done
	$(call install_configuration,xinetd.d/pop3,$(DESTDIR)$(SYSCONFDIR)/xinetd.d/pop3)
	$(call install_configuration,xinetd.d/pop3.pam,$(DESTDIR)$(SYSCONFDIR)/pam.d/pop3)
	$(install_account)

# Each file by its name, for others may have theirs in the same folders. The account stays, because
# a file or process of its may be left; an account made later could get its number.
uninstall:
	rm -f $(DESTDIR)$(SBINDIR)/pop3d $(DESTDIR)$(SBINDIR)/pop3d-check $(DESTDIR)$(MANDIR)/man8/pop3d.8
	rm -f $(foreach file,README.md LICENSE $(notdir $(EXAMPLES)),$(DESTDIR)$(DOCDIR)/$(file))
	@rmdir $(DESTDIR)$(DOCDIR) 2>/dev/null || true
	$(call uninstall_configuration,xinetd.d/pop3,$(DESTDIR)$(SYSCONFDIR)/xinetd.d/pop3)
	$(call uninstall_configuration,xinetd.d/pop3.pam,$(DESTDIR)$(SYSCONFDIR)/pam.d/pop3)
	@[ -n "$(DESTDIR)" ] || ! getent passwd pop3d >/dev/null || \
		echo 'left the account pop3d; to remove it: userdel pop3d'

.PHONY: install uninstall

# Fuzzing: make fuzz FUZZ_SECONDS=600, each fuzzer that long; what it finds new is in
# build/fuzz/found, what breaks a promise ends it and lies in build/fuzz/broken-*.
FUZZERS = $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
FUZZ_SECONDS = 60
FUZZ_ENGINE = tests/fuzz/replay.c
FUZZ_CHECKS = $(SANITIZE)
FUZZ_FLAGS = -max_len=8192 -timeout=60 -print_final_stats=1

$(BUILD)/%_fuzz: tests/fuzz/%_fuzz.c tests/fuzz/fuzz.h tests/fuzz/replay.c pop3d.c $(HEADERS) $(BUILD)/product.a
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 $(CPPFLAGS) $(CFLAGS) $(WARNINGS) -Imaildir -o $@ $< $(FUZZ_ENGINE) $(FUZZ_PARTS)

# session_fuzz.c stands in for the rest of auth/ and maildir/. It gets these objects and not the
# archive, so that the linker names a function of theirs for which it has no stand-in yet.
FUZZ_PARTS = $(BUILD)/product.a
$(BUILD)/session_fuzz: FUZZ_PARTS = $(patsubst %,$(BUILD)/%.o,auth/login auth/options auth/peer auth/proxy maildir/wire)

replayers: $(FUZZERS:%=$(BUILD)/%_fuzz)

fuzz:
	@$(MAKE) CC=clang CFLAGS='$(FUZZ_CHECKS) -fsanitize=fuzzer-no-link' FORTIFY= HARDENING= \
	    BUILD=build/fuzz FUZZ_ENGINE=-fsanitize=fuzzer replayers
	@for name in $(FUZZERS); do \
		mkdir -p build/fuzz/found/$$name; \
		words=; test ! -e tests/fuzz/$$name.dict || words=-dict=tests/fuzz/$$name.dict; \
		echo "$$name: $(FUZZ_SECONDS) seconds"; \
		ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=8 nice -n 10 build/fuzz/$${name}_fuzz \
		    -max_total_time=$(FUZZ_SECONDS) $(FUZZ_FLAGS) $$words \
		    -artifact_prefix=build/fuzz/broken-$$name- \
		    build/fuzz/found/$$name tests/fuzz/corpus/$$name >build/fuzz/$$name.log 2>&1 || \
		    { tail -40 build/fuzz/$$name.log; echo "not ok fuzz $$name"; exit 1; }; \
		echo "ok fuzz $$name:" \
		    $$(sed -n 's/^stat::number_of_executed_units: //p' build/fuzz/$$name.log) executions; \
	done

.PHONY: fuzz replayers

# Proofs. What Frama-C cannot read is run, as it is shipped and under the sanitizers.
prove:
	@python3 tests/prove/run.py

$(BUILD)/prove/wire_plain: tests/prove/wire.c
$(BUILD)/prove/%: tests/prove/%.c tests/prove/every.h $(BUILD)/product.a
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) -std=c11 $(CPPFLAGS) $(CFLAGS) $(FAST) $(WARNINGS) -o $@ $< $(BUILD)/product.a

.PHONY: prove

# Small wrong changes to the product, one at a time: does a test notice? An hour or two, as root.
mutants:
	@python3 tests/mutants/run.py $(if $(TENTH),--quick --tenth $(TENTH))

.PHONY: mutants

# Three nodes in namespaces, HAProxy, a shared file system, and what may happen to them; some ten minutes, as root.
fleet: all
	@python3 tests/fleet/run.py $(if $(STORAGE),--storage $(STORAGE))

bench: all
	@python3 tests/bench/run.py --peers

.PHONY: fleet bench
