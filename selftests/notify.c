// SPDX-License-Identifier: GPL-2.0
/*
 * Being told of commits: poll, select and epoll report the ones that an open
 * file has not seen in INFO, an eventfd counts them all.
 */
#include <poll.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <time.h>
#include "mmapdev_test.h"
#include "kselftest_harness.h"

#define PAGES	4

/* What poll says at once, or after as many milliseconds. */
static int polled(int fd, int timeout)
{
	struct pollfd pfd = {
		.fd = fd,
		.events = POLLIN | POLLOUT | POLLPRI,
	};

	if (poll(&pfd, 1, timeout) < 0)
		return -errno;
	return pfd.revents;
}

static bool readable(int fd)
{
	return polled(fd, 0) & POLLIN;
}

static int set_eventfd(int fd, int event)
{
	struct mmapdev_ioc_eventfd arg = {
		.argsz = sizeof(arg),
		.fd = event,
	};

	return ioctl(fd, MMAPDEV_IOC_EVENTFD, &arg) ? -errno : 0;
}

/* What was added to an eventfd that doesn't block. */
static __u64 told(int event)
{
	__u64 count;

	return read(event, &count, sizeof(count)) < 0 ? 0 : count;
}

static unsigned long now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ul + now.tv_nsec / 1000000;
}

FIXTURE(notify) {
	int fd;
	int event;
	unsigned char *data;
};

FIXTURE_SETUP(notify)
{
	self->fd = device_open(O_RDWR, DEMAND);
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, device_clear(self->fd, at_most(size_of(self->fd), PAGES)));
	self->data = map(self->fd, PAGES * PAGE, RW, MAP_SHARED, 0);
	ASSERT_NE(NULL, self->data);
	self->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ASSERT_LE(0, self->event);
	info_of(self->fd);
}

FIXTURE_TEARDOWN(notify)
{
	close(self->fd);
}

TEST_F(notify, a_new_file_has_seen_all_that_was)
{
	int fd;

	ASSERT_EQ(0, fsync(self->fd));
	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, fd);
	EXPECT_EQ(POLLOUT, polled(fd, 0));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(POLLIN | POLLOUT, polled(fd, 0));
}

TEST_F(notify, a_commit_is_readable_until_info_has_seen_it)
{
	int i;

	for (i = 0; i < 3; i++) {
		EXPECT_EQ(POLLOUT, polled(self->fd, 0));
		ASSERT_EQ(0, fsync(self->fd));
		EXPECT_EQ(POLLIN | POLLOUT, polled(self->fd, 0));
		EXPECT_EQ(POLLIN | POLLOUT, polled(self->fd, 0));
		ASSERT_EQ(0, fsync(self->fd));
		info_of(self->fd);
	}
	EXPECT_EQ(POLLOUT, polled(self->fd, 0));
}

/* Each runs in the test and in another process. */
static int by_msync(int fd)
{
	void *data = map(fd, PAGE, RW, MAP_SHARED, 0);

	return msync(data, PAGE, MS_SYNC);
}

static int by_fdatasync(int fd)
{
	return fdatasync(fd);
}

static int by_write(int fd)
{
	int sync = open(DEVICE, O_WRONLY | O_SYNC | O_CLOEXEC);

	(void)fd;
	return pwrite(sync, "s", 1, 0) != 1;
}

static int by_dsync_write(int fd)
{
	struct iovec iov = { .iov_base = "d", .iov_len = 1 };

	return pwritev2(fd, &iov, 1, 0, RWF_DSYNC) != 1;
}

FIXTURE(commit) {
	int fd;
	int event;
};

FIXTURE_VARIANT(commit) {
	int (*commit)(int fd);
};

FIXTURE_VARIANT_ADD(commit, fsync) { .commit = fsync };
FIXTURE_VARIANT_ADD(commit, fdatasync) { .commit = by_fdatasync };
FIXTURE_VARIANT_ADD(commit, msync) { .commit = by_msync };
FIXTURE_VARIANT_ADD(commit, sync_write) { .commit = by_write };
FIXTURE_VARIANT_ADD(commit, dsync_write) { .commit = by_dsync_write };

FIXTURE_SETUP(commit)
{
	self->fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	self->event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	ASSERT_LE(0, self->event);
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
}

