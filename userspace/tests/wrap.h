/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Between the library and libc, by the linker's --wrap: any call may be made to
 * fail, is counted, and a regular file may be passed off as a device.
 */
#ifndef TESTS_WRAP_H
#define TESTS_WRAP_H

#include <stdbool.h>
#include <stddef.h>

enum wrapped {
	W_CALLOC,
	W_CLOSE,
	W_EVENTFD,
	W_FALLOCATE,
	W_FCNTL,
	W_FSTAT,
	W_FSYNC,
	W_FTRUNCATE,
	W_IOCTL,
	W_MADVISE,
	W_MALLOC,
	W_MEMFD_CREATE,
	W_MMAP,
	W_MPROTECT,
	W_MSYNC,
	W_MUNMAP,
	W_OPEN,
	W_POLL,
	W_PREAD,
	W_PTHREAD_ATFORK,
	W_PTHREAD_CREATE,
	W_PTHREAD_MUTEX_INIT,
	W_PTHREAD_SIGMASK,
	W_PWRITE,
	W_SIGACTION,
	W_SYSCALL,
	W_COUNT
};

struct wrap_call {
	void *addr;
	size_t length;
	int flags;
};

/* The next @times calls fail with @err, and do nothing. */
void wrap_fail(enum wrapped call, int times, int err);
/* Calls since the last wrap_reset(). */
int wrap_calls(enum wrapped call);
/* How the last mmap, msync or madvise was called. */
struct wrap_call wrap_last(enum wrapped call);
/* Called first of all by each wrapped call but those that it makes itself. */
void wrap_before(void (*hook)(enum wrapped call));
/* Read and write at most @bytes a call; 0: no limit. */
void wrap_short(size_t bytes);
/* fstat says character device, and ioctl is @answer: 0 or a positive errno. */
void wrap_device(int (*answer)(unsigned long command, void *arg));
void wrap_reset(void);

/*
 * While @on each mapping has a page on either side that cannot be touched; and
 * where the last one of a file is.
 */
void wrap_guard(bool on);
void *wrap_guarded(void);

#endif /* TESTS_WRAP_H */
