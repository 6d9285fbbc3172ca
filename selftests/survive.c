// SPDX-License-Identifier: GPL-2.0
/*
 * A page of the device that is clean is still the only copy of its data, and
 * an eager mapping knows it by its frame. Here everything that drops, moves
 * or takes clean pages of files is let loose on them.
 */
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define DISK	"/dev/nvme0n1"
#define CGROUP	"/sys/fs/cgroup"
#define GROUP	CGROUP "/mmapdev_survive"
#define PAGES	1024
#define MIB	1048576ul

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

struct views {
	int fd;
	int eager_fd;
	size_t span;
	unsigned char *demand;
	unsigned char *eager;
	unsigned char *copy;
};

FIXTURE(survive) {
	struct views views;
};

/* Which mappings live while it happens: afterwards both kinds look. */
FIXTURE_VARIANT(survive) {
	bool demand;
	bool eager;
};

FIXTURE_VARIANT_ADD(survive, unmapped) {
};

FIXTURE_VARIANT_ADD(survive, demand) {
	.demand = true,
};

FIXTURE_VARIANT_ADD(survive, both) {
	.demand = true,
	.eager = true,
};

FIXTURE_SETUP(survive)
{
	self->views.fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->views.fd);
	self->views.eager_fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->views.eager_fd);
	self->views.span = at_most(size_of(self->views.fd), PAGES);
	self->views.copy = malloc(self->views.span);
	ASSERT_NE(NULL, self->views.copy);
	if (variant->demand) {
		self->views.demand = map(self->views.fd, self->views.span, RW, MAP_SHARED, 0);
		ASSERT_NE(NULL, self->views.demand);
	}
	if (variant->eager) {
		self->views.eager = map(self->views.eager_fd, self->views.span,
					RW, MAP_SHARED, 0);
		ASSERT_NE(NULL, self->views.eager);
		pattern_put(self->views.eager, 0, self->views.span, pattern_of(0));
	} else if (variant->demand) {
		pattern_put(self->views.demand, 0, self->views.span, pattern_of(0));
	} else {
		ASSERT_EQ(0, device_fill(self->views.fd, 0, self->views.span,
					 pattern_of(0)));
	}
	ASSERT_EQ(0, fsync(self->views.fd));
	if (!variant->eager)
		ASSERT_EQ(0, info_of(self->views.fd).dirty);
	if (variant->demand)
		ASSERT_TRUE(pattern_is(self->views.demand, 0, self->views.span,
				       pattern_of(0)));
}

FIXTURE_TEARDOWN(survive)
{
	close(self->views.fd);
	close(self->views.eager_fd);
}

/* Every way to look sees the pattern. */
static void expect_pattern(struct __test_metadata *_metadata,
			   struct views *views, unsigned int number)
{
	const __u64 pattern = pattern_of(number);

	EXPECT_EQ(pattern_sum(0, views->span, pattern),
		  sum_of(views->fd, 0, views->span));
	ASSERT_EQ(views->span, pread(views->fd, views->copy, views->span, 0));
	EXPECT_TRUE(pattern_is(views->copy, 0, views->span, pattern));
	EXPECT_TRUE(pattern_is(views->demand, 0, views->span, pattern));
	EXPECT_TRUE(pattern_is(views->eager, 0, views->span, pattern));
}

/* The content is there, and it is one memory as before. */
static void expect_alive(struct __test_metadata *_metadata,
			 struct views *views)
{
	if (!views->demand)
		views->demand = map(views->fd, views->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, views->demand);
	if (!views->eager)
		views->eager = map(views->eager_fd, views->span, RW,
				   MAP_SHARED, 0);
	ASSERT_NE(NULL, views->eager);
	expect_pattern(_metadata, views, 0);
	pattern_put(views->eager, 0, views->span, pattern_of(1));
	expect_pattern(_metadata, views, 1);
	pattern_put(views->demand, 0, views->span, pattern_of(2));
	expect_pattern(_metadata, views, 2);
	ASSERT_EQ(0, device_fill(views->fd, 0, views->span, pattern_of(3)));
	expect_pattern(_metadata, views, 3);
}

