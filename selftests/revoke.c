// SPDX-License-Identifier: GPL-2.0
/*
 * A device that is removed while it is open or mapped: calls are ENODEV,
 * touches SIGBUS, pollers are told, its memory is freed and nothing dangles.
 * The races print their seed; MMAPDEV_SEED gives it back, MMAPDEV_SECONDS is
 * for how long they run.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define NAME	"revoked"
#define MIB	1048576ul
#define PAGES	16

/* The two ways to remove a device. */
enum how {
	BY_LIVE,
	BY_RMDIR,
};

static int take_away(enum how how)
{
	return how == BY_RMDIR ? config_drop(NAME) : config_set(NAME, "live", "0");
}

static int errno_of(long result)
{
	return result == -1 ? errno : 0;
}

/* A device with these attributes, "" for the defaults. */
static int make(const char *size, const char *max_size, const char *huge,
		char *path, size_t room)
{
	int err;

	config_drop(NAME);
	err = config_make(NAME);
	if (!err)
		err = config_set(NAME, "size", size);
	if (!err && *max_size)
		err = config_set(NAME, "max_size", max_size);
	if (!err && *huge)
		err = config_set(NAME, "huge", huge);
	return err ? err : config_start(NAME, path, room);
}

/* The lists of free pages that each CPU has give them back in time. */
static bool memory_comes_back(unsigned long wanted)
{
	unsigned long is = 0;
	int tries;

	for (tries = 0; tries < 30; tries++) {
		is = free_memory();
		if (is >= wanted)
			return true;
		usleep(500000);
	}
	fprintf(stderr, "# %lu bytes are free, not %lu\n", is, wanted);
	return false;
}

static int open_node(const char *path, int flags, __u32 mode)
{
	int fd = open(path, flags | O_CLOEXEC);

	if (fd >= 0 && device_set_mode(fd, mode))
		return -1;
	return fd;
}

FIXTURE(revoke) {
	char path[32];
	int fd;
	size_t span;
};

FIXTURE_VARIANT(revoke) {
	enum how how;
};

FIXTURE_VARIANT_ADD(revoke, by_live) {
	.how = BY_LIVE,
};

FIXTURE_VARIANT_ADD(revoke, by_rmdir) {
	.how = BY_RMDIR,
};

FIXTURE_SETUP(revoke)
{
	if (access(CONFIG, F_OK))
		SKIP(return, "needs " CONFIG);
	self->span = PAGES * PAGE;
	ASSERT_EQ(0, make("64K", "128K", "", self->path, sizeof(self->path)));
	self->fd = open_node(self->path, O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(1)));
}

FIXTURE_TEARDOWN(revoke)
{
	close(self->fd);
	config_drop(NAME);
	EXPECT_EQ(-1, access(self->path, F_OK));
}

/* Every ioctl, with an argument that a device which lives would take. */
static void expect_no_ioctl(struct __test_metadata *_metadata, int fd)
{
	unsigned char bits[PAGES / 8 + 1];
	struct mmapdev_ioc_dirty dirty = {
		.argsz = sizeof(dirty),
		.length = PAGES * PAGE,
		.bitmap = (uintptr_t)bits,
	};
	struct mmapdev_ioc_eventfd event = {
		.argsz = sizeof(event),
		.fd = -1,
	};
	struct mmapdev_ioc_info info;
	__u32 sum;

	EXPECT_EQ(-ENODEV, device_info(fd, &info));
	EXPECT_EQ(-ENODEV, device_set_mode(fd, EAGER));
	EXPECT_EQ(-ENODEV, device_set_mode(fd, DEMAND));
	EXPECT_EQ(-ENODEV, device_fill(fd, 0, PAGE, 1));
	EXPECT_EQ(-ENODEV, device_fill(fd, 0, 0, 1));
	EXPECT_EQ(-ENODEV, device_sum(fd, 0, PAGE, &sum));
	EXPECT_EQ(-ENODEV, device_resize(fd, PAGE));
	EXPECT_EQ(-ENODEV, device_resize(fd, PAGES * PAGE));
	EXPECT_EQ(-ENODEV, device_punch(fd, 0, PAGE));
	EXPECT_EQ(ENODEV, errno_of(ioctl(fd, MMAPDEV_IOC_DIRTY, &dirty)));
	dirty.flags = MMAPDEV_IOC_DIRTY_CLEAR;
	EXPECT_EQ(ENODEV, errno_of(ioctl(fd, MMAPDEV_IOC_DIRTY, &dirty)));
	EXPECT_EQ(ENODEV, errno_of(ioctl(fd, MMAPDEV_IOC_EVENTFD, &event)));
	EXPECT_EQ(-ENODEV, device_will(fd, 0, 0, 0, 1));
	EXPECT_EQ(-ENODEV, device_will(fd, MMAPDEV_IOC_WILL_CANCEL, 0, 0, 0));
}

static int mmap_errno(int fd, int prot, int flags)
{
	void *at = mmap(NULL, PAGE, prot, flags, fd, 0);

	if (at == MAP_FAILED)
		return errno;
	munmap(at, PAGE);
	return 0;
}

