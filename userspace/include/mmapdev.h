/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * libmmapdev: one set of calls to map /dev/mmapdev, a regular file or a memfd.
 *
 * Calls return 0 or more, or a negative errno; they never print and never abort.
 * A handle may be used by many threads at once, but for the call that frees it.
 * Options and results are structs that begin with their own size (sz), which
 * the caller sets: the library takes shorter ones of an older header, and
 * longer ones whose unknown tail is zero (else -E2BIG).
 */
#ifndef MMAPDEV_H
#define MMAPDEV_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MMAPDEV_VERSION_MAJOR 1
#define MMAPDEV_VERSION_MINOR 3
#define MMAPDEV_VERSION_PATCH 0

#ifndef MMAPDEV_API
#define MMAPDEV_API
#endif
/* The library holds these as symbols too, for languages that cannot inline. */
#ifndef MMAPDEV_INLINE
#define MMAPDEV_INLINE static inline
#endif

/* What stands behind a handle. */
#define MMAPDEV_KIND_DEVICE 0 /* an mmapdev device */
#define MMAPDEV_KIND_FILE 1   /* a regular file or a memfd */

/* How the device puts the pages of a mapping in place. */
#define MMAPDEV_MODE_DEMAND 0 /* at the first touch of each page */
#define MMAPDEV_MODE_EAGER 1  /* all of them, at map time */

/* When the device takes folios of more than one page. */
#define MMAPDEV_HUGE_NEVER 0
#define MMAPDEV_HUGE_ADVISE 1 /* a touch under madvise(MADV_HUGEPAGE) */
#define MMAPDEV_HUGE_ALWAYS 2 /* wherever one fits */

/* A figure that this kind of object does not have. */
#define MMAPDEV_UNKNOWN UINT64_MAX

struct mmapdev;	    /* an open device, file or memfd */
struct mmapdev_map; /* a mapped range of one */

/* Library version, major << 16 | minor << 8 | patch. */
MMAPDEV_API uint32_t mmapdev_version(void);

MMAPDEV_API int mmapdev_open(const char *path, int oflags,
			     struct mmapdev **out);
MMAPDEV_API int mmapdev_open_fd(int fd, struct mmapdev **out);
MMAPDEV_API int mmapdev_open_memfd(const char *name, uint64_t size,
				   struct mmapdev **out);
MMAPDEV_API void mmapdev_close(struct mmapdev *dev);
MMAPDEV_API int mmapdev_fd(const struct mmapdev *dev);

struct mmapdev_info {
	size_t sz;	     /* sizeof(struct mmapdev_info) */
	uint64_t size;	     /* bytes now */
	uint64_t max_size;   /* most bytes it may have; files: UNKNOWN */
	uint64_t resident;   /* bytes in memory; files: UNKNOWN */
	uint64_t dirty;	     /* bytes not committed; files: UNKNOWN */
	uint64_t commit_seq; /* commits so far; files: UNKNOWN */
	uint64_t committed;  /* bytes committed so far; files: UNKNOWN */
	uint32_t mode;	     /* MMAPDEV_MODE_*; files: DEMAND */
	uint32_t page_size;  /* bytes in the smallest unit of mapping */
	uint32_t kind;	     /* MMAPDEV_KIND_* */
	uint32_t huge;	     /* MMAPDEV_HUGE_*; files: NEVER; in 1.0: 0 */
	/* Since 1.1. Of files, and of a driver before 1.1, UNKNOWN. */
	uint64_t folio_max; /* bytes in the largest folio it may take */
	uint64_t maps;	    /* maps made so far */
	uint64_t faults;    /* page faults that came to the driver */
	uint64_t mkwrites;  /* first writes to a clean page of a map */
	uint64_t resizes;   /* changes of the size */
	uint64_t punches;   /* holes punched */
};

MMAPDEV_API int mmapdev_get_info(struct mmapdev *dev,
				 struct mmapdev_info *info);
MMAPDEV_API int mmapdev_set_mode(struct mmapdev *dev, uint32_t mode);

/* Since 1.1: size up to max_size, and offset and length, are whole pages. */
MMAPDEV_API int mmapdev_resize(struct mmapdev *dev, uint64_t size);
/* The range becomes a hole: no memory, and zeros to who reads it. */
MMAPDEV_API int mmapdev_punch(struct mmapdev *dev, uint64_t offset,
			      uint64_t length);