TEST_F_TIMEOUT(survive, posix_fadvise_dontneed, 180)
{
	EXPECT_EQ(0, posix_fadvise(self->views.fd, 0, self->views.span,
				   POSIX_FADV_DONTNEED));
	EXPECT_EQ(0, posix_fadvise(self->views.fd, 0, 0, POSIX_FADV_DONTNEED));
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, madv_pageout_and_madv_cold, 180)
{
	unsigned char *view = map(self->views.fd, self->views.span, PROT_READ, MAP_SHARED,
				  0);
	unsigned char *own = map(self->views.fd, self->views.span, PROT_READ, MAP_PRIVATE,
				 0);

	ASSERT_NE(NULL, view);
	ASSERT_NE(NULL, own);
	EXPECT_TRUE(pattern_is(view, 0, self->views.span, pattern_of(0)));
	EXPECT_TRUE(pattern_is(own, 0, self->views.span, pattern_of(0)));
	EXPECT_EQ(0, madvise(view, self->views.span, MADV_COLD));
	EXPECT_EQ(0, madvise(view, self->views.span, MADV_PAGEOUT));
	EXPECT_EQ(0, madvise(own, self->views.span, MADV_COLD));
	EXPECT_EQ(0, madvise(own, self->views.span, MADV_PAGEOUT));
	EXPECT_TRUE(pattern_is(own, 0, self->views.span, pattern_of(0)));
	ASSERT_EQ(0, munmap(view, self->views.span));
	ASSERT_EQ(0, munmap(own, self->views.span));
	if (self->views.demand) {
		EXPECT_EQ(0, madvise(self->views.demand, self->views.span, MADV_COLD));
		EXPECT_EQ(0, madvise(self->views.demand, self->views.span, MADV_PAGEOUT));
	}
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, madv_collapse, 180)
{
	unsigned char *view = map(self->views.fd, self->views.span, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, view);
	/* It may be refused or not be known. */
	madvise(view, self->views.span, MADV_HUGEPAGE);
	madvise(view, self->views.span, MADV_COLLAPSE);
	EXPECT_TRUE(pattern_is(view, 0, self->views.span, pattern_of(0)));
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, drop_caches, 180)
{
	int i;

	sync();
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "3"));
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, compaction_of_fragmented_memory, 240)
{
	struct sysinfo sys;
	unsigned char *ballast;
	size_t size, at;
	int i;

	ASSERT_EQ(0, sysinfo(&sys));
	size = sys.freeram * sys.mem_unit / 2 & -(2 * PAGE);
	ballast = map(-1, size, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, ballast);
	madvise(ballast, size, MADV_NOHUGEPAGE);
	for (at = 0; at < size; at += PAGE)
		ballast[at] = 1;
	for (at = 0; at < size; at += 2 * PAGE)
		ASSERT_EQ(0, madvise(ballast + at, PAGE, MADV_DONTNEED));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
	if (self->views.eager && self->views.demand) {
		for (at = 0; at < self->views.span; at += PAGE) {
			self->views.eager[at] ^= 0xff;
			ASSERT_EQ(self->views.eager[at], self->views.demand[at])
				TH_LOG("page %zu is two", at / PAGE);
			self->views.eager[at] ^= 0xff;
		}
	}
	ASSERT_EQ(0, munmap(ballast, size));
	ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, splice_that_moves_pages, 180)
{
	int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	size_t span = at_most(self->views.span, 16);
	size_t moved = 0;
	loff_t at = 0;
	int fds[2];

	if (file < 0)
		file = memfd_create("target", MFD_CLOEXEC);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, pipe(fds));
	while (moved < span) {
		ssize_t in = splice(self->views.fd, &at, fds[1], NULL, span - moved,
				    SPLICE_F_MOVE);
		ssize_t out = 0;

		ASSERT_LT(0, in);
		while (out < in) {
			ssize_t more = splice(fds[0], NULL, file, NULL,
					      in - out, SPLICE_F_MOVE);

			ASSERT_LT(0, more);
			out += more;
		}
		moved += in;
	}
	ASSERT_EQ(span, pread(file, self->views.copy, span, 0));
	EXPECT_TRUE(pattern_is(self->views.copy, 0, span, pattern_of(0)));

	/* Whose pages the file has now, writing them changes nothing here. */
	memset(self->views.copy, 0xee, span);
	ASSERT_EQ(span, pwrite(file, self->views.copy, span, 0));
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, vmsplice_that_gifts_pages, 180)
{
	unsigned char *view = map(self->views.fd, PAGE, PROT_READ, MAP_SHARED, 0);
	struct iovec iov = {
		.iov_base = view,
		.iov_len = PAGE,
	};
	int file = memfd_create("target", MFD_CLOEXEC);
	int fds[2];

	ASSERT_NE(NULL, view);
	ASSERT_LE(0, file);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(PAGE, vmsplice(fds[1], &iov, 1, SPLICE_F_GIFT));
	ASSERT_EQ(PAGE, splice(fds[0], NULL, file, NULL, PAGE, SPLICE_F_MOVE));
	memset(self->views.copy, 0xee, PAGE);
	ASSERT_EQ(PAGE, pwrite(file, self->views.copy, PAGE, 0));
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, sync_and_syncfs, 180)
{
	sync();
	syncfs(self->views.fd);
	expect_alive(_metadata, &self->views);
}

