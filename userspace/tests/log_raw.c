// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log_raw.h"

#define HEADER 16384
#define FIRST 64 /* byte of a segment that is a record's */
#define UNIT 16
#define FLAG_ORDERED 2
#define FLAG_CRC 4

enum { FREE, TAKEN, LEASED, SHARED, SEALED, DRAINED };
enum { RESERVED = 1, COMMITTED, PAD };

struct image {
	unsigned char *bytes;
	uint64_t size;
	uint32_t segment, ring, flags;
	const char *(*each)(const struct entry *entry);
};

/* A segment, as much of it as there is. */
struct part {
	const unsigned char *bytes;
	uint64_t number, word;
	uint32_t size;
};

/* Of byte @i * 8 and the seven that follow. */
static uint64_t filler(uint32_t incarnation, uint64_t sequence, uint64_t i)
{
	return (sequence << 20 ^ incarnation) * 0x9E3779B97F4A7C15u +
	       i * 0xD1B54A32D192ED03u;
}

void entry_make(void *to, uint32_t incarnation, uint64_t sequence,
		uint32_t length)
{
	struct entry entry = { incarnation, length, sequence };
	unsigned char *byte = to;
	uint64_t i, word;

	for (i = sizeof(entry); i < length; i += 8) {
		word = filler(incarnation, sequence, i / 8);
		memcpy(byte + i, &word, length - i < 8 ? length - i : 8);
	}
	memcpy(to, &entry, sizeof(entry));
}

const struct entry *entry_of(const void *data, uint64_t length)
{
	const struct entry *entry = data;
	const unsigned char *byte = data;
	uint64_t i, word;

	if (length < sizeof(*entry) || entry->length != length)
		return NULL;
	for (i = sizeof(*entry); i < length; i += 8) {
		word = filler(entry->incarnation, entry->sequence, i / 8);
		if (memcmp(byte + i, &word, length - i < 8 ? length - i : 8))
			return NULL;
	}
	return entry;
}