FIXTURE_TEARDOWN(commit)
{
	close(self->fd);
}

struct call {
	int (*commit)(int fd);
};

static int commit_elsewhere(void *arg)
{
	struct call *call = arg;
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	return !holds(!call->commit(fd));
}

TEST_F(commit, of_whomever_is_told)
{
	struct call call = { .commit = variant->commit };
	struct step step;
	int i;

	for (i = 0; i < 3; i++) {
		step_begin(&step, self->fd);
		ASSERT_FALSE(readable(self->fd));
		ASSERT_EQ(0, variant->commit(self->fd));
		EXPECT_TRUE(readable(self->fd));
		EXPECT_EQ(1, told(self->event));
		EXPECT_EQ(1, step_commits(&step));

		EXPECT_FALSE(readable(self->fd));
		ASSERT_EQ(0, child_run(commit_elsewhere, &call));
		EXPECT_TRUE(readable(self->fd));
		EXPECT_EQ(1, told(self->event));
		EXPECT_EQ(2, step_commits(&step));
	}
}

TEST_F(notify, what_commits_nothing_is_not_told)
{
	unsigned char *own = map(self->fd, PAGE, RW, MAP_PRIVATE, 0);
	unsigned char *seen;
	int reader = open(DEVICE, O_RDONLY | O_CLOEXEC);

	ASSERT_NE(NULL, own);
	ASSERT_LE(0, reader);
	seen = map(reader, PAGE, PROT_READ, MAP_SHARED, 0);
	ASSERT_NE(NULL, seen);
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	self->data[0] = 1;
	own[0] = 1;
	EXPECT_EQ(0, msync(self->data, PAGE, MS_ASYNC));
	EXPECT_EQ(0, msync(self->data, PAGE, MS_INVALIDATE));
	EXPECT_EQ(0, msync(own, PAGE, MS_SYNC));
	EXPECT_EQ(0, msync(seen, PAGE, MS_SYNC));
	EXPECT_EQ(1, pwrite(self->fd, "x", 1, 0));
	EXPECT_EQ(0, device_fill(self->fd, 0, PAGE, 1));
	sum_of(reader, 0, PAGE);
	EXPECT_EQ(0, device_punch(self->fd, PAGE, PAGE));
	EXPECT_EQ(0, munmap(self->data, PAGES * PAGE));
	EXPECT_EQ(-1, fsync(self->event));
	close(reader);
	sync();
	EXPECT_FALSE(readable(self->fd));
	EXPECT_EQ(0, told(self->event));
}

/* It ran, and that is what is counted. */
TEST_F(notify, a_commit_that_found_nothing_is_told)
{
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	ASSERT_EQ(0, info_of(self->fd).dirty);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_TRUE(readable(self->fd));
	EXPECT_EQ(1, told(self->event));
}

/* msync goes on behind a gap, and tells of the gap in the end. */
TEST_F(notify, the_commits_of_a_call_that_fails_are_told)
{
	struct step step;

	step_begin(&step, self->fd);
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	ASSERT_EQ(0, munmap(self->data + PAGE, PAGE));
	EXPECT_EQ(-1, msync(self->data, PAGES * PAGE, MS_SYNC));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_TRUE(readable(self->fd));
	EXPECT_EQ(2, told(self->event));
	EXPECT_EQ(2, step_commits(&step));
}

TEST_F(notify, what_one_file_has_seen_another_has_not)
{
	int other = open(DEVICE, O_RDWR | O_CLOEXEC);
	int same = dup(self->fd);

	ASSERT_LE(0, other);
	ASSERT_LE(0, same);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_TRUE(readable(self->fd));
	EXPECT_TRUE(readable(same));
	EXPECT_TRUE(readable(other));
	info_of(same);
	EXPECT_FALSE(readable(self->fd));
	EXPECT_FALSE(readable(same));
	EXPECT_TRUE(readable(other));
	info_of(other);
	EXPECT_FALSE(readable(other));
}

static int see(void *arg)
{
	info_of(*(int *)arg);
	return 0;
}

TEST_F(notify, what_a_child_has_seen_in_the_same_file_was_seen)
{
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, child_run(see, &self->fd));
	EXPECT_FALSE(readable(self->fd));
}

