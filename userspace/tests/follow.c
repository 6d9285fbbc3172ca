// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * How mmapdevctl copy --follow catches up, against a driver that is played here
 * and whose users strike between any two calls that the copier makes: they
 * write, punch, touch holes and resize, and count that a while after they did
 * it. However it went, once they are done the copy is what the device is.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/mmapdev.h>

#include "../tools/follow.h"
#include "common.h"
#include "wrap.h"

#define PAGES 96	/* at most, some chunks' worth */
#define SEEDS 400

/* The driver. The memory itself, with its size and holes, is a memfd. */
static struct {
	int fd;
	unsigned char *mem;
	uint64_t size, resizes, punches;
	uint64_t late_resizes, late_punches; /* done, not yet counted */
	bool was_other; /* one INFO falls in the middle of a resize, and */
	uint64_t was;	/* has the size of before, and the count of after */
	bool written[PAGES], eager[PAGES];
	int err;
	bool cut; /* the next look is cut short by a signal */
} driver;

static struct {
	unsigned int seed;
	int left;	/* strikes */
	int calls;	/* of the copier, so far */
	int stop_at;	/* call at which Ctrl-C comes */
} users;

static volatile sig_atomic_t stop;

static int answer_dirty(struct mmapdev_ioc_dirty *arg)
{
	unsigned char *bitmap = (unsigned char *)(uintptr_t)arg->bitmap;
	uint64_t pages = arg->length / page_size(), i;
	bool cut = driver.cut;

	if (arg->offset || arg->flags != MMAPDEV_IOC_DIRTY_CLEAR)
		return EINVAL;
	if (arg->length > driver.size)
		return ENXIO;
	driver.cut = false;
	for (i = 0, arg->pages = 0; i < (cut ? pages / 2 : pages); i++) {
		if (i % 8 == 0)
			bitmap[i / 8] = 0;
		if (!driver.written[i] && !driver.eager[i])
			continue;
		driver.written[i] = false;
		bitmap[i / 8] |= 1 << i % 8;
		arg->pages++;
	}
	return cut ? EINTR : 0;
}

static int answer(unsigned long command, void *arg)
{
	struct mmapdev_ioc_info *info = arg;

	if (driver.err)
		return driver.err;
	if (command == MMAPDEV_IOC_DIRTY)
		return answer_dirty(arg);
	if (command != MMAPDEV_IOC_INFO)
		return ENOTTY;
	info->size = driver.was_other ? driver.was : driver.size;
	driver.was_other = false;
	info->max_size = PAGES * page_size();
	info->page_size = page_size();
	info->resizes = driver.resizes;
	info->punches = driver.punches;
	return 0;
}

static unsigned int pick(unsigned int below)
{
	return below ? rand_r(&users.seed) % below : 0;
}

static void write_page(unsigned int page)
{
	driver.mem[page * page_size() + pick(page_size())] = pick(256);
	driver.written[page] = true;
}

static void drop(unsigned int page, unsigned int pages)
{
	need(fallocate(driver.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		       page * page_size(), pages * page_size()), "punch");
	memset(driver.written + page, 0, pages);
}

static void resize(unsigned int pages)
{
	unsigned int old = driver.size / page_size();

	if (pages < old)
		drop(pages, old - pages);
	need(ftruncate(driver.fd, pages * page_size()), "ftruncate");
	driver.was = driver.size;
	driver.size = pages * page_size();
	driver.late_resizes++;
}

static void count(void)
{
	if (driver.late_resizes)
		driver.was_other = pick(2);
	driver.resizes += driver.late_resizes;
	driver.punches += driver.late_punches;
	driver.late_resizes = 0;
	driver.late_punches = 0;
}