/* Flags of mmapdev_dirty. */
#define MMAPDEV_DIRTY_CLEAR (1u << 0) /* forget it, in the same step */

/*
 * Since 1.1: which pages of a range were written. Page i is bit i % 8, from the
 * lowest, of byte i / 8 of bitmap. pages, their number, may be NULL.
 */
MMAPDEV_API int mmapdev_dirty(struct mmapdev *dev, uint64_t offset,
			      uint64_t length, uint32_t flags, void *bitmap,
			      uint64_t *pages);

/* Since 1.1: each commit adds one to an eventfd of the caller; -1: to none. */
MMAPDEV_API int mmapdev_notify(struct mmapdev *dev, int eventfd);

/* Flags of mmapdev_map_opts. */
#define MMAPDEV_MAP_PRIVATE (1u << 0)  /* copy on write; default: shared */
#define MMAPDEV_MAP_READONLY (1u << 1) /* default: writable where possible */
#define MMAPDEV_MAP_POPULATE (1u << 2) /* all pages in place; errors told */
#define MMAPDEV_MAP_SYNC (1u << 3)     /* persistent memory, or EOPNOTSUPP */

struct mmapdev_map_opts {
	size_t sz;	 /* sizeof(struct mmapdev_map_opts) */
	uint64_t offset; /* bytes, a multiple of the page size */
	uint64_t length; /* bytes; 0: from offset to the end */
	uint32_t flags;	 /* MMAPDEV_MAP_* */
	uint32_t reserved; /* 0 */
	/* Since 1.2. */
	uint64_t window; /* bytes that it may grow to; 0: it does not grow */
};

/* opts NULL: the whole object, shared. */
MMAPDEV_API int mmapdev_map(struct mmapdev *dev,
			    const struct mmapdev_map_opts *opts,
			    struct mmapdev_map **out);
MMAPDEV_API int mmapdev_unmap(struct mmapdev_map *map);
/* Since 1.2: memory with no object behind it; offset and window are 0. */
MMAPDEV_API int mmapdev_map_anonymous(const struct mmapdev_map_opts *opts,
				      struct mmapdev_map **out);

/* Where each struct mmapdev_map begins; for the functions below alone. */
struct mmapdev_map_head {
	void *addr;
	size_t size;
};

MMAPDEV_INLINE void *mmapdev_map_addr(const struct mmapdev_map *map)
{
	return map ? ((const struct mmapdev_map_head *)(const void *)map)->addr
		   : NULL;
}

/* Bytes that may be touched; a window's become more. */
MMAPDEV_INLINE size_t mmapdev_map_size(const struct mmapdev_map *map)
{
	const struct mmapdev_map_head *head;

	head = (const struct mmapdev_map_head *)(const void *)map;
	return map ? __atomic_load_n(&head->size, __ATOMIC_ACQUIRE) : 0;
}

/*
 * Since 1.2: bytes that map may grow to. Grow makes the first size bytes of it
 * usable, with storage behind them; cut makes the object end at size, counted
 * from where map begins. No pointer into the map ever moves.
 */
MMAPDEV_API size_t mmapdev_map_window(const struct mmapdev_map *map);
MMAPDEV_API int mmapdev_map_grow(struct mmapdev_map *map, uint64_t size);
MMAPDEV_API int mmapdev_map_cut(struct mmapdev_map *map, uint64_t size);

/* What mmapdev_reserve does where the map must grow; at: what it took, or ~0. */
MMAPDEV_API int64_t mmapdev_reserve_grow(struct mmapdev_map *map,
					 uint64_t *cursor, uint64_t length,
					 uint64_t at);

/*
 * Since 1.2: the offset in map of length bytes that are the caller's alone,
 * among all threads and processes that reserve by the same *cursor. The map
 * grows as it must.
 */
MMAPDEV_INLINE int64_t mmapdev_reserve(struct mmapdev_map *map,
				       uint64_t *cursor, uint64_t length)
{
	size_t size = mmapdev_map_size(map);
	uint64_t at = ~(uint64_t)0;

	if (length <= size && cursor) {
		at = __atomic_fetch_add(cursor, length, __ATOMIC_RELAXED);
		if (at <= size - length)
			return (int64_t)at;
	}
	return mmapdev_reserve_grow(map, cursor, length, at);
}

/* Commit the pages that hold [offset, offset + length) of a shared mapping. */
MMAPDEV_API int mmapdev_flush(struct mmapdev_map *map, uint64_t offset,
			      uint64_t length);
