// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The log itself: making and opening one, its segments, its end. See log.h for
 * how it works; log_write.c appends, log_read.c reads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define OPTS_FIRST offsetofend(struct mmapdev_log_opts, reserved)
#define INFO_FIRST offsetofend(struct mmapdev_log_info, version)
#define OPTS_FLAGS (MMAPDEV_LOG_CREATE | LOG_FORMAT | MMAPDEV_LOG_AHEAD)

/* Address space costs page tables only where it is touched. */
#define FILE_WINDOW (sizeof(size_t) > 4 ? (uint64_t)1 << 36 : (uint64_t)1 << 28)

void *mmapdev_log_handle(size_t size)
{
	void *handle = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (handle == MAP_FAILED)
		return NULL;
	/* What the parent does is not done twice. */
	if (!madvise(handle, size, MADV_WIPEONFORK))
		return handle;
	munmap(handle, size);
	return NULL;
}

void mmapdev_log_handle_free(void *handle, size_t size)
{
	munmap(handle, size);
}

bool mmapdev_log_here(const struct mmapdev_log *log)
{
	return log->dev;
}

uint64_t mmapdev_log_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

void mmapdev_log_raise(uint64_t *p, uint64_t value)
{
	uint64_t now = load(p);

	while (now < value && !swap(p, &now, value))
		;
}

static int nothing_to_repair(void *arg)
{
	(void)arg;
	return 0;
}

int mmapdev_log_lock(struct mmapdev_mutex *mutex, int timeout)
{
	const struct timespec moment = { .tv_nsec = NSEC_PER_MSEC };
	int64_t deadline = mmapdev_deadline(timeout);
	int left, err;

	for (;;) {
		left = mmapdev_left(deadline);
		err = -mmapdev_mutex_lock(mutex, left, nothing_to_repair, NULL);
		/* We never lock twice: our number in another pid namespace. */
		if (err != EDEADLK || !left)
			break;
		nanosleep(&moment, NULL);
	}
	if (err == EDEADLK || err == EAGAIN)
		return timeout ? -ETIMEDOUT : -EAGAIN;
	/* It was a mutex when the log was opened. */
	return err == EINVAL ? -EBADMSG : -err;
}

unsigned char *mmapdev_log_segment(struct mmapdev_log *log, uint64_t number,
				   uint32_t *limit)
{
	uint64_t size = mmapdev_map_size(log->map);
	uint64_t place = log_place(log, number), offset;

	offset = LOG_HEADER + place * log->segment;
	if (place >= log->places || offset + LOG_FIRST > size)
		return NULL;
	size -= offset;
	*limit = size < log->segment ? size / LOG_ALIGN * LOG_ALIGN :
				       log->segment;
	return log->base + offset;
}

/*
 * Others may have made the object longer, or shorter. What another thread finds
 * out meanwhile is newer.
 */
int mmapdev_log_refresh(struct mmapdev_log *log)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	size_t size = mmapdev_map_size(log->map);
	int ret = mmapdev_get_info(log->dev, &info);

	if (ret)
		return ret;
	if (info.size > mmapdev_map_window(log->map))
		info.size = mmapdev_map_window(log->map);
	__atomic_compare_exchange_n(&log->map->head.size, &size, info.size,
				    false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
	return 0;
}

int mmapdev_log_reach(struct mmapdev_log *log, uint64_t number,
		      unsigned char **segment)
{
	uint64_t offset = log_offset(log, number);
	int ret;

	if (log_place(log, number) >= log->places ||
	    log->segment > log->window - offset)
		return -ENOSPC;
	ret = mmapdev_map_grow(log->map, offset + log->segment);
	if (!ret)
		*segment = log->base + offset;
	return ret;
}

/* Who wrote what, where: a record is not taken for one of another lap. */
uint32_t mmapdev_log_crc(const struct mmapdev_log *log, uint64_t number,
			 uint32_t at, uint32_t writer, const void *data,
			 uint32_t length)
{
	struct {
		uint64_t number;
		uint32_t at, writer, length, zero;
	} head = { number, at, writer, length, 0 };
	uint32_t crc;

	crc = mmapdev_crc32c(log->table, 0, &head, sizeof(head));
	return mmapdev_crc32c(log->table, crc, data, length);
}

