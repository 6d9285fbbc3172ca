// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A tour of the device: what a mapping of it does, shown and checked.
 *
 * `make run` runs it in a VM; on a machine with the module loaded it runs as
 * it is. Each stop prints what was expected and what was seen. Exit status 0
 * means that all was as expected.
 */
#include <errno.h>
#include <fcntl.h>
#include <mmapdev.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define WRITERS 4
#define ADDS 50000

static bool failed;

static void die(const char *what, int err)
{
	fprintf(stderr, "tour: %s: %s\n", what, strerror(-err));
	exit(1);
}

static void stop(const char *title)
{
	static int n;

	printf("\n%d. %s\n", ++n, title);
}

__attribute__((format(printf, 2, 3)))
static void check(bool good, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("   %s  ", good ? "ok  " : "FAIL");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	failed |= !good;
}

static struct mmapdev_info info(struct mmapdev *dev)
{
	struct mmapdev_info in = { .sz = sizeof(in) };
	int err = mmapdev_get_info(dev, &in);

	if (err)
		die("info", err);

	return in;
}

static struct mmapdev_map *map(struct mmapdev *dev, uint32_t flags)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .flags = flags };
	struct mmapdev_map *m;
	int err = mmapdev_map(dev, &opts, &m);

	if (err)
		die("map", err);

	return m;
}

static uint32_t sum(struct mmapdev *dev, uint64_t offset, uint64_t length)
{
	uint32_t crc;
	int err = mmapdev_sum(dev, offset, length, &crc);

	if (err)
		die("sum", err);

	return crc;
}

/* Runs work(id) in WRITERS processes at once. */
static void fan_out(void (*work)(void *mem, int id), void *mem)
{
	int status, id, well = 0;

	fflush(stdout);
	for (id = 0; id < WRITERS; id++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork", -errno);
		if (!pid) {
			work(mem, id);
			_exit(0);
		}
	}
	while (wait(&status) > 0)
		well += WIFEXITED(status) && !WEXITSTATUS(status);
	check(well == WRITERS, "%d of %d processes ended well", well, WRITERS);
}

static void add_shared(void *mem, int id)
{
	_Atomic uint64_t *total = mem;
	unsigned char *lane = (unsigned char *)mem + 4096 * (id + 1);

	for (int i = 0; i < ADDS; i++)
		atomic_fetch_add(total, 1);
	memset(lane, 'A' + id, 4096);
}

static void share(struct mmapdev *dev)
{
	struct mmapdev_map *m = map(dev, 0);
	_Atomic uint64_t *total = mmapdev_map_addr(m);
	unsigned char *mem = mmapdev_map_addr(m);
	uint32_t before;
	bool lanes = true;

	stop("Four processes write one MAP_SHARED mapping at once");
	memset(mem, 0, 4096 * (WRITERS + 1));
	before = sum(dev, 0, 4096 * (WRITERS + 1));
	fan_out(add_shared, mem);

	check(*total == WRITERS * ADDS, "%d writers x %d adds: %llu counted",
	      WRITERS, ADDS, (unsigned long long)*total);
	for (int id = 0; id < WRITERS; id++)
		for (int i = 0; i < 4096; i++)
			lanes &= mem[4096 * (id + 1) + i] == 'A' + id;
	check(lanes, "each writer's page holds what it wrote");
	check(sum(dev, 0, 4096 * (WRITERS + 1)) != before,
	      "the kernel's checksum of the buffer sees the writes");
	mmapdev_unmap(m);
}

static char (*seen)[9]; /* what each process saw, in memory they share */

static void diverge(void *mem, int id)
{
	unsigned char *page = mem;

	memset(page, '0' + id, 4096);
	usleep(20000); /* let all of them write */
	memcpy(seen[id], page, 8);
	for (int i = 0; i < 4096; i++)
		if (page[i] != '0' + id)
			_exit(1);
}

static void copies(struct mmapdev *dev)
{
	struct mmapdev_map *m = map(dev, MMAPDEV_MAP_PRIVATE);
	uint32_t before = sum(dev, 0, 4096);

	stop("Private copies diverge (MAP_PRIVATE, copy on write)");
	seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen == MAP_FAILED)
		die("mmap", -errno);
	fan_out(diverge, mmapdev_map_addr(m));
	for (int id = 0; id < WRITERS; id++)
		check(seen[id][0] == '0' + id, "process %d sees \"%s...\"", id,
		      seen[id]);
	check(sum(dev, 0, 4096) == before, "the buffer holds none of it");
	munmap(seen, 4096);
	mmapdev_unmap(m);
}