TEST_F_TIMEOUT(survive, all_files_and_mappings_closed, 180)
{
	if (self->views.demand)
		munmap(self->views.demand, self->views.span);
	if (self->views.eager)
		munmap(self->views.eager, self->views.span);
	self->views.demand = NULL;
	self->views.eager = NULL;
	close(self->views.fd);
	close(self->views.eager_fd);
	ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "3"));
	ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
	self->views.fd = device_open(O_RDWR, DEMAND);
	self->views.eager_fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->views.fd);
	ASSERT_LE(0, self->views.eager_fd);
	expect_alive(_metadata, &self->views);
}

/*
 * The device's pages and those of a disk, all charged to one small group: to
 * make room, something has to go. The device is new, so that its pages are.
 */
static int fill_in_group(void *arg)
{
	struct views *views = arg;
	char buffer[65536];
	char pid[32];
	off_t at;
	int disk;

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!holds(!file_write(GROUP "/cgroup.procs", pid)))
		return 1;
	if (!holds(!device_fill(views->fd, 0, views->span, pattern_of(0))) ||
	    !holds(!fsync(views->fd)))
		return 1;
	snprintf(buffer, sizeof(buffer), "%lu", views->span + 8 * MIB);
	if (!holds(!file_write(GROUP "/memory.max", buffer)))
		return 1;
	disk = open(DISK, O_RDONLY | O_CLOEXEC);
	for (at = 0; disk >= 0 && at < (off_t)(32 * MIB); at += sizeof(buffer)) {
		if (!holds(pread(disk, buffer, sizeof(buffer), at) > 0))
			return 1;
	}
	/* More than there is: it tries, and says EAGAIN. */
	file_write(GROUP "/memory.reclaim", "256M");
	return 0;
}

static long group_number(const char *file, const char *key)
{
	char text[8192];
	char *at = text;

	if (file_read(file, text, sizeof(text)) < 0)
		return -1;
	if (*key)
		at = strstr(text, key);
	return at ? atol(at + strlen(key)) : -1;
}