bool mmapdev_log_sound(const struct mmapdev_log *log, unsigned char *segment,
		       uint64_t number, uint32_t at, uint32_t length)
{
	const struct log_record *record = record_at(segment, at);

	return !log->table ||
	       mmapdev_log_crc(log, number, at, record->writer, record + 1,
			       length) == record->crc;
}

uint32_t mmapdev_log_walk(unsigned char *segment, uint32_t limit)
{
	uint32_t at = LOG_FIRST;
	uint64_t word, extent;

	while (at < limit) {
		word = load(&record_at(segment, at)->word);
		extent = rec_extent(rec_length(word));
		if (rec_state(word) != REC_COMMITTED || extent > limit - at)
			break;
		at += extent;
	}
	return at;
}

uint32_t mmapdev_log_reserved(struct mmapdev_log *log, unsigned char *segment,
			      uint64_t number, uint32_t limit)
{
	struct log_segment *head = (void *)segment;
	uint64_t tail = load(&head->tail);
	uint64_t end = LOG_FIRST + (uint32_t)tail;

	if (tail >> 32 != log_lap(log, number))
		return LOG_FIRST;
	return end < limit ? end / LOG_ALIGN * LOG_ALIGN : limit;
}

int mmapdev_log_wait(struct log_wait *wait, uint32_t *bell, uint32_t value,
		     int slice)
{
	int left = wait->timeout, ret;

	if (!left)
		return -EAGAIN;
	if (left > 0 && !wait->deadline)
		wait->deadline = mmapdev_deadline(left);
	if (left > 0)
		left = mmapdev_left(wait->deadline);
	if (!left)
		return -ETIMEDOUT;
	ret = mmapdev_futex_wait(bell, value,
				 left < 0 || left > slice ? slice : left);
	return ret == -ETIMEDOUT ? 0 : ret;
}

/* 0 where there are zeros from the header on; holes stay holes. */
static int check_blank(struct mmapdev_log *log)
{
	static const unsigned char zeros[4096];
	unsigned char buffer[4096];
	off_t at = LOG_HEADER;
	ssize_t n;

	while ((n = pread(log->dev->fd, buffer, sizeof(buffer), at)) > 0) {
		if (memcmp(buffer, zeros, n))
			return -EMEDIUMTYPE;
		at += n;
	}
	return n ? -errno : 0;
}

/* Under turn, where nobody has begun or somebody died before the end. */
static int make(struct mmapdev_log *log, const struct mmapdev_log_opts *opts)
{
	struct log_super *super = (void *)log->base;
	uint64_t magic;
	int ret;

	memcpy(&magic, LOG_MAGIC, sizeof(magic));
	super->version = LOG_VERSION;
	super->order = LOG_ORDER;
	super->header = LOG_HEADER;
	super->segment = opts->segment ? opts->segment : LOG_SEGMENT_DEFAULT;
	super->ring = opts->ring;
	super->flags = opts->flags & LOG_FORMAT;
	super->created = mmapdev_log_now();
	super->reserved = 0;
	super->crc = mmapdev_log_super_crc(super);
	if (opts->ring) {
		uint64_t end = LOG_HEADER +
			       (uint64_t)super->segment * opts->ring;

		ret = end > log->window ? -ENOSPC :
					  mmapdev_map_grow(log->map, end);
		if (ret)
			return ret;
	}
	store((uint64_t *)(void *)super, magic);
	log->super = *super;
	return 0;
}

/* What was made into a log while we looked is no damaged one. */
static int judge(struct mmapdev_log *log)
{
	uint32_t problem = mmapdev_log_judge(log->base,
					     mmapdev_map_size(log->map),
					     &log->super);
	int ret;

	if (problem == MMAPDEV_LOG_SOUND)
		return problem;
	ret = mmapdev_log_refresh(log);
	if (ret)
		return ret;
	return mmapdev_log_judge(log->base, mmapdev_map_size(log->map),
				 &log->super);
}

