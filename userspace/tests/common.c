// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common.h"

static int lines, failures;
/* The call that returned this errno last, in whatever thread. */
static const char *returned_by[256];

static bool vok(bool truth, const char *sentence, va_list args)
{
	printf("%sok %d - ", truth ? "" : "not ", ++lines);
	vprintf(sentence, args);
	putchar('\n');
	fflush(stdout);
	failures += !truth;
	return truth;
}

bool ok(bool truth, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	vok(truth, sentence, args);
	va_end(args);
	return truth;
}

static bool is_errno(long long ret)
{
	return ret < 0 && ret > -256;
}

static void provoked(int err)
{
	const char *function;

	function = __atomic_exchange_n(&returned_by[err], NULL,
				       __ATOMIC_RELAXED);
	if (function)
		printf("# provoked %s %s\n", function, strerrorname_np(err));
}

bool is(long long got, long long wanted, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	vok(got == wanted, sentence, args);
	va_end(args);
	if (got != wanted)
		printf("#   got %lld (%#llx), wanted %lld (%#llx)\n", got, got,
		       wanted, wanted);
	else if (is_errno(got))
		provoked(-got);
	return got == wanted;
}

long long returned(const char *function, long long ret)
{
	if (is_errno(ret))
		__atomic_store_n(&returned_by[-ret], function,
				 __ATOMIC_RELAXED);
	return ret;
}

void need(int ret, const char *what)
{
	if (ret >= 0)
		return;
	printf("Bail out! %s: %s\n", what, strerror(-ret));
	exit(1);
}

int done(void)
{
	printf("1..%d\n", lines);
	return failures || !lines;
}

static void on_file(uint64_t size, void (*test)(struct object *))
{
	struct object object = { .name = "file" };
	const char *dir = getenv("TMPDIR");
	int fd;

	snprintf(object.path, sizeof(object.path), "%.40s/mmapdev.XXXXXX",
		 dir ? dir : "/tmp");
	fd = mkstemp(object.path);
	if (fd < 0 || ftruncate(fd, size))
		need(-errno, object.path);
	close(fd);

	need(mmapdev_open(object.path, O_RDWR, &object.dev), object.path);
	test(&object);
	mmapdev_close(object.dev);
	unlink(object.path);
}

static void on_memfd(uint64_t size, void (*test)(struct object *))
{
	struct object object = { .name = "memfd" };

	need(mmapdev_open_memfd("test", size, &object.dev), "memfd");
	snprintf(object.path, sizeof(object.path), "/proc/self/fd/%d",
		 mmapdev_fd(object.dev));
	test(&object);
	mmapdev_close(object.dev);
}

void on_each_object(uint64_t size, void (*test)(struct object *))
{
	on_file(size, test);
	on_memfd(size, test);
}

void on_every_object(uint64_t size, void (*test)(struct object *))
{
	struct object object = { .name = "device" };
	const char *path = getenv("MMAPDEV_DEVICE");

	on_each_object(size, test);
	if (!path)
		return;
	snprintf(object.path, sizeof(object.path), "%s", path);
	need(mmapdev_open(path, O_RDWR, &object.dev), path);
	/* As new: all zeros, and no page there. */
	need(mmapdev_resize(object.dev, 0), "resize");
	need(mmapdev_resize(object.dev, size), "resize");
	test(&object);
	mmapdev_close(object.dev);
}

pid_t spawn(int (*work)(void *arg), void *arg)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		/* None outlives a test that failed. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(work(arg));
	}
	need(pid < 0 ? -errno : 0, "fork");
	return pid;
}

struct stopped {
	int (*work)(void *arg);
	void *arg;
};

static int between_stops(void *arg)
{
	struct stopped *stopped = arg;

	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
		return errno;
	stopped->work(stopped->arg);
	return raise(SIGSTOP);
}

pid_t spawn_stopped(int (*work)(void *arg), void *arg)
{
	struct stopped stopped = { work, arg };
	pid_t pid = spawn(between_stops, &stopped);
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFSTOPPED(status))
		need(-EPERM, "ptrace");
	return pid;
}

bool step(pid_t pid)
{
	int status = 0;

	if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) ||
	    waitpid(pid, &status, 0) != pid)
		need(-errno, "PTRACE_SINGLESTEP");
	if (WIFSTOPPED(status) && WSTOPSIG(status) != SIGSTOP)
		return true;
	slay(pid);
	return false;
}

void on_one_cpu(bool one)
{
	static cpu_set_t all;
	cpu_set_t only;

	if (!one) {
		sched_setaffinity(0, sizeof(all), &all);
		return;
	}
	sched_getaffinity(0, sizeof(all), &all);
	CPU_ZERO(&only);
	CPU_SET(sched_getcpu(), &only);
	sched_setaffinity(0, sizeof(only), &only);
}

int reap(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			need(-errno, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void slay(pid_t pid)
{
	kill(pid, SIGKILL);
	reap(pid);
}

void until_asleep(pid_t pid)
{
	char path[32], line[256] = "", *end;
	ssize_t got;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	do {
		sched_yield();
		fd = open(path, O_RDONLY);
		need(fd < 0 ? -errno : 0, path);
		got = read(fd, line, sizeof(line) - 1);
		close(fd);
		line[got > 0 ? got : 0] = 0;
		end = strrchr(line, ')');
	} while (end && end[2] != 'S');
}

struct mmapdev *reopen(struct object *object, int oflags)
{
	struct mmapdev *dev = NULL;

	need(mmapdev_open(object->path, oflags, &dev), "reopen");
	return dev;
}

uint64_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

uint64_t milliseconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

uint32_t slow_crc32c(const void *data, size_t length)
{
	const unsigned char *byte = data;
	uint32_t crc = ~0u;
	int bit;

	while (length--) {
		crc ^= *byte++;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
	}
	return ~crc;
}

unsigned char pattern_byte(uint64_t pattern, uint64_t offset)
{
	return (pattern >> (8 * (offset % 8))) & 0xff;
}