/* Loads the module again, so that the device holds no page yet. */
static void open_anew(struct __test_metadata *_metadata, struct views *views)
{
	ASSERT_EQ(0, module_reload(NULL));
	views->fd = device_open(O_RDWR, DEMAND);
	views->eager_fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, views->fd);
	ASSERT_LE(0, views->eager_fd);
	views->span = at_most(size_of(views->fd), PAGES);
	views->copy = malloc(views->span);
	ASSERT_NE(NULL, views->copy);
}

FIXTURE(memcg) {
	struct views views;
};

FIXTURE_SETUP(memcg)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	open_anew(_metadata, &self->views);
	file_write(CGROUP "/cgroup.subtree_control", "+memory");
	rmdir(GROUP);
	ASSERT_EQ(0, mkdir(GROUP, 0755));
}

FIXTURE_TEARDOWN(memcg)
{
	EXPECT_EQ(0, rmdir(GROUP));
}

TEST_F_TIMEOUT(memcg, its_pressure_takes_nothing, 240)
{
	EXPECT_EQ(0, child_run(fill_in_group, &self->views));
	/* They are its pages, and still are. */
	EXPECT_LE((long)self->views.span,
		  group_number(GROUP "/memory.current", ""));
	EXPECT_EQ(0, group_number(GROUP "/memory.events", "oom_kill "));
	file_write(GROUP "/memory.reclaim", "256M");
	expect_alive(_metadata, &self->views);
}

FIXTURE(fresh) {
	struct views views;
	size_t size;
	unsigned char *ballast;
};

/*
 * Compaction moves pages towards the end of memory. To lie where it takes them
 * from, the device's pages are the last to be got while memory is nearly full.
 */
FIXTURE_SETUP(fresh)
{
	struct sysinfo sys;
	size_t at;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	open_anew(_metadata, &self->views);

	ASSERT_EQ(0, sysinfo(&sys));
	self->size = sys.freeram * sys.mem_unit / 5 * 4 & -(2 * PAGE);
	self->ballast = map(-1, self->size, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, self->ballast);
	madvise(self->ballast, self->size, MADV_NOHUGEPAGE);
	for (at = 0; at < self->size; at += PAGE)
		self->ballast[at] = 1;

	ASSERT_EQ(0, device_fill(self->views.fd, 0, self->views.span,
				 pattern_of(0)));
	ASSERT_EQ(0, fsync(self->views.fd));
	/* A walk of who maps a page would meet the eager mapping first. */
	self->views.eager = map(self->views.eager_fd, self->views.span, RW,
				MAP_SHARED, 0);
	self->views.demand = map(self->views.fd, self->views.span, RW,
				 MAP_SHARED, 0);
	ASSERT_NE(NULL, self->views.eager);
	ASSERT_NE(NULL, self->views.demand);
}

FIXTURE_TEARDOWN(fresh)
{
}

TEST_F_TIMEOUT(fresh, compaction_moves_no_page, 240)
{
	size_t pages = self->views.span / PAGE;
	__u64 *frames = calloc(pages, sizeof(*frames));
	size_t i;

	ASSERT_NE(NULL, frames);
	for (i = 0; i < pages; i++) {
		fault_of_read(self->views.demand + i * PAGE);
		frames[i] = frame_of(self->views.demand + i * PAGE);
		ASSERT_NE(0, frames[i]);
	}
	ASSERT_EQ(0, munmap(self->ballast, self->size));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
	for (i = 0; i < pages; i++) {
		fault_of_read(self->views.demand + i * PAGE);
		ASSERT_EQ(frames[i], frame_of(self->views.demand + i * PAGE))
			TH_LOG("page %zu has moved", i);
		self->views.eager[i * PAGE] ^= 0xff;
		ASSERT_EQ(self->views.eager[i * PAGE],
			  self->views.demand[i * PAGE]);
		self->views.eager[i * PAGE] ^= 0xff;
	}
	expect_alive(_metadata, &self->views);
}

TEST_HARNESS_MAIN
