// SPDX-License-Identifier: GPL-2.0
/*
 * Huge folios: taken where the policy and the memory allow, mapped by one
 * entry, dirty as a whole, cut to the page, and never less true than small ones.
 */
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <time.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define CGROUP	"/sys/fs/cgroup"
#define GROUP	CGROUP "/mmapdev_huge"
#define CLEAR	MMAPDEV_IOC_DIRTY_CLEAR
#define MIB	1048576ul
#define HUGE	(2 * MIB)
#define SIZE	(16 * MIB)
#define PAGES	(SIZE / PAGE)

/*
 * The word at each offset of the buffer is another one, so that no page can be
 * taken for another. Words, for there are many.
 */
static void stamp(void *to, size_t offset, size_t length, __u64 key)
{
	__u64 *word = to;
	size_t i;

	for (i = 0; i < length / 8; i++)
		word[i] = key + offset + 8 * i;
}

static bool stamped(const void *at, size_t offset, size_t length, __u64 key)
{
	const __u64 *word = at;
	size_t i;

	for (i = 0; i < length / 8; i++) {
		if (word[i] == key + offset + 8 * i)
			continue;
		fprintf(stderr, "# at %zx is %llx, not %llx\n", offset + 8 * i,
			word[i], key + offset + 8 * i);
		return false;
	}
	return true;
}

static bool zeros(const void *at, size_t length)
{
	const __u64 *word = at;
	size_t i;

	for (i = 0; i < length / 8; i++) {
		if (word[i])
			return false;
	}
	return true;
}

/* A store that the compiler leaves where it is. */
static void put(void *at, unsigned char byte)
{
	__atomic_store_n((unsigned char *)at, byte, __ATOMIC_SEQ_CST);
}

static unsigned char get(const void *at)
{
	return __atomic_load_n((const unsigned char *)at, __ATOMIC_SEQ_CST);
}

/* Bytes of the mapping at an address that huge entries map. */
static size_t huge_mapped(const void *at)
{
	FILE *smaps = fopen("/proc/self/smaps", "re");
	unsigned long start, end, kib = 0;
	bool found = false;
	char line[512];

	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx %*4s ", &start, &end) == 2)
			found = (unsigned long)at >= start &&
				(unsigned long)at < end;
		else if (found && sscanf(line, "FilePmdMapped: %lu", &kib) == 1)
			break;
	}
	if (smaps)
		fclose(smaps);
	return kib * 1024;
}

/* A device of its own for a test. */
struct device {
	int fd;
	int eager_fd;
	unsigned char *copy;
};

static int device_new(struct device *dev, const char *params)
{
	int err = module_reload(params);

	if (err)
		return err;
	dev->fd = device_open(O_RDWR, DEMAND);
	dev->eager_fd = device_open(O_RDWR, EAGER);
	dev->copy = malloc(SIZE);
	return dev->fd < 0 || dev->eager_fd < 0 || !dev->copy;
}

static void device_end(struct device *dev)
{
	close(dev->fd);
	close(dev->eager_fd);
	module_reload(NULL);
}

/* How the pages of a range stand in the bitmap: how many, or -errno. */
static long written(int fd, __u32 flags, size_t offset, size_t length)
{
	unsigned char bitmap[SIZE / 4096 / 8];
	__u64 count;
	int err;

	err = device_dirty(fd, flags, offset, length, bitmap, &count);
	return err ? err : (long)count;
}

FIXTURE(policy) {
	struct device dev;
};

FIXTURE_VARIANT(policy) {
	const char *params;
	__u32 huge;
	/* Bytes that a touch takes: without advice, MADV_HUGEPAGE, NOHUGEPAGE. */
	size_t touch[3];
	/* and what a write does. */
	size_t write;
};

FIXTURE_VARIANT_ADD(policy, never) {
	.params = "size=16M huge=never",
	.huge = MMAPDEV_IOC_HUGE_NEVER,
	.touch = { 4096, 4096, 4096 },
	.write = 4096,
};

FIXTURE_VARIANT_ADD(policy, advise) {
	.params = "size=16M huge=advise",
	.huge = MMAPDEV_IOC_HUGE_ADVISE,
	.touch = { 4096, HUGE, 4096 },
	.write = 4096,
};

FIXTURE_VARIANT_ADD(policy, always) {
	.params = "size=16M huge=always",
	.huge = MMAPDEV_IOC_HUGE_ALWAYS,
	.touch = { HUGE, HUGE, 4096 },
	.write = HUGE,
};

FIXTURE_SETUP(policy)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	ASSERT_EQ(0, device_new(&self->dev, variant->params));
}

FIXTURE_TEARDOWN(policy)
{
	device_end(&self->dev);
}

TEST_F(policy, info_tells_it)
{
	struct mmapdev_ioc_info info = info_of(self->dev.fd);

	EXPECT_EQ(variant->huge, info.huge);
	EXPECT_EQ(variant->touch[1], info.folio_max);
	EXPECT_EQ(PAGE, info.page_size);
}

TEST_F(policy, a_touch_takes_a_folio_by_policy_and_advice)
{
	static const int advice[] = { MADV_NORMAL, MADV_HUGEPAGE, MADV_NOHUGEPAGE };
	unsigned char *data;
	int i, store;

	for (i = 0; i < 3; i++) {
		for (store = 0; store < 2; store++) {
			size_t at = (2 * i + store) * HUGE;
			size_t size = variant->touch[i];
			struct mmapdev_ioc_info before = info_of(self->dev.fd);
			struct mmapdev_ioc_info after;

			data = map(self->dev.fd, HUGE, RW, MAP_SHARED, at);
			ASSERT_NE(NULL, data);
			ASSERT_EQ(0, madvise(data, HUGE, advice[i]));
			if (store)
				put(data + 5 * PAGE, 1);
			else
				get(data + 5 * PAGE);
			after = info_of(self->dev.fd);
			EXPECT_EQ(size, after.resident - before.resident)
				TH_LOG("advice %d store %d", i, store);
			EXPECT_EQ(1, after.faults - before.faults);
			EXPECT_EQ(store ? size : 0, after.dirty - before.dirty);
			EXPECT_EQ(size == HUGE ? HUGE : 0, huge_mapped(data))
				TH_LOG("advice %d store %d", i, store);
			ASSERT_EQ(0, munmap(data, HUGE));
		}
	}
}

TEST_F(policy, a_write_and_a_fill_take_a_folio_by_policy)
{
	ASSERT_EQ(1, pwrite(self->dev.fd, "x", 1, HUGE + 5));
	EXPECT_EQ(variant->write, info_of(self->dev.fd).resident);
	EXPECT_EQ(variant->write, info_of(self->dev.fd).dirty);
	ASSERT_EQ(0, device_fill(self->dev.fd, 3 * HUGE - 1, 1, 1));
	EXPECT_EQ(2 * variant->write, info_of(self->dev.fd).resident);
}

TEST_F(policy, mmap_chooses_an_address_that_fits_where_it_may_matter)
{
	const struct {
		size_t offset;
		size_t length;
	} want[] = {
		{ 0, HUGE }, { HUGE, HUGE }, { 0, SIZE }, { PAGE, 2 * HUGE },
		{ HUGE - PAGE, HUGE + PAGE }, { 5 * PAGE, 3 * HUGE + PAGE },
	};
	unsigned char *data;
	size_t i;
	int round;

	for (i = 0; i < ARRAY_SIZE(want); i++) {
		for (round = 0; round < 8; round++) {
			data = map(self->dev.fd, want[i].length, PROT_READ,
				   round & 1 ? MAP_PRIVATE : MAP_SHARED,
				   want[i].offset);
			ASSERT_NE(NULL, data);
			/* Of small folios no address is better than another. */
			if (variant->huge == MMAPDEV_IOC_HUGE_NEVER)
				continue;
			EXPECT_EQ(0, ((uintptr_t)data - want[i].offset) % HUGE)
				TH_LOG("case %zu: %p", i, data);
		}
	}
}

