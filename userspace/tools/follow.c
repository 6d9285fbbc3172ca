// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Follow a device until the copy has caught up with it.
 *
 * A look takes the marks of what was written and clears them, and then asks how
 * often the device was resized and punched. What it found is copied, and the
 * next look says what was written since. When one finds nothing, all that was
 * written before it began is in the copy.
 *
 * Marks tell nothing of a hole: where a page went, and perhaps came back as
 * zeros by a mere touch, there is none. So when the counts have changed the
 * whole is copied anew. They rise after the fact, and are asked after the marks
 * and before the copying: a change is in what they say, or has them rise again.
 *
 * What a writable eager mapping spans is always marked. There is nothing to copy
 * either where the marked pages are what the copy holds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "follow.h"

#define CHUNK ((size_t)256 << 10)
#define IDLE_US 10000

static unsigned char chunk[CHUNK], old[CHUNK];

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static int tick(struct follow *f)
{
	if (f->tick)
		f->tick(f);
	return *f->stop ? -EINTR : 0;
}

/* A read ended early: either it shrank, or this is no sane device. */
static int shrank(struct follow *f)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	int ret = mmapdev_get_info(f->dev, &info);

	if (ret)
		return ret;
	return info.size == f->info.size && info.resizes == f->info.resizes ?
		       -EIO : -ESTALE;
}

/* Fills @buf, or returns -errno. */
static int read_device(struct follow *f, void *buf, size_t length, uint64_t at)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pread(mmapdev_fd(f->dev), (char *)buf + done,
				  length - done, at + done);

		if (!n)
			return shrank(f);
		if (n < 0 && (errno != EINTR || *f->stop))
			return -errno;
		done += n > 0 ? n : 0;
	}
	return 0;
}

static int write_file(struct follow *f, const void *buf, size_t length,
		      uint64_t at)
{
	size_t done = 0;

	while (done < length) {
		ssize_t n = pwrite(f->fd, (const char *)buf + done,
				   length - done, at + done);

		if (n < 0 && (errno != EINTR || *f->stop)) {
			f->file_failed = true;
			return -errno;
		}
		done += n > 0 ? n : 0;
	}
	f->bytes += length;
	return 0;
}

/* Whether the copy holds @buf at @at; what cannot be read is no match. */
static bool file_holds(struct follow *f, const void *buf, size_t length,
		       uint64_t at)
{
	return pread(f->fd, old, length, at) == (ssize_t)length &&
	       !memcmp(buf, old, length);
}

/* 0, 1 where it wrote what the copy did not hold, or -errno. */
static int copy_range(struct follow *f, uint64_t at, uint64_t end,
		      bool compare)
{
	bool fresh = false;
	int ret;

	while (at < end) {
		size_t length = least(end - at, CHUNK);

		ret = tick(f);
		if (!ret)
			ret = read_device(f, chunk, length, at);
		if (ret)
			return ret;
		if (!compare || !file_holds(f, chunk, length, at)) {
			ret = write_file(f, chunk, length, at);
			fresh = true;
		}
		if (ret)
			return ret;
		f->done += length / f->info.page_size;
		at += length;
	}
	return fresh;
}

/* The next data or hole at or after @at; the end where there is none. */
static int64_t seek(struct follow *f, uint64_t at, int whence)
{
	off_t found = lseek(mmapdev_fd(f->dev), at, whence);

	if (found < 0 && errno == ENXIO)
		return f->info.size;
	return found < 0 ? -errno : (int64_t)least(found, f->info.size);
}

/* Holes stay holes: the file is all hole before the data go into it. */
static int copy_all(struct follow *f)
{
	int64_t data, hole = 0;
	int ret;

	f->have = f->info;
	f->fewest = UINT64_MAX;
	f->stuck = 0;
	f->pages = f->info.size / f->info.page_size;
	if (ftruncate(f->fd, 0) || ftruncate(f->fd, f->info.size)) {
		f->file_failed = true;
		return -errno;
	}

	while ((uint64_t)hole < f->info.size) {
		data = seek(f, hole, SEEK_DATA);
		if (data < 0)
			return data;
		f->done = data / f->info.page_size;
		if ((uint64_t)data == f->info.size)
			break;
		hole = seek(f, data, SEEK_HOLE);
		if (hole < 0)
			return hole;
		ret = copy_range(f, data, hole, false);
		if (ret < 0)
			return ret;
	}
	return 1;
}