TEST_F(revoke, every_call_is_enodev)
{
	char text[16] = "";
	struct iovec iov = {
		.iov_base = text,
		.iov_len = sizeof(text),
	};
	int eager = open_node(self->path, O_RDWR, EAGER);
	loff_t at = 0;
	int fds[2];
	int fd = self->fd;

	ASSERT_LE(0, eager);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(4, write(fds[1], "data", 4));
	ASSERT_EQ(0, take_away(variant->how));

	EXPECT_EQ(ENODEV, errno_of(read(fd, text, 1)));
	EXPECT_EQ(ENODEV, errno_of(pread(fd, text, sizeof(text), PAGE)));
	EXPECT_EQ(ENODEV, errno_of(readv(fd, &iov, 1)));
	EXPECT_EQ(ENODEV, errno_of(write(fd, text, 1)));
	EXPECT_EQ(ENODEV, errno_of(pwrite(fd, text, sizeof(text), PAGE)));
	EXPECT_EQ(ENODEV, errno_of(writev(fd, &iov, 1)));
	EXPECT_EQ(ENODEV, errno_of(lseek(fd, 0, SEEK_SET)));
	EXPECT_EQ(ENODEV, errno_of(lseek(fd, 0, SEEK_CUR)));
	EXPECT_EQ(ENODEV, errno_of(lseek(fd, 0, SEEK_END)));
	EXPECT_EQ(ENODEV, errno_of(lseek(fd, 0, SEEK_DATA)));
	EXPECT_EQ(ENODEV, errno_of(lseek(fd, 0, SEEK_HOLE)));
	EXPECT_EQ(ENODEV, errno_of(fsync(fd)));
	EXPECT_EQ(ENODEV, errno_of(fdatasync(fd)));
	EXPECT_EQ(ENODEV, errno_of(splice(fd, &at, fds[1], NULL, PAGE, 0)));
	EXPECT_EQ(ENODEV, errno_of(splice(fds[0], NULL, fd, &at, 4, 0)));
	EXPECT_EQ(ENODEV, errno_of(sendfile(fds[1], fd, &at, PAGE)));
	EXPECT_EQ(ENODEV, mmap_errno(fd, RW, MAP_SHARED));
	EXPECT_EQ(ENODEV, mmap_errno(fd, PROT_READ, MAP_SHARED));
	EXPECT_EQ(ENODEV, mmap_errno(fd, RW, MAP_PRIVATE));
	EXPECT_EQ(ENODEV, mmap_errno(eager, RW, MAP_SHARED));
	EXPECT_EQ(ENODEV, mmap_errno(eager, RW, MAP_PRIVATE));
	expect_no_ioctl(_metadata, fd);
	expect_no_ioctl(_metadata, eager);
	EXPECT_EQ(0, close(eager));
}

TEST_F(revoke, files_of_every_kind_are_told)
{
	int readable = open_node(self->path, O_RDONLY, DEMAND);
	int writable = open_node(self->path, O_WRONLY, DEMAND);
	int same = dup(self->fd);
	struct stat st;
	char byte = 0;

	ASSERT_LE(0, readable);
	ASSERT_LE(0, writable);
	ASSERT_LE(0, same);
	ASSERT_EQ(0, take_away(variant->how));
	EXPECT_EQ(ENODEV, errno_of(read(readable, &byte, 1)));
	EXPECT_EQ(EBADF, errno_of(write(readable, &byte, 1)));
	EXPECT_EQ(ENODEV, errno_of(write(writable, &byte, 1)));
	EXPECT_EQ(ENODEV, errno_of(read(same, &byte, 1)));
	EXPECT_EQ(ENODEV, errno_of(write(same, &byte, 1)));
	/* What the kernel answers by itself. */
	EXPECT_EQ(0, fstat(self->fd, &st));
	EXPECT_TRUE(S_ISCHR(st.st_mode));
	EXPECT_EQ(O_RDWR, fcntl(self->fd, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(0, close(readable));
	EXPECT_EQ(0, close(writable));
	EXPECT_EQ(0, close(same));
}

TEST_F(revoke, a_node_that_stayed_is_enodev)
{
	char other[] = "/tmp/mmapdev.XXXXXX";
	char path[64];
	struct stat st;
	int fd;

	ASSERT_NE(NULL, mkdtemp(other));
	snprintf(path, sizeof(path), "%s/node", other);
	ASSERT_EQ(0, fstat(self->fd, &st));
	ASSERT_EQ(0, mknod(path, S_IFCHR | 0600, st.st_rdev));
	fd = open(path, O_RDWR | O_CLOEXEC);
	EXPECT_LE(0, fd);
	ASSERT_EQ(0, take_away(variant->how));
	EXPECT_EQ(-1, access(self->path, F_OK));
	expect_no_ioctl(_metadata, fd);
	EXPECT_EQ(-1, open(path, O_RDWR | O_CLOEXEC));
	EXPECT_TRUE(errno == ENODEV || errno == ENXIO);
	close(fd);
	unlink(path);
	rmdir(other);
}

TEST_F(revoke, poll_reports_hup_and_err)
{
	struct pollfd polled = {
		.fd = self->fd,
		.events = POLLIN | POLLOUT,
	};

	ASSERT_EQ(1, poll(&polled, 1, 0));
	EXPECT_EQ(POLLOUT, polled.revents);
	ASSERT_EQ(0, take_away(variant->how));
	ASSERT_EQ(1, poll(&polled, 1, 0));
	EXPECT_EQ(POLLHUP | POLLERR, polled.revents & (POLLHUP | POLLERR));
	/* They are reported unasked. */
	polled.events = 0;
	ASSERT_EQ(1, poll(&polled, 1, 0));
	EXPECT_EQ(POLLHUP | POLLERR, polled.revents);
}

struct waiter {
	int fd;
	struct gate ready;
};

static int wait_in_poll(void *arg)
{
	struct waiter *me = arg;
	struct pollfd polled = {
		.fd = me->fd,
		.events = POLLIN,
	};

	gate_open(&me->ready);
	return !(holds(poll(&polled, 1, 20000) == 1) &&
		 holds(polled.revents & POLLHUP) &&
		 holds(polled.revents & POLLERR));
}

static int wait_in_epoll(void *arg)
{
	struct waiter *me = arg;
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLET,
	};
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	if (!holds(!epoll_ctl(epfd, EPOLL_CTL_ADD, me->fd, &event)) ||
	    !holds(!epoll_wait(epfd, &event, 1, 0)))
		return 1;
	gate_open(&me->ready);
	return !(holds(epoll_wait(epfd, &event, 1, 20000) == 1) &&
		 holds(event.events & EPOLLHUP) &&
		 holds(event.events & EPOLLERR));
}

TEST_F(revoke, who_waits_in_poll_or_epoll_wakes)
{
	struct waiter waiter = {
		.fd = self->fd,
	};
	pid_t one, two;

	ASSERT_EQ(0, gate_make(&waiter.ready));
	one = child_start(wait_in_poll, &waiter);
	two = child_start(wait_in_epoll, &waiter);
	gate_wait(&waiter.ready);
	gate_wait(&waiter.ready);
	usleep(200000);
	ASSERT_EQ(0, take_away(variant->how));
	EXPECT_EQ(0, child_wait(one));
	EXPECT_EQ(0, child_wait(two));
}

TEST_F(revoke, an_epoll_that_holds_it_lives_on)
{
	struct epoll_event event = {
		.events = EPOLLIN,
	};
	int epfd = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_ADD, self->fd, &event));
	ASSERT_EQ(0, take_away(variant->how));
	EXPECT_EQ(1, epoll_wait(epfd, &event, 1, 0));
	EXPECT_EQ(0, epoll_ctl(epfd, EPOLL_CTL_DEL, self->fd, NULL));
	EXPECT_EQ(0, epoll_wait(epfd, &event, 1, 0));
	close(self->fd);
	close(epfd);
}