/* May a log be made here? Somebody else may have made one by the end. */
static int prepare(struct mmapdev_log *log, bool create)
{
	int ret;

	if (!create)
		return -ENODATA;
	if (!log->writable)
		return -EBADF;
	ret = check_blank(log);
	if (ret && judge(log) != MMAPDEV_LOG_SOUND)
		return ret;
	return mmapdev_map_grow(log->map, LOG_HEADER);
}

/* The header is there, and of a log, or becomes one. */
static int begin(struct mmapdev_log *log, const struct mmapdev_log_opts *opts)
{
	int problem = judge(log), ret;

	if (problem < 0)
		return problem;
	if (problem == MMAPDEV_LOG_NOTHING)
		ret = prepare(log, opts->flags & MMAPDEV_LOG_CREATE);
	else
		ret = mmapdev_log_error(problem);
	if (ret || !log->writable)
		return ret;

	ret = mmapdev_mutex_init(log->map, LOG_CONTROL +
				 offsetof(struct log_control, turn),
				 &log->turn);
	if (!ret)
		ret = mmapdev_mutex_init(log->map, LOG_CONTROL +
					 offsetof(struct log_control, sync),
					 &log->sync);
	if (ret || problem != MMAPDEV_LOG_NOTHING)
		return ret;

	ret = mmapdev_log_lock(log->turn, LOG_PATIENCE);
	if (ret)
		return ret;
	problem = judge(log);
	if (problem == MMAPDEV_LOG_NOTHING)
		ret = make(log, opts);
	else
		ret = problem < 0 ? problem : mmapdev_log_error(problem);
	if (mmapdev_mutex_unlock(log->turn) && !ret)
		ret = -EBADMSG;
	return ret;
}

/* What the superblock says; what @opts asks for is to be the same. */
static int adopt(struct mmapdev_log *log, const struct mmapdev_log_opts *opts)
{
	const struct log_super *super = &log->super;

	log->segment = super->segment;
	log->ring = super->ring;
	log->flags = super->flags;
	/* The last of a closed log may be cut. */
	log->places = (log->window - LOG_HEADER + log->segment - 1) /
		      log->segment;
	if ((opts->segment && opts->segment != log->segment) ||
	    (opts->ring && opts->ring != log->ring) ||
	    opts->flags & LOG_FORMAT & ~log->flags)
		return -EEXIST;
	/* A ring does not grow: it is whole. */
	if ((uint64_t)log->ring * log->segment > log->window - LOG_HEADER)
		return -ENOSPC;
	if (!(log->flags & MMAPDEV_LOG_CRC))
		return 0;

	log->table = malloc(sizeof(*log->table));
	if (!log->table)
		return -ENOMEM;
	mmapdev_crc32c_init(log->table);
	return 0;
}

static int check_opts(const struct mmapdev_log_opts *opts)
{
	uint32_t segment = opts->segment;

	if (opts->flags & ~OPTS_FLAGS || opts->reserved)
		return -EINVAL;
	if (segment && (segment & (segment - 1) || segment < LOG_SEGMENT_MIN ||
			segment > LOG_SEGMENT_MAX))
		return -EINVAL;
	/* One is filled while another is read. */
	return opts->ring == 1 || opts->ring > LOG_RING_MAX ? -EINVAL : 0;
}

/* A device is mapped through an open file that nobody else has: see log.h. */
static int reopen(struct mmapdev_log *log)
{
	char path[32];
	int ret;

	if (log->dev->kind != MMAPDEV_KIND_DEVICE)
		return 0;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", log->dev->fd);
	ret = mmapdev_open(path, log->writable ? O_RDWR : O_RDONLY, &log->file);
	/* An eager mapping has no futexes, and does not hold the file. */
	return ret ? ret : mmapdev_set_mode(log->file, MMAPDEV_MODE_DEMAND);
}