static void strike(void)
{
	unsigned int pages = driver.size / page_size(), page = pick(pages);
	volatile unsigned char touch;

	switch (pick(pages ? 16 : 1)) {
	case 0:
		resize(pick(PAGES + 1));
		if (pick(2))
			break;
		count();
		resize(pages);
		break;
	case 1:
		drop(page, 1 + pick(pages - page));
		driver.late_punches++;
		break;
	case 2:
	case 3: /* a hole that is read in a mapping is one no more */
		touch = driver.mem[page * page_size()];
		(void)touch;
		break;
	case 4:
		driver.cut = true;
		break;
	default:
		write_page(page);
	}
}

/* They pause when they are done, not before. */
static void keep_busy(void)
{
	if (!driver.size)
		resize(1);
	driver.mem[0]++;
	driver.written[0] = true;
}

static void between_calls(enum wrapped call)
{
	if (++users.calls == users.stop_at)
		stop = 1;
	/* The driver counts before it does the next thing of the kind. */
	if (pick(2) || driver.late_resizes || driver.late_punches)
		count();
	while (users.left && pick(3)) {
		users.left--;
		strike();
	}
	if (!users.left)
		count();
	else if (call == W_IOCTL)
		keep_busy();
}

static struct mmapdev *device(unsigned int pages, unsigned int seed)
{
	struct mmapdev *memfd, *dev;

	memset(&driver, 0, sizeof(driver));
	memset(&users, 0, sizeof(users));
	users.seed = seed;
	stop = 0;
	wrap_reset();
	need(mmapdev_open_memfd("device", pages * page_size(), &memfd),
	     "memfd");
	driver.fd = mmapdev_fd(memfd);
	driver.size = pages * page_size();
	driver.mem = mmap(NULL, PAGES * page_size(), PROT_READ | PROT_WRITE,
			  MAP_SHARED, driver.fd, 0);
	if (driver.mem == MAP_FAILED)
		need(-errno, "mmap");
	wrap_device(answer);
	need(mmapdev_open_fd(driver.fd, &dev), "open_fd");
	/* dup: the memfd's handle may go. */
	driver.fd = dup(driver.fd);
	mmapdev_close(memfd);
	return dev;
}

static void end(struct mmapdev *dev, struct follow *f)
{
	munmap(driver.mem, PAGES * page_size());
	close(driver.fd);
	close(f->fd);
	mmapdev_close(dev);
	wrap_reset();
}

static struct follow begin(struct mmapdev *dev)
{
	struct follow f = {
		.dev = dev,
		.fd = memfd_create("copy", MFD_CLOEXEC),
		.stop = &stop,
	};

	need(f.fd, "copy");
	return f;
}

/* Without the wrappers' idea of a size or a kind. */
static bool same(struct follow *f)
{
	static unsigned char a[PAGES * 65536], b[sizeof(a)];
	ssize_t n = pread(driver.fd, a, sizeof(a), 0);

	return n == (ssize_t)driver.size &&
	       pread(f->fd, b, sizeof(b), 0) == n && !memcmp(a, b, n);
}

static void test_seeds(void)
{
	unsigned int seed, identical = 0, ended = 0;
	uint64_t rounds = 0;
	int ret;

	for (seed = 1; seed <= SEEDS; seed++) {
		struct mmapdev *dev = device(1 + seed % PAGES, seed);
		struct follow f = begin(dev);

		users.left = 30;
		while (users.left > 15) {
			users.left--;
			strike();
		}
		count();
		users.left = 60;
		wrap_before(between_calls);
		ret = follow(&f);
		wrap_before(NULL);
		ended += !ret && !users.left;
		if (!ret && same(&f))
			identical++;
		else
			printf("#   seed %u: %d, not identical\n", seed, ret);
		rounds += f.rounds;
		end(dev, &f);
	}
	is(ended, SEEDS, "it catches up");
	is(identical, SEEDS, "and has what the device has, each time");
	ok(rounds > 3 * SEEDS, "in more than three rounds on average");
}

/* One strike, right before a certain call to the driver. */
static int strike_at;
static void (*blow)(void);
static int looks_after;

static void one_strike(enum wrapped call)
{
	if (call != W_IOCTL)
		return;
	if (--strike_at == 0) {
		blow();
		count();
	}
}

