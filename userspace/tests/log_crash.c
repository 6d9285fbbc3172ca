// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A crash of the machine keeps some pages of a log as they were, and loses others.
 * What is there is read, what is not is told, and what is appended thereafter is
 * read like anything else. And what a small window does not hide.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "log.h"

static struct object *object;
static const struct kind *kind;
static char name[80];

static struct mmapdev_map *map_all(void)
{
	struct mmapdev_map *map = NULL;

	need(mmapdev_map(object->dev, NULL, &map), "map");
	return map;
}

/* Three to a segment. */
static void fill(struct mmapdev_log *log)
{
	struct mmapdev_log_writer *w = writer(log);
	unsigned int i, wrong = 0;

	for (i = 0; i < 9; i++)
		wrong += !put(w, i, 1000);
	is(wrong, 0, "three segments (%s)", name);
	mmapdev_log_writer_close(w);
}

static void test_lost_segment(void)
{
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_writer *w;
	struct mmapdev_log_reader *r;
	struct mmapdev_map *map;

	fill(log);
	map = map_all();
	memset((char *)mmapdev_map_addr(map) + HEADER + SEGMENT, 0, SEGMENT);
	r = reader(log, 0);
	ok(next_is(r, 0, 1000) && next_is(r, 1, 1000) && next_is(r, 2, 1000),
	   "what comes before is read (%s)", name);
	is(try_read(r, 0), -EBADMSG, "what is lost is told (%s)", name);
	ok(next_is(r, 6, 1000) && next_is(r, 7, 1000) && next_is(r, 8, 1000),
	   "what comes behind is read (%s)", name);
	is(try_read(r, 0), -EAGAIN, "to the end (%s)", name);
	w = writer(log);
	ok(put(w, 50, 100) && next_is(r, 50, 100), "and it goes on (%s)", name);
	mmapdev_log_writer_close(w);
	mmapdev_log_reader_close(r);
	mmapdev_unmap(map);
	mmapdev_log_close(log);
}

/* How many of those that were appended last a reader gets. */
static unsigned int count_new(struct mmapdev_log *log)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_reader *r = reader(log, 0);
	unsigned int count = 0;
	int ret;

	while ((ret = mmapdev_log_read(r, &record, 0)) != -EAGAIN)
		count += !ret && is_record(&record, 100 + count, 60);
	mmapdev_log_reader_close(r);
	return count;
}

/* The page of the tail is of before the records. */
static void test_old_tail(void)
{
	static const char zeros[400];
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_writer *w = writer(log);
	struct mmapdev_map *map;
	unsigned int i, wrong = 0;
	uint64_t *tail;

	/* A place to write to is known by its zeros. */
	for (i = 0; i < 8; i++)
		wrong += !!mmapdev_log_append(w, zeros, sizeof(zeros), 0);
	mmapdev_log_writer_close(w);
	map = map_all();
	tail = (uint64_t *)(void *)((char *)mmapdev_map_addr(map) + HEADER + 8);
	*tail = 96;
	w = writer(log);
	for (i = 0; i < 20; i++)
		wrong += !put(w, 100 + i, 60);
	is(wrong, 0, "all are appended (%s)", name);
	is(count_new(log), 20, "what comes after an old tail is read (%s)",
	   name);
	mmapdev_log_writer_close(w);
	mmapdev_unmap(map);
	mmapdev_log_close(log);
}

static void test_small_window(void)
{
	struct mmapdev_log_opts opts = { .sz = sizeof(opts) };
	struct mmapdev_log *log = fresh(object, kind);
	struct mmapdev_log_reader *r;
	unsigned int i, wrong = 0;

	fill(log);
	mmapdev_log_close(log);
	opts.window = size_of(object->dev) - 1000;
	need(mmapdev_log_open(object->dev, &opts, &log), "open");
	r = reader(log, 0);
	for (i = 0; i < 9; i++)
		wrong += !next_is(r, i, 1000);
	is(wrong, 0, "a small window hides nothing (%s)", name);
	mmapdev_log_reader_close(r);
	mmapdev_log_close(log);
}

static void test_object(struct object *o)
{
	size_t i;

	object = o;
	for (i = 0; i < KINDS; i++) {
		kind = &kinds[i];
		if (kind->ring)
			continue;
		snprintf(name, sizeof(name), "%s, %s", o->name, kind->name);
		test_lost_segment();
		test_small_window();
		if (kind->flags & ORDERED)
			test_old_tail();
	}
}

int main(void)
{
	on_every_object(0, test_object);
	return done();
}