static void commit(struct mmapdev *dev)
{
	struct mmapdev_map *m = map(dev, 0);
	unsigned char *mem = mmapdev_map_addr(m);
	struct mmapdev_info a, b, c;
	int err;

	stop("msync commits the dirty pages of its range, and no others");
	err = mmapdev_commit(dev);
	if (err)
		die("commit", err);
	mem[0] = 1;
	mem[4096] = 2;
	mem[5 * 4096] = 3;
	a = info(dev);
	check(a.dirty == 3 * 4096, "3 pages written: %llu bytes dirty",
	      (unsigned long long)a.dirty);

	err = mmapdev_flush(m, 0, 2 * 4096);
	b = info(dev);
	check(!err && b.dirty == 4096 && b.commit_seq == a.commit_seq + 1,
	      "msync of the first 2: %llu bytes committed, %llu left dirty",
	      (unsigned long long)(b.committed - a.committed),
	      (unsigned long long)b.dirty);

	mem[0] = 4;
	c = info(dev);
	check(c.dirty == 2 * 4096, "the first written again: %llu bytes dirty",
	      (unsigned long long)c.dirty);
	mmapdev_unmap(m);
}

static void kernel_fill(struct mmapdev *dev)
{
	struct mmapdev_map *m = map(dev, MMAPDEV_MAP_READONLY);
	const char *mem = mmapdev_map_addr(m);
	uint64_t pattern;
	int err;

	stop("The kernel fills the buffer, a mapped reader sees it");
	memcpy(&pattern, "mmapdev!", 8);
	err = mmapdev_fill(dev, 8192, 4096, pattern);
	check(!err && !memcmp(mem + 8192, "mmapdev!mmapdev!", 16),
	      "the reader's pointer shows \"%.16s\"", mem + 8192);
	mmapdev_unmap(m);
}

static sigjmp_buf env;

static void on_sigbus(int sig, siginfo_t *si, void *ctx)
{
	(void)sig;
	(void)ctx;
	siglongjmp(env, si->si_code == BUS_ADRERR ? 1 : 2);
}

static void beyond(struct mmapdev *dev)
{
	struct sigaction sa = { .sa_sigaction = on_sigbus,
				.sa_flags = SA_SIGINFO };
	uint64_t size = info(dev).size;
	volatile char *mem;
	int caught;

	stop("A touch beyond the buffer's end is SIGBUS, caught and survived");
	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
		   mmapdev_fd(dev), size - 4096);
	if (mem != MAP_FAILED)
		mem = mremap((void *)mem, 4096, 8192, MREMAP_MAYMOVE);
	if (mem == MAP_FAILED)
		die("mremap", -errno);

	sigaction(SIGBUS, &sa, NULL);
	caught = sigsetjmp(env, 1);
	if (!caught)
		mem[4096] = 1;
	check(caught == 1, "a mapping grown past the end: SIGBUS, BUS_ADRERR");
	mem[0] = 7;
	check(mem[0] == 7, "its pages within the buffer still work");
	munmap((void *)mem, 8192);
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/dev/mmapdev";
	struct mmapdev_info in;
	struct mmapdev *dev;
	int err = mmapdev_open(path, O_RDWR, &dev);

	if (err) {
		fprintf(stderr, "tour: %s: %s\n", path, strerror(-err));
		return 1;
	}
	in = info(dev);
	if (in.kind != MMAPDEV_KIND_DEVICE || in.size < 8 * 4096) {
		fprintf(stderr, "tour: %s: want a device of 32K or more\n",
			path);
		return 1;
	}
	printf("A tour of %s: a kernel buffer of %llu KiB, mapped %s\n", path,
	       (unsigned long long)in.size / 1024,
	       in.mode == MMAPDEV_MODE_EAGER ? "eagerly" : "on demand");

	share(dev);
	copies(dev);
	/* The rest is about faults, of which eager mappings have none. */
	err = mmapdev_set_mode(dev, MMAPDEV_MODE_DEMAND);
	if (err)
		die("mode", err);
	commit(dev);
	kernel_fill(dev);
	beyond(dev);

	mmapdev_close(dev);
	printf("\n%s\n", failed ? "Something FAILED, see above." :
				  "All as expected.");

	return failed;
}