static int map(struct mmapdev_log *log, const struct mmapdev_log_opts *opts)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev_map_opts o = { .sz = sizeof(o) };
	int ret;

	ret = mmapdev_get_info(log->dev, &info);
	if (ret)
		return ret;
	o.window = opts->window;
	if (!o.window)
		o.window = info.max_size == MMAPDEV_UNKNOWN ? FILE_WINDOW :
							      info.max_size;
	/* All that is there, and of the last segment what was cut off. */
	if (o.window < info.size)
		o.window = info.size + LOG_SEGMENT_MAX;
	if (o.window > info.max_size)
		o.window = info.max_size;
	if (o.window < LOG_HEADER + LOG_SEGMENT_MIN)
		return -ENOSPC;
	/* Where memory is persistent it need not be flushed by pages. */
	if (log->writable && log->dev->kind == MMAPDEV_KIND_FILE)
		o.flags = MMAPDEV_MAP_SYNC;
	ret = mmapdev_map(log->file ? log->file : log->dev, &o, &log->map);
	if (ret == -EOPNOTSUPP && o.flags) {
		o.flags = 0;
		ret = mmapdev_map(log->dev, &o, &log->map);
	}
	if (ret)
		return ret;

	log->window = o.window;
	log->base = mmapdev_map_addr(log->map);
	log->control = (void *)(log->base + LOG_CONTROL);
	log->slot = (void *)(log->base + LOG_SLOTS_AT);
	/* Neither does a child hold our open file by it. */
	if (madvise(log->base, mmapdev_map_window(log->map), MADV_DONTFORK))
		return -errno;
	return 0;
}

static void log_free(struct mmapdev_log *log)
{
	mmapdev_ahead_stop(log->ahead);
	mmapdev_unmap(log->map);
	mmapdev_put(log->file);
	mmapdev_put(log->dev);
	free(log->table);
	mmapdev_log_handle_free(log, sizeof(*log));
}

static int start(struct mmapdev_log *log, const struct mmapdev_log_opts *opts)
{
	int ret;

	ret = mmapdev_check_access(log->dev, O_RDONLY);
	if (ret)
		return ret;
	log->writable = !mmapdev_check_access(log->dev, O_WRONLY);
	ret = mmapdev_peer_self(&log->me);
	if (!ret)
		ret = reopen(log);
	if (!ret)
		ret = map(log, opts);
	if (!ret)
		ret = begin(log, opts);
	if (!ret)
		ret = adopt(log, opts);
	if (ret || !(opts->flags & MMAPDEV_LOG_AHEAD))
		return ret;
	if (!log->writable)
		return -EBADF;
	ret = mmapdev_ahead_start(log->map, NULL, &log->ahead);
	if (!ret && !log->ring)
		mmapdev_ahead_grow(log->ahead);
	return ret;
}

int mmapdev_log_open(struct mmapdev *dev, const struct mmapdev_log_opts *opts,
		     struct mmapdev_log **out)
{
	struct mmapdev_log_opts o = { .sz = sizeof(o) };
	struct mmapdev_log *log;
	int ret = 0;

	if (!dev || !out)
		return -EINVAL;
	if (opts)
		ret = mmapdev_struct_in(&o, sizeof(o), OPTS_FIRST, opts);
	if (!ret)
		ret = check_opts(&o);
	if (ret)
		return ret;

	log = mmapdev_log_handle(sizeof(*log));
	if (!log)
		return -ENOMEM;
	log->dev = mmapdev_get(dev);
	ret = start(log, &o);
	if (ret) {
		log_free(log);
		return ret;
	}
	*out = log;
	return 0;
}

/* Under turn: 1 if anybody has a slot, or had it and may write for all that. */
static int in_use(struct mmapdev_log *log)
{
	uint32_t i;
	int vacant;

	for (i = 0; i < LOG_SLOTS; i++) {
		vacant = mmapdev_log_vacant(log, i, true);
		if (vacant <= 0)
			return vacant < 0 ? vacant : 1;
	}
	return 0;
}

