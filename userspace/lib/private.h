/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * What the parts of libmmapdev share.
 *
 * A handle never changes once it is made, but for the count of those who hold
 * it: the caller, and each map that was made from it, which therefore outlives
 * mmapdev_close(); and for what mmapdev_close() must end while they do. A map
 * changes in its size, an atomic, and in who tracks it.
 */
#ifndef MMAPDEV_PRIVATE_H
#define MMAPDEV_PRIVATE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sys/mman.h>

#include <linux/mmapdev.h>
#include <mmapdev.h>

struct mmapdev {
	int fd;
	uint32_t kind;	  /* MMAPDEV_KIND_* */
	unsigned int refs; /* atomic */
	pid_t locker;	   /* atomic: the process that locked ranges, or 0 */
	pid_t notified;	   /* atomic: that asked for an eventfd to be told */
};

struct mmapdev *mmapdev_get(struct mmapdev *dev);
void mmapdev_put(struct mmapdev *dev);

struct mmapdev_map {
	struct mmapdev_map_head head; /* head.size: atomic */
	size_t window;		      /* bytes of address space, whole pages */
	uint64_t offset;	      /* in the object */
	uint32_t flags;		      /* MMAPDEV_MAP_* */
	int prot;		      /* PROT_* */
	bool eager;		      /* all of it was put in place by mmap */
	struct mmapdev *dev;	      /* NULL: anonymous */
	bool tracked;		      /* atomic: one tracker at a time */
	struct mmapdev_watch *watch;  /* track_protect.c's, since the first */
};

#ifndef MADV_POPULATE_READ /* Linux 5.14 */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

#define offsetofend(type, member)                                              \
	(offsetof(type, member) + sizeof(((type *)0)->member))

/*
 * The struct-size rule, both ways: @ours is the size of the library's own
 * struct, @first that of its first version.
 */
int mmapdev_struct_size(const void *s, size_t first, size_t *sz);
int mmapdev_struct_in(void *to, size_t ours, size_t first, const void *from);
int mmapdev_struct_out(void *to, size_t ours, size_t first, const void *from);

/* @info is zeroed here, so that 0 from a stranger's ioctl is found out. */
int mmapdev_device_info(int fd, struct mmapdev_ioc_info *info);

/* 0 when [@offset, @offset + @length) lies in the first @size bytes. */
int mmapdev_check_range(uint64_t offset, uint64_t length, uint64_t size);

/* -EBADF where @dev is not open for @need, O_RDONLY or O_WRONLY. */
int mmapdev_check_access(struct mmapdev *dev, int need);
/* What the driver checks of a range, for a file: the access, then the range. */
int mmapdev_check_file(struct mmapdev *dev, int need, uint64_t offset,
		       uint64_t length);

/* Puts the pages of the range in place: 0 or -errno. */
int mmapdev_populate(const struct mmapdev_map *map, uint64_t offset,
		     uint64_t length);
/* The same, by MADV_POPULATE_READ or MADV_POPULATE_WRITE. */
int mmapdev_populate_by(const struct mmapdev_map *map, uint64_t offset,
			uint64_t length, int advice);
/* The helper lengthens the object as well, as far as the window goes. */
void mmapdev_ahead_grow(struct mmapdev_ahead *ahead);

/*
 * The shared futex at @word, in memory that several processes map. Wait returns
 * 0 when woken, or at once when *@word is not @value; -ETIMEDOUT after @timeout
 * milliseconds (-1: never), -EINTR, -EFAULT where the mapping has no futexes.
 * Wake returns how many it woke.
 */
int mmapdev_futex_wait(const uint32_t *word, uint32_t value, int timeout);
int mmapdev_futex_wake(const uint32_t *word, int count);

/*
 * A bell. Who is to sleep listens, looks once more at what is waited for, and
 * then sleeps while the word is what listen returned. Who changes that rings.
 */
uint32_t mmapdev_bell_listen(uint32_t *bell);
void mmapdev_bell_ring(uint32_t *bell);

/* Between two looks at what another CPU is about to change. */
static inline void mmapdev_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* A process, as written down for others to ask if it still lives. */
struct mmapdev_peer {
	uint32_t pid;
	uint32_t zero;	/* or else a program of 32 bits has start elsewhere */
	uint64_t start; /* /proc/PID/stat, field 22 */
	uint64_t space; /* the namespaces that pid and start belong to */
	uint64_t boot;  /* of the system; 0: not known */
};

struct mmapdev_peer_watch {
	struct mmapdev_peer who;
	int pidfd; /* -1: nobody is watched */
};

/* This process: 0 or -errno; -EXDEV where /proc is of other pids than its. */
int mmapdev_peer_self(struct mmapdev_peer *me);
/* 1: dead, 0: alive as far as can be known from here, or -errno. */
int mmapdev_peer_dead(const struct mmapdev_peer *who,
		      const struct mmapdev_peer *me);
/* The same, in one system call from the second time on. */
int mmapdev_peer_watch(struct mmapdev_peer_watch *watch,
		       const struct mmapdev_peer *who,
		       const struct mmapdev_peer *me);
void mmapdev_peer_unwatch(struct mmapdev_peer_watch *watch);

/*
 * The CLOCK_MONOTONIC, in nanoseconds, at which @timeout milliseconds are over
 * (-1: never), and how many milliseconds are left until then, rounded up.
 */
#define NSEC_PER_MSEC 1000000
#define NSEC_PER_SEC 1000000000

int64_t mmapdev_deadline(int timeout);
int mmapdev_left(int64_t deadline);

/*
 * signal.c has the one handler of SIGSEGV and SIGBUS, put in place by the first
 * who calls install. It asks these in turn, and the first that returns true has
 * dealt with the fault (guard.c's may longjmp instead); else it is passed to
 * whoever handled it before. Only faults come to them, never a kill(2).
 */
int mmapdev_signal_install(void);
bool mmapdev_track_fault(int signal, const siginfo_t *info);
bool mmapdev_guard_fault(int signal, const siginfo_t *info,
			 const void *context);

/* @map is unmapped: faults there are no longer track_protect.c's. */
void mmapdev_track_forget(struct mmapdev_map *map);

/* Calls @op once for each line of @line bytes that the range touches. */
void mmapdev_each_line(const void *addr, size_t length, size_t line,
		       void (*op)(const void *line));
/* By one MMAPDEV_PERSIST_*; returns it, or -EOPNOTSUPP where it is not to be. */
int mmapdev_persist_by(int method, const void *addr, size_t length);

/* Begin with a @crc of 0, go on with what the call before returned. */
struct mmapdev_crc32c_table {
	bool instruction; /* the processor does it; it goes by words else */
	uint32_t word[8][256];
};

void mmapdev_crc32c_init(struct mmapdev_crc32c_table *table);
uint32_t mmapdev_crc32c(const struct mmapdev_crc32c_table *table, uint32_t crc,
			const void *data, size_t length);

#endif /* MMAPDEV_PRIVATE_H */