TEST_F(notify, an_info_that_failed_has_seen_nothing)
{
	struct mmapdev_ioc_info info = { .argsz = 63 };

	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(-1, ioctl(self->fd, MMAPDEV_IOC_INFO, NULL));
	EXPECT_EQ(-1, ioctl(self->fd, MMAPDEV_IOC_INFO, &info));
	EXPECT_TRUE(readable(self->fd));
	/* That of an older program has. */
	info.argsz = 64;
	EXPECT_EQ(0, ioctl(self->fd, MMAPDEV_IOC_INFO, &info));
	EXPECT_FALSE(readable(self->fd));
}

TEST_F(notify, any_open_mode_is_told)
{
	int reader = open(DEVICE, O_RDONLY | O_CLOEXEC);
	int writer = open(DEVICE, O_WRONLY | O_CLOEXEC);

	ASSERT_LE(0, reader);
	ASSERT_LE(0, writer);
	EXPECT_EQ(0, set_eventfd(reader, self->event));
	EXPECT_EQ(0, set_eventfd(writer, self->event));
	EXPECT_EQ(POLLOUT, polled(reader, 0));
	EXPECT_EQ(POLLOUT, polled(writer, 0));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(POLLIN | POLLOUT, polled(reader, 0));
	EXPECT_EQ(POLLIN | POLLOUT, polled(writer, 0));
	EXPECT_EQ(2, told(self->event));
	info_of(writer);
	EXPECT_EQ(POLLOUT, polled(writer, 0));
}

TEST_F(notify, select_says_the_same)
{
	struct timeval none = {};
	fd_set in, out;
	int i;

	for (i = 0; i < 2; i++) {
		FD_ZERO(&in);
		FD_ZERO(&out);
		FD_SET(self->fd, &in);
		FD_SET(self->fd, &out);
		ASSERT_EQ(1 + i, select(self->fd + 1, &in, &out, NULL, &none));
		EXPECT_EQ(!!i, !!FD_ISSET(self->fd, &in));
		EXPECT_TRUE(FD_ISSET(self->fd, &out));
		ASSERT_EQ(0, fsync(self->fd));
	}
}

/* Waiters in processes of their own; each says when it was woken. */
struct waiter {
	int kind;
	struct gate ready;
};

static int wait_for_commit(void *arg)
{
	struct waiter *me = arg;
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	struct timeval ten = { .tv_sec = 10 };
	unsigned long start = now_ms();
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int got = 0;
	fd_set in;

	if (me->kind == 3)
		event.events |= EPOLLET;
	if (!holds(fd >= 0) ||
	    !holds(!epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)))
		return 1;
	gate_open(&me->ready);
	switch (me->kind) {
	case 0:
		got = poll(&pfd, 1, 10000);
		break;
	case 1:
		FD_ZERO(&in);
		FD_SET(fd, &in);
		got = select(fd + 1, &in, NULL, NULL, &ten);
		break;
	default:
		got = epoll_wait(epoll, &event, 1, 10000);
		break;
	}
	/* A poll that nobody wakes finds it when its time is over. */
	return !(holds(got == 1) && holds(now_ms() - start < 8000));
}

TEST_F(notify, whoever_waits_is_woken)
{
	struct waiter waiters[4];
	pid_t pid[4];
	int i;

	for (i = 0; i < 4; i++) {
		waiters[i].kind = i;
		ASSERT_EQ(0, gate_make(&waiters[i].ready));
		pid[i] = child_start(wait_for_commit, &waiters[i]);
		gate_wait(&waiters[i].ready);
	}
	/* For them to fall asleep. */
	usleep(300000);
	ASSERT_EQ(0, msync(self->data, PAGE, MS_SYNC));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(0, child_wait(pid[i])) TH_LOG("kind %d", i);
}

TEST_F(notify, a_wait_without_a_commit_times_out)
{
	struct pollfd pfd = { .fd = self->fd, .events = POLLIN };
	unsigned long start = now_ms();

	EXPECT_EQ(0, poll(&pfd, 1, 200));
	EXPECT_LE(200, now_ms() - start);
}