/* All of what follows is under huge=always. */
FIXTURE(huge) {
	struct device dev;
	unsigned char *data;
};

FIXTURE_SETUP(huge)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	ASSERT_EQ(0, device_new(&self->dev, "size=16M huge=always"));
	self->data = map(self->dev.fd, SIZE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
}

FIXTURE_TEARDOWN(huge)
{
	munmap(self->data, SIZE);
	device_end(&self->dev);
}

TEST_F(huge, one_fault_maps_each_folio_by_one_entry)
{
	struct mmapdev_ioc_info before, after;
	size_t n, at;

	before = info_of(self->dev.fd);
	for (n = 0; n < SIZE / HUGE; n++) {
		if (n & 1)
			put(self->data + n * HUGE + 77 * PAGE, 1);
		else
			get(self->data + n * HUGE + 77 * PAGE);
		after = info_of(self->dev.fd);
		EXPECT_EQ(n + 1, after.faults - before.faults);
		EXPECT_EQ((n + 1) * HUGE, after.resident);
		EXPECT_EQ((n + 1) * HUGE, huge_mapped(self->data));
	}
	EXPECT_EQ(SIZE / HUGE / 2, after.mkwrites - before.mkwrites);
	for (at = 0; at < SIZE; at += PAGE)
		get(self->data + at);
	EXPECT_EQ(SIZE / HUGE, info_of(self->dev.fd).faults - before.faults);
}

TEST_F(huge, memory_that_is_there_is_mapped_by_one_entry_too)
{
	unsigned char *more;
	size_t at;

	ASSERT_EQ(0, device_fill(self->dev.fd, 0, SIZE, pattern_of(1)));
	ASSERT_EQ(SIZE, info_of(self->dev.fd).resident);
	more = map(self->dev.fd, SIZE, PROT_READ, MAP_PRIVATE, 0);
	ASSERT_NE(NULL, more);
	for (at = 0; at < SIZE; at += HUGE) {
		put(self->data + at, 1);
		get(more + at);
	}
	EXPECT_EQ(SIZE, huge_mapped(self->data));
	EXPECT_EQ(SIZE, huge_mapped(more));
}

TEST_F(huge, a_mapping_at_an_address_that_does_not_fit_works)
{
	unsigned char *room = map(-1, SIZE + 2 * HUGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, 0);
	unsigned char *odd;

	ASSERT_NE(NULL, room);
	odd = (void *)(((uintptr_t)room + HUGE - 1) / HUGE * HUGE + PAGE);
	ASSERT_EQ(odd, mmap(odd, SIZE, RW, MAP_SHARED | MAP_FIXED, self->dev.fd,
			    0));
	stamp(odd, 0, SIZE, 1);
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
	EXPECT_EQ(0, huge_mapped(odd));
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	stamp(self->data, 0, SIZE, 2);
	EXPECT_TRUE(stamped(odd, 0, SIZE, 2));
}

TEST_F(huge, a_private_mapping_copies_the_page_that_is_written)
{
	unsigned char *own = map(self->dev.fd, SIZE, RW, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	stamp(self->data, 0, SIZE, 1);
	get(own);
	get(own + HUGE);
	EXPECT_EQ(2 * HUGE, huge_mapped(own));
	put(own + 5 * PAGE, 0xee);
	memset(own + HUGE + PAGE, 0xee, PAGE);
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	EXPECT_TRUE(bytes_are(own + HUGE + PAGE, 0xee, PAGE));
	stamp(self->data, 0, SIZE, 2);
	EXPECT_TRUE(stamped(own, 0, 5 * PAGE, 2));
	EXPECT_TRUE(stamped(own + 5 * PAGE + 8, 5 * PAGE + 8, PAGE - 8, 1));
	EXPECT_EQ(0xee, get(own + 5 * PAGE));
	EXPECT_TRUE(stamped(own + 6 * PAGE, 6 * PAGE, HUGE - 5 * PAGE, 2));
	EXPECT_TRUE(bytes_are(own + HUGE + PAGE, 0xee, PAGE));
	EXPECT_TRUE(stamped(own + HUGE + 2 * PAGE, HUGE + 2 * PAGE,
			    SIZE - HUGE - 2 * PAGE, 2));
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
}

static int store_a_byte(void *arg)
{
	put(arg, 7);
	return 0;
}

TEST_F(huge, one_byte_makes_a_folio_dirty_and_one_msync_clean)
{
	struct step step;
	int i;

	get(self->data + HUGE);
	EXPECT_EQ(0, info_of(self->dev.fd).dirty);
	for (i = 0; i < 3; i++) {
		step_begin(&step, self->dev.fd);
		if (i == 1) {
			ASSERT_EQ(0, child_run(store_a_byte,
					       self->data + HUGE + 99 * PAGE));
		} else {
			put(self->data + HUGE + 99 * PAGE, i);
		}
		EXPECT_EQ(HUGE, info_of(self->dev.fd).dirty)
			TH_LOG("round %d", i);
		put(self->data + 2 * HUGE - 1, i);
		EXPECT_EQ(HUGE, info_of(self->dev.fd).dirty);
		ASSERT_EQ(0, msync(self->data + HUGE + 3 * PAGE, PAGE, MS_SYNC));
		EXPECT_EQ(HUGE, step_committed(&step));
		EXPECT_EQ(0, step.after.dirty);
		EXPECT_EQ(1, step_commits(&step));
	}
	put(self->data, 1);
	put(self->data + 5 * HUGE, 1);
	EXPECT_EQ(2 * HUGE, info_of(self->dev.fd).dirty);
	ASSERT_EQ(0, fsync(self->dev.fd));
	EXPECT_EQ(0, info_of(self->dev.fd).dirty);
}

TEST_F(huge, the_bits_of_a_folio_are_one)
{
	const long all = HUGE / PAGE;
	int fd = self->dev.fd;
	int i;

	get(self->data);
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, written(fd, 0, 0, SIZE));
		put(self->data + HUGE + 99 * PAGE, 1);
		EXPECT_EQ(all, written(fd, 0, 0, SIZE));
		EXPECT_EQ(all, written(fd, 0, HUGE, HUGE));
		EXPECT_EQ(1, written(fd, 0, HUGE, PAGE));
		/* Only a range that covers all of it clears. */
		EXPECT_EQ(all - 1, written(fd, CLEAR, 0, 2 * HUGE - PAGE));
		EXPECT_EQ(all - 1, written(fd, CLEAR, HUGE + PAGE, HUGE));
		EXPECT_EQ(1, written(fd, CLEAR, HUGE + 5 * PAGE, PAGE));
		EXPECT_EQ(all, written(fd, CLEAR, HUGE, HUGE));
		EXPECT_EQ(HUGE, info_of(fd).dirty);
		ASSERT_EQ(0, fsync(fd));
	}
}

TEST_F(huge, an_eager_mapping_has_its_frames_in_order)
{
	unsigned char *eager;
	size_t at;

	/* One half is there before, the other is taken for it. */
	stamp(self->data, 0, SIZE / 2, 1);
	eager = map(self->dev.eager_fd, SIZE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, eager);
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
	EXPECT_TRUE(stamped(eager, 0, SIZE / 2, 1));
	EXPECT_TRUE(zeros(eager + SIZE / 2, SIZE / 2));
	/* pagemap says nothing of frames mapped by number, but of the others. */
	for (at = 0; at < SIZE; at += HUGE) {
		__u64 frame;
		size_t page;

		get(self->data + at);
		frame = frame_of(self->data + at);
		ASSERT_NE(0, frame);
		EXPECT_EQ(0, frame % (HUGE / PAGE));
		for (page = 0; page < HUGE / PAGE; page++)
			ASSERT_EQ(frame + page,
				  frame_of(self->data + at + page * PAGE));
	}
	stamp(eager, 0, SIZE, 2);
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 2));
	stamp(self->data, 0, SIZE, 3);
	EXPECT_TRUE(stamped(eager, 0, SIZE, 3));
}

