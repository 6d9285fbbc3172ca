// SPDX-License-Identifier: GPL-2.0
/*
 * Holes: a punched range gives its memory back and is zeros wherever one
 * looks, in mappings too, but for private copies. Looking at a hole with
 * anything but a mapping leaves it a hole.
 */
#include <sys/sendfile.h>
#include <sys/uio.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	32
#define SPAN	(PAGES * PAGE)

/* A pattern of 0 is zeros. */
static bool device_has(int fd, __u64 offset, size_t length, __u64 pattern)
{
	return sum_of(fd, offset, length) ==
	       pattern_sum(offset, length, pattern);
}

FIXTURE(holes) {
	int fd;
	size_t size;
	unsigned char *copy;
};

/* All of the device is a hole. */
FIXTURE_SETUP(holes)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	self->size = size_of(self->fd);
	if (self->size < 2 * SPAN)
		SKIP(return, "needs a device of %d pages", 2 * PAGES);
	ASSERT_EQ(0, device_punch(self->fd, 0, self->size));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, info_of(self->fd).resident);
	self->copy = malloc(SPAN);
	ASSERT_NE(NULL, self->copy);
}

FIXTURE_TEARDOWN(holes)
{
	close(self->fd);
}

TEST_F(holes, a_range_that_cannot_be_is_refused)
{
	const __u64 size = self->size;
	const struct {
		__u64 offset;
		__u64 length;
		int err;
	} bad[] = {
		{ 1, PAGE, -EINVAL }, { 512, PAGE, -EINVAL },
		{ 0, 1, -EINVAL }, { 0, PAGE - 1, -EINVAL },
		{ PAGE, PAGE + 512, -EINVAL }, { PAGE - 1, 1, -EINVAL },
		{ 0, size + PAGE, -ENXIO }, { size, PAGE, -ENXIO },
		{ size - PAGE, 2 * PAGE, -ENXIO }, { 1ULL << 62, PAGE, -ENXIO },
		{ -(__u64)PAGE, 2 * PAGE, -EOVERFLOW },
		{ PAGE, -(__u64)PAGE, -EOVERFLOW },
	};
	struct mmapdev_ioc_info before, after;
	size_t i;

	ASSERT_EQ(0, device_fill(self->fd, 0, SPAN, pattern_of(0)));
	before = info_of(self->fd);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(bad[i].err, device_punch(self->fd, bad[i].offset,
						   bad[i].length))
			TH_LOG("%llx bytes at %llx", bad[i].length,
			       bad[i].offset);
	}
	EXPECT_EQ(0, device_punch(self->fd, 0, 0));
	EXPECT_EQ(0, device_punch(self->fd, size, 0));
	after = info_of(self->fd);
	EXPECT_EQ(before.resident, after.resident);
	EXPECT_EQ(before.punches, after.punches);
	EXPECT_TRUE(device_has(self->fd, 0, SPAN, pattern_of(0)));
}

struct files {
	int ro;
	int rw;
};

static int try_as_nobody(void *arg)
{
	struct files *files = arg;

	return !(holds(!become_nobody()) &&
		 holds(device_punch(files->ro, 0, PAGE) == -EBADF) &&
		 holds(device_punch(files->ro, 0, 0) == -EBADF) &&
		 holds(device_has(files->ro, 0, PAGE, pattern_of(0))) &&
		 holds(!device_punch(files->rw, 0, PAGE)) &&
		 holds(device_has(files->ro, 0, PAGE, 0)));
}

TEST_F(holes, only_a_file_open_for_writing_punches)
{
	struct files files = {
		.ro = device_open(O_RDONLY, DEMAND),
		.rw = self->fd,
	};
	int wo = device_open(O_WRONLY, DEMAND);

	ASSERT_LE(0, files.ro);
	ASSERT_LE(0, wo);
	ASSERT_EQ(0, device_fill(self->fd, 0, SPAN, pattern_of(0)));
	EXPECT_EQ(0, child_run(try_as_nobody, &files));
	EXPECT_EQ(0, device_punch(wo, PAGE, PAGE));
	EXPECT_TRUE(device_has(self->fd, 0, 2 * PAGE, 0));
}