TEST_F(notify, level_triggered_epoll_reports_until_it_was_seen)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event));
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
	EXPECT_EQ(EPOLLIN, event.events);
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
	info_of(self->fd);
	EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
}

TEST_F(notify, edge_triggered_epoll_reports_each_commit_once)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int i;

	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
		ASSERT_EQ(0, fsync(self->fd));
		EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
		EXPECT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	}
	info_of(self->fd);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
}

TEST_F(notify, epoll_of_writability_reports_at_once)
{
	struct epoll_event event = { .events = EPOLLOUT };
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &event));
	EXPECT_EQ(1, epoll_wait(epoll, &event, 1, 0));
	EXPECT_EQ(EPOLLOUT, event.events);
}

TEST_F(notify, a_file_closed_while_watched_is_watched_no_more)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int i, fd;

	for (i = 0; i < 100; i++) {
		fd = open(DEVICE, O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event));
		close(fd);
		ASSERT_EQ(0, fsync(self->fd));
		ASSERT_EQ(0, epoll_wait(epoll, &event, 1, 0));
	}
}

TEST_F(notify, an_eventfd_counts_commits)
{
	int i;

	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	EXPECT_EQ(0, told(self->event));
	for (i = 0; i < 7; i++)
		ASSERT_EQ(0, i & 1 ? fsync(self->fd) :
				     msync(self->data, PAGE, MS_SYNC));
	EXPECT_EQ(7, told(self->event));
	EXPECT_EQ(0, told(self->event));
	/* Seen or not is of no matter. */
	info_of(self->fd);
	EXPECT_EQ(0, told(self->event));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
}

TEST_F(notify, a_semaphore_gives_them_one_by_one)
{
	int event = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
	int i;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, set_eventfd(self->fd, event));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, fsync(self->fd));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(1, told(event));
	EXPECT_EQ(0, told(event));
}

TEST_F(notify, an_eventfd_that_is_full_holds_up_no_commit)
{
	__u64 nearly = -2;

	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	ASSERT_EQ(8, write(self->event, &nearly, sizeof(nearly)));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_TRUE(polled(self->event, 0) & POLLERR);
	EXPECT_EQ(-1ull, told(self->event));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
}

TEST_F(notify, a_second_eventfd_takes_the_place_of_the_first)
{
	int second = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	int same = dup(self->fd);

	ASSERT_LE(0, second);
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, set_eventfd(same, second));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
	EXPECT_EQ(2, told(second));
	/* Once more the same one: it is told once. */
	ASSERT_EQ(0, set_eventfd(self->fd, second));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(second));
}

TEST_F(notify, minus_one_takes_it_away)
{
	ASSERT_EQ(0, set_eventfd(self->fd, -1));
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, set_eventfd(self->fd, -1));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
	ASSERT_EQ(0, set_eventfd(self->fd, -1));
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
}

TEST_F(notify, what_is_no_eventfd_is_refused_and_changes_nothing)
{
	int gone = dup(self->event);
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int memfd = memfd_create("file", MFD_CLOEXEC);
	int path = open("/", O_PATH | O_CLOEXEC);
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	close(gone);
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	EXPECT_EQ(-EBADF, set_eventfd(self->fd, gone));
	EXPECT_EQ(-EBADF, set_eventfd(self->fd, -2));
	EXPECT_EQ(-EBADF, set_eventfd(self->fd, INT32_MIN));
	EXPECT_EQ(-EBADF, set_eventfd(self->fd, INT32_MAX));
	EXPECT_EQ(-EBADF, set_eventfd(self->fd, path));
	EXPECT_EQ(-EINVAL, set_eventfd(self->fd, self->fd));
	EXPECT_EQ(-EINVAL, set_eventfd(self->fd, fds[0]));
	EXPECT_EQ(-EINVAL, set_eventfd(self->fd, fds[1]));
	EXPECT_EQ(-EINVAL, set_eventfd(self->fd, epoll));
	EXPECT_EQ(-EINVAL, set_eventfd(self->fd, memfd));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
}

TEST_F(notify, the_last_close_of_the_file_ends_it)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	int same = dup(fd);

	ASSERT_EQ(0, set_eventfd(fd, self->event));
	close(fd);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
	close(same);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, told(self->event));
}