TEST_F(huge, an_eager_private_mapping_copies_the_page_that_is_written)
{
	unsigned char *own;
	struct vma vma;

	stamp(self->data, 0, SIZE, 1);
	own = map(self->dev.eager_fd, HUGE, RW, MAP_PRIVATE, HUGE);
	ASSERT_NE(NULL, own);
	EXPECT_TRUE(vma_has(own, "pf"));
	/* Its offset is the number of its first frame, for all to follow it. */
	ASSERT_EQ(0, vma_at(own, &vma));
	EXPECT_EQ(frame_of(self->data + HUGE), vma.offset / PAGE);
	put(own + 5 * PAGE, 0xee);
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	stamp(self->data, 0, SIZE, 2);
	EXPECT_TRUE(stamped(own, HUGE, 5 * PAGE, 2));
	EXPECT_TRUE(stamped(own + 5 * PAGE + 8, HUGE + 5 * PAGE + 8, PAGE - 8, 1));
	EXPECT_TRUE(stamped(own + 6 * PAGE, HUGE + 6 * PAGE, HUGE - 6 * PAGE, 2));
}

/* The pages of a folio that was split have small folios, frame by frame. */
TEST_F(huge, an_eager_private_mapping_of_small_folios_is_cut_between_them)
{
	unsigned char *own;

	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, device_punch(self->dev.fd, 4 * PAGE, PAGE));
	ASSERT_EQ(0, device_punch(self->dev.fd, 7 * PAGE, PAGE));
	own = map(self->dev.eager_fd, 2 * PAGE, RW, MAP_PRIVATE, 5 * PAGE);
	ASSERT_NE(NULL, own);
	ASSERT_TRUE(vma_has(own, "pf"));
	put(own, 0xee);
	put(own + PAGE, 0xee);
	ASSERT_EQ(0, device_resize(self->dev.fd, 6 * PAGE));
	EXPECT_EQ(0xee, get(own));
	EXPECT_EQ(SIGBUS, fault_of_read(own + PAGE).sig);
	EXPECT_EQ(SIGBUS, fault_of_write(own + PAGE, 1).sig);
	ASSERT_EQ(0, device_resize(self->dev.fd, SIZE));
	EXPECT_EQ(0xee, get(own));
	EXPECT_TRUE(zeros(own + PAGE, PAGE));
	EXPECT_TRUE(stamped(self->data + 5 * PAGE, 5 * PAGE, PAGE, 1));
	EXPECT_TRUE(zeros(self->data + 6 * PAGE, PAGE));
}

TEST_F_TIMEOUT(huge, calls_work_across_the_bounds_of_folios, 60)
{
	static const struct {
		size_t offset;
		size_t length;
	} range[] = {
		{ HUGE - 5, 10 }, { HUGE - 5, HUGE + 11 }, { 3 * HUGE - 1, 1 },
		{ 3 * HUGE, 1 }, { 1, 3 * HUGE }, { 5 * HUGE - 4097, 8195 },
		{ SIZE - HUGE - 3, HUGE + 3 }, { 0, SIZE },
	};
	unsigned char *copy = self->dev.copy;
	int fd = self->dev.fd;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(range); i++) {
		const size_t offset = range[i].offset;
		const size_t length = range[i].length;
		const size_t rest = (offset + length + 7) & -8;
		struct iovec iov[2] = {
			{ .iov_base = copy, .iov_len = length / 3 },
			{ .iov_base = copy + length / 3,
			  .iov_len = length - length / 3 },
		};

		/* The kernel fills, and sees what a mapping and it wrote. */
		stamp(self->data, 0, SIZE, i);
		ASSERT_EQ(0, device_fill(fd, offset, length, pattern_of(i)));
		EXPECT_TRUE(pattern_is(self->data + offset, offset, length,
				       pattern_of(i)));
		EXPECT_EQ(pattern_sum(offset, length, pattern_of(i)),
			  sum_of(fd, offset, length));
		EXPECT_TRUE(stamped(self->data, 0, offset & -8, i));
		EXPECT_TRUE(stamped(self->data + rest, rest, SIZE - rest, i));

		memset(copy, i + 1, length);
		ASSERT_EQ(length, pwritev(fd, iov, 2, offset));
		EXPECT_EQ(0, memcmp(copy, self->data + offset, length));
		memset(copy, 0, length);
		ASSERT_EQ(length, preadv(fd, iov, 2, offset));
		EXPECT_EQ(0, memcmp(copy, self->data + offset, length));
		EXPECT_EQ(i + 1, copy[length - 1]);
	}
	EXPECT_EQ(SIZE, info_of(fd).resident);
}

TEST_F(huge, data_and_holes_are_whole_folios)
{
	int fd = self->dev.fd;

	ASSERT_EQ(1, pwrite(fd, "x", 1, HUGE + 5));
	ASSERT_EQ(1, pwrite(fd, "x", 1, 4 * HUGE - 1));
	EXPECT_EQ(2 * HUGE, info_of(fd).resident);
	EXPECT_EQ(0, lseek(fd, 0, SEEK_HOLE));
	EXPECT_EQ(HUGE, lseek(fd, 0, SEEK_DATA));
	EXPECT_EQ(HUGE + 77, lseek(fd, HUGE + 77, SEEK_DATA));
	EXPECT_EQ(2 * HUGE, lseek(fd, HUGE + 77, SEEK_HOLE));
	EXPECT_EQ(3 * HUGE, lseek(fd, 2 * HUGE, SEEK_DATA));
	EXPECT_EQ(4 * HUGE, lseek(fd, 3 * HUGE, SEEK_HOLE));
	EXPECT_EQ(-1, lseek(fd, 4 * HUGE, SEEK_DATA));
	/* Reading holes takes none. */
	ASSERT_EQ(SIZE, pread(fd, self->dev.copy, SIZE, 0));
	sum_of(fd, 0, SIZE);
	EXPECT_EQ(2 * HUGE, info_of(fd).resident);
}

struct family {
	unsigned char *data;
	struct gate go;
	struct gate done;
};

static int child_of_family(void *arg)
{
	struct family *me = arg;

	stamp(me->data, 0, SIZE / 2, 2);
	gate_open(&me->done);
	gate_wait(&me->go);
	return !(holds(stamped(me->data, 0, SIZE / 2, 2)) &&
		 holds(stamped(me->data + SIZE / 2, SIZE / 2, SIZE / 2, 3)));
}

TEST_F(huge, a_forked_child_shares_it)
{
	struct family family = { .data = self->data };
	pid_t pid;

	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, gate_make(&family.go));
	ASSERT_EQ(0, gate_make(&family.done));
	pid = child_start(child_of_family, &family);
	gate_wait(&family.done);
	EXPECT_TRUE(stamped(self->data, 0, SIZE / 2, 2));
	EXPECT_TRUE(stamped(self->data + SIZE / 2, SIZE / 2, SIZE / 2, 1));
	stamp(self->data + SIZE / 2, SIZE / 2, SIZE / 2, 3);
	gate_open(&family.go);
	EXPECT_EQ(0, child_wait(pid));
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
}

