// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The names are those that _FILE_OFFSET_BITS=64 makes of the calls. The Makefile
 * finds every __wrap_ in this file and tells the linker.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#endif

#include "wrap.h"

static struct {
	int calls;
	int fail;
	int err;
	struct wrap_call last;
} state[W_COUNT];
static size_t limit;
static int (*device)(unsigned long command, void *arg);
static void (*before)(enum wrapped call);
static bool guard;
static void *guarded;

void wrap_fail(enum wrapped call, int times, int err)
{
	state[call].fail = times;
	state[call].err = err;
}

int wrap_calls(enum wrapped call)
{
	return __atomic_load_n(&state[call].calls, __ATOMIC_RELAXED);
}

struct wrap_call wrap_last(enum wrapped call)
{
	const struct wrap_call *last = &state[call].last;

	return (struct wrap_call){
		.addr = __atomic_load_n(&last->addr, __ATOMIC_RELAXED),
		.length = __atomic_load_n(&last->length, __ATOMIC_RELAXED),
		.flags = __atomic_load_n(&last->flags, __ATOMIC_RELAXED),
	};
}

void wrap_short(size_t bytes)
{
	limit = bytes;
}

void wrap_device(int (*answer)(unsigned long command, void *arg))
{
	device = answer;
}

void wrap_reset(void)
{
	memset(state, 0, sizeof(state));
	limit = 0;
	device = NULL;
	before = NULL;
}

void wrap_guard(bool on)
{
	guard = on;
}

void *wrap_guarded(void)
{
	return guarded;
}

void wrap_before(void (*hook)(enum wrapped call))
{
	__atomic_store_n(&before, hook, __ATOMIC_RELAXED);
}

static bool fails(enum wrapped call)
{
	void (*hook)(enum wrapped call) =
		__atomic_load_n(&before, __ATOMIC_RELAXED);
	static __thread bool inside;

	if (hook && !inside) {
		inside = true;
		hook(call);
		inside = false;
	}
	__atomic_add_fetch(&state[call].calls, 1, __ATOMIC_RELAXED);
	if (!state[call].fail)
		return false;
	state[call].fail--;
	errno = state[call].err;
	return true;
}

static void record(enum wrapped call, void *addr, size_t length, int flags)
{
	__atomic_store_n(&state[call].last.addr, addr, __ATOMIC_RELAXED);
	__atomic_store_n(&state[call].last.length, length, __ATOMIC_RELAXED);
	__atomic_store_n(&state[call].last.flags, flags, __ATOMIC_RELAXED);
}

static size_t clip(size_t length)
{
	return limit && limit < length ? limit : length;
}

#define WRAP(type, name, ...)                                                  \
	type __real_##name(__VA_ARGS__);                                       \
	type __wrap_##name(__VA_ARGS__);                                       \
	type __wrap_##name(__VA_ARGS__)

WRAP(void *, calloc, size_t n, size_t size)
{
	return fails(W_CALLOC) ? NULL : __real_calloc(n, size);
}

WRAP(void *, malloc, size_t size)
{
	return fails(W_MALLOC) ? NULL : __real_malloc(size);
}

WRAP(int, close, int fd)
{
	return fails(W_CLOSE) ? -1 : __real_close(fd);
}

WRAP(int, eventfd, unsigned int count, int flags)
{
	return fails(W_EVENTFD) ? -1 : __real_eventfd(count, flags);
}

WRAP(int, fallocate64, int fd, int mode, off_t offset, off_t length)
{
	return fails(W_FALLOCATE) ? -1 :
				    __real_fallocate64(fd, mode, offset, length);
}

WRAP(int, fcntl64, int fd, int command, ...)
{
	va_list args;
	void *arg;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	return fails(W_FCNTL) ? -1 : __real_fcntl64(fd, command, arg);
}

WRAP(int, fstat64, int fd, struct stat *st)
{
	int ret;

	if (fails(W_FSTAT))
		return -1;
	ret = __real_fstat64(fd, st);
	if (!ret && device)
		st->st_mode = S_IFCHR | (st->st_mode & ~S_IFMT);
	return ret;
}

WRAP(int, fsync, int fd)
{
	return fails(W_FSYNC) ? -1 : __real_fsync(fd);
}

WRAP(int, ftruncate64, int fd, off_t length)
{
	return fails(W_FTRUNCATE) ? -1 : __real_ftruncate64(fd, length);
}

WRAP(int, ioctl, int fd, unsigned long command, ...)
{
	va_list args;
	void *arg;
	int err;

	va_start(args, command);
	arg = va_arg(args, void *);
	va_end(args);
	if (fails(W_IOCTL))
		return -1;
	if (!device)
		return __real_ioctl(fd, command, arg);
	err = device(command, arg);
	if (!err)
		return 0;
	errno = err;
	return -1;
}

WRAP(int, madvise, void *addr, size_t length, int advice)
{
	record(W_MADVISE, addr, length, advice);
	return fails(W_MADVISE) ? -1 : __real_madvise(addr, length, advice);
}

WRAP(int, memfd_create, const char *name, unsigned int flags)
{
	return fails(W_MEMFD_CREATE) ? -1 : __real_memfd_create(name, flags);
}