/* A mapping keeps the open file, and with it what it has. */
TEST_F(notify, a_mapping_keeps_it)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	unsigned char *data = map(fd, PAGE, RW, MAP_SHARED, 0);

	ASSERT_NE(NULL, data);
	ASSERT_EQ(0, set_eventfd(fd, self->event));
	close(fd);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
	ASSERT_EQ(0, munmap(data, PAGE));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, told(self->event));
}

TEST_F(notify, an_eventfd_closed_by_its_owner_harms_nobody)
{
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	close(self->event);
	ASSERT_EQ(0, fsync(self->fd));
	ASSERT_EQ(0, set_eventfd(self->fd, -1));
	ASSERT_EQ(0, fsync(self->fd));
}

TEST_F(notify, two_files_add_to_one_eventfd)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	ASSERT_EQ(0, set_eventfd(fd, self->event));
	ASSERT_EQ(0, fsync(fd));
	EXPECT_EQ(2, told(self->event));
	close(fd);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
}

TEST_F(notify, each_of_many_files_has_its_own)
{
	const struct rlimit many = { .rlim_cur = 1024, .rlim_max = 1024 };
	int fds[300], events[300];
	int i;

	setrlimit(RLIMIT_NOFILE, &many);
	for (i = 0; i < 300; i++) {
		fds[i] = open(DEVICE, O_RDONLY | O_CLOEXEC);
		ASSERT_LE(0, fds[i]);
		events[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		ASSERT_EQ(0, set_eventfd(fds[i], events[i]));
	}
	ASSERT_EQ(0, fsync(self->fd));
	for (i = 0; i < 300; i++) {
		EXPECT_EQ(1, told(events[i]));
		EXPECT_TRUE(readable(fds[i]));
	}
	for (i = 0; i < 300; i += 2)
		close(fds[i]);
	ASSERT_EQ(0, fsync(self->fd));
	for (i = 0; i < 300; i++)
		EXPECT_EQ(i % 2, told(events[i]));
}

static int commit_and_leave(void *arg)
{
	int fd = *(int *)arg;

	return !(holds(!fsync(fd)) && holds(!close(fd)));
}

TEST_F(notify, a_child_commits_and_closes_and_the_parent_is_still_told)
{
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	EXPECT_EQ(0, child_run(commit_and_leave, &self->fd));
	EXPECT_EQ(1, told(self->event));
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(1, told(self->event));
}

/* The number that the kernel gave to an eventfd: the lowest that is free. */
static int number_of(int event)
{
	char path[64], text[1024];
	char *at;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", event);
	if (file_read(path, text, sizeof(text)) < 0)
		return -1;
	at = strstr(text, "eventfd-id:");
	return at ? atoi(at + 11) : -1;
}

static int new_number(void)
{
	int event = eventfd(0, EFD_CLOEXEC);
	int number = number_of(event);

	close(event);
	return number;
}

TEST_F(notify, no_eventfd_is_kept_longer_than_it_is_used)
{
	const int number = new_number();
	int i;

	ASSERT_LE(0, number);
	for (i = 0; i < 200; i++) {
		int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
		int one = eventfd(0, EFD_CLOEXEC);
		int two = eventfd(0, EFD_CLOEXEC);

		ASSERT_EQ(0, set_eventfd(fd, one));
		if (i % 4 == 1)
			ASSERT_EQ(0, set_eventfd(fd, two));
		if (i % 4 == 2)
			ASSERT_EQ(0, set_eventfd(fd, -1));
		if (i % 4 == 3)
			ASSERT_EQ(0, set_eventfd(fd, one));
		EXPECT_EQ(-EBADF, set_eventfd(fd, 1000000));
		EXPECT_EQ(-EINVAL, set_eventfd(fd, fd));
		close(one);
		close(two);
		if (!(i % 8))
			ASSERT_EQ(0, fsync(self->fd));
		/* While the file is open it is kept, which proves the look. */
		if (i % 4 == 0)
			ASSERT_NE(number, new_number());
		close(fd);
		ASSERT_EQ(number, new_number()) TH_LOG("round %d", i);
	}
}

#define COMMITTERS	3
#define COMMITS		300

static int commit_many(void *arg)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	int i;

	(void)arg;
	for (i = 0; i < COMMITS; i++) {
		if (!holds(!fsync(fd)))
			return 1;
	}
	return 0;
}