static int count_looks(unsigned long command, void *arg)
{
	looks_after += command == MMAPDEV_IOC_DIRTY && strike_at <= 0;
	return answer(command, arg);
}

static void blow_write(void)
{
	write_page(2);
}

static void blow_punch(void)
{
	drop(0, 2);
	driver.late_punches++;
}

static void blow_touched_punch(void)
{
	volatile unsigned char touch;

	blow_punch();
	touch = driver.mem[0];
	(void)touch;
}

static void blow_shrink(void)
{
	resize(PAGES / 2);
}

static void blow_grow(void)
{
	resize(PAGES);
	write_page(PAGES - 1);
}

static void blow_bounce(void)
{
	resize(1);
	count();
	resize(PAGES - 1);
}

/* All that was there when a look began is in the copy. */
static void test_last_moment(void)
{
	static const struct {
		const char *name;
		void (*blow)(void);
	} blows[] = {
		{ "a write", blow_write },
		{ "a punch", blow_punch },
		{ "a punch of what is then read", blow_touched_punch },
		{ "a shrink", blow_shrink },
		{ "growth", blow_grow },
		{ "a shrink and growth", blow_bounce },
	};
	unsigned int i, seen, missed, page;
	int at;

	for (i = 0; i < sizeof(blows) / sizeof(blows[0]); i++) {
		for (at = 1, seen = 0, missed = 0; at <= 12; at++) {
			struct mmapdev *dev = device(PAGES - 1, at);
			struct follow f = begin(dev);

			wrap_device(count_looks);
			for (page = 0; page < PAGES - 1; page += 2)
				driver.mem[page * page_size()] = 1 + page;
			blow = blows[i].blow;
			strike_at = at;
			looks_after = 0;
			wrap_before(one_strike);
			need(follow(&f), "follow");
			wrap_before(NULL);
			seen += !!looks_after;
			missed += looks_after && !same(&f);
			end(dev, &f);
		}
		ok(seen >= 4 && !missed,
		   "%s right before a look is in the copy", blows[i].name);
	}
}

static void test_quiet(void)
{
	struct mmapdev *dev = device(PAGES, 1);
	struct follow f = begin(dev);
	struct stat st;

	write_page(1);
	write_page(70);
	is(follow(&f), 0, "a quiet device");
	is(f.rounds, 1, "is copied in a round");
	is(f.bytes, 2 * page_size(), "of what is no hole");
	ok(same(&f), "and whole");
	wrap_reset();
	need(fstat(f.fd, &st), "fstat");
	is(st.st_blocks, 2 * page_size() / 512, "holes are holes");
	end(dev, &f);

	dev = device(0, 1);
	f = begin(dev);
	is(follow(&f), 0, "a device of no size");
	ok(same(&f), "is copied too");
	end(dev, &f);
}

/* Until so many looks are over, the mapping's owner writes. */
static int busy_looks;

static void eager_writer(enum wrapped call)
{
	if (call != W_IOCTL || !busy_looks)
		return;
	busy_looks--;
	driver.mem[3 * page_size()]++;
}

static void test_eager(void)
{
	struct mmapdev *dev = device(PAGES, 1);
	struct follow f = begin(dev);

	memset(driver.eager, 1, 8);
	write_page(3);
	is(follow(&f), 0, "what an idle eager mapping spans is no end of work");
	is(f.rounds, 2, "but compared once");
	ok(same(&f), "and equal");
	end(dev, &f);

	dev = device(PAGES, 1);
	f = begin(dev);
	memset(driver.eager, 1, 8);
	busy_looks = 60;
	wrap_before(eager_writer);
	is(follow(&f), 0, "of a busy one");
	wrap_before(NULL);
	is(busy_looks, 0, "the copier waits until it is idle");
	ok(f.rounds >= 20 && f.stuck >= f.rounds - 3,
	   "and knows that it comes no nearer");
	is(f.fewest, 8, "by how many pages");
	ok(same(&f), "at last it is equal");
	end(dev, &f);
}