TEST_F(holes, a_punch_frees_what_it_covers_and_no_more)
{
	const struct {
		size_t from;
		size_t to;
	} ranges[] = {
		{ 0, 1 }, { PAGES - 1, PAGES }, { 5, 6 }, { 3, 9 },
		{ PAGES - 3, PAGES + 5 }, { 1, 20 }, { 0, PAGES },
	};
	struct mmapdev_ioc_info before;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ranges); i++) {
		size_t from = ranges[i].from * PAGE;
		size_t to = ranges[i].to * PAGE;
		size_t end = to < SPAN ? to : SPAN;

		ASSERT_EQ(0, device_fill(self->fd, 0, SPAN, pattern_of(i)));
		before = info_of(self->fd);
		EXPECT_EQ(SPAN, before.resident);
		ASSERT_EQ(0, device_punch(self->fd, from, to - from));
		EXPECT_EQ(SPAN - (end - from), info_of(self->fd).resident);
		EXPECT_EQ(before.punches + 1, info_of(self->fd).punches);
		EXPECT_EQ(self->size, size_of(self->fd));
		EXPECT_TRUE(device_has(self->fd, 0, from, pattern_of(i)));
		EXPECT_TRUE(device_has(self->fd, from, end - from, 0));
		EXPECT_TRUE(device_has(self->fd, end, SPAN - end,
				       pattern_of(i)));
		/* Where there is nothing, nothing changes. */
		ASSERT_EQ(0, device_punch(self->fd, from, to - from));
		EXPECT_EQ(SPAN - (end - from), info_of(self->fd).resident);
	}
}

TEST_F_TIMEOUT(holes, a_punch_gives_memory_back, 60)
{
	unsigned char *data = map(self->fd, self->size, RW, MAP_SHARED, 0);
	unsigned long before;
	size_t at;

	ASSERT_NE(NULL, data);
	if (self->size < 8 << 20)
		SKIP(return, "needs a device of 8M");
	for (at = 0; at < self->size; at += PAGE)
		data[at] = 1;
	EXPECT_EQ(self->size, info_of(self->fd).resident);
	before = free_memory();
	ASSERT_EQ(0, device_punch(self->fd, 0, self->size));
	EXPECT_LT(before + self->size / 4 * 3, free_memory());
	EXPECT_EQ(0, info_of(self->fd).resident);
}

TEST_F(holes, what_is_punched_is_dirty_no_more)
{
	unsigned char *data = map(self->fd, SPAN, RW, MAP_SHARED, 0);
	struct step step;

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, device_fill(self->fd, 0, 8 * PAGE, pattern_of(0)));
	data[8 * PAGE] = 1;
	data[9 * PAGE] = 1;
	EXPECT_EQ(10 * PAGE, info_of(self->fd).dirty);
	ASSERT_EQ(0, device_punch(self->fd, 2 * PAGE, 7 * PAGE));
	EXPECT_EQ(3 * PAGE, info_of(self->fd).dirty);
	step_begin(&step, self->fd);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, step_commits(&step));
	EXPECT_EQ(3 * PAGE, step_committed(&step));

	/* A page that comes back is clean until it is written. */
	EXPECT_EQ(0, data[3 * PAGE]);
	EXPECT_EQ(0, info_of(self->fd).dirty);
	data[3 * PAGE] = 1;
	EXPECT_EQ(PAGE, info_of(self->fd).dirty);
	/* A clean page that is punched makes nothing dirty. */
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, device_punch(self->fd, 0, SPAN));
	EXPECT_EQ(0, info_of(self->fd).dirty);
	step_begin(&step, self->fd);
	ASSERT_EQ(0, msync(data, SPAN, MS_SYNC));
	EXPECT_EQ(0, step_committed(&step));
}

/* Where lseek should go, from which pages hold data: -ENXIO for nowhere. */
static off_t seek_wanted(const bool *data, size_t size, off_t from, int whence)
{
	const bool wanted = whence == SEEK_DATA;
	size_t page;

	if (from < 0 || (size_t)from >= size)
		return -ENXIO;
	for (page = from / PAGE; page < size / PAGE; page++) {
		if (data[page] == wanted)
			return page == from / PAGE ? from : (off_t)(page * PAGE);
	}
	return wanted ? -ENXIO : (off_t)size;
}

