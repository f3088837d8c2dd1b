# Each target prepares all that it needs, on a fresh machine too, and does so once.

PYTHON  ?= python3
PREFIX  ?= /usr
# Where Debian's own python3 looks, whatever its minor version.
LIBRARY ?= $(PREFIX)/lib/python3/dist-packages
# Unit files and udev's rules are not looked for in /usr/local/lib by every release.
SYSTEM  ?= /usr/lib

BIN   := .venv/bin
STAMP := build/stamps
# All that boots a guest, freezes a loop mount or talks to the real thing in a test.
PACKAGES = qemu-system-x86 qemu-utils mmdebstrap e2fsprogs xfsprogs btrfs-progs dosfstools fdisk \
    util-linux iproute2 kmod lvm2 mdadm cryptsetup-bin $(TOOLS)
# The programs that tests talk to without root.
TOOLS := collectd-core dbus rpm

# Debian's users find collectd and mkfs only so.
export PATH := $(PATH):/usr/sbin:/sbin

.PHONY: run vm picture test test-fast bench venv install uninstall clean

## A guest in rehearsal on this machine, and a document that it converges to. No root needed.
run: venv
	$(BIN)/python examples/demo.py

## The same on a real Debian guest in QEMU.
vm: venv $(STAMP)/packages
	$(BIN)/python -m tests.vm.demo

## The same as a drawing: docs/vm.svg, which the README shows.
picture: venv $(STAMP)/packages
	$(BIN)/python -m tests.vm.picture

# One process for each core; a file's tests stay together, as they share what is slow to set up, and
# files begin in the order of tests/conftest.py.
SPREAD := -n logical --dist loadfile --no-loadscope-reorder

# Two guests at once: each has two processors, and waits half of the time.
GUESTS := $(SPREAD) -n 2

## Everything, the tests on real guests included. PYTEST takes more options.
test: venv $(STAMP)/packages
	@# 5: what PYTEST has chosen is not of this part.
	$(BIN)/python -m pytest $(SPREAD) -m 'not vm' $(PYTEST) || [ $$? = 5 ]
	$(BIN)/python -m pytest $(GUESTS) -m 'vm and not alone' $(PYTEST) || [ $$? = 5 ]
	$(BIN)/python -m pytest -m 'vm and alone' $(PYTEST) || [ $$? = 5 ]

## While you work: without root, but for what has to be installed, and without guests.
test-fast: venv $(STAMP)/tools
	$(BIN)/python -m pytest $(SPREAD) -m 'not vm and not root' $(PYTEST)

bench: venv
	$(BIN)/python -m bench

venv: .venv/made

# Its stamp lies inside, and goes where it goes.
.venv/made: pyproject.toml
	@# Debian keeps ensurepip in a package of its own.
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory apt WANTED=python3-venv
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

$(STAMP)/packages: WANTED = $(PACKAGES)
$(STAMP)/tools: WANTED = $(TOOLS)
$(STAMP)/packages $(STAMP)/tools: Makefile
	@mkdir -p $(@D)
	@$(MAKE) --no-print-directory apt WANTED='$(WANTED)'
	@touch $@

# Asks apt for what is missing only, and for its lists only where there are none.
.PHONY: apt
apt:
	@missing=$$(for package in $(WANTED); do \
	    dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q ' installed$$' || echo $$package; \
	done); \
	[ -z "$$missing" ] && exit 0; \
	[ "$$(id -u)" = 0 ] && sudo= || sudo='sudo -n'; \
	apt-cache show $$missing >/dev/null 2>&1 || $$sudo apt-get -qq update || exit 1; \
	install() { $$sudo env DEBIAN_FRONTEND=noninteractive \
	    apt-get -qq -y --no-install-recommends install $$missing >/dev/null; }; \
	install || { $$sudo apt-get -qq update && install; }