/*
 * Since 1.2: make the range survive a crash, by the cheapest way that does it:
 * cache lines written back where the map is MMAPDEV_MAP_SYNC, else as flush.
 */
MMAPDEV_API int mmapdev_persist(struct mmapdev_map *map, uint64_t offset,
				uint64_t length);

/* What mmapdev_persist does. */
#define MMAPDEV_PERSIST_MSYNC 0
#define MMAPDEV_PERSIST_CLFLUSH 1    /* clflush */
#define MMAPDEV_PERSIST_CLFLUSHOPT 2 /* clflushopt, sfence */
#define MMAPDEV_PERSIST_CLWB 3	     /* clwb, sfence */
#define MMAPDEV_PERSIST_CVAP 4	     /* dc cvap, dsb, on arm64 */
MMAPDEV_API int mmapdev_persist_method(const struct mmapdev_map *map);

/* The cache lines of any memory, written back by the best of this CPU. */
MMAPDEV_API int mmapdev_persist_lines(const void *addr, size_t length);

/* Commit the whole object. */
MMAPDEV_API int mmapdev_commit(struct mmapdev *dev);

/* The kernel itself writes the range, or reads it and returns its CRC-32C. */
MMAPDEV_API int mmapdev_fill(struct mmapdev *dev, uint64_t offset,
			     uint64_t length, uint64_t pattern);
MMAPDEV_API int mmapdev_sum(struct mmapdev *dev, uint64_t offset,
			    uint64_t length, uint32_t *crc32c);

/* Since 1.2: pages in place ahead of one who reads or writes in order. */
struct mmapdev_ahead;

struct mmapdev_ahead_opts {
	size_t sz;	 /* sizeof(struct mmapdev_ahead_opts) */
	uint64_t window; /* bytes to keep ahead; 0: as measured */
	uint32_t flags;	 /* MMAPDEV_AHEAD_* */
	uint32_t reserved; /* 0 */
};

#define MMAPDEV_AHEAD_READ (1u << 0) /* for a reader; default: a writer */

/* First in a struct mmapdev_ahead; for the function below alone. */
struct mmapdev_ahead_head {
	uint64_t at;   /* where the caller is */
	uint64_t wake; /* where the helper wants to be told */
};

MMAPDEV_API int mmapdev_ahead_start(struct mmapdev_map *map,
				    const struct mmapdev_ahead_opts *opts,
				    struct mmapdev_ahead **out);
/* The first error of the helper, which ends here. */
MMAPDEV_API int mmapdev_ahead_stop(struct mmapdev_ahead *ahead);
MMAPDEV_API void mmapdev_ahead_wake(struct mmapdev_ahead *ahead);

struct mmapdev_ahead_stats {
	size_t sz;	 /* sizeof(struct mmapdev_ahead_stats) */
	uint64_t window; /* bytes kept ahead now */
	uint64_t done;	 /* bytes put in place so far */
	uint64_t late;	 /* times that the caller was there first */
};

MMAPDEV_API int mmapdev_ahead_get_stats(struct mmapdev_ahead *ahead,
					struct mmapdev_ahead_stats *stats);

/* The caller has come to this offset of the map. Costs a store. */
MMAPDEV_INLINE void mmapdev_ahead_at(struct mmapdev_ahead *ahead,
				     uint64_t offset)
{
	struct mmapdev_ahead_head *head;

	head = (struct mmapdev_ahead_head *)(void *)ahead;
	__atomic_store_n(&head->at, offset, __ATOMIC_RELAXED);
	if (offset >= __atomic_load_n(&head->wake, __ATOMIC_RELAXED))
		mmapdev_ahead_wake(ahead);
}

/*
 * Since 1.2: touches that may fail. After
 *
 *	struct mmapdev_guard guard;
 *
 *	if (!mmapdev_guard_begin(&guard, addr, length))
 *		... touch [addr, addr + length) ...
 *	ret = mmapdev_guard_end(&guard);
 *
 * ret is 0, or what SIGBUS or SIGSEGV would have said, and guard.addr says of
 * which byte. The touching ends where it fails, as by longjmp(3).
 */
struct mmapdev_guard {
	int error;	  /* 0, -ENXIO, -EIO, -EHWPOISON, -EFAULT or -EACCES */
	const void *addr; /* the byte that could not be touched */
	/* The rest is the library's. */
	const void *base;
	size_t length;
	struct mmapdev_guard *outer;
	jmp_buf env;
};