TEST_F(revoke, eventfds_are_told)
{
	struct mmapdev_ioc_eventfd arg = {
		.argsz = sizeof(arg),
	};
	int other = open_node(self->path, O_RDONLY, DEMAND);
	int first = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int second = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	__u64 count = 0;

	ASSERT_LE(0, other);
	arg.fd = first;
	ASSERT_EQ(0, ioctl(self->fd, MMAPDEV_IOC_EVENTFD, &arg));
	arg.argsz = sizeof(arg);
	arg.fd = second;
	ASSERT_EQ(0, ioctl(other, MMAPDEV_IOC_EVENTFD, &arg));
	EXPECT_EQ(EAGAIN, errno_of(read(first, &count, sizeof(count))));
	ASSERT_EQ(0, take_away(variant->how));
	EXPECT_EQ(8, read(first, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	EXPECT_EQ(8, read(second, &count, sizeof(count)));
	EXPECT_EQ(1, count);
	/* Nothing but the device went. */
	close(self->fd);
	close(other);
	EXPECT_EQ(EAGAIN, errno_of(read(first, &count, sizeof(count))));
}

TEST_F(revoke, a_new_device_of_the_number_is_another)
{
	unsigned char *old = map(self->fd, self->span, RW, MAP_SHARED, 0);
	char path[32], text[64];
	unsigned char *data;
	int fd;

	ASSERT_NE(NULL, old);
	old[0]++;
	ASSERT_EQ(0, take_away(variant->how));
	ASSERT_EQ(0, make("64K", "", "", path, sizeof(path)));
	ASSERT_STREQ(self->path, path);
	fd = open_node(path, O_RDWR, DEMAND);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, info_of(fd).resident);
	data = map(fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	EXPECT_TRUE(bytes_are(data, 0, self->span));
	pattern_put(data, 0, self->span, pattern_of(2));

	EXPECT_EQ(SIGBUS, fault_of_read(old).sig);
	EXPECT_EQ(SIGBUS, fault_of_write(old, 1).sig);
	EXPECT_EQ(ENODEV, errno_of(pread(self->fd, text, 1, 0)));
	EXPECT_EQ(ENODEV, errno_of(pwrite(self->fd, "x", 1, 0)));
	expect_no_ioctl(_metadata, self->fd);
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(2)));
	/* Also not when the last of the old one goes. */
	ASSERT_EQ(0, munmap(old, self->span));
	close(self->fd);
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(2)));
	EXPECT_EQ(pattern_sum(0, self->span, pattern_of(2)),
		  sum_of(fd, 0, self->span));
	EXPECT_EQ(0, munmap(data, self->span));
	close(fd);
}

