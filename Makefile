# SPDX-License-Identifier: GPL-2.0
# Every command of the project; `make help` lists them.

ifneq ($(words $(CURDIR)),1)
$(error this folder's path holds a blank, which kbuild cannot take: $(CURDIR))
endif

KDIR ?= /lib/modules/$(shell uname -r)/build
OUT := $(CURDIR)/build

.PHONY: all modules modules_install lib lib-tests tool tour bench python java selftests \
	abi32 install run check check-long static host-check clean help

all: modules lib tool

help:
	@echo 'The module, for the running kernel or for another one:'
	@echo '  make modules [KDIR=headers]           build mmapdev.ko here'
	@echo '  make modules_install [KDIR=headers]   into /lib/modules (INSTALL_MOD_PATH=root)'
	@echo 'Library, tool and tests:'
	@echo '  make lib                              libmmapdev, static and shared'
	@echo '  make tool                             mmapdevctl'
	@echo '  make selftests                        the kselftest programs'
	@echo '  make bench                            the benchmarks, into build/userspace/bench'
	@echo '  make install [DESTDIR=, prefix=]      library, header, tool, man pages'
	@echo 'In a virtual machine, with all the set-up it takes:'
	@echo '  make run [KERNELS=6.12]               see the device at work'
	@echo '  make check [TESTS="cow msync"] [KERNELS=6.12]'
	@echo '                                        every test; TESTS may also name'
	@echo '                                        static, host, harness, lib, pmem, tool,'
	@echo '                                        log-tool, tour, examples, python, abi32'
	@echo '  make check-long [KERNELS=6.12]        the device from Java, which it installs'
	@echo '  qemu/run --help                       try your own program'
	@echo '  make clean                            remove what was built'

# Installs what `modules` built.
modules_install: modules

# Kbuild is the module's own makefile. A kernel that wants type information
# (BTF) in modules needs pahole for it; the module is as good without.
modules modules_install:
	@test -e '$(KDIR)/Makefile' || { \
		echo "make: KDIR='$(KDIR)' holds no kernel headers"; \
		echo 'For the running kernel: apt-get install linux-headers-$(shell uname -r) (Debian),'; \
		echo 'for another one: make $@ KDIR=<its headers>. Without any: make lib tool, make run'; \
		exit 2; } >&2
	$(MAKE) -C '$(KDIR)' M='$(CURDIR)' INSTALL_MOD_DIR=updates $@ \
		$(if $(shell command -v pahole),,CONFIG_DEBUG_INFO_BTF_MODULES=)

lib lib-tests tool bench install:
	$(MAKE) -C userspace OUT='$(OUT)/userspace' $@

tour:
	$(MAKE) -C userspace OUT='$(OUT)/userspace' examples

# What a VM takes along to run userspace/examples/Map.java and map.py.
java: lib
	qemu/java '$(OUT)/java'

python: lib
	qemu/python '$(OUT)/python' ctypes mmap os
	cp -L userspace/examples/map.py '$(OUT)/userspace/libmmapdev.so.1' \
		'$(OUT)/python'

$(OUT)/include/linux/mmapdev.h: driver/uapi/mmapdev.h
	@mkdir -p $(@D)
	cp $< $@

# static: they run in a VM which has no libraries of their own. abi32 is apart
# because it wants a 32-bit libc.
selftests abi32: $(OUT)/include/linux/mmapdev.h
	@mkdir -p '$(OUT)/selftests'
	ksft="$$(qemu/fetch source)/tools/testing/selftests" && \
	$(MAKE) -C selftests OUTPUT='$(OUT)/selftests' KSFT_DIR="$$ksft" \
		KHDR_INCLUDES='-isystem $(OUT)/include' USERLDFLAGS=-static \
		$(if $(filter abi32,$@),'$(OUT)/selftests/abi32')

run:
	@qemu/setup
	@$(MAKE) -s tour
	@for kernel in $(or $(KERNELS),6.12); do \
		qemu/run --kernel "$$kernel" \
			--add build/userspace/examples/tour -- ./tour || exit; \
	done

check:
	@qemu/setup
	@qemu/check

check-long:
	@KERNELS='$(or $(KERNELS),6.12)' qemu/check --long

host-check:
	@$(MAKE) -s -C userspace OUT='$(OUT)/userspace' check

static:
	@.ci/static

clean:
	rm -rf build mmapdev.ko mmapdev.o mmapdev.mod* Module.symvers \
		modules.order .Module.symvers.cmd .modules.order.cmd \
		.mmapdev.*.cmd .module-common.o ..module-common.o.cmd .tmp_versions
	rm -f driver/*.o driver/.*.cmd driver/.*.d