TEST_F(huge, mprotect_of_one_page_leaves_the_others)
{
	unsigned char *page = self->data + HUGE + 9 * PAGE;

	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, fsync(self->dev.fd));
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_READ));
	EXPECT_EQ(SIGSEGV, fault_of_write(page, 1).sig);
	EXPECT_EQ(0, info_of(self->dev.fd).dirty);
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	put(page - 1, get(page - 1));
	put(page + PAGE, get(page + PAGE));
	EXPECT_EQ(HUGE, info_of(self->dev.fd).dirty);
	ASSERT_EQ(0, mprotect(page, PAGE, PROT_NONE));
	EXPECT_EQ(SIGSEGV, fault_of_read(page).sig);
	ASSERT_EQ(0, mprotect(page, PAGE, RW));
	stamp(self->data, 0, SIZE, 2);
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 2));
}

TEST_F(huge, munmap_of_parts_leaves_the_others)
{
	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, munmap(self->data + 7 * PAGE, PAGE));
	ASSERT_EQ(0, munmap(self->data + HUGE + MIB, 2 * HUGE));
	EXPECT_EQ(SIGSEGV, fault_of_read(self->data + 7 * PAGE).sig);
	EXPECT_EQ(SIGSEGV, fault_of_read(self->data + 2 * HUGE).sig);
	EXPECT_TRUE(stamped(self->data, 0, 7 * PAGE, 1));
	EXPECT_TRUE(stamped(self->data + 8 * PAGE, 8 * PAGE,
			    HUGE + MIB - 8 * PAGE, 1));
	EXPECT_TRUE(stamped(self->data + 3 * HUGE + MIB, 3 * HUGE + MIB,
			    SIZE - 3 * HUGE - MIB, 1));
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
	ASSERT_EQ(SIZE, pread(self->dev.fd, self->dev.copy, SIZE, 0));
	EXPECT_TRUE(stamped(self->dev.copy, 0, SIZE, 1));
}

TEST_F(huge, mremap_takes_it_along)
{
	unsigned char *room = map(-1, 3 * SIZE + HUGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, 0);
	unsigned char *fits, *odd, *part, *to;

	ASSERT_NE(NULL, room);
	fits = (void *)(((uintptr_t)room + HUGE - 1) / HUGE * HUGE);
	odd = fits + SIZE + 5 * PAGE;
	part = fits + 2 * SIZE + 9 * PAGE;
	stamp(self->data, 0, SIZE, 1);
	to = mremap(self->data, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, fits);
	ASSERT_EQ(fits, to);
	EXPECT_TRUE(stamped(to, 0, SIZE, 1));
	stamp(to, 0, SIZE, 2);
	to = mremap(to, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, odd);
	ASSERT_EQ(odd, to);
	EXPECT_TRUE(stamped(odd, 0, SIZE, 2));
	to = mremap(odd + MIB, 2 * HUGE, 2 * HUGE, MREMAP_MAYMOVE | MREMAP_FIXED,
		    part);
	ASSERT_EQ(part, to);
	EXPECT_TRUE(stamped(part, MIB, 2 * HUGE, 2));
	stamp(part, MIB, 2 * HUGE, 3);
	ASSERT_EQ(SIZE, pread(self->dev.fd, self->dev.copy, SIZE, 0));
	EXPECT_TRUE(stamped(self->dev.copy, 0, MIB, 2));
	EXPECT_TRUE(stamped(self->dev.copy + MIB, MIB, 2 * HUGE, 3));
	EXPECT_TRUE(stamped(odd, 0, MIB, 2));
	EXPECT_TRUE(stamped(odd + MIB + 2 * HUGE, MIB + 2 * HUGE,
			    SIZE - MIB - 2 * HUGE, 2));
	ASSERT_EQ(0, munmap(room, 3 * SIZE + HUGE));
}

TEST_F(huge, madvise_dontneed_drops_no_data)
{
	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, madvise(self->data + 3 * PAGE, HUGE, MADV_DONTNEED));
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	ASSERT_EQ(0, madvise(self->data, SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, huge_mapped(self->data));
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
}

TEST_F(huge, msync_of_a_part_commits_the_folios_that_it_touches)
{
	struct step step;

	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(SIZE, info_of(self->dev.fd).dirty);
	step_begin(&step, self->dev.fd);
	ASSERT_EQ(0, msync(self->data + 2 * HUGE - PAGE, 2 * PAGE, MS_SYNC));
	EXPECT_EQ(2 * HUGE, step_committed(&step));
	EXPECT_EQ(SIZE - 2 * HUGE, step.after.dirty);
	ASSERT_EQ(0, msync(self->data + HUGE, PAGE, MS_SYNC));
	EXPECT_EQ(2 * HUGE, step_committed(&step));
}

/* Pages of a folio that was split count as written, and so does no hole. */
TEST_F(huge, a_cut_marks_what_is_left_of_the_folio)
{
	const long all = HUGE / PAGE;
	int fd = self->dev.fd;

	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(PAGES, written(fd, CLEAR, 0, SIZE));
	ASSERT_EQ(0, device_punch(fd, HUGE + 3 * PAGE, PAGE));
	EXPECT_EQ(all - 1, written(fd, 0, 0, SIZE));
	EXPECT_EQ(0, written(fd, 0, HUGE + 3 * PAGE, PAGE));
	EXPECT_EQ(HUGE - PAGE, info_of(fd).dirty);
	/* From now on they are smaller ones; how small is the kernel's choice. */
	EXPECT_EQ(all - 1, written(fd, CLEAR, 0, SIZE));
	EXPECT_EQ(0, written(fd, 0, 0, SIZE));
	put(self->data + HUGE, 1);
	EXPECT_EQ(1, written(fd, 0, HUGE, PAGE));
	EXPECT_GT(all / 2, written(fd, 0, 0, SIZE));
	/* Whole folios are not cut. */
	ASSERT_EQ(0, fsync(fd));
	ASSERT_LE(1, written(fd, CLEAR, 0, SIZE));
	ASSERT_EQ(0, device_punch(fd, 2 * HUGE, HUGE));
	ASSERT_EQ(0, device_resize(fd, 4 * HUGE));
	EXPECT_EQ(0, written(fd, 0, 0, 4 * HUGE));
	EXPECT_EQ(0, info_of(fd).dirty);
}

/* One that somebody else's split made: its marks are still those of a write. */
TEST_F(huge, a_split_from_outside_loses_no_mark)
{
	int fd = self->dev.fd;
	size_t n;

	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, fsync(fd));
	ASSERT_EQ(PAGES, written(fd, CLEAR, 0, SIZE));
	for (n = 0; n < 4; n++)
		put(self->data + n * HUGE + 3 * PAGE, 0xee);
	ASSERT_EQ(4 * HUGE, info_of(fd).dirty);
	for (n = 0; n < SIZE / HUGE; n++) {
		madvise(self->data + n * HUGE + 5 * PAGE, PAGE, MADV_COLD);
		madvise(self->data + n * HUGE + 7 * PAGE, 3 * PAGE, MADV_PAGEOUT);
	}
	EXPECT_EQ(SIZE, info_of(fd).resident);
	for (n = 0; n < 4; n++) {
		EXPECT_EQ(1, written(fd, 0, n * HUGE + 3 * PAGE, PAGE));
		ASSERT_EQ(0xee, get(self->data + n * HUGE + 3 * PAGE));
		stamp(self->data + n * HUGE + 3 * PAGE, n * HUGE + 3 * PAGE, 8, 1);
	}
	EXPECT_LE(4 * PAGE, info_of(fd).dirty);
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	/* And the tracking goes on. */
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(0, info_of(fd).dirty);
	written(fd, CLEAR, 0, SIZE);
	EXPECT_EQ(0, written(fd, 0, 0, SIZE));
	put(self->data + 5 * PAGE, 1);
	EXPECT_EQ(1, written(fd, 0, 5 * PAGE, PAGE));
	EXPECT_LE(PAGE, info_of(fd).dirty);
}

/* A cut under each kind of mapping: all look at one model of the buffer. */
struct scene {
	struct device dev;
	unsigned char *demand;
	unsigned char *eager;
	unsigned char *own;
	bool hole[SIZE / 4096];
};