/* A page on either side of it, whose touch is SIGSEGV. */
static size_t beside(void)
{
	return guard ? sysconf(_SC_PAGESIZE) : 0;
}

WRAP(void *, mmap64, void *addr, size_t length, int prot, int flags, int fd,
     off_t offset)
{
	size_t page = beside();
	char *room;

	record(W_MMAP, addr, length, prot);
	if (fails(W_MMAP))
		return MAP_FAILED;
	if (!page)
		return __real_mmap64(addr, length, prot, flags, fd, offset);
	length = (length + page - 1) / page * page;
	room = __real_mmap64(NULL, length + 2 * page, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (room == MAP_FAILED)
		return MAP_FAILED;
	if (fd >= 0)
		guarded = room + page;
	return __real_mmap64(room + page, length, prot, flags | MAP_FIXED, fd,
			     offset);
}

WRAP(int, mprotect, void *addr, size_t length, int prot)
{
	record(W_MPROTECT, addr, length, prot);
	return fails(W_MPROTECT) ? -1 : __real_mprotect(addr, length, prot);
}

WRAP(int, msync, void *addr, size_t length, int flags)
{
	record(W_MSYNC, addr, length, flags);
	return fails(W_MSYNC) ? -1 : __real_msync(addr, length, flags);
}

WRAP(int, munmap, void *addr, size_t length)
{
	size_t page = beside();

	record(W_MUNMAP, addr, length, 0);
	if (fails(W_MUNMAP))
		return -1;
	if (!page)
		return __real_munmap(addr, length);
	length = (length + page - 1) / page * page;
	return __real_munmap((char *)addr - page, length + 2 * page);
}

WRAP(int, open64, const char *path, int flags, ...)
{
	va_list args;
	unsigned int mode;

	va_start(args, flags);
	mode = va_arg(args, unsigned int);
	va_end(args);
	return fails(W_OPEN) ? -1 : __real_open64(path, flags, mode);
}

WRAP(int, poll, struct pollfd *fds, nfds_t n, int timeout)
{
	return fails(W_POLL) ? -1 : __real_poll(fds, n, timeout);
}

WRAP(ssize_t, pread64, int fd, void *buf, size_t length, off_t offset)
{
	if (fails(W_PREAD))
		return state[W_PREAD].err ? -1 : 0;
	return __real_pread64(fd, buf, clip(length), offset);
}

WRAP(int, pthread_atfork, void (*prepare)(void), void (*parent)(void),
     void (*child)(void))
{
	if (fails(W_PTHREAD_ATFORK))
		return state[W_PTHREAD_ATFORK].err;
	return __real_pthread_atfork(prepare, parent, child);
}

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr,
     void *(*start)(void *), void *arg)
{
	if (fails(W_PTHREAD_CREATE))
		return state[W_PTHREAD_CREATE].err;
	return __real_pthread_create(thread, attr, start, arg);
}

/* ThreadSanitizer of gcc 12 does not know it. */
WRAP(int, pthread_mutex_clocklock, pthread_mutex_t *mutex, clockid_t clock,
     const struct timespec *until)
{
	int ret = __real_pthread_mutex_clocklock(mutex, clock, until);

#ifdef __SANITIZE_THREAD__
	if (!ret || ret == EOWNERDEAD) {
		__tsan_mutex_pre_lock(mutex, 0);
		__tsan_mutex_post_lock(mutex, 0, 0);
	}
#endif
	return ret;
}

WRAP(int, pthread_mutex_init, pthread_mutex_t *mutex,
     const pthread_mutexattr_t *attr)
{
	if (fails(W_PTHREAD_MUTEX_INIT))
		return state[W_PTHREAD_MUTEX_INIT].err;
	return __real_pthread_mutex_init(mutex, attr);
}

WRAP(int, pthread_sigmask, int how, const sigset_t *set, sigset_t *old)
{
	if (fails(W_PTHREAD_SIGMASK))
		return state[W_PTHREAD_SIGMASK].err;
	return __real_pthread_sigmask(how, set, old);
}

WRAP(ssize_t, pwrite64, int fd, const void *buf, size_t length, off_t offset)
{
	if (fails(W_PWRITE))
		return state[W_PWRITE].err ? -1 : 0;
	return __real_pwrite64(fd, buf, clip(length), offset);
}

WRAP(int, sigaction, int signal, const struct sigaction *action,
     struct sigaction *old)
{
	return fails(W_SIGACTION) ? -1 : __real_sigaction(signal, action, old);
}

/*
 * For futex(2), whose arguments are all words. Who has fewer has nothing in the
 * places of the others, which AddressSanitizer would not have read.
 */
__attribute__((no_sanitize("address")))
long __wrap_syscall(long number, ...);
WRAP(long, syscall, long number, ...)
{
	long arg[6];
	va_list args;
	size_t i;

	va_start(args, number);
	for (i = 0; i < 6; i++)
		arg[i] = va_arg(args, long);
	va_end(args);
	if (fails(W_SYSCALL))
		return -1;
	return __real_syscall(number, arg[0], arg[1], arg[2], arg[3], arg[4],
			      arg[5]);
}