static bool seeks_are_right(int fd, const bool *data, size_t size)
{
	const int whence[] = { SEEK_DATA, SEEK_HOLE };
	const int inside[] = { 0, 1, PAGE - 1 };
	size_t page, i, j;

	for (page = 0; page <= size / PAGE; page++) {
		for (i = 0; i < ARRAY_SIZE(whence); i++) {
			for (j = 0; j < ARRAY_SIZE(inside); j++) {
				off_t from = page * PAGE + inside[j];
				off_t want = seek_wanted(data, size, from,
							 whence[i]);
				off_t got = lseek(fd, from, whence[i]);

				if (got < 0)
					got = -errno;
				if (got == want)
					continue;
				fprintf(stderr, "# %s from %llx: %llx, not %llx\n",
					i ? "hole" : "data", (long long)from,
					(long long)got, (long long)want);
				return false;
			}
		}
	}
	return true;
}

TEST_F_TIMEOUT(holes, seek_tells_data_and_holes_exactly, 120)
{
	/* Bit i: page i holds data; the same at the end of the device. */
	const __u32 patterns[] = {
		0, 1, 2, 0x80000000, 0xffffffff, 0xaaaaaaaa, 0x55555555,
		0x0ff00ff0, 0x80000001, 0xf0f0f00f, 0x7ffffffe, 0x12345678,
	};
	bool *data = calloc(self->size / PAGE, 1);
	unsigned char *view = map(self->fd, self->size, RW, MAP_SHARED, 0);
	size_t pages = self->size / PAGE;
	size_t i, page;

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, view);
	for (i = 0; i < ARRAY_SIZE(patterns); i++) {
		size_t resident = 0;

		ASSERT_EQ(0, device_punch(self->fd, 0, self->size));
		memset(data, 0, pages);
		for (page = 0; page < PAGES; page++) {
			size_t last = pages - PAGES + page;

			if (!(patterns[i] >> page & 1))
				continue;
			/* Data is what was written, or merely touched. */
			if (page % 3 == 0)
				pwrite(self->fd, "x", 1, page * PAGE + 5);
			else if (page % 3 == 1)
				device_fill(self->fd, page * PAGE, 1, 1);
			else
				fault_of_read(view + page * PAGE);
			fault_of_write(view + last * PAGE, 1);
			data[page] = true;
			data[last] = true;
			resident += 2 * PAGE;
		}
		EXPECT_EQ(resident, info_of(self->fd).resident);
		EXPECT_TRUE(seeks_are_right(self->fd, data, self->size))
			TH_LOG("pattern %x", patterns[i]);
		EXPECT_EQ(resident, info_of(self->fd).resident);
	}
	/* The other way round: holes in what was full. */
	ASSERT_EQ(0, device_fill(self->fd, 0, self->size, 1));
	memset(data, true, pages);
	for (page = 0; page < pages; page += 1 + page % 7) {
		ASSERT_EQ(0, device_punch(self->fd, page * PAGE, PAGE));
		data[page] = false;
	}
	EXPECT_TRUE(seeks_are_right(self->fd, data, self->size));
}

TEST_F(holes, seek_beyond_the_size_is_enxio_and_moves_nothing)
{
	const off_t bad[] = {
		self->size, self->size + 1, 2 * self->size, 1LL << 62, -1,
		-(off_t)PAGE, -(1LL << 62),
	};
	size_t i;

	ASSERT_EQ(0, device_fill(self->fd, 0, self->size, 1));
	ASSERT_EQ(77, lseek(self->fd, 77, SEEK_SET));
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-1, lseek(self->fd, bad[i], SEEK_DATA));
		EXPECT_EQ(ENXIO, errno);
		EXPECT_EQ(-1, lseek(self->fd, bad[i], SEEK_HOLE));
		EXPECT_EQ(ENXIO, errno);
	}
	EXPECT_EQ(77, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(self->size, lseek(self->fd, 5, SEEK_HOLE));
	EXPECT_EQ(self->size, lseek(self->fd, 0, SEEK_CUR));
	EXPECT_EQ(self->size - 1, lseek(self->fd, self->size - 1, SEEK_DATA));
}