MMAPDEV_API int mmapdev_guard_enter(struct mmapdev_guard *guard,
				    const void *addr, size_t length);
MMAPDEV_API int mmapdev_guard_end(struct mmapdev_guard *guard);
/* 0 or an error, as if what follows had been skipped. */
#define mmapdev_guard_begin(guard, addr, length)                               \
	(setjmp((guard)->env) || mmapdev_guard_enter(guard, addr, length))

/* memcpy(3) that says -errno, and how much was copied (copied may be NULL). */
MMAPDEV_API int mmapdev_guard_copy(void *to, const void *from, size_t length,
				   size_t *copied);

/* Since 1.2: which pages of a map were written. */
struct mmapdev_track;

#define MMAPDEV_TRACK_BEST 0	/* the last of these that works here */
#define MMAPDEV_TRACK_PROTECT 1 /* mprotect and SIGSEGV: this process */
#define MMAPDEV_TRACK_UFFD 2	/* userfaultfd, Linux 6.7: this process */
#define MMAPDEV_TRACK_DEVICE 3	/* the device's own record: everybody */

MMAPDEV_API int mmapdev_track_start(struct mmapdev_map *map, uint32_t method,
				    struct mmapdev_track **out);
/* Offsets in the map; flags, bitmap and pages as in mmapdev_dirty. */
MMAPDEV_API int mmapdev_track_read(struct mmapdev_track *track,
				   uint64_t offset, uint64_t length,
				   uint32_t flags, void *bitmap,
				   uint64_t *pages);
MMAPDEV_API int mmapdev_track_method(const struct mmapdev_track *track);
MMAPDEV_API int mmapdev_track_stop(struct mmapdev_track *track);

/*
 * Since 1.2: locks in the mapping, for all processes that map it. Each takes
 * MMAPDEV_LOCK_SIZE bytes, zeros before the first to come makes it, at an
 * offset that is a multiple of that.
 */
#define MMAPDEV_LOCK_SIZE 64

struct mmapdev_mutex;
struct mmapdev_semaphore;

/* Whether threads can wait at this offset of the map: 0 or -EOPNOTSUPP. */
MMAPDEV_API int mmapdev_futex_probe(struct mmapdev_map *map, uint64_t offset);

/* Sets right what an owner that died left half done: 0 or a negative errno. */
typedef int (*mmapdev_repair)(void *arg);

MMAPDEV_API int mmapdev_mutex_init(struct mmapdev_map *map, uint64_t offset,
				   struct mmapdev_mutex **out);
/* A timeout of milliseconds; 0: do not wait, -1: for ever. */
MMAPDEV_API int mmapdev_mutex_lock(struct mmapdev_mutex *mutex, int timeout,
				   mmapdev_repair repair, void *arg);
MMAPDEV_API int mmapdev_mutex_unlock(struct mmapdev_mutex *mutex);

MMAPDEV_API int mmapdev_semaphore_init(struct mmapdev_map *map, uint64_t offset,
				       uint32_t value,
				       struct mmapdev_semaphore **out);
MMAPDEV_API int mmapdev_semaphore_wait(struct mmapdev_semaphore *semaphore,
				       int timeout);
MMAPDEV_API int mmapdev_semaphore_post(struct mmapdev_semaphore *semaphore);

/* Byte-range locks between handles, those of other processes too. */
#define MMAPDEV_LOCK_SHARED (1u << 0) /* default: exclusive */
#define MMAPDEV_LOCK_TRY (1u << 1)    /* -EAGAIN rather than wait */

MMAPDEV_API int mmapdev_range_lock(struct mmapdev *dev, uint64_t offset,
				   uint64_t length, uint32_t flags);
MMAPDEV_API int mmapdev_range_unlock(struct mmapdev *dev, uint64_t offset,
				     uint64_t length);

/* Since 1.2: messages from many senders to one receiver, in a mapping. */
struct mmapdev_channel;

#define MMAPDEV_CHANNEL_SENDER 0
#define MMAPDEV_CHANNEL_RECEIVER 1

struct mmapdev_channel_opts {
	size_t sz;	 /* sizeof(struct mmapdev_channel_opts) */
	uint64_t offset; /* in the map, a multiple of the page size */
	uint64_t length; /* bytes, whole pages, two or more; 0: the rest */
	uint32_t role;	 /* MMAPDEV_CHANNEL_* */
	uint32_t reserved; /* 0 */
};