FIXTURE(cut) {
	struct scene scene;
};

FIXTURE_VARIANT(cut) {
	bool demand;
	bool eager;
	bool own;
};

FIXTURE_VARIANT_ADD(cut, unmapped) {
};

FIXTURE_VARIANT_ADD(cut, under_demand) {
	.demand = true,
};

FIXTURE_VARIANT_ADD(cut, under_eager) {
	.eager = true,
};

FIXTURE_VARIANT_ADD(cut, under_private) {
	.own = true,
};

FIXTURE_VARIANT_ADD(cut, under_all) {
	.demand = true,
	.eager = true,
	.own = true,
};

FIXTURE_SETUP(cut)
{
	struct scene *scene = &self->scene;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	ASSERT_EQ(0, device_new(&scene->dev, "size=16M huge=always"));
	stamp(scene->dev.copy, 0, SIZE, 1);
	ASSERT_EQ(SIZE, pwrite(scene->dev.fd, scene->dev.copy, SIZE, 0));
	ASSERT_EQ(0, fsync(scene->dev.fd));
	if (variant->demand) {
		scene->demand = map(scene->dev.fd, SIZE, RW, MAP_SHARED, 0);
		ASSERT_TRUE(stamped(scene->demand, 0, SIZE, 1));
		EXPECT_EQ(SIZE, huge_mapped(scene->demand));
	}
	if (variant->eager) {
		scene->eager = map(scene->dev.eager_fd, SIZE, RW, MAP_SHARED, 0);
		ASSERT_TRUE(stamped(scene->eager, 0, SIZE, 1));
	}
	if (variant->own) {
		scene->own = map(scene->dev.fd, SIZE, RW, MAP_PRIVATE, 0);
		ASSERT_TRUE(stamped(scene->own, 0, SIZE, 1));
	}
}

FIXTURE_TEARDOWN(cut)
{
	struct scene *scene = &self->scene;

	if (scene->demand)
		munmap(scene->demand, SIZE);
	if (scene->eager)
		munmap(scene->eager, SIZE);
	if (scene->own)
		munmap(scene->own, SIZE);
	device_end(&scene->dev);
}

static bool as_modelled(const unsigned char *at, const bool *hole, size_t size)
{
	size_t i;

	for (i = 0; i < size / PAGE; i++) {
		if (hole[i] ? zeros(at + i * PAGE, PAGE) :
			      stamped(at + i * PAGE, i * PAGE, PAGE, 1))
			continue;
		fprintf(stderr, "# page %zu is wrong\n", i);
		return false;
	}
	return true;
}

/* By read first: it takes no memory. */
static bool all_as_modelled(struct scene *scene, size_t size)
{
	return holds(pread(scene->dev.fd, scene->dev.copy, SIZE, 0) == (ssize_t)size) &&
	       holds(as_modelled(scene->dev.copy, scene->hole, size)) &&
	       (!scene->demand || holds(as_modelled(scene->demand, scene->hole, size))) &&
	       (!scene->eager || holds(as_modelled(scene->eager, scene->hole, size))) &&
	       (!scene->own || holds(as_modelled(scene->own, scene->hole, size)));
}

/* A store through one mapping of the page is seen by all. */
static bool still_one_memory(struct scene *scene, size_t at)
{
	unsigned char *views[] = { scene->demand, scene->eager };
	unsigned char seen, was;
	size_t i, j;

	for (i = 0; i < 2; i++) {
		if (!views[i])
			continue;
		was = get(views[i] + at);
		put(views[i] + at, was ^ 0x55);
		if (!holds(pread(scene->dev.fd, &seen, 1, at) == 1) ||
		    !holds(seen == (was ^ 0x55)))
			return false;
		for (j = 0; j < 2; j++) {
			if (views[j] && !holds(get(views[j] + at) == seen))
				return false;
		}
		if (scene->own && !holds(get(scene->own + at) == seen))
			return false;
		put(views[i] + at, was);
	}
	return true;
}

TEST_F_TIMEOUT(cut, a_punch_frees_its_pages_and_no_other, 60)
{
	static const struct {
		size_t offset;
		size_t length;
	} range[] = {
		/* Inside, both ends, across, whole, whole and more, one again. */
		{ HUGE + MIB + 8192, 4096 }, { 2 * HUGE, 4096 },
		{ 3 * HUGE - 4096, 4096 }, { 3 * HUGE - 8192, 2 * 8192 },
		{ 4 * HUGE, HUGE }, { 5 * HUGE + 4096, 2 * HUGE - 4096 },
		{ HUGE + 4096, 12288 }, { HUGE + 8192, 4096 },
	};
	struct scene *scene = &self->scene;
	size_t i, at;

	for (i = 0; i < ARRAY_SIZE(range); i++) {
		size_t end = range[i].offset + range[i].length;
		__u64 before = info_of(scene->dev.fd).resident;
		size_t freed = 0;

		/*
		 * What was looked at through a mapping is memory again, and
		 * read(2) in the model's place tells that nothing else is gone.
		 */
		for (at = range[i].offset; at < end; at += PAGE) {
			bool data = lseek(scene->dev.fd, at, SEEK_DATA) == (off_t)at;

			freed += data ? PAGE : 0;
			scene->hole[at / PAGE] = true;
		}
		ASSERT_EQ(0, device_punch(scene->dev.fd, range[i].offset,
					  range[i].length));
		EXPECT_EQ(before - freed, info_of(scene->dev.fd).resident)
			TH_LOG("range %zu", i);
		ASSERT_TRUE(all_as_modelled(scene, SIZE)) TH_LOG("range %zu", i);
		EXPECT_TRUE(still_one_memory(scene, range[i].offset));
		EXPECT_TRUE(still_one_memory(scene, end - 1));
		if (end < SIZE)
			EXPECT_TRUE(still_one_memory(scene, end));
		if (range[i].offset)
			EXPECT_TRUE(still_one_memory(scene, range[i].offset - 1));
	}
}

TEST_F_TIMEOUT(cut, a_shrink_frees_what_is_beyond_and_no_more, 60)
{
	static const size_t sizes[] = {
		SIZE - 4096, 5 * HUGE + MIB, 5 * HUGE + MIB - 4096, 3 * HUGE,
		HUGE + 4096, HUGE - 4096, 4096,
	};
	struct scene *scene = &self->scene;
	unsigned char *views[] = { scene->demand, scene->eager, scene->own };
	size_t i, j, at;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		const size_t size = sizes[i];
		const size_t bad[] = {
			size, size + PAGE, (size / HUGE + 1) * HUGE - PAGE,
			SIZE - PAGE,
		};

		ASSERT_EQ(0, device_resize(scene->dev.fd, size));
		EXPECT_EQ(size, info_of(scene->dev.fd).size);
		EXPECT_EQ(size, info_of(scene->dev.fd).resident)
			TH_LOG("size %zx", size);
		ASSERT_TRUE(all_as_modelled(scene, size)) TH_LOG("size %zx", size);
		EXPECT_TRUE(still_one_memory(scene, size - 1));
		for (j = 0; j < 3 * ARRAY_SIZE(bad); j++) {
			unsigned char *view = views[j % 3];
			size_t where = bad[j / 3];

			if (!view || where >= SIZE)
				continue;
			EXPECT_EQ(SIGBUS, fault_of_read(view + where).sig)
				TH_LOG("size %zx view %zu at %zx", size, j % 3, where);
			EXPECT_EQ(SIGBUS, fault_of_write(view + where, 1).sig)
				TH_LOG("size %zx view %zu at %zx", size, j % 3, where);
		}
		EXPECT_EQ(size, info_of(scene->dev.fd).resident);
	}
	/* What comes back is zeros, at the same addresses. */
	ASSERT_EQ(0, device_resize(scene->dev.fd, SIZE));
	EXPECT_EQ(PAGE, info_of(scene->dev.fd).resident);
	for (at = PAGE; at < SIZE; at += PAGE)
		scene->hole[at / PAGE] = true;
	ASSERT_TRUE(all_as_modelled(scene, SIZE));
	EXPECT_TRUE(still_one_memory(scene, PAGE));
	EXPECT_TRUE(still_one_memory(scene, SIZE - 1));
}