TEST_F(holes, reads_of_a_hole_leave_it_one)
{
	struct iovec iov[] = {
		{ .iov_base = self->copy, .iov_len = 100 },
		{ .iov_base = self->copy + 100, .iov_len = SPAN - 100 },
	};
	int file = memfd_create("target", MFD_CLOEXEC);
	loff_t from = 0;
	int fds[2];

	ASSERT_LE(0, file);
	ASSERT_EQ(0, pipe(fds));
	/* Data on both sides, so that a page cache might read ahead. */
	ASSERT_EQ(0, device_fill(self->fd, SPAN, PAGE, pattern_of(0)));
	ASSERT_EQ(0, fsync(self->fd));
	memset(self->copy, 0xee, SPAN);
	EXPECT_EQ(SPAN, pread(self->fd, self->copy, SPAN, 0));
	EXPECT_TRUE(bytes_are(self->copy, 0, SPAN));
	memset(self->copy, 0xee, SPAN);
	EXPECT_EQ(SPAN, read(self->fd, self->copy, SPAN));
	EXPECT_TRUE(bytes_are(self->copy, 0, SPAN));
	EXPECT_EQ(PAGE, read(self->fd, self->copy, PAGE));
	EXPECT_TRUE(pattern_is(self->copy, SPAN, PAGE, pattern_of(0)));
	memset(self->copy, 0xee, SPAN);
	EXPECT_EQ(SPAN - 5, preadv(self->fd, iov, 2, SPAN + PAGE) - 5);
	EXPECT_TRUE(bytes_are(self->copy, 0, SPAN));
	memset(self->copy, 0xee, SPAN);
	EXPECT_EQ(2 * PAGE, pread(self->fd, self->copy, 2 * PAGE,
				  SPAN - PAGE + 7));
	EXPECT_TRUE(bytes_are(self->copy, 0, PAGE - 7));
	EXPECT_TRUE(pattern_is(self->copy + PAGE - 7, SPAN, PAGE,
			       pattern_of(0)));
	EXPECT_TRUE(bytes_are(self->copy + 2 * PAGE - 7, 0, 7));
	EXPECT_TRUE(device_has(self->fd, 0, SPAN, 0));
	EXPECT_EQ(PAGE, info_of(self->fd).resident);

	EXPECT_EQ(3 * PAGE, splice(self->fd, &from, fds[1], NULL, 3 * PAGE, 0));
	EXPECT_EQ(3 * PAGE, read(fds[0], self->copy, SPAN));
	EXPECT_TRUE(bytes_are(self->copy, 0, 3 * PAGE));
	from = 0;
	memset(self->copy, 0xee, SPAN);
	EXPECT_EQ(SPAN, pwrite(file, self->copy, SPAN, 0));
	EXPECT_EQ(SPAN, sendfile(file, self->fd, &from, SPAN));
	EXPECT_EQ(SPAN, pread(file, self->copy, SPAN, 0));
	EXPECT_TRUE(bytes_are(self->copy, 0, SPAN));
	EXPECT_EQ(SPAN, lseek(self->fd, 0, SEEK_DATA));
	EXPECT_EQ(0, lseek(self->fd, 0, SEEK_HOLE));
	EXPECT_EQ(PAGE, info_of(self->fd).resident);
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(holes, a_touch_fills_one)
{
	unsigned char *data = map(self->fd, SPAN, RW, MAP_SHARED, 0);
	unsigned char *own = map(self->fd, SPAN, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, own);
	EXPECT_EQ(0, info_of(self->fd).resident);
	EXPECT_EQ(0, data[3 * PAGE]);
	EXPECT_EQ(PAGE, info_of(self->fd).resident);
	EXPECT_EQ(0, own[5 * PAGE]);
	EXPECT_EQ(2 * PAGE, info_of(self->fd).resident);
	/* Others than the one that was touched are holes still. */
	EXPECT_EQ(4 * PAGE, lseek(self->fd, 3 * PAGE, SEEK_HOLE));
	EXPECT_EQ(0, info_of(self->fd).dirty);
}

TEST_F(holes, what_a_pipe_holds_outlives_the_punch)
{
	unsigned char *data = map(self->fd, SPAN, RW, MAP_SHARED, 0);
	struct iovec iov = {
		.iov_base = data,
		.iov_len = 8 * PAGE,
	};
	int fds[2];

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, pipe(fds));
	pattern_put(data, 0, SPAN, pattern_of(0));
	ASSERT_EQ(8 * PAGE, vmsplice(fds[1], &iov, 1, 0));
	ASSERT_EQ(0, device_punch(self->fd, 0, SPAN));
	EXPECT_EQ(0, info_of(self->fd).resident);
	pattern_put(data, 0, SPAN, pattern_of(1));
	ASSERT_EQ(8 * PAGE, read(fds[0], self->copy, 8 * PAGE));
	EXPECT_TRUE(pattern_is(self->copy, 0, 8 * PAGE, pattern_of(0)));
	EXPECT_TRUE(device_has(self->fd, 0, SPAN, pattern_of(1)));
}