MMAPDEV_API int mmapdev_channel_open(struct mmapdev_map *map,
				     const struct mmapdev_channel_opts *opts,
				     struct mmapdev_channel **out);
MMAPDEV_API int mmapdev_channel_close(struct mmapdev_channel *channel);
/* Timeouts as above. */
MMAPDEV_API int mmapdev_channel_send(struct mmapdev_channel *channel,
				     const void *data, size_t length,
				     int timeout);
/* The length of the message. */
MMAPDEV_API ssize_t mmapdev_channel_receive(struct mmapdev_channel *channel,
					    void *data, size_t size,
					    int timeout);
/* For poll(2): readable when there may be a message to receive. */
MMAPDEV_API int mmapdev_channel_fd(struct mmapdev_channel *channel);

/*
 * Since 1.3: a log, to which threads and processes append records without
 * locks, and which readers follow. It takes a whole object, from its beginning.
 */
struct mmapdev_log;
struct mmapdev_log_writer; /* of one thread at a time */
struct mmapdev_log_reader; /* likewise */

/* Flags of mmapdev_log_opts, and of mmapdev_log_info. */
#define MMAPDEV_LOG_CREATE (1u << 0)  /* where nothing but zeros is */
#define MMAPDEV_LOG_ORDERED (1u << 1) /* one order of all writers' records */
#define MMAPDEV_LOG_CRC (1u << 2)     /* CRC-32C of each; needed to sync */
#define MMAPDEV_LOG_AHEAD (1u << 3)   /* a thread takes the page faults */

struct mmapdev_log_opts {
	size_t sz;	  /* sizeof(struct mmapdev_log_opts) */
	uint64_t window;  /* bytes that it may grow to; 0: as much as can be */
	uint32_t flags;	  /* MMAPDEV_LOG_* */
	uint32_t segment; /* bytes, a power of two of 4096 or more; 0: 64 KiB */
	uint32_t ring;	  /* segments of a ring; 0: it grows */
	uint32_t reserved; /* 0 */
};

/* opts NULL: a log that exists. */
MMAPDEV_API int mmapdev_log_open(struct mmapdev *dev,
				 const struct mmapdev_log_opts *opts,
				 struct mmapdev_log **out);
/* When no writer is left the object is cut to the records' end. */
MMAPDEV_API int mmapdev_log_close(struct mmapdev_log *log);

MMAPDEV_API int mmapdev_log_writer_open(struct mmapdev_log *log,
					struct mmapdev_log_writer **out);
MMAPDEV_API int mmapdev_log_writer_close(struct mmapdev_log_writer *writer);
/* 0: readers have it, whatever becomes of the writer. */
MMAPDEV_API int mmapdev_log_append(struct mmapdev_log_writer *writer,
				   const void *data, size_t length,
				   int timeout);
/* The same in two steps: a place to write to, and the length written. */
MMAPDEV_API int mmapdev_log_claim(struct mmapdev_log_writer *writer,
				  size_t length, int timeout, void **data);
MMAPDEV_API int mmapdev_log_commit(struct mmapdev_log_writer *writer,
				   size_t length);
MMAPDEV_API int mmapdev_log_abort(struct mmapdev_log_writer *writer);
/* What this writer appended survives the machine too. */
MMAPDEV_API int mmapdev_log_sync(struct mmapdev_log_writer *writer);

/* Flags of mmapdev_log_reader_opts. */
#define MMAPDEV_LOG_CONSUME (1u << 0) /* each record to one: see the manual */
#define MMAPDEV_LOG_END (1u << 1)     /* only what is appended from now on */

struct mmapdev_log_reader_opts {
	size_t sz;	/* sizeof(struct mmapdev_log_reader_opts) */
	uint32_t flags; /* MMAPDEV_LOG_CONSUME, MMAPDEV_LOG_END */
	uint32_t reserved; /* 0 */
};

struct mmapdev_log_record {
	size_t sz;	  /* sizeof(struct mmapdev_log_record) */
	const void *data; /* until the next call on the reader */
	size_t length;
	uint64_t offset; /* of the data in the object */
	uint32_t writer; /* its number, from 1 */
	uint32_t pid;	 /* of its process; 0: not known any more */
};