/* Whoever was told of a commit finds it in INFO. */
TEST_F_TIMEOUT(notify, an_eventfd_is_never_ahead_of_the_sequence_number, 120)
{
	struct step step;
	__u64 total = 0;
	pid_t pid[COMMITTERS];
	int i;

	step_begin(&step, self->fd);
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	for (i = 0; i < COMMITTERS; i++)
		pid[i] = child_start(commit_many, NULL);
	while (total < COMMITTERS * COMMITS && polled(self->event, 20000) > 0) {
		total += told(self->event);
		ASSERT_LE(total, step_commits(&step));
	}
	for (i = 0; i < COMMITTERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	total += told(self->event);
	EXPECT_EQ(COMMITTERS * COMMITS, total);
	EXPECT_EQ(COMMITTERS * COMMITS, step_commits(&step));
}

/* Commits until it is told to stop, in memory that all share. */
static int commit_on(void *arg)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

	while (!atomic_load((atomic_bool *)arg)) {
		if (!holds(!fsync(fd)))
			return 1;
	}
	return 0;
}

TEST_F_TIMEOUT(notify, eventfds_that_take_turns_miss_no_commit, 120)
{
	atomic_bool *stop = map(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
	int second = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	struct step step;
	pid_t pid[COMMITTERS];
	int i, turns;

	ASSERT_NE(NULL, stop);
	ASSERT_LE(0, second);
	step_begin(&step, self->fd);
	ASSERT_EQ(0, set_eventfd(self->fd, self->event));
	for (i = 0; i < COMMITTERS; i++)
		pid[i] = child_start(commit_on, stop);
	for (turns = 0; turns < 2000 || step_commits(&step) < COMMITS; turns++)
		ASSERT_EQ(0, set_eventfd(self->fd,
					 turns & 1 ? second : self->event));
	atomic_store(stop, true);
	for (i = 0; i < COMMITTERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	EXPECT_EQ(step_commits(&step), told(self->event) + told(second));
}

/* Files come and go with their eventfds while others commit. */
TEST_F_TIMEOUT(notify, files_that_close_during_commits_harm_nobody, 120)
{
	atomic_bool *stop = map(-1, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, 0);
	const int number = new_number();
	pid_t pid[COMMITTERS];
	struct step step;
	int i, files;

	ASSERT_NE(NULL, stop);
	step_begin(&step, self->fd);
	for (i = 0; i < COMMITTERS; i++)
		pid[i] = child_start(commit_on, stop);
	for (files = 0; files < 1000 || step_commits(&step) < COMMITS; files++) {
		int fd = open(DEVICE, O_RDWR | O_CLOEXEC);

		ASSERT_EQ(0, set_eventfd(fd, self->event));
		polled(fd, 0);
		close(fd);
	}
	atomic_store(stop, true);
	for (i = 0; i < COMMITTERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
	told(self->event);
	ASSERT_EQ(0, fsync(self->fd));
	EXPECT_EQ(0, told(self->event));
	EXPECT_EQ(number, new_number());
}

/*
 * No commit comes between the look of INFO and its having been seen: whoever
 * waits, and reads INFO when woken, comes to see the last commit.
 */
TEST_F_TIMEOUT(notify, whoever_waits_and_looks_sees_the_last_commit, 120)
{
	const __u64 last = info_of(self->fd).commit_seq + COMMITTERS * COMMITS;
	struct pollfd pfd = { .fd = self->fd, .events = POLLIN };
	pid_t pid[COMMITTERS];
	unsigned long start;
	__u64 seen = 0;
	int i;

	for (i = 0; i < COMMITTERS; i++)
		pid[i] = child_start(commit_many, NULL);
	start = now_ms();
	while (seen < last) {
		ASSERT_EQ(1, poll(&pfd, 1, 30000));
		seen = info_of(self->fd).commit_seq;
	}
	EXPECT_LT(now_ms() - start, 60000);
	EXPECT_EQ(last, seen);
	EXPECT_FALSE(readable(self->fd));
	for (i = 0; i < COMMITTERS; i++)
		EXPECT_EQ(0, child_wait(pid[i]));
}

TEST_HARNESS_MAIN