static bool marked(const struct follow *f, uint64_t page)
{
	return f->bitmap[page / 8] >> page % 8 & 1;
}

/* 0 where the copy had all of it already, 1, or -errno. */
static int copy_marked(struct follow *f)
{
	uint64_t size = f->info.page_size, pages = f->info.size / size;
	uint64_t page = 0, first;
	int ret, fresh = 0;

	if (f->pages < f->fewest) {
		f->fewest = f->pages;
		f->stuck = 0;
	} else {
		f->stuck++;
	}

	while (page < pages) {
		if (!f->bitmap[page / 8]) {
			page = page - page % 8 + 8;
			continue;
		}
		for (first = page; page < pages && marked(f, page); page++)
			;
		ret = copy_range(f, first * size, page * size, true);
		if (ret < 0)
			return ret;
		fresh |= ret;
		page++;
	}
	return fresh;
}

/*
 * Marks into f->bitmap, their number into f->pages, then f->info. Returns 0, 1
 * where there may be more of them, or -errno.
 */
static int look(struct follow *f)
{
	size_t room;
	void *bitmap;
	int cut, ret;

	do {
		ret = tick(f);
		if (!ret)
			ret = mmapdev_get_info(f->dev, &f->info);
		if (ret)
			return ret;
		room = f->info.size / f->info.page_size / 8 + 1;
		bitmap = realloc(f->bitmap, room);
		if (!bitmap)
			return -ENOMEM;
		f->bitmap = bitmap;
		memset(bitmap, 0, room);
		ret = mmapdev_dirty(f->dev, 0, f->info.size,
				    MMAPDEV_DIRTY_CLEAR, bitmap, NULL);
		/* It has shrunk since: nothing was cleared. */
	} while (ret == -ENXIO);

	cut = ret == -EINTR && !*f->stop;
	if (ret && !cut)
		return ret;
	/* What was stored before the signal is cleared, and not counted. */
	for (f->pages = 0; room; room--)
		f->pages += __builtin_popcount(f->bitmap[room - 1]);
	ret = mmapdev_get_info(f->dev, &f->info);
	return ret ? ret : cut;
}

static bool moved(const struct follow *f)
{
	return f->info.size != f->have.size ||
	       f->info.resizes != f->have.resizes ||
	       f->info.punches != f->have.punches;
}

/* 0 where there was nothing to copy, 1, or -errno. */
static int copy_round(struct follow *f)
{
	bool whole = !f->rounds || moved(f);
	int ret;

	if (!whole && !f->pages)
		return 0;
	f->rounds++;
	f->done = 0;
	ret = whole ? copy_all(f) : copy_marked(f);
	return ret == -ESTALE ? 1 : ret;
}

static int follow_on(struct follow *f)
{
	bool cut, last;
	int ret;

	for (;;) {
		/* What is done by now, this look finds. */
		last = !f->may_end || f->may_end(f);
		ret = look(f);
		if (ret < 0)
			return ret;
		cut = ret;
		ret = copy_round(f);
		if (ret < 0)
			return ret;
		if (ret || cut)
			continue;
		if (last)
			return 0;
		usleep(IDLE_US);
	}
}

static int copy_once(struct follow *f)
{
	int ret;

	ret = mmapdev_get_info(f->dev, &f->info);
	if (ret)
		return ret;
	f->rounds = 1;
	ret = copy_all(f);
	if (ret < 0)
		return ret;
	ret = mmapdev_get_info(f->dev, &f->info);
	if (ret)
		return ret;
	return f->info.size == f->have.size ? 0 : -ESTALE;
}

int follow(struct follow *f)
{
	int ret;

	f->info.sz = sizeof(f->info);
	ret = f->once ? copy_once(f) : follow_on(f);
	free(f->bitmap);
	f->bitmap = NULL;
	return ret;
}