/* A folio that something holds: a page of the mapping in a pipe. */
FIXTURE(held) {
	struct device dev;
	unsigned char *data;
	int fds[2];
};

#define HELD	(HUGE + MIB)

FIXTURE_SETUP(held)
{
	struct iovec iov = { .iov_len = PAGE };

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	ASSERT_EQ(0, device_new(&self->dev, "size=16M huge=always"));
	self->data = map(self->dev.fd, SIZE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	stamp(self->data, 0, SIZE, 1);
	ASSERT_EQ(0, pipe(self->fds));
	iov.iov_base = self->data + HELD;
	ASSERT_EQ(PAGE, vmsplice(self->fds[1], &iov, 1, 0));
}

FIXTURE_TEARDOWN(held)
{
	close(self->fds[0]);
	close(self->fds[1]);
	munmap(self->data, SIZE);
	device_end(&self->dev);
}

TEST_F(held, a_shrink_that_cuts_it_is_ebusy_and_changes_nothing)
{
	struct mmapdev_ioc_info before = info_of(self->dev.fd);
	struct mmapdev_ioc_info after;
	size_t sizes[] = { HUGE + PAGE, HELD, HELD + PAGE, 2 * HUGE - PAGE };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT_EQ(-EBUSY, device_resize(self->dev.fd, sizes[i]));
		after = info_of(self->dev.fd);
		EXPECT_EQ(SIZE, after.size);
		EXPECT_EQ(SIZE, after.resident);
		EXPECT_EQ(before.resizes, after.resizes);
		EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	}
	stamp(self->data, 0, SIZE, 2);
	ASSERT_EQ(SIZE, pread(self->dev.fd, self->dev.copy, SIZE, 0));
	EXPECT_TRUE(stamped(self->dev.copy, 0, SIZE, 2));

	/* It is in the pipe, which sees the stores, and then no more. */
	ASSERT_EQ(PAGE, read(self->fds[0], self->dev.copy, PAGE));
	EXPECT_TRUE(stamped(self->dev.copy, HELD, PAGE, 2));
	ASSERT_EQ(0, device_resize(self->dev.fd, HELD + PAGE));
	EXPECT_EQ(HELD + PAGE, info_of(self->dev.fd).resident);
	EXPECT_TRUE(stamped(self->data, 0, HELD + PAGE, 2));
	EXPECT_EQ(SIGBUS, fault_of_read(self->data + HELD + PAGE).sig);
}

TEST_F(held, a_shrink_that_cuts_another_folio_works)
{
	ASSERT_EQ(0, device_resize(self->dev.fd, 4 * HUGE + PAGE));
	EXPECT_EQ(4 * HUGE + PAGE, info_of(self->dev.fd).resident);
	EXPECT_TRUE(stamped(self->data, 0, 4 * HUGE + PAGE, 1));
	EXPECT_EQ(-EBUSY, device_resize(self->dev.fd, HELD));
	EXPECT_EQ(4 * HUGE + PAGE, info_of(self->dev.fd).size);
	EXPECT_TRUE(stamped(self->data, 0, 4 * HUGE + PAGE, 1));
}

TEST_F(held, cut_off_as_a_whole_it_lives_on_for_its_holder)
{
	ASSERT_EQ(0, device_resize(self->dev.fd, HUGE));
	EXPECT_EQ(HUGE, info_of(self->dev.fd).resident);
	EXPECT_EQ(SIGBUS, fault_of_read(self->data + HELD).sig);
	ASSERT_EQ(0, device_resize(self->dev.fd, SIZE));
	EXPECT_TRUE(zeros(self->data + HUGE, SIZE - HUGE));
	stamp(self->data + HUGE, HUGE, SIZE - HUGE, 3);
	ASSERT_EQ(PAGE, read(self->fds[0], self->dev.copy, PAGE));
	EXPECT_TRUE(stamped(self->dev.copy, HELD, PAGE, 1));
	EXPECT_TRUE(stamped(self->data + HUGE, HUGE, SIZE - HUGE, 3));
}

TEST_F(held, a_punch_that_cuts_it_zeroes_and_frees_later)
{
	unsigned char *eager = map(self->dev.eager_fd, SIZE, RW, MAP_SHARED, 0);
	const size_t at = HUGE + 8 * PAGE;

	ASSERT_NE(NULL, eager);
	ASSERT_EQ(0, device_punch(self->dev.fd, at, 2 * PAGE));
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
	EXPECT_TRUE(zeros(self->data + at, 2 * PAGE));
	EXPECT_TRUE(zeros(eager + at, 2 * PAGE));
	ASSERT_EQ(2 * PAGE, pread(self->dev.fd, self->dev.copy, 2 * PAGE, at));
	EXPECT_TRUE(zeros(self->dev.copy, 2 * PAGE));
	EXPECT_TRUE(stamped(self->data, 0, at, 1));
	EXPECT_TRUE(stamped(self->data + at + 2 * PAGE, at + 2 * PAGE,
			    SIZE - at - 2 * PAGE, 1));
	stamp(eager + at, at, 2 * PAGE, 4);
	EXPECT_TRUE(stamped(self->data + at, at, 2 * PAGE, 4));
	EXPECT_EQ(1, info_of(self->dev.fd).punches);

	ASSERT_EQ(PAGE, read(self->fds[0], self->dev.copy, PAGE));
	EXPECT_TRUE(stamped(self->dev.copy, HELD, PAGE, 1));
	ASSERT_EQ(0, device_punch(self->dev.fd, at, 2 * PAGE));
	EXPECT_EQ(SIZE - 2 * PAGE, info_of(self->dev.fd).resident);
	EXPECT_TRUE(zeros(self->data + at, 2 * PAGE));
	EXPECT_TRUE(zeros(eager + at, 2 * PAGE));
	EXPECT_TRUE(stamped(eager, 0, at, 1));
	ASSERT_EQ(0, munmap(eager, SIZE));
}

TEST_F(held, an_eager_private_mapping_holds_too)
{
	unsigned char *own = map(self->dev.eager_fd, HUGE, RW, MAP_PRIVATE,
				 3 * HUGE);

	ASSERT_NE(NULL, own);
	ASSERT_TRUE(vma_has(own, "pf"));
	put(own + 5 * PAGE, 0xee);
	EXPECT_EQ(-EBUSY, device_resize(self->dev.fd, 3 * HUGE + MIB));
	EXPECT_EQ(SIZE, info_of(self->dev.fd).size);
	EXPECT_TRUE(stamped(self->data, 0, SIZE, 1));
	EXPECT_TRUE(stamped(own, 3 * HUGE, 5 * PAGE, 1));
	EXPECT_EQ(0xee, get(own + 5 * PAGE));
	/* Zeroed it is, and so seen. */
	ASSERT_EQ(0, device_punch(self->dev.fd, 3 * HUGE + PAGE, PAGE));
	EXPECT_TRUE(zeros(self->data + 3 * HUGE + PAGE, PAGE));
	EXPECT_TRUE(zeros(own + PAGE, PAGE));
	EXPECT_EQ(SIZE, info_of(self->dev.fd).resident);
	stamp(self->data + 3 * HUGE + PAGE, 3 * HUGE + PAGE, PAGE, 1);
	ASSERT_EQ(0, munmap(own, HUGE));
	ASSERT_EQ(0, device_resize(self->dev.fd, 3 * HUGE + MIB));
	EXPECT_EQ(3 * HUGE + MIB, info_of(self->dev.fd).resident);
	EXPECT_TRUE(stamped(self->data, 0, 3 * HUGE + MIB, 1));
}