TEST_F(revoke, other_devices_do_not_notice)
{
	unsigned char *data;
	char path[32];
	int fd;

	config_drop("bystander");
	ASSERT_EQ(0, config_live("bystander", "64K", path, sizeof(path)));
	fd = open_node(path, O_RDWR, DEMAND);
	data = map(fd, self->span, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	pattern_put(data, 0, self->span, pattern_of(3));
	ASSERT_EQ(0, take_away(variant->how));
	EXPECT_TRUE(pattern_is(data, 0, self->span, pattern_of(3)));
	EXPECT_EQ(self->span, info_of(fd).resident);
	EXPECT_EQ(0, msync(data, self->span, MS_SYNC));
	EXPECT_EQ(0, munmap(data, self->span));
	close(fd);
	EXPECT_EQ(0, config_drop("bystander"));
}

TEST_F(revoke, pages_on_loan_stay_readable)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	struct iovec iov = {
		.iov_base = data,
		.iov_len = 4 * PAGE,
	};
	unsigned char *copy = malloc(self->span);
	int mapped[2], file[2];
	loff_t at = 8 * PAGE;
	char path[32];
	int fd;

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, pipe(mapped));
	ASSERT_EQ(0, pipe(file));
	ASSERT_EQ(4 * PAGE, vmsplice(mapped[1], &iov, 1, 0));
	ASSERT_EQ(4 * PAGE, splice(self->fd, &at, file[1], NULL, 4 * PAGE, 0));
	ASSERT_EQ(0, take_away(variant->how));
	EXPECT_EQ(SIGBUS, fault_of_read(data).sig);
	ASSERT_EQ(0, munmap(data, self->span));

	/* Whoever gets memory now must not get these pages. */
	ASSERT_EQ(0, make("64M", "", "", path, sizeof(path)));
	fd = open_node(path, O_RDWR, DEMAND);
	ASSERT_EQ(0, device_fill(fd, 0, 64 * MIB, pattern_of(4)));
	ASSERT_EQ(4 * PAGE, read(mapped[0], copy, 4 * PAGE));
	EXPECT_TRUE(pattern_is(copy, 0, 4 * PAGE, pattern_of(1)));
	ASSERT_EQ(4 * PAGE, read(file[0], copy, 4 * PAGE));
	EXPECT_TRUE(pattern_is(copy, 8 * PAGE, 4 * PAGE, pattern_of(1)));
	EXPECT_EQ(pattern_sum(0, PAGE, pattern_of(4)), sum_of(fd, 0, PAGE));
	close(fd);
}

TEST_F(revoke, the_module_unloads_after_the_last_close)
{
	unsigned char *data = map(self->fd, self->span, RW, MAP_SHARED, 0);
	int tries = 0;

	if (!module_known())
		SKIP(return, "needs MMAPDEV_KO");
	ASSERT_NE(NULL, data);
	data[0] = 1;
	ASSERT_EQ(0, take_away(variant->how));
	if (variant->how == BY_LIVE)
		ASSERT_EQ(0, config_drop(NAME));
	EXPECT_EQ(-EAGAIN, module_unload());
	close(self->fd);
	EXPECT_EQ(-EAGAIN, module_unload());
	EXPECT_EQ(SIGBUS, fault_of_read(data).sig);
	ASSERT_EQ(0, munmap(data, self->span));
	while (module_unload() == -EAGAIN && tries++ < 2000)
		usleep(10000);
	EXPECT_EQ(-1, access(CONFIG, F_OK));
	EXPECT_EQ(0, module_reload(NULL));
}

FIXTURE(big) {
	char path[32];
	int fd;
};

FIXTURE_VARIANT(big) {
	__u32 mode;
	const char *huge;
};

FIXTURE_VARIANT_ADD(big, demand) {
	.mode = DEMAND,
	.huge = "never",
};

FIXTURE_VARIANT_ADD(big, eager) {
	.mode = EAGER,
	.huge = "never",
};

FIXTURE_VARIANT_ADD(big, huge) {
	.mode = DEMAND,
	.huge = "always",
};

