// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Many who reserve: threads and processes append records to one window by one
 * cursor. Each byte belongs to one record, and none is lost.
 */
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"
#include "wrap.h"

#define WINDOW (32 * MIB)
#define HEAD 64 /* the cursor is at the start */
#define PROCESSES 2
#define THREADS 3
#define RECORDS 4000

struct record {
	uint32_t length;
	uint32_t writer;
	uint32_t number;
	uint32_t check;
	unsigned char byte[];
};

struct writer {
	pthread_t thread;
	struct mmapdev_map *map;
	uint32_t index;
	int wrong;
};

/* 16 to 1,032 bytes, so that the map grows many times. */
static uint32_t length_of(uint32_t writer, uint32_t number)
{
	return sizeof(struct record) + (writer * 7919 + number * 104729) % 128 *
	       8;
}

static void *append(void *arg)
{
	struct writer *w = arg;
	char *mem = mmapdev_map_addr(w->map);
	uint64_t *cursor = (uint64_t *)mem;
	uint32_t i;

	for (i = 0; i < RECORDS; i++) {
		uint32_t length = length_of(w->index, i);
		int64_t at = mmapdev_reserve(w->map, cursor, length);
		struct record *r = (struct record *)(mem + at);

		if (at < HEAD) {
			w->wrong++;
			break;
		}
		*r = (struct record){
			.length = length,
			.writer = w->index,
			.number = i,
			.check = length ^ w->index ^ i,
		};
		memset(r->byte, i + w->index, length - sizeof(*r));
	}
	return NULL;
}

static struct mmapdev_map *map_window(struct mmapdev *dev)
{
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.window = WINDOW,
	};
	struct mmapdev_map *map;

	need(mmapdev_map(dev, &opts, &map), "map");
	return map;
}

static int work(struct object *o, uint32_t process)
{
	struct mmapdev *dev = reopen(o, O_RDWR);
	struct writer writers[THREADS] = { 0 };
	struct mmapdev_map *map = map_window(dev);
	int i, wrong = 0;

	for (i = 0; i < THREADS; i++) {
		writers[i].map = map;
		writers[i].index = process * THREADS + i;
		need(-pthread_create(&writers[i].thread, NULL, append,
				     &writers[i]), "pthread_create");
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(writers[i].thread, NULL);
		wrong += writers[i].wrong;
	}
	mmapdev_unmap(map);
	mmapdev_close(dev);
	return wrong;
}

/* How many records there are, one after the other, each whole; -1: none. */
static int records(struct mmapdev_map *map, uint64_t end)
{
	uint32_t next[PROCESSES * THREADS] = { 0 };
	char *mem = mmapdev_map_addr(map);
	uint64_t at = HEAD;
	int count = 0;

	while (at < end) {
		struct record *r = (struct record *)(mem + at);
		uint32_t i;

		if (r->writer >= PROCESSES * THREADS ||
		    r->number != next[r->writer]++ ||
		    r->length != length_of(r->writer, r->number) ||
		    r->check != (r->length ^ r->writer ^ r->number))
			return -1;
		for (i = 0; i < r->length - sizeof(*r); i++)
			if (r->byte[i] != (unsigned char)(r->number +
							  r->writer))
				return -1;
		at += r->length;
		count++;
	}
	return at == end ? count : -1;
}

static void test_writers(struct object *o)
{
	struct mmapdev_map *map;
	pid_t pid[PROCESSES];
	uint64_t *cursor;
	int i, status;

	need(mmapdev_resize(o->dev, 0), "resize");
	map = map_window(o->dev);
	need(mmapdev_map_grow(map, HEAD), "grow");
	cursor = mmapdev_map_addr(map);
	*cursor = HEAD;

	for (i = 0; i < PROCESSES; i++) {
		pid[i] = fork();
		if (!pid[i])
			_exit(work(o, i));
	}
	for (i = 0; i < PROCESSES; i++) {
		waitpid(pid[i], &status, 0);
		is(status, 0, "process %d had room for all (%s)", i, o->name);
	}
	is(mmapdev_map_grow(map, *cursor), 0, "what others wrote is here (%s)",
	   o->name);
	is(records(map, *cursor), PROCESSES * THREADS * RECORDS,
	   "no record is lost or torn, each writer's in order (%s)", o->name);
	is(mmapdev_map_cut(map, *cursor), 0, "the rest is cut off (%s)",
	   o->name);
	is(mmapdev_map_size(map), *cursor, "to the byte (%s)", o->name);
	is(records(map, *cursor), PROCESSES * THREADS * RECORDS,
	   "and all is there (%s)", o->name);
	mmapdev_unmap(map);
}