/* Where no huge folio can be. */
FIXTURE(fallback) {
	struct device dev;
};

FIXTURE_SETUP(fallback)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
}

FIXTURE_TEARDOWN(fallback)
{
	device_end(&self->dev);
	rmdir(GROUP);
}

TEST_F(fallback, the_rest_of_the_size_is_in_smaller_ones)
{
	const size_t size = HUGE + MIB + 8192;
	unsigned char *data;
	size_t at;

	ASSERT_EQ(0, device_new(&self->dev,
				"size=3153920 max_size=8M huge=always"));
	ASSERT_EQ(size, size_of(self->dev.fd));
	data = map(self->dev.fd, 4 * HUGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	for (at = 0; at < size; at += PAGE) {
		put(data + at, 1);
		ASSERT_GE(size, info_of(self->dev.fd).resident);
	}
	EXPECT_EQ(size, info_of(self->dev.fd).resident);
	EXPECT_EQ(size, info_of(self->dev.fd).dirty);
	EXPECT_EQ(HUGE, huge_mapped(data));
	for (at = size; at < 4 * HUGE; at += PAGE)
		ASSERT_EQ(SIGBUS, fault_of_write(data + at, 1).sig);
	EXPECT_EQ(size, info_of(self->dev.fd).resident);

	/* A range that has become whole: what is there stays, the rest works. */
	ASSERT_EQ(0, device_resize(self->dev.fd, 4 * HUGE));
	EXPECT_TRUE(zeros(data + size, 4 * HUGE - size));
	stamp(data, 0, 4 * HUGE, 1);
	EXPECT_EQ(4 * HUGE, info_of(self->dev.fd).resident);
	EXPECT_EQ(3 * HUGE, huge_mapped(data));
	EXPECT_TRUE(stamped(data, 0, 4 * HUGE, 1));
	munmap(data, 4 * HUGE);
}

TEST_F(fallback, a_small_page_in_the_range_stays)
{
	unsigned char *data, *more;

	ASSERT_EQ(0, device_new(&self->dev, "size=16M huge=advise"));
	data = map(self->dev.fd, SIZE, RW, MAP_SHARED, 0);
	more = map(self->dev.fd, SIZE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	ASSERT_NE(NULL, more);
	stamp(data + HUGE + 9 * PAGE, HUGE + 9 * PAGE, PAGE, 1);
	ASSERT_EQ(PAGE, info_of(self->dev.fd).resident);
	ASSERT_EQ(0, madvise(more, SIZE, MADV_HUGEPAGE));
	put(more + HUGE, 1);
	EXPECT_GT(HUGE, info_of(self->dev.fd).resident);
	EXPECT_EQ(0, huge_mapped(more));
	put(more + 2 * HUGE, 1);
	EXPECT_EQ(HUGE, huge_mapped(more));
	EXPECT_TRUE(stamped(more + HUGE + 9 * PAGE, HUGE + 9 * PAGE, PAGE, 1));
	put(data + HUGE + 9 * PAGE, 0xee);
	EXPECT_EQ(0xee, get(more + HUGE + 9 * PAGE));
	munmap(data, SIZE);
	munmap(more, SIZE);
}

/* What prealloc takes is what a touch would. */
TEST_F(fallback, prealloc_takes_huge_ones)
{
	unsigned char *data;

	ASSERT_EQ(0, device_new(&self->dev, "size=5M huge=always prealloc=1"));
	EXPECT_EQ(5 * MIB, info_of(self->dev.fd).resident);
	data = map(self->dev.fd, 5 * MIB, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	EXPECT_TRUE(zeros(data, 5 * MIB));
	EXPECT_EQ(2 * HUGE, huge_mapped(data));
	munmap(data, 5 * MIB);
}

static int touch_in_group(void *arg)
{
	struct device *dev = arg;
	unsigned char *data = map(dev->fd, SIZE, RW, MAP_SHARED, 0);
	struct fault fault = {};
	char pid[32];
	size_t at;

	snprintf(pid, sizeof(pid), "%d", getpid());
	if (!holds(data) || !holds(!file_write(GROUP "/cgroup.procs", pid)))
		return 1;
	for (at = 0; at < SIZE && !fault.sig; at += PAGE)
		fault = fault_of_write(data + at, 1);
	/* Out of it again, for there is no room in it to look around. */
	return !(holds(!file_write(CGROUP "/cgroup.procs", pid)) &&
		 holds(fault.sig == SIGBUS) && holds(huge_mapped(data) >= HUGE));
}

/* No room for 2 MiB more is still room for pages. */
TEST_F_TIMEOUT(fallback, the_rest_of_a_memory_cgroup_is_in_smaller_ones, 60)
{
	const size_t limit = 9 * MIB;
	char text[4096];
	char *kills;

	ASSERT_EQ(0, device_new(&self->dev, "size=16M huge=always"));
	file_write(CGROUP "/cgroup.subtree_control", "+memory");
	rmdir(GROUP);
	ASSERT_EQ(0, mkdir(GROUP, 0755));
	snprintf(text, sizeof(text), "%zu", limit);
	ASSERT_EQ(0, file_write(GROUP "/memory.max", text));
	EXPECT_EQ(0, child_run(touch_in_group, &self->dev));
	EXPECT_GE(limit, info_of(self->dev.fd).resident);
	EXPECT_LT(limit - MIB, info_of(self->dev.fd).resident);
	EXPECT_LT(0, file_read(GROUP "/memory.events", text, sizeof(text)));
	kills = strstr(text, "oom_kill ");
	EXPECT_TRUE(kills && !strtol(kills + 9, NULL, 10));
}

/*
 * Memory with no block of 2 MiB left: a second device has most of it and gives
 * back every other page, which nothing can move together.
 */
TEST_F_TIMEOUT(fallback, fragmented_memory_gives_smaller_ones, 180)
{
	const size_t size = 128 * MIB;
	struct sysinfo sys;
	unsigned char *data;
	char params[128];
	size_t ballast, at;
	int other;

	module_unload();
	ASSERT_EQ(0, sysinfo(&sys));
	ballast = sys.freeram * sys.mem_unit / 10 * 9 & -PAGE;
	snprintf(params, sizeof(params),
		 "devices=2 size=128M,%zu huge=always,never", ballast);
	ASSERT_EQ(0, device_new(&self->dev, params));
	other = open(DEVICE "1", O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, device_fill(other, 0, ballast, 1));
	for (at = 0; at < ballast; at += 2 * PAGE)
		ASSERT_EQ(0, device_punch(other, at, PAGE));
	data = map(self->dev.fd, size, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	stamp(data, 0, size, 1);
	EXPECT_EQ(size, info_of(self->dev.fd).resident);
	EXPECT_GT(size, huge_mapped(data));
	EXPECT_TRUE(stamped(data, 0, size, 1));
	munmap(data, size);
	close(other);
}

/* Everything that drops, moves or takes clean pages of files: see survive.c. */
FIXTURE(survive) {
	struct device dev;
	unsigned char *demand;
	unsigned char *eager;
	__u64 frames[SIZE / HUGE];
};

FIXTURE_SETUP(survive)
{
	size_t n;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	ASSERT_EQ(0, device_new(&self->dev, "size=16M huge=always"));
	self->demand = map(self->dev.fd, SIZE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->demand);
	stamp(self->demand, 0, SIZE, 1);
	ASSERT_EQ(0, fsync(self->dev.fd));
	ASSERT_EQ(0, info_of(self->dev.fd).dirty);
	ASSERT_TRUE(stamped(self->demand, 0, SIZE, 1));
	self->eager = map(self->dev.eager_fd, SIZE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->eager);
	for (n = 0; n < SIZE / HUGE; n++)
		self->frames[n] = frame_of(self->demand + n * HUGE);
}

FIXTURE_TEARDOWN(survive)
{
	munmap(self->demand, SIZE);
	munmap(self->eager, SIZE);
	device_end(&self->dev);
}

static void expect_alive(struct __test_metadata *_metadata, struct device *dev,
			 unsigned char *demand, unsigned char *eager)
{
	EXPECT_EQ(SIZE, info_of(dev->fd).resident);
	ASSERT_EQ(SIZE, pread(dev->fd, dev->copy, SIZE, 0));
	ASSERT_TRUE(stamped(dev->copy, 0, SIZE, 1));
	ASSERT_TRUE(stamped(demand, 0, SIZE, 1));
	ASSERT_TRUE(stamped(eager, 0, SIZE, 1));
	stamp(eager, 0, SIZE, 2);
	ASSERT_TRUE(stamped(demand, 0, SIZE, 2));
	stamp(demand, 0, SIZE, 3);
	ASSERT_TRUE(stamped(eager, 0, SIZE, 3));
}

TEST_F_TIMEOUT(survive, advice_to_drop_them, 60)
{
	unsigned char *own = map(self->dev.fd, SIZE, PROT_READ, MAP_PRIVATE, 0);

	ASSERT_NE(NULL, own);
	EXPECT_TRUE(stamped(own, 0, SIZE, 1));
	EXPECT_EQ(0, madvise(self->demand, SIZE, MADV_COLD));
	EXPECT_EQ(0, madvise(self->demand, SIZE, MADV_PAGEOUT));
	EXPECT_EQ(0, madvise(own, SIZE, MADV_PAGEOUT));
	EXPECT_EQ(0, madvise(own + 3 * PAGE, HUGE, MADV_PAGEOUT));
	EXPECT_EQ(0, madvise(self->demand + 3 * PAGE, HUGE, MADV_PAGEOUT));
	EXPECT_EQ(0, posix_fadvise(self->dev.fd, 0, 0, POSIX_FADV_DONTNEED));
	EXPECT_EQ(0, posix_fadvise(self->dev.fd, 5 * PAGE, PAGE,
				   POSIX_FADV_DONTNEED));
	ASSERT_EQ(0, munmap(own, SIZE));
	expect_alive(_metadata, &self->dev, self->demand, self->eager);
}

TEST_F_TIMEOUT(survive, drop_caches_and_sync, 60)
{
	int i;

	sync();
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, file_write("/proc/sys/vm/drop_caches", "3"));
	expect_alive(_metadata, &self->dev, self->demand, self->eager);
}

TEST_F_TIMEOUT(survive, compaction, 180)
{
	struct sysinfo sys;
	unsigned char *ballast;
	size_t size, at, n;

	ASSERT_EQ(0, sysinfo(&sys));
	size = sys.freeram * sys.mem_unit / 2 & -(2 * PAGE);
	ballast = map(-1, size, RW, MAP_PRIVATE | MAP_ANONYMOUS, 0);
	ASSERT_NE(NULL, ballast);
	madvise(ballast, size, MADV_NOHUGEPAGE);
	for (at = 0; at < size; at += PAGE)
		ballast[at] = 1;
	for (at = 0; at < size; at += 2 * PAGE)
		ASSERT_EQ(0, madvise(ballast + at, PAGE, MADV_DONTNEED));
	ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
	ASSERT_EQ(0, munmap(ballast, size));
	ASSERT_EQ(0, file_write("/proc/sys/vm/compact_memory", "1"));
	for (n = 0; n < SIZE / HUGE; n++) {
		get(self->demand + n * HUGE);
		EXPECT_EQ(self->frames[n], frame_of(self->demand + n * HUGE));
	}
	expect_alive(_metadata, &self->dev, self->demand, self->eager);
}

/* Cuts, while another process drops all caches over and over. */
static int drop_all(void *arg)
{
	(void)arg;
	for (;;) {
		if (!holds(!file_write("/proc/sys/vm/drop_caches", "3")))
			return 1;
	}
}

TEST_F_TIMEOUT(huge, cuts_while_caches_are_dropped_lose_nothing, 120)
{
	const time_t end = time(NULL) + 6;
	pid_t pid = child_start(drop_all, NULL);
	size_t at, step = 3;
	int round;

	for (round = 1; time(NULL) < end; round++) {
		step = step % 17 + 2;
		stamp(self->data, 0, SIZE, round);
		if (round & 1)
			ASSERT_EQ(0, fsync(self->dev.fd));
		for (at = 0; at < SIZE; at += step * PAGE)
			ASSERT_EQ(0, device_punch(self->dev.fd, at, PAGE));
		ASSERT_EQ(SIZE - (PAGES + step - 1) / step * PAGE,
			  info_of(self->dev.fd).resident);
		ASSERT_EQ(SIZE, pread(self->dev.fd, self->dev.copy, SIZE, 0));
		for (at = 0; at < SIZE; at += PAGE)
			ASSERT_TRUE(at / PAGE % step ?
				    stamped(self->dev.copy + at, at, PAGE, round) :
				    zeros(self->dev.copy + at, PAGE))
				TH_LOG("round %d at %zx", round, at);
		/* Huge ones again. */
		ASSERT_EQ(0, device_punch(self->dev.fd, 0, SIZE));
	}
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_wait(pid));
}

/* All that a cut, a pin or a fallback took is given back. */
static int cut_and_hold(struct device *dev)
{
	struct iovec iov = { .iov_len = PAGE };
	unsigned char *data, *eager;
	int round, fds[2];
	size_t n;

	for (round = 0; round < 16; round++) {
		data = map(dev->fd, SIZE, RW, MAP_SHARED, 0);
		eager = map(dev->eager_fd, SIZE, RW, MAP_SHARED, 0);
		if (!holds(data) || !holds(eager) || !holds(!pipe(fds)))
			return 1;
		stamp(data, 0, SIZE, 1);
		iov.iov_base = data + 3 * HUGE + MIB;
		if (!holds(vmsplice(fds[1], &iov, 1, 0) == (ssize_t)PAGE))
			return 1;
		for (n = 0; n < SIZE / HUGE; n++) {
			if (!holds(!device_punch(dev->fd, n * HUGE + n * PAGE, PAGE)))
				return 1;
		}
		if (!holds(device_resize(dev->fd, 3 * HUGE + PAGE) == -EBUSY) ||
		    !holds(!device_resize(dev->fd, HUGE + PAGE)) ||
		    !holds(!device_resize(dev->fd, SIZE)))
			return 1;
		stamp(eager, 0, SIZE, 2);
		munmap(data, SIZE);
		munmap(eager, SIZE);
		close(fds[0]);
		close(fds[1]);
	}
	return 0;
}

FIXTURE(memory) {
	int rounds;
};

FIXTURE_SETUP(memory)
{
	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO for a new device");
	self->rounds = 6;
}

FIXTURE_TEARDOWN(memory)
{
	module_reload(NULL);
}

TEST_F_TIMEOUT(memory, of_a_device_that_was_cut_is_all_given_back, 120)
{
	const int rounds = self->rounds;
	unsigned long before = 0;
	struct device dev;
	int i;

	for (i = 0; i <= rounds; i++) {
		/* The first round fills the lists of free pages of each CPU. */
		if (i == 1)
			before = free_memory();
		ASSERT_EQ(0, device_new(&dev, "size=16M huge=always"));
		ASSERT_EQ(0, cut_and_hold(&dev));
		close(dev.fd);
		close(dev.eager_fd);
		free(dev.copy);
		ASSERT_EQ(0, module_unload());
	}
	/* Half a folio of each round would be more. */
	EXPECT_LT(before, free_memory() + rounds * HUGE / 2);
}

TEST_HARNESS_MAIN