FIXTURE_SETUP(big)
{
	if (access(CONFIG, F_OK))
		SKIP(return, "needs " CONFIG);
	ASSERT_EQ(0, make("128M", "", variant->huge, self->path,
			  sizeof(self->path)));
	self->fd = open_node(self->path, O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(big)
{
	close(self->fd);
	config_drop(NAME);
}

TEST_F_TIMEOUT(big, its_memory_is_freed_while_it_is_open, 120)
{
	const size_t size = 128 * MIB;
	unsigned long before;
	unsigned char *data;

	ASSERT_EQ(0, device_fill(self->fd, 0, size, pattern_of(1)));
	data = map(self->fd, size, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, data);
	EXPECT_TRUE(pattern_is(data, 0, PAGE, pattern_of(1)));
	before = free_memory();
	ASSERT_EQ(0, take_away(BY_LIVE));
	/* What an eager mapping spans it may hold. */
	if (variant->mode == EAGER) {
		EXPECT_EQ(SIGBUS, fault_of_read(data).sig);
		ASSERT_EQ(0, munmap(data, size));
	}
	EXPECT_TRUE(memory_comes_back(before + size - 32 * MIB));
	EXPECT_EQ(ENODEV, errno_of(fsync(self->fd)));
}

/* A mapping of each kind. */
FIXTURE(mapped) {
	char path[32];
	int fd;
	size_t span;
	unsigned char *data;
};

FIXTURE_VARIANT(mapped) {
	__u32 mode;
	int flags;
	const char *size;
	size_t span;
};

FIXTURE_VARIANT_ADD(mapped, shared) {
	.mode = DEMAND,
	.flags = MAP_SHARED,
	.size = "64K",
	.span = 65536,
};

FIXTURE_VARIANT_ADD(mapped, own) {
	.mode = DEMAND,
	.flags = MAP_PRIVATE,
	.size = "64K",
	.span = 65536,
};

FIXTURE_VARIANT_ADD(mapped, shared_eager) {
	.mode = EAGER,
	.flags = MAP_SHARED,
	.size = "64K",
	.span = 65536,
};

/* More than one page of them is eager only where their frames follow. */
FIXTURE_VARIANT_ADD(mapped, own_eager) {
	.mode = EAGER,
	.flags = MAP_PRIVATE,
	.size = "64K",
	.span = 4096,
};

FIXTURE_VARIANT_ADD(mapped, shared_huge) {
	.mode = DEMAND,
	.flags = MAP_SHARED,
	.size = "2M",
	.span = 2 * MIB,
};

FIXTURE_VARIANT_ADD(mapped, own_huge) {
	.mode = DEMAND,
	.flags = MAP_PRIVATE,
	.size = "2M",
	.span = 2 * MIB,
};

FIXTURE_VARIANT_ADD(mapped, shared_eager_huge) {
	.mode = EAGER,
	.flags = MAP_SHARED,
	.size = "2M",
	.span = 2 * MIB,
};

FIXTURE_VARIANT_ADD(mapped, own_eager_huge) {
	.mode = EAGER,
	.flags = MAP_PRIVATE,
	.size = "2M",
	.span = 2 * MIB,
};

FIXTURE_SETUP(mapped)
{
	if (access(CONFIG, F_OK))
		SKIP(return, "needs " CONFIG);
	ASSERT_EQ(0, make(variant->size, "", variant->span == 2 * MIB ?
			  "always" : "never", self->path, sizeof(self->path)));
	self->fd = open_node(self->path, O_RDWR, variant->mode);
	ASSERT_LE(0, self->fd);
	self->span = variant->span;
	ASSERT_EQ(0, device_fill(self->fd, 0, self->span, pattern_of(1)));
	self->data = map(self->fd, self->span, RW, variant->flags, 0);
	ASSERT_NE(NULL, self->data);
	EXPECT_EQ(variant->mode == EAGER, vma_has(self->data, "pf"));
}

FIXTURE_TEARDOWN(mapped)
{
	if (self->data)
		EXPECT_EQ(0, munmap(self->data, self->span));
	close(self->fd);
	config_drop(NAME);
}

/* Of each four pages one is written, one read, and two were not touched. */
static void touch_some(unsigned char *data, size_t span)
{
	size_t at;

	for (at = 0; at < span; at += 4 * PAGE)
		data[at]++;
	for (at = PAGE; at < span; at += 4 * PAGE)
		__atomic_load_n(data + at, __ATOMIC_SEQ_CST);
}

static bool all_is_sigbus(unsigned char *data, size_t span)
{
	/* Of a big one a part, with both ends. */
	size_t step = span > 64 * PAGE ? 15 * PAGE : PAGE;
	struct fault fault;
	size_t at;
	int write;

	for (at = 0; at < span; at += step) {
		for (write = 0; write < 2; write++) {
			fault = write ? fault_of_write(data + at, 1) :
					fault_of_read(data + at);
			if (fault.sig == SIGBUS && fault.code == BUS_ADRERR &&
			    fault.addr == data + at)
				continue;
			fprintf(stderr, "# page %zu, %s: signal %d code %d\n",
				at / PAGE, write ? "written" : "read",
				fault.sig, fault.code);
			return false;
		}
	}
	return fault_of_read(data + span - 1).sig == SIGBUS;
}

TEST_F(mapped, every_touch_is_sigbus)
{
	touch_some(self->data, self->span);
	ASSERT_EQ(0, take_away(BY_LIVE));
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
	/* And stays so. */
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
}

TEST_F(mapped, every_touch_is_sigbus_when_the_file_is_closed)
{
	touch_some(self->data, self->span);
	close(self->fd);
	ASSERT_EQ(0, take_away(BY_RMDIR));
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
	self->fd = -1;
}

TEST_F(mapped, a_mapping_never_touched_is_sigbus)
{
	ASSERT_EQ(0, take_away(BY_RMDIR));
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
}

TEST_F(mapped, locked_pages_are_sigbus)
{
	if (variant->mode == DEMAND)
		ASSERT_EQ(0, mlock(self->data, self->span));
	touch_some(self->data, self->span);
	ASSERT_EQ(0, take_away(BY_LIVE));
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
}

TEST_F(mapped, calls_on_the_mapping_do_no_harm)
{
	unsigned char *moved;
	int fds[2];

	touch_some(self->data, self->span);
	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(4, write(fds[1], "data", 4));
	ASSERT_EQ(0, take_away(BY_LIVE));
	/* Of a private mapping msync has nothing to do. */
	EXPECT_EQ(variant->flags == MAP_SHARED ? ENODEV : 0,
		  errno_of(msync(self->data, self->span, MS_SYNC)));
	EXPECT_EQ(0, msync(self->data, self->span, MS_ASYNC));
	EXPECT_EQ(EFAULT, errno_of(read(fds[0], self->data, 4)));
	EXPECT_EQ(EFAULT, errno_of(write(fds[1], self->data, 4)));
	EXPECT_EQ(0, mprotect(self->data, self->span, PROT_READ));
	EXPECT_EQ(SIGBUS, fault_of_read(self->data).sig);
	EXPECT_EQ(0, mprotect(self->data, self->span, RW));
	EXPECT_EQ(-1, madvise(self->data, PAGE, MADV_POPULATE_READ));
	EXPECT_EQ(-1, madvise(self->data, PAGE, MADV_POPULATE_WRITE));
	madvise(self->data, self->span, MADV_DONTNEED);
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));

	moved = mremap(self->data, self->span, self->span,
		       MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, self->span, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_NE(MAP_FAILED, moved);
	self->data = moved;
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
	if (self->span > 4 * PAGE) {
		ASSERT_EQ(0, munmap(self->data + PAGE, PAGE));
		EXPECT_EQ(SIGSEGV, fault_of_read(self->data + PAGE).sig);
		EXPECT_EQ(SIGBUS, fault_of_read(self->data + 2 * PAGE).sig);
	}
}

TEST_F(mapped, moved_and_split_mappings_are_sigbus)
{
	unsigned char *moved;

	moved = mremap(self->data, self->span, self->span,
		       MREMAP_MAYMOVE | MREMAP_FIXED,
		       mmap(NULL, self->span, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	ASSERT_NE(MAP_FAILED, moved);
	self->data = moved;
	if (self->span > PAGE) {
		ASSERT_EQ(0, mprotect(self->data + PAGE, PAGE, PROT_READ));
		ASSERT_EQ(0, mprotect(self->data + PAGE, PAGE, RW));
	}
	touch_some(self->data, self->span);
	ASSERT_EQ(0, take_away(BY_LIVE));
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
}

struct heir {
	unsigned char *data;
	size_t span;
	struct gate ready;
	struct gate revoked;
};

static int inherit(void *arg)
{
	struct heir *heir = arg;

	heir->data[0] ^= 1;
	gate_open(&heir->ready);
	gate_wait(&heir->revoked);
	return !holds(all_is_sigbus(heir->data, heir->span));
}

static int look(void *arg)
{
	struct heir *heir = arg;

	return !holds(all_is_sigbus(heir->data, heir->span));
}

static int touch_unguarded(void *arg)
{
	struct heir *heir = arg;

	heir->data[0] = 1;
	return 0;
}

TEST_F(mapped, forked_children_are_sigbus)
{
	struct heir heir = {
		.data = self->data,
		.span = self->span,
	};
	pid_t pid;

	ASSERT_EQ(0, gate_make(&heir.ready));
	ASSERT_EQ(0, gate_make(&heir.revoked));
	pid = child_start(inherit, &heir);
	ASSERT_LT(0, pid);
	gate_wait(&heir.ready);
	ASSERT_EQ(0, take_away(BY_RMDIR));
	gate_open(&heir.revoked);
	EXPECT_EQ(0, child_wait(pid));
	/* One that comes later, and one that does not expect it. */
	EXPECT_EQ(0, child_run(look, &heir));
	EXPECT_EQ(-SIGBUS, child_run(touch_unguarded, &heir));
	EXPECT_TRUE(all_is_sigbus(self->data, self->span));
}

/*
 * Removal while others are at it. Each worker goes on until it is told
 * ENODEV, and knows what else it may be told until then.
 */
static __u64 seed;

static void __attribute__((constructor)) choose_seed(void)
{
	const char *given = getenv("MMAPDEV_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	seed = given ? strtoull(given, NULL, 0) : (__u64)now.tv_nsec;
}

#define RACE_SIZE	(4 * MIB)

struct worker {
	const char *name;
	const char *path;
	int fd;
	__u64 random;
	struct gate *ready;
	struct gate *gone;
	int (*work)(struct worker *me);
};

static __u64 random_of(__u64 *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return *state >> 33;
}

static size_t random_page(struct worker *me)
{
	return random_of(&me->random) % (2 * RACE_SIZE / PAGE) * PAGE;
}

/* It may be beyond the end for now, but nothing else may go wrong. */
static bool goes_on(long err)
{
	return !err || err == ENXIO || err == ENOSPC;
}

static int ends_well(struct worker *me, long err)
{
	if (err == ENODEV)
		return 0;
	fprintf(stderr, "# %s: %s\n", me->name, strerror(err));
	return 1;
}

static int read_on(struct worker *me)
{
	char text[5000];
	int err;

	do {
		err = errno_of(pread(me->fd, text, sizeof(text), random_page(me)));
	} while (goes_on(err));
	return ends_well(me, err);
}

static int write_on(struct worker *me)
{
	char text[5000] = "x";
	int err;

	do {
		err = errno_of(pwrite(me->fd, text, sizeof(text), random_page(me)));
	} while (goes_on(err));
	return ends_well(me, err);
}

static int fill_on(struct worker *me)
{
	__u32 sum;
	int err;

	do {
		err = -device_fill(me->fd, random_page(me), 64 * PAGE, 1);
		if (goes_on(err))
			err = -device_sum(me->fd, random_page(me), 64 * PAGE, &sum);
	} while (goes_on(err));
	return ends_well(me, err);
}

static int commit_on(struct worker *me)
{
	int err;

	do {
		err = errno_of(fsync(me->fd));
	} while (goes_on(err));
	return ends_well(me, err);
}

static int resize_on(struct worker *me)
{
	int err;

	do {
		err = -device_resize(me->fd, random_page(me));
		/* Who else has a hold of a huge page that it would cut. */
		if (goes_on(err) || err == EBUSY)
			err = -device_punch(me->fd, random_page(me), 8 * PAGE);
	} while (goes_on(err));
	return ends_well(me, err);
}

static int look_for_dirt(struct worker *me)
{
	unsigned char bits[8];
	int err;

	do {
		struct mmapdev_ioc_dirty arg = {
			.argsz = sizeof(arg),
			.flags = MMAPDEV_IOC_DIRTY_CLEAR,
			.offset = random_page(me),
			.length = 64 * PAGE,
			.bitmap = (uintptr_t)bits,
		};

		err = errno_of(ioctl(me->fd, MMAPDEV_IOC_DIRTY, &arg));
	} while (goes_on(err));
	return ends_well(me, err);
}

static int open_on(struct worker *me)
{
	int fd, err = 0;

	while (!err) {
		fd = open(me->path, O_RDWR | O_CLOEXEC);
		err = errno_of(fd);
		if (err)
			break;
		lseek(fd, 0, SEEK_END);
		close(fd);
	}
	/* The node goes, or what it names. */
	return ends_well(me, err == ENOENT || err == ENXIO ? ENODEV : err);
}

static int will_on(struct worker *me)
{
	int fd, err = 0;

	while (goes_on(err)) {
		void *data;

		fd = open(me->path, O_RDWR | O_CLOEXEC);
		if (fd < 0) /* The node goes, or what it names. */
			return ends_well(me, errno == ENOENT || errno == ENXIO ?
					     ENODEV : errno);
		data = map(fd, PAGE, RW, MAP_SHARED, random_page(me));
		err = -device_will(fd, 0, random_page(me), 0, 1);
		if (goes_on(err))
			err = -device_will(me->fd, 0, 8 * (random_page(me) % 7),
					   0, 1);
		close(fd);
		if (data)
			munmap(data, PAGE);
	}
	return ends_well(me, err);
}

static int look_in_sysfs(struct worker *me)
{
	static const char * const names[] = { "resident", "dirty", "size" };
	char path[64], text[64];
	ssize_t got = 0;
	unsigned int i;

	for (i = 0; got >= 0; i++) {
		snprintf(path, sizeof(path), "/sys/class/misc/%s/%s",
			 me->path + 5, names[i % 3]);
		got = file_read(path, text, sizeof(text));
	}
	/* The files go, or what they tell of. */
	return ends_well(me, got == -ENOENT ? ENODEV : -got);
}

static int poll_on(struct worker *me)
{
	struct pollfd polled = {
		.fd = me->fd,
		.events = POLLIN,
	};
	int err = 0;

	do {
		struct mmapdev_ioc_info info;

		if (poll(&polled, 1, 20000) != 1)
			return ends_well(me, ETIMEDOUT);
		err = -device_info(me->fd, &info);
	} while (!err);
	return ends_well(me, err);
}

static int touch_on(struct worker *me, int flags)
{
	unsigned char *data = map(me->fd, 2 * RACE_SIZE, RW, flags, 0);
	struct mmapdev_ioc_info info;
	int err = 0;

	if (!data)
		return ends_well(me, errno);
	while (!err) {
		unsigned char *at = data + random_page(me);
		struct fault fault = random_of(&me->random) % 2 ?
				     fault_of_read(at) : fault_of_write(at, 1);

		if (fault.sig)
			err = fault.sig == SIGBUS ? -device_info(me->fd, &info) :
						    EFAULT;
	}
	/* Calls are refused first. When all of it is gone so is every page. */
	gate_wait(me->gone);
	if (err == ENODEV && !all_is_sigbus(data, 2 * RACE_SIZE))
		err = EEXIST;
	munmap(data, 2 * RACE_SIZE);
	return ends_well(me, err);
}

static int touch_shared(struct worker *me)
{
	return touch_on(me, MAP_SHARED);
}

static int touch_private(struct worker *me)
{
	return touch_on(me, MAP_PRIVATE);
}

/* The last mapping stays, so that removal meets one that is just made. */
static int map_on(struct worker *me)
{
	unsigned char *last = NULL;
	size_t last_span = 0;
	int err = 0;

	while (goes_on(err)) {
		size_t at = random_page(me) % RACE_SIZE;
		size_t pages = random_of(&me->random) % 2 ? 16 : RACE_SIZE / PAGE;
		size_t span = (1 + random_of(&me->random) % pages) * PAGE;
		__u32 mode = random_of(&me->random) % 4 ? EAGER : DEMAND;
		int flags = random_of(&me->random) % 4 ? MAP_SHARED : MAP_PRIVATE;
		unsigned char *data;

		err = -device_set_mode(me->fd, mode);
		if (err)
			break;
		data = map(me->fd, span, RW, flags, at);
		if (!data) {
			err = errno;
			continue;
		}
		if (last)
			munmap(last, last_span);
		last = data;
		last_span = span;
		fault_of_write(data, 1);
		fault_of_read(data + span - 1);
		if (random_of(&me->random) % 4 == 0)
			err = errno_of(msync(data, span, MS_SYNC));
	}
	gate_wait(me->gone);
	if (err == ENODEV && last && !all_is_sigbus(last, last_span))
		err = EEXIST;
	return ends_well(me, err);
}

static int fork_on(struct worker *me)
{
	unsigned char *data = map(me->fd, RACE_SIZE, RW, MAP_PRIVATE, 0);
	struct mmapdev_ioc_info info;
	int err, status;

	if (!data)
		return ends_well(me, errno);
	do {
		pid_t pid;

		fault_of_write(data + random_page(me) / 2, 1);
		pid = fork();
		if (!pid) {
			fault_of_write(data + random_page(me) / 2, 2);
			_exit(0);
		}
		status = child_wait(pid);
		err = status ? ECHILD : -device_info(me->fd, &info);
	} while (!err);
	return ends_well(me, err);
}

static int lend_on(struct worker *me)
{
	unsigned char *data = map(me->fd, 2 * RACE_SIZE, RW, MAP_SHARED, 0);
	struct mmapdev_ioc_info info;
	char text[2 * 4096];
	int err, fds[2];

	if (!data || pipe(fds))
		return ends_well(me, errno);
	do {
		struct iovec iov = {
			.iov_base = data + random_page(me),
			.iov_len = PAGE,
		};

		err = -device_info(me->fd, &info);
		if (vmsplice(fds[1], &iov, 1, SPLICE_F_NONBLOCK) == (ssize_t)PAGE &&
		    read(fds[0], text, PAGE) != (ssize_t)PAGE)
			err = EIO;
	} while (!err);
	munmap(data, 2 * RACE_SIZE);
	return ends_well(me, err);
}

static void *read_in_thread(void *arg)
{
	return (void *)(intptr_t)read_on(arg);
}

/* Two threads use one descriptor: neither call has a reference of its own. */
static int work_in_threads(struct worker *me)
{
	struct worker other = *me;
	pthread_t thread;
	void *result;
	int bad;

	other.random++;
	if (pthread_create(&thread, NULL, read_in_thread, &other))
		return ends_well(me, EAGAIN);
	bad = write_on(me);
	pthread_join(thread, &result);
	return bad || result;
}

static const struct job {
	const char *name;
	int (*work)(struct worker *me);
} jobs[] = {
	{ "read", read_on }, { "write", write_on }, { "fill", fill_on },
	{ "commit", commit_on }, { "resize", resize_on },
	{ "dirty", look_for_dirt }, { "open", open_on }, { "poll", poll_on },
	{ "touch", touch_shared }, { "touch private", touch_private },
	{ "map", map_on }, { "fork", fork_on }, { "lend", lend_on },
	{ "threads", work_in_threads }, { "sysfs", look_in_sysfs },
	{ "will", will_on },
};

#define WORKERS	6

static int race_worker(void *arg)
{
	struct worker *me = arg;

	gate_open(me->ready);
	return me->work(me);
}

FIXTURE(race) {
	char path[32];
};

FIXTURE_VARIANT(race) {
	const char *huge;
	int (*only)(struct worker *me);
};

FIXTURE_VARIANT_ADD(race, pages) {
	.huge = "never",
};

FIXTURE_VARIANT_ADD(race, huge_folios) {
	.huge = "always",
};

/* Where removal has to wait for what is under way. */
FIXTURE_VARIANT_ADD(race, eager_mmaps) {
	.huge = "never",
	.only = map_on,
};

FIXTURE_SETUP(race)
{
	if (access(CONFIG, F_OK))
		SKIP(return, "needs " CONFIG);
}

FIXTURE_TEARDOWN(race)
{
	config_drop(NAME);
}

static void run_round(struct __test_metadata *_metadata, __u64 *random,
		      const char *huge, int (*only)(struct worker *me))
{
	struct worker workers[WORKERS];
	pid_t pids[WORKERS];
	struct gate ready, gone;
	char path[32];
	int i;

	ASSERT_EQ(0, make("4M", "8M", huge, path, sizeof(path)));
	ASSERT_EQ(0, gate_make(&ready));
	ASSERT_EQ(0, gate_make(&gone));
	for (i = 0; i < WORKERS; i++) {
		const struct job *job = &jobs[random_of(random) % ARRAY_SIZE(jobs)];

		workers[i] = (struct worker){
			.name = only ? "only" : job->name,
			.work = only ? only : job->work,
			.path = path,
			.ready = &ready,
			.gone = &gone,
			.fd = open_node(path, O_RDWR, DEMAND),
			.random = random_of(random),
		};
		ASSERT_LE(0, workers[i].fd);
	}
	for (i = 0; i < WORKERS; i++)
		pids[i] = child_start(race_worker, &workers[i]);
	for (i = 0; i < WORKERS; i++)
		gate_wait(&ready);
	usleep(random_of(random) % 60000);
	EXPECT_EQ(0, take_away(random_of(random) % 2 ? BY_LIVE : BY_RMDIR));
	EXPECT_EQ(-1, access(path, F_OK));
	for (i = 0; i < WORKERS; i++)
		gate_open(&gone);
	for (i = 0; i < WORKERS; i++) {
		EXPECT_EQ(0, child_wait(pids[i]))
			TH_LOG("seed %llu: %s", (unsigned long long)seed,
			       workers[i].name);
		close(workers[i].fd);
	}
	close(ready.fds[0]);
	close(ready.fds[1]);
	close(gone.fds[0]);
	close(gone.fds[1]);
}

TEST_F_TIMEOUT(race, removal_races_with_everything, 300)
{
	const char *seconds = getenv("MMAPDEV_SECONDS");
	time_t end = time(NULL) + (seconds ? atoi(seconds) : 15);
	unsigned long before = 0;
	__u64 random = seed;
	int rounds = 0;

	fprintf(stderr, "# seed %llu\n", (unsigned long long)seed);
	while (time(NULL) < end || rounds < 5) {
		/* What stays from the first rounds is no leak yet. */
		if (rounds == 3)
			before = free_memory();
		run_round(_metadata, &random, variant->huge, variant->only);
		rounds++;
	}
	fprintf(stderr, "# %d rounds\n", rounds);
	EXPECT_TRUE(memory_comes_back(before - 24 * MIB));
}

TEST_HARNESS_MAIN