/* Holes under a mapping of each kind. */
FIXTURE(under) {
	int fd;
	int other;
	unsigned char *data;
};

FIXTURE_VARIANT(under) {
	__u32 mode;
	int flags;
};

FIXTURE_VARIANT_ADD(under, demand_shared) {
	.mode = DEMAND,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(under, demand_private) {
	.mode = DEMAND,
	.flags = MAP_PRIVATE,
};

FIXTURE_VARIANT_ADD(under, eager_shared) {
	.mode = EAGER,
	.flags = MAP_SHARED,
};

FIXTURE_VARIANT_ADD(under, eager_private) {
	.mode = EAGER,
	.flags = MAP_PRIVATE,
};

FIXTURE_SETUP(under)
{
	self->fd = device_open(O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->other = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->other);
	if (size_of(self->fd) < SPAN)
		SKIP(return, "needs a device of %d pages", PAGES);
	ASSERT_EQ(0, device_punch(self->fd, 0, size_of(self->fd)));
	ASSERT_EQ(0, device_fill(self->fd, 0, SPAN, pattern_of(0)));
	self->data = map(self->fd, SPAN, RW, variant->flags, 0);
	ASSERT_NE(NULL, self->data);
}

FIXTURE_TEARDOWN(under)
{
	close(self->other);
}

TEST_F(under, a_hole_is_zeros_in_the_mapping)
{
	/* Of the punched pages the first half was touched before. */
	EXPECT_TRUE(pattern_is(self->data, 0, 8 * PAGE, pattern_of(0)));
	ASSERT_EQ(0, device_punch(self->other, 4 * PAGE, 8 * PAGE));
	EXPECT_EQ(SPAN - 8 * PAGE, info_of(self->fd).resident);
	EXPECT_TRUE(bytes_are(self->data + 4 * PAGE, 0, 8 * PAGE));
	EXPECT_TRUE(pattern_is(self->data, 0, 4 * PAGE, pattern_of(0)));
	EXPECT_TRUE(pattern_is(self->data + 12 * PAGE, 12 * PAGE,
			       SPAN - 12 * PAGE, pattern_of(0)));
	EXPECT_TRUE(device_has(self->fd, 4 * PAGE, 8 * PAGE, 0));
}

TEST_F(under, a_hole_is_one_memory_again)
{
	const bool shared = variant->flags == MAP_SHARED;

	EXPECT_TRUE(pattern_is(self->data, 0, SPAN, pattern_of(0)));
	ASSERT_EQ(0, device_punch(self->other, 4 * PAGE, 8 * PAGE));
	/* First the kernel's store, then one through the mapping. */
	ASSERT_EQ(0, device_fill(self->fd, 4 * PAGE, 4 * PAGE, pattern_of(1)));
	EXPECT_TRUE(pattern_is(self->data + 4 * PAGE, 4 * PAGE, 4 * PAGE,
			       pattern_of(1)));
	pattern_put(self->data + 8 * PAGE, 8 * PAGE, 4 * PAGE, pattern_of(2));
	EXPECT_TRUE(device_has(self->fd, 8 * PAGE, 4 * PAGE,
			       shared ? pattern_of(2) : 0));
	pattern_put(self->data + 4 * PAGE, 4 * PAGE, 4 * PAGE, pattern_of(3));
	EXPECT_TRUE(device_has(self->fd, 4 * PAGE, 4 * PAGE,
			       pattern_of(shared ? 3 : 1)));
}

TEST_F(under, copies_stay_and_the_rest_is_zeros)
{
	const bool shared = variant->flags == MAP_SHARED;
	size_t page;

	for (page = 0; page < PAGES; page += 2)
		pattern_put(self->data + page * PAGE, page * PAGE, PAGE,
			    pattern_of(1));
	ASSERT_EQ(0, device_punch(self->other, 0, SPAN));
	EXPECT_EQ(0, info_of(self->fd).resident);
	for (page = 0; page < PAGES; page++) {
		EXPECT_TRUE(pattern_is(self->data + page * PAGE, page * PAGE,
				       PAGE, shared || page % 2 ?
				       0 : pattern_of(1)));
	}
	EXPECT_TRUE(device_has(self->fd, 0, SPAN, 0));
}

TEST_F(under, a_closed_file_and_a_moved_mapping_see_it)
{
	unsigned char *to = map(-1, SPAN, PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, 0);

	ASSERT_NE(NULL, to);
	ASSERT_EQ(0, close(self->fd));
	ASSERT_EQ(to, mremap(self->data, SPAN, SPAN,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	EXPECT_TRUE(pattern_is(to, 0, SPAN, pattern_of(0)));
	ASSERT_EQ(0, munmap(to + PAGE, PAGE));
	ASSERT_EQ(0, device_punch(self->other, 0, 4 * PAGE));
	EXPECT_TRUE(bytes_are(to, 0, PAGE));
	EXPECT_TRUE(bytes_are(to + 2 * PAGE, 0, 2 * PAGE));
	EXPECT_TRUE(pattern_is(to + 4 * PAGE, 4 * PAGE, SPAN - 4 * PAGE,
			       pattern_of(0)));
}

struct look {
	unsigned char *data;
	struct gate go;
	struct gate ready;
};

static int see_the_hole(void *arg)
{
	struct look *look = arg;
	bool before = pattern_is(look->data, 0, SPAN, pattern_of(0));

	gate_open(&look->ready);
	gate_wait(&look->go);
	return !(holds(before) && holds(bytes_are(look->data, 0, 4 * PAGE)) &&
		 holds(pattern_is(look->data + 4 * PAGE, 4 * PAGE,
				  SPAN - 4 * PAGE, pattern_of(0))));
}

TEST_F(under, a_child_sees_it)
{
	struct look look = {
		.data = self->data,
	};
	pid_t pid;

	ASSERT_EQ(0, gate_make(&look.go));
	ASSERT_EQ(0, gate_make(&look.ready));
	pid = child_start(see_the_hole, &look);
	gate_wait(&look.ready);
	ASSERT_EQ(0, munmap(self->data, SPAN));
	ASSERT_EQ(0, device_punch(self->fd, 0, 4 * PAGE));
	EXPECT_EQ(SPAN - 4 * PAGE, info_of(self->fd).resident);
	gate_open(&look.go);
	EXPECT_EQ(0, child_wait(pid));
}

/* Memory of somebody else: every page says so, and shows what becomes of it. */
#define BALLAST	((size_t)24 << 20)
#define MINE	0x5aa55aa55aa55aa5ull

static __u64 *take_memory(void)
{
	__u64 *mine = map(-1, BALLAST, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	size_t i;

	if (!mine)
		return NULL;
	madvise(mine, BALLAST, MADV_NOHUGEPAGE);
	for (i = 0; i < BALLAST / sizeof(*mine); i++)
		mine[i] = MINE;
	return mine;
}

static bool is_untouched(const __u64 *mine)
{
	size_t i;

	for (i = 0; i < BALLAST / sizeof(*mine); i++) {
		if (mine[i] != MINE)
			return false;
	}
	return true;
}

/* A page that a process still reaches may be nobody else's. */
TEST_F_TIMEOUT(under, a_punched_frame_is_out_of_reach, 60)
{
	__u64 *mine;
	size_t at;

	/* Mapped, and half of it copied where it is private. */
	for (at = 0; at < SPAN; at += 2 * PAGE) {
		fault_of_read(self->data + at);
		self->data[at + PAGE] = 1;
	}
	ASSERT_EQ(0, device_punch(self->fd, 0, SPAN));
	mine = take_memory();
	ASSERT_NE(NULL, mine);
	for (at = 0; at < SPAN; at += 2 * PAGE)
		EXPECT_TRUE(bytes_are(self->data + at, 0, PAGE));
	pattern_put(self->data, 0, SPAN, pattern_of(2));
	EXPECT_TRUE(is_untouched(mine));
}

TEST_F_TIMEOUT(under, a_frame_that_was_cut_is_out_of_reach, 60)
{
	const size_t size = size_of(self->fd);
	__u64 *mine;
	size_t at;

	for (at = 0; at < SPAN; at += 2 * PAGE) {
		fault_of_read(self->data + at);
		self->data[at + PAGE] = 1;
	}
	ASSERT_EQ(0, device_resize(self->fd, PAGE));
	mine = take_memory();
	ASSERT_NE(NULL, mine);
	for (at = PAGE; at < SPAN; at += PAGE) {
		EXPECT_EQ(SIGBUS, fault_of_read(self->data + at).sig);
		EXPECT_EQ(SIGBUS, fault_of_write(self->data + at, 2).sig);
	}
	EXPECT_EQ(0, device_resize(self->fd, size));
	EXPECT_TRUE(bytes_are(self->data + PAGE, 0, SPAN - PAGE));
	pattern_put(self->data, 0, SPAN, pattern_of(2));
	EXPECT_TRUE(is_untouched(mine));
}

/* Private and by frame number: for the privileged, in consecutive frames. */
FIXTURE(frame) {
	int fd;
	unsigned char *own;
};

FIXTURE_SETUP(frame)
{
	self->fd = device_open(O_RDWR, EAGER);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_fill(self->fd, 0, 4 * PAGE, pattern_of(0)));
	self->own = map(self->fd, PAGE, RW, MAP_PRIVATE, PAGE);
	ASSERT_NE(NULL, self->own);
	/* One page always is consecutive. */
	ASSERT_TRUE(vma_has(self->own, "pf"));
}

FIXTURE_TEARDOWN(frame)
{
	close(self->fd);
}

TEST_F_TIMEOUT(frame, what_is_punched_under_it_is_zeros, 60)
{
	const __u64 resident = info_of(self->fd).resident;
	__u64 *mine;

	EXPECT_TRUE(pattern_is(self->own, PAGE, PAGE, pattern_of(0)));
	ASSERT_EQ(0, device_punch(self->fd, PAGE, PAGE));
	EXPECT_EQ(resident - PAGE, info_of(self->fd).resident);
	mine = take_memory();
	ASSERT_NE(NULL, mine);
	EXPECT_TRUE(bytes_are(self->own, 0, PAGE));
	pattern_put(self->own, PAGE, PAGE, pattern_of(2));
	EXPECT_TRUE(is_untouched(mine));
	EXPECT_TRUE(device_has(self->fd, PAGE, PAGE, 0));
}

TEST_F(frame, what_is_written_before_the_next_touch_is_seen)
{
	ASSERT_EQ(0, device_punch(self->fd, PAGE, PAGE));
	ASSERT_EQ(0, device_fill(self->fd, 0, 4 * PAGE, pattern_of(1)));
	EXPECT_TRUE(pattern_is(self->own, PAGE, PAGE, pattern_of(1)));
	pattern_put(self->own, PAGE, PAGE, pattern_of(2));
	EXPECT_TRUE(device_has(self->fd, 0, 4 * PAGE, pattern_of(1)));
}

TEST_F(frame, its_copy_stays)
{
	pattern_put(self->own, PAGE, PAGE, pattern_of(2));
	ASSERT_EQ(0, device_punch(self->fd, 0, 4 * PAGE));
	EXPECT_TRUE(pattern_is(self->own, PAGE, PAGE, pattern_of(2)));
	EXPECT_TRUE(device_has(self->fd, 0, 4 * PAGE, 0));
}

TEST_F(frame, a_punch_elsewhere_changes_nothing)
{
	ASSERT_EQ(0, device_punch(self->fd, 0, PAGE));
	ASSERT_EQ(0, device_punch(self->fd, 2 * PAGE, 2 * PAGE));
	EXPECT_TRUE(pattern_is(self->own, PAGE, PAGE, pattern_of(0)));
	EXPECT_TRUE(device_has(self->fd, PAGE, PAGE, pattern_of(0)));
}

TEST_HARNESS_MAIN