## Into a Debian root that has python3-{jeepney,yaml,cerberus,psutil,serial}: make install DESTDIR=/mnt
install:
	@mkdir -p build
	rm -rf '$(DESTDIR)$(LIBRARY)/reconciler' '$(DESTDIR)$(LIBRARY)/guest_runtime'
	set -e; find reconciler guest_runtime -name '*.py' -o -name '*.json' | while read -r file; do \
	    install -D -m 644 "$$file" "$(DESTDIR)$(LIBRARY)/$$file"; \
	done
	# Checked never: nobody edits the installed code, and a start saves a look at each source.
	$(firstword $(wildcard /usr/bin/python3) $(PYTHON)) -m compileall -q --invalidation-mode unchecked-hash -s '$(DESTDIR)' -p / \
	    '$(DESTDIR)$(LIBRARY)/reconciler' '$(DESTDIR)$(LIBRARY)/guest_runtime'
	install -d '$(DESTDIR)$(PREFIX)/bin' '$(DESTDIR)/etc/guest-reconciler/freeze.d' \
	    '$(DESTDIR)/etc/guest-reconciler/metrics.exec.d'
	set -e; for script in guest-reconciler reconciler; do \
	    sed 's|@LIBRARY@|$(LIBRARY)|' guest_runtime/units/$$script.in >build/$$script.$$$$; \
	    install -m 755 build/$$script.$$$$ "$(DESTDIR)$(PREFIX)/bin/$$script"; rm build/$$script.$$$$; \
	done
	sed 's|@PREFIX@|$(PREFIX)|' guest_runtime/units/guest-reconciler.service.in >build/unit.$$$$ && \
	    install -D -m 644 build/unit.$$$$ '$(DESTDIR)$(SYSTEM)/systemd/system/guest-reconciler.service' && rm build/unit.$$$$
	install -D -m 644 guest_runtime/units/60-guest-reconciler.rules '$(DESTDIR)$(SYSTEM)/udev/rules.d/60-guest-reconciler.rules'
	install -d '$(DESTDIR)$(PREFIX)/lib/guest-reconciler'
	sed 's|@LIBRARY@|$(LIBRARY)|' guest_runtime/units/pam-credential.in >build/pam-credential.$$$$ && \
	    install -m 755 build/pam-credential.$$$$ '$(DESTDIR)$(PREFIX)/lib/guest-reconciler/pam-credential' && \
	    rm build/pam-credential.$$$$
	# For GDM: what its greeter begins, the module of that, and the name on the bus that it listens to.
	install -m 644 guest_runtime/pam_token.py '$(DESTDIR)$(PREFIX)/lib/guest-reconciler/pam-token.py'
	install -D -m 644 guest_runtime/units/dbus.conf \
	    '$(DESTDIR)/usr/share/dbus-1/system.d/guest-reconciler.conf'
	# One of oVirt's agent stays; ours is renewed.
	test -e '$(DESTDIR)/etc/pam.d/gdm-ovirtcred' && ! grep -q guest-reconciler/pam-token '$(DESTDIR)/etc/pam.d/gdm-ovirtcred' || { \
	    sed 's|@PREFIX@|$(PREFIX)|' guest_runtime/units/pam-gdm.in >build/pam-gdm.$$$$ && \
	    install -D -m 644 build/pam-gdm.$$$$ '$(DESTDIR)/etc/pam.d/gdm-ovirtcred' && rm build/pam-gdm.$$$$; }
	# For LightDM: its own rules of PAM with a question before them, and that it is to take those.
	sed 's|@PREFIX@|$(PREFIX)|' guest_runtime/units/pam-lightdm.in >build/pam-lightdm.$$$$ && \
	    install -D -m 644 build/pam-lightdm.$$$$ '$(DESTDIR)/etc/pam.d/guest-reconciler-lightdm' && \
	    rm build/pam-lightdm.$$$$
	install -D -m 644 guest_runtime/units/60-guest-reconciler-lightdm.conf \
	    '$(DESTDIR)/usr/share/lightdm/lightdm.conf.d/60-guest-reconciler.conf'
	# PAM's own rules are the distribution's; an administrator's are never overwritten.
	test -e '$(DESTDIR)/etc/pam.d/guest-reconciler' || { \
	    auth=other; account=other; \
	    for name in base-auth system-auth password-auth common-auth; do \
	        test ! -e "$(DESTDIR)/etc/pam.d/$$name" || auth=$$name; \
	    done; \
	    for name in base-account system-auth password-auth common-account; do \
	        test ! -e "$(DESTDIR)/etc/pam.d/$$name" || account=$$name; \
	    done; \
	    sed "s|@AUTH@|$$auth|; s|@ACCOUNT@|$$account|" guest_runtime/units/pam.in >build/pam.$$$$ && \
	    install -D -m 644 build/pam.$$$$ '$(DESTDIR)/etc/pam.d/guest-reconciler' && rm build/pam.$$$$; }
	# An administrator's policy is never overwritten.
	test -e '$(DESTDIR)/etc/guest-reconciler/policy.yaml' || \
	    install -D -m 644 guest_runtime/units/policy.yaml '$(DESTDIR)/etc/guest-reconciler/policy.yaml'

uninstall:
	@mkdir -p build
	rm -rf '$(DESTDIR)$(LIBRARY)/reconciler' '$(DESTDIR)$(LIBRARY)/guest_runtime'
	rm -f '$(DESTDIR)$(PREFIX)/bin/guest-reconciler' '$(DESTDIR)$(PREFIX)/bin/reconciler'
	# The rules of PAM stay: a LightDM that runs asks for them until it is started anew.
	rm -f '$(DESTDIR)/usr/share/lightdm/lightdm.conf.d/60-guest-reconciler.conf'
	rm -f '$(DESTDIR)/usr/share/dbus-1/system.d/guest-reconciler.conf'
	! grep -qs guest-reconciler/pam-token '$(DESTDIR)/etc/pam.d/gdm-ovirtcred' || \
	    rm -f '$(DESTDIR)/etc/pam.d/gdm-ovirtcred'
	rm -rf '$(DESTDIR)$(PREFIX)/lib/guest-reconciler'
	rm -f '$(DESTDIR)$(SYSTEM)/systemd/system/guest-reconciler.service'
	rm -f '$(DESTDIR)$(SYSTEM)/udev/rules.d/60-guest-reconciler.rules'

clean:
	rm -rf build .venv