/* opts NULL: all records, for nobody else's account. */
MMAPDEV_API int mmapdev_log_reader_open(
	struct mmapdev_log *log, const struct mmapdev_log_reader_opts *opts,
	struct mmapdev_log_reader **out);
MMAPDEV_API int mmapdev_log_reader_close(struct mmapdev_log_reader *reader);
/* The next record: timeouts as above. */
MMAPDEV_API int mmapdev_log_read(struct mmapdev_log_reader *reader,
				 struct mmapdev_log_record *record,
				 int timeout);

struct mmapdev_log_info {
	size_t sz;	   /* sizeof(struct mmapdev_log_info) */
	uint64_t created;  /* nanoseconds since 1970 */
	uint64_t size;	   /* bytes of the object */
	uint64_t segments; /* that were taken into use so far */
	uint64_t bytes;	   /* in use, headers of records with them */
	uint32_t flags;	   /* MMAPDEV_LOG_ORDERED, MMAPDEV_LOG_CRC */
	uint32_t segment;  /* bytes */
	uint32_t ring;	   /* segments, or 0 */
	uint32_t writers;  /* opened so far */
	uint32_t slots;	   /* for writers, and the consumer's */
	uint32_t version;  /* of the format */
};

MMAPDEV_API int mmapdev_log_get_info(struct mmapdev_log *log,
				     struct mmapdev_log_info *info);

/* Who has a slot. */
#define MMAPDEV_LOG_SLOT_FREE 0	   /* nobody ever had */
#define MMAPDEV_LOG_SLOT_OPEN 1	   /* pid has */
#define MMAPDEV_LOG_SLOT_CLOSED 2  /* pid had */
#define MMAPDEV_LOG_SLOT_DIED 3	   /* pid had when it died */
#define MMAPDEV_LOG_SLOT_EVICTED 4 /* pid had when it was declared dead */

struct mmapdev_log_slot {
	size_t sz;	  /* sizeof(struct mmapdev_log_slot) */
	uint64_t since;	  /* nanoseconds since 1970 */
	uint64_t segment; /* offset of the one that it fills; 0: none */
	uint64_t blocked; /* bytes that readers wait for because of it */
	uint32_t state;	  /* MMAPDEV_LOG_SLOT_* */
	uint32_t pid;
	uint32_t writer; /* number; 0: the consumer */
	uint32_t reserved;
};

/* Slot 0 is the consumer's. */
MMAPDEV_API int mmapdev_log_get_slot(struct mmapdev_log *log, uint32_t index,
				     struct mmapdev_log_slot *slot);
/* Sets right what the dead left: their number. */
MMAPDEV_API int mmapdev_log_recover(struct mmapdev_log *log);
/* Declares dead who may not be; not of a ring. */
MMAPDEV_API int mmapdev_log_evict(struct mmapdev_log *log, uint32_t index);

/* What mmapdev_log_verify found. */
#define MMAPDEV_LOG_SOUND 0
#define MMAPDEV_LOG_NOTHING 1  /* zeros, or no bytes at all */
#define MMAPDEV_LOG_FOREIGN 2  /* no log begins like this */
#define MMAPDEV_LOG_VERSION 3  /* a format that this library does not know */
#define MMAPDEV_LOG_ENDIAN 4   /* written by a machine of other byte order */
#define MMAPDEV_LOG_HEADER 5   /* a damaged header */
#define MMAPDEV_LOG_SHORT 6    /* the object ends before the log does */
#define MMAPDEV_LOG_SEGMENT 7  /* a damaged header of a segment */
#define MMAPDEV_LOG_RECORD 8   /* a damaged record */
#define MMAPDEV_LOG_CHECKSUM 9 /* a record other than it was written */

struct mmapdev_log_report {
	size_t sz;	    /* sizeof(struct mmapdev_log_report) */
	uint64_t offset;    /* of the first problem */
	uint64_t records;   /* that are sound */
	uint64_t bytes;	    /* in these */
	uint64_t unfinished; /* records reserved, not committed */
	uint32_t problem;   /* MMAPDEV_LOG_* */
	uint32_t problems;  /* how many there are */
};

MMAPDEV_API int mmapdev_log_verify(struct mmapdev *dev,
				   struct mmapdev_log_report *report);
/* A problem in words. */
MMAPDEV_API const char *mmapdev_log_problem(uint32_t problem);

#ifdef __cplusplus
}
#endif

#endif /* MMAPDEV_H */