static uint32_t u32(const unsigned char *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t u64(const unsigned char *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint64_t extent(uint64_t word)
{
	return (UNIT + (word >> 32) + UNIT - 1) & ~(uint64_t)(UNIT - 1);
}

/* As the record's first line says, over where it is, who wrote it, and it. */
static bool sum_is_right(const struct part *part, uint32_t at)
{
	const unsigned char *record = part->bytes + at;
	uint32_t length = u64(record) >> 32, crc;
	unsigned char *all = calloc(1, 24 + length);

	need(all ? 0 : -ENOMEM, "calloc");
	memcpy(all, &part->number, 8);
	memcpy(all + 8, &at, 4);
	memcpy(all + 12, record + 12, 4);
	memcpy(all + 16, &length, 4);
	memcpy(all + 24, record + UNIT, length);
	crc = slow_crc32c(all, 24 + length);
	free(all);
	return crc == u32(record + 8);
}

static const char *committed(const struct image *image, const struct part *part,
			     uint32_t at, uint32_t end)
{
	const unsigned char *record = part->bytes + at;
	const struct entry *entry;

	if (extent(u64(record)) > end - at)
		return "a record goes beyond its segment";
	entry = entry_of(record + UNIT, u64(record) >> 32);
	if (!entry)
		return "a record is torn";
	/* Bit by bit is slow: of some. */
	if (image->flags & FLAG_CRC && !(entry->sequence % 8) &&
	    !sum_is_right(part, at))
		return "a record's sum is not right";
	return image->each(entry);
}

/* Up to @end if it is sealed, else to the word that is zero. */
static const char *leased(const struct image *image, const struct part *part,
			  uint32_t end, bool sealed)
{
	const char *wrong = NULL;
	uint32_t at = FIRST;
	uint64_t word;

	while (!wrong && at + UNIT <= end) {
		word = u64(part->bytes + at);
		if (!word && !sealed)
			return NULL;
		if ((word & 7) != COMMITTED)
			return "a leased segment holds what is no record";
		wrong = committed(image, part, at, end);
		at += extent(word);
	}
	if (!wrong && sealed && at != end)
		return "a sealed segment does not end where it says";
	return wrong;
}

/* Up to the tail; of what the dead had reserved there may be a zero word. */
static const char *shared(const struct image *image, const struct part *part)
{
	uint64_t tail = u64(part->bytes + 8), word;
	const char *wrong = NULL;
	uint32_t at = FIRST, end = FIRST + (uint32_t)tail;

	if (tail >> 32 != part->word >> 32)
		return "the tail of a shared segment is of another lap";
	if (end > part->size)
		end = part->size;
	while (!wrong && at < end) {
		word = u64(part->bytes + at);
		if (!word) {
			at += UNIT;
			continue;
		}
		if ((word & 7) == COMMITTED)
			wrong = committed(image, part, at, end);
		else if ((word & 7) != PAD && (word & 7) != RESERVED)
			wrong = "a shared segment holds what is no record";
		else if (extent(word) > end - at)
			wrong = "a pad goes beyond its segment";
		at += extent(word);
	}
	return wrong;
}

static const char *segment(const struct image *image, const struct part *part)
{
	uint32_t end = (part->word >> 9 & 0x3fffff) * UNIT;
	bool ordered = image->flags & FLAG_ORDERED;

	switch (part->word & 7) {
	case FREE:
		return part->word ? "a free segment is of somebody" : NULL;
	case TAKEN:
		return image->ring ? NULL : "a segment is taken, in no ring";
	case LEASED:
		if (ordered)
			return "an ordered log has a lease";
		return leased(image, part, part->size, false);
	case SHARED:
		return ordered ? shared(image, part) :
				 "a segment is shared, in no ordered log";
	case SEALED:
	case DRAINED:
		if (ordered)
			return shared(image, part);
		if (end < FIRST || end > part->size)
			return "a sealed segment ends elsewhere";
		return leased(image, part, end, true);
	}
	return "a segment is in no known state";
}

static int by_number(const void *left, const void *right)
{
	const struct part *a = left, *b = right;

	return a->number < b->number ? -1 : a->number > b->number;
}

static const char *segments(const struct image *image)
{
	uint64_t count, place, n = 0, at;
	const char *wrong = NULL;
	struct part *parts;

	count = (image->size - HEADER + image->segment - 1) / image->segment;
	parts = calloc(count + 1, sizeof(*parts));
	need(parts ? 0 : -ENOMEM, "calloc");
	for (place = 0; place < count; place++) {
		at = HEADER + place * image->segment;
		if (image->size - at < FIRST)
			break;
		parts[n].bytes = image->bytes + at;
		parts[n].word = u64(parts[n].bytes);
		parts[n].size = image->size - at < image->segment ?
				image->size - at : image->segment;
		parts[n].number = (parts[n].word >> 32) * image->ring + place;
		n++;
	}
	qsort(parts, n, sizeof(*parts), by_number);
	for (place = 0; place < n && !wrong; place++)
		wrong = segment(image, &parts[place]);
	free(parts);
	return wrong;
}

static const char *header(struct image *image)
{
	if (image->size < HEADER || !u64(image->bytes))
		return NULL;
	if (memcmp(image->bytes, "mmapdlog", 8))
		return "the magic is not a log's";
	image->segment = u32(image->bytes + 20);
	image->ring = u32(image->bytes + 24);
	image->flags = u32(image->bytes + 28);
	if (image->segment < 4096)
		return "the segments are too small";
	if (image->size - HEADER < (uint64_t)image->ring * image->segment)
		return "a ring is short";
	return segments(image);
}

/* By read(2), as a whole. */
static void slurp(const char *path, struct image *image)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t at = 0;
	ssize_t got;
	off_t size;

	need(fd < 0 ? -errno : 0, path);
	size = lseek(fd, 0, SEEK_END);
	need(size < 0 ? -errno : size > 1 << 30 ? -EFBIG : 0, "lseek");
	image->size = (uint32_t)size;
	image->bytes = malloc(image->size + 1);
	need(image->bytes ? 0 : -ENOMEM, "malloc");
	for (; at < image->size; at += got) {
		got = pread(fd, image->bytes + at, image->size - at, at);
		need(got < 0 ? -errno : got ? 0 : -EIO, "pread");
	}
	close(fd);
}

const char *log_raw(const char *path,
		    const char *(*each)(const struct entry *entry))
{
	struct image image = { .each = each };
	const char *wrong;

	slurp(path, &image);
	wrong = header(&image);
	free(image.bytes);
	return wrong;
}