/* The bytes of the object that hold something. */
static uint64_t used(struct mmapdev_log *log)
{
	uint64_t next = load(&log->control->next), word;
	unsigned char *segment;
	uint32_t limit, end;

	if (!next)
		return LOG_HEADER;
	segment = mmapdev_log_segment(log, next - 1, &limit);
	if (!segment)
		return mmapdev_map_size(log->map);
	word = load((uint64_t *)(void *)segment);
	if (seg_state(word) == SEG_SHARED)
		end = mmapdev_log_reserved(log, segment, next - 1, limit);
	else if (seg_state(word) == SEG_LEASED)
		end = mmapdev_log_walk(segment, limit);
	else
		end = seg_end(word);
	/* A reader looks at the word behind the last record. */
	if (end < limit)
		end += LOG_ALIGN;
	return log_offset(log, next - 1) + end;
}

static int cut(struct mmapdev_log *log)
{
	uint64_t end;
	int ret;

	ret = mmapdev_log_lock(log->turn, LOG_PATIENCE);
	if (ret)
		return ret;
	ret = in_use(log);
	/* Now that nobody is here: how long it was before is of no use. */
	if (!ret)
		ret = mmapdev_log_refresh(log);
	if (!ret) {
		end = used(log);
		if (end < mmapdev_map_size(log->map))
			ret = mmapdev_map_cut(log->map, end);
	}
	if (mmapdev_mutex_unlock(log->turn) && !ret)
		ret = -EBADMSG;
	return ret > 0 ? 0 : ret;
}

int mmapdev_log_close(struct mmapdev_log *log)
{
	int ret = 0;

	if (!log)
		return 0;
	if (!mmapdev_log_here(log)) {
		mmapdev_log_handle_free(log, sizeof(*log));
		return 0;
	}
	if (__atomic_load_n(&log->refs, __ATOMIC_ACQUIRE))
		return -EBUSY;
	mmapdev_ahead_stop(log->ahead);
	log->ahead = NULL;
	if (log->writable && !log->ring)
		ret = cut(log);
	log_free(log);
	return ret;
}

/* The counts of the last segment may be of a moment ago. */
int mmapdev_log_get_info(struct mmapdev_log *log, struct mmapdev_log_info *info)
{
	struct mmapdev_log_info ours;
	uint64_t number, word;
	unsigned char *segment;
	uint32_t limit;
	int ret;

	if (!log || !info)
		return -EINVAL;
	if (!mmapdev_log_here(log))
		return -ESTALE;
	ret = mmapdev_log_refresh(log);
	if (ret)
		return ret;

	memset(&ours, 0, sizeof(ours));
	ours.created = log->super.created;
	ours.size = mmapdev_map_size(log->map);
	ours.segments = load(&log->control->next);
	ours.flags = log->flags;
	ours.segment = log->segment;
	ours.ring = log->ring;
	ours.writers = load32(&log->control->writers);
	ours.slots = LOG_SLOTS;
	ours.version = log->super.version;
	for (number = 0; number < ours.segments; number++) {
		if (log->ring && number >= log->ring)
			break;
		segment = mmapdev_log_segment(log, number, &limit);
		if (!segment)
			break;
		word = load((uint64_t *)(void *)segment);
		if (seg_state(word) == SEG_LEASED)
			ours.bytes += mmapdev_log_walk(segment, limit) -
				      LOG_FIRST;
		else if (seg_state(word) == SEG_SHARED)
			ours.bytes += mmapdev_log_reserved(log, segment,
					       seg_lap(word) * log->ring +
					       number, limit) - LOG_FIRST;
		else if (seg_state(word) != SEG_TAKEN &&
			 seg_end(word) > LOG_FIRST && seg_end(word) <= limit)
			ours.bytes += seg_end(word) - LOG_FIRST;
	}
	return mmapdev_struct_out(info, sizeof(ours), INFO_FIRST, &ours);
}