static void test_refused(struct object *o)
{
	struct mmapdev *dev = reopen(o, O_RDONLY);
	struct mmapdev_map *map, *reader;
	uint64_t cursor = 0;

	need(mmapdev_resize(o->dev, 0), "resize");
	map = map_window(o->dev);
	reader = map_window(dev);
	is(mmapdev_reserve(NULL, &cursor, 1), -EINVAL, "no map (%s)",
	   o->name);
	is(mmapdev_reserve(map, NULL, 1), -EINVAL, "no cursor (%s)", o->name);
	is(mmapdev_reserve(reader, &cursor, 1), -EBADF,
	   "who only reads has nothing to reserve (%s)", o->name);
	is(mmapdev_reserve(map, &cursor, WINDOW + 1), -ENXIO,
	   "more than the window (%s)", o->name);
	is(cursor, 0, "none of these takes anything (%s)", o->name);
	need(mmapdev_map_grow(map, 4096), "grow");
	need(mmapdev_map_grow(reader, 4096), "grow");
	cursor = 4096;
	is(mmapdev_reserve(reader, &cursor, 1), -EBADF,
	   "nor when others made room (%s)", o->name);
	is(cursor, 4096, "which takes nothing either (%s)", o->name);
	cursor = 0;
	is(mmapdev_reserve(map, &cursor, WINDOW), 0, "all of it (%s)",
	   o->name);
	is(mmapdev_reserve(map, &cursor, 1), -ENXIO, "and a byte more (%s)",
	   o->name);
	is(mmapdev_reserve(map, &cursor, 0), WINDOW, "but nothing more (%s)",
	   o->name);
	cursor = UINT64_MAX - 2;
	is(mmapdev_reserve(map, &cursor, 3), -EOVERFLOW,
	   "a cursor gone astray (%s)", o->name);
	is(cursor, UINT64_MAX - 2, "stays (%s)", o->name);
	mmapdev_unmap(reader);
	mmapdev_unmap(map);
	mmapdev_close(dev);
}

/* One call in many reaches the kernel. */
static void test_steps(struct object *o)
{
	struct mmapdev_map *map;
	uint64_t cursor = 0;
	int i, wrong = 0;

	if (!strcmp(o->name, "device"))
		return;
	need(mmapdev_resize(o->dev, 0), "resize");
	map = map_window(o->dev);
	wrap_reset();
	for (i = 0; i < 8192; i++)
		wrong += mmapdev_reserve(map, &cursor, 512) != i * 512;
	is(wrong, 0, "one follows the other (%s)", o->name);
	/* 1, 2 and 4 MiB. */
	is(wrap_calls(W_FALLOCATE), 3, "the map doubles (%s)", o->name);
	wrap_reset();
	wrap_fail(W_FALLOCATE, 1, ENOSPC);
	is(mmapdev_reserve(map, &cursor, 512), 8192 * 512,
	   "where it cannot double, it grows by what is asked (%s)", o->name);
	is(mmapdev_map_size(map), 8193 * 512, "by that alone (%s)", o->name);
	wrap_fail(W_FALLOCATE, 2, ENOSPC);
	is(mmapdev_reserve(map, &cursor, 512), -ENOSPC, "or not (%s)",
	   o->name);
	is(cursor, 8193 * 512, "which takes nothing (%s)", o->name);
	wrap_reset();
	mmapdev_unmap(map);
}

static void test_object(struct object *o)
{
	test_writers(o);
	test_refused(o);
	test_steps(o);
}

int main(void)
{
	on_every_object(64 * KIB, test_object);
	return done();
}
