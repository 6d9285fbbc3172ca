// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Persist: what was written survives a crash of the system.
 *
 * Where the kernel accepted MAP_SYNC the mapping is the storage itself, with
 * nothing in between but the caches of the CPU: their lines are written back
 * from here, at the price of an instruction each. Anywhere else it is msync(2).
 *
 * Intel SDM, vol. 2A, CLFLUSH, CLFLUSHOPT, CLWB and CPUID: where each is told
 * of, the size of a line, and that only the last two need a fence. Arm ARM
 * (DDI 0487), DC CVAP, CTR_EL0 and DSB.
 */
#include <errno.h>

#include "private.h"

/* What a CPU has: a bit for each method, and the size of a line from bit 8. */
#define BIT(method) (1u << MMAPDEV_PERSIST_##method)

void mmapdev_each_line(const void *addr, size_t length, size_t line,
		       void (*op)(const void *line))
{
	uintptr_t first = (uintptr_t)addr / line * line;
	uintptr_t end = (uintptr_t)addr + length;

	for (; length && first < end; first += line)
		op((const void *)first);
}

#if defined(__x86_64__)
#include <cpuid.h>

#define EDX_CLFSH (1u << 19)
#define EBX_CLFLUSHOPT (1u << 23)
#define EBX_CLWB (1u << 24)

static uint32_t find_out(void)
{
	uint32_t found = BIT(MSYNC);
	unsigned int a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(d & EDX_CLFSH))
		return found;
	found |= BIT(CLFLUSH) | (b >> 8 & 0xff) * 8 << 8;

	if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
		if (b & EBX_CLFLUSHOPT)
			found |= BIT(CLFLUSHOPT);
		if (b & EBX_CLWB)
			found |= BIT(CLWB);
	}
	return found;
}

static void clflush(const void *line)
{
	__asm__ volatile("clflush (%0)" : : "r"(line) : "memory");
}

static void clflushopt(const void *line)
{
	__asm__ volatile("clflushopt (%0)" : : "r"(line) : "memory");
}

static void clwb(const void *line)
{
	__asm__ volatile("clwb (%0)" : : "r"(line) : "memory");
}

static void write_back(int method, const void *addr, size_t length,
		       size_t line)
{
	if (method == MMAPDEV_PERSIST_CLFLUSH) {
		mmapdev_each_line(addr, length, line, clflush);
		return;
	}
	mmapdev_each_line(addr, length, line,
			  method == MMAPDEV_PERSIST_CLWB ? clwb : clflushopt);
	__asm__ volatile("sfence" : : : "memory");
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

#ifndef HWCAP_DCPOP
#define HWCAP_DCPOP (1 << 16)
#endif

static uint32_t find_out(void)
{
	uint64_t ctr;

	if (!(getauxval(AT_HWCAP) & HWCAP_DCPOP))
		return BIT(MSYNC);
	/* DminLine, bits 16 to 19, is the logarithm of words of 4 bytes. */
	__asm__("mrs %0, ctr_el0" : "=r"(ctr));
	return BIT(MSYNC) | BIT(CVAP) | 4u << (ctr >> 16 & 0xf) << 8;
}

static void cvap(const void *line)
{
	/* dc cvap, for assemblers that are not told of Armv8.2. */
	__asm__ volatile("sys #3, c7, c12, #1, %0" : : "r"(line) : "memory");
}

static void write_back(int method, const void *addr, size_t length,
		       size_t line)
{
	(void)method;
	mmapdev_each_line(addr, length, line, cvap);
	__asm__ volatile("dsb sy" : : : "memory");
}

#else

static uint32_t find_out(void)
{
	return BIT(MSYNC);
}

static void write_back(int method, const void *addr, size_t length,
		       size_t line)
{
	(void)method;
	(void)addr;
	(void)length;
	(void)line;
}

#endif

/*
 * In a virtual machine cpuid traps, and costs more than what it is asked for. It
 * is asked once, or by each of those who come at the same time: one answer.
 */
static uint32_t known(void)
{
	static uint32_t cached;
	uint32_t word = __atomic_load_n(&cached, __ATOMIC_RELAXED);

	if (!word) {
		word = find_out();
		__atomic_store_n(&cached, word, __ATOMIC_RELAXED);
	}
	return word;
}

static int best(void)
{
	return 31 - __builtin_clz(known() & 0xff);
}

int mmapdev_persist_by(int method, const void *addr, size_t length)
{
	uintptr_t end;

	if ((!addr && length) ||
	    __builtin_add_overflow((uintptr_t)addr, length, &end))
		return -EINVAL;
	if (method == MMAPDEV_PERSIST_MSYNC || !(known() >> method & 1))
		return -EOPNOTSUPP;

	write_back(method, addr, length, known() >> 8);
	return method;
}

int mmapdev_persist_lines(const void *addr, size_t length)
{
	return mmapdev_persist_by(best(), addr, length);
}

int mmapdev_persist_method(const struct mmapdev_map *map)
{
	if (!map || map->flags & MMAPDEV_MAP_PRIVATE)
		return -EINVAL;

	return map->flags & MMAPDEV_MAP_SYNC ? best() : MMAPDEV_PERSIST_MSYNC;
}

int mmapdev_persist(struct mmapdev_map *map, uint64_t offset, uint64_t length)
{
	int method = mmapdev_persist_method(map);
	uint64_t end;

	if (method < 0)
		return method;
	if (method == MMAPDEV_PERSIST_MSYNC)
		return mmapdev_flush(map, offset, length);
	if (__builtin_add_overflow(offset, length, &end) ||
	    end > mmapdev_map_size(map))
		return -ERANGE;

	method = mmapdev_persist_by(method, (char *)map->head.addr + offset,
				    length);
	return method < 0 ? method : 0;
}