/* Told to go on, it finds what comes after a quiet look. */
static int looks_left;

static bool may_end(const struct follow *f)
{
	(void)f;
	if (looks_left && --looks_left == 2)
		write_page(4);
	return !looks_left;
}

static void test_may_end(void)
{
	struct mmapdev *dev = device(PAGES, 1);
	struct follow f = begin(dev);

	write_page(1);
	looks_left = 6;
	f.may_end = may_end;
	is(follow(&f), 0, "told when it may end");
	is(looks_left, 0, "it does not before");
	is(f.rounds, 2, "though most looks found nothing");
	ok(same(&f), "and what they found is there");
	end(dev, &f);
}

static void test_stop(void)
{
	unsigned int at, stopped = 0, wrong = 0;

	for (at = 1; at <= 60; at++) {
		struct mmapdev *dev = device(PAGES, at);
		struct follow f = begin(dev);
		int ret;

		for (int page = 0; page < PAGES; page += 2)
			write_page(page);
		memset(driver.eager, 1, PAGES);
		users.left = 1 << 20;
		users.stop_at = at;
		wrap_before(between_calls);
		ret = follow(&f);
		wrap_before(NULL);
		stopped += ret == -EINTR;
		wrong += ret && ret != -EINTR;
		end(dev, &f);
	}
	is(stopped, 60, "it stops wherever it is");
	is(wrong, 0, "and says so");
}

static int try(int device_err, enum wrapped call, int err, struct follow *out,
	       bool once)
{
	struct mmapdev *dev = device(PAGES, 1);
	struct follow f = begin(dev);
	int ret;

	write_page(5);
	f.once = once;
	driver.err = device_err;
	if (call != W_COUNT)
		wrap_fail(call, 1, err);
	ret = follow(&f);
	*out = f;
	end(dev, &f);
	return ret;
}

static void shrink_it(enum wrapped call)
{
	if (call != W_PREAD)
		return;
	resize(PAGES / 2);
	count();
}

static void test_errors(void)
{
	struct follow f;
	struct mmapdev *dev;

	is(try(ENODEV, W_COUNT, 0, &f, false), -ENODEV, "a device that went");
	is(try(ENODEV, W_COUNT, 0, &f, true), -ENODEV, "the same, once");
	is(try(ENOTTY, W_COUNT, 0, &f, false), -ENOTTY, "an older driver");
	is(try(0, W_PREAD, ENODEV, &f, false), -ENODEV, "in mid-copy");
	ok(!f.file_failed, "is the device's error");
	is(try(0, W_PREAD, 0, &f, false), -EIO,
	   "a read of nothing where there is something is no endless loop");
	is(try(0, W_PREAD, EINTR, &f, false), 0, "a signal is none of ours");
	is(try(0, W_PWRITE, ENOSPC, &f, false), -ENOSPC, "a full file system");
	ok(f.file_failed, "is the file's error");
	is(try(0, W_FTRUNCATE, EFBIG, &f, true), -EFBIG, "too large a file");
	ok(f.file_failed, "is too");
	is(try(0, W_COUNT, 0, &f, true), 0, "once");
	is(f.rounds, 1, "is a round");

	dev = device(PAGES, 1);
	f = begin(dev);
	write_page(PAGES - 1);
	f.once = true;
	wrap_before(shrink_it);
	is(follow(&f), -ESTALE, "once, and it shrank meanwhile");
	wrap_before(NULL);
	end(dev, &f);
}

static void test_short_reads(void)
{
	struct mmapdev *dev = device(PAGES, 3);
	struct follow f = begin(dev);
	int page;

	for (page = 0; page < PAGES; page++)
		write_page(page);
	wrap_short(1001);
	is(follow(&f), 0, "reads and writes of any length");
	wrap_reset();
	ok(same(&f), "add up");
	end(dev, &f);
}

int main(void)
{
	test_seeds();
	test_last_moment();
	test_quiet();
	test_eager();
	test_may_end();
	test_stop();
	test_errors();
	test_short_reads();
	return done();
}
