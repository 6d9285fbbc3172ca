// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * One handle and one map, used by many threads at once. The lines say that all
 * came out right; that no access raced is ThreadSanitizer's to say.
 */
#include <pthread.h>

#include "common.h"

#define THREADS 4
#define ROUNDS 40
#define SLICE (64 * KIB)

struct worker {
	pthread_t thread;
	struct mmapdev *dev;
	struct mmapdev_map *map; /* of the whole, shared by all */
	unsigned int index;
	unsigned int wrong;
};

static void round_of(struct worker *w, unsigned int round)
{
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev_map_opts opts = {
		.sz = sizeof(opts),
		.offset = w->index * SLICE,
		.length = SLICE,
		.flags = round % 2 ? MMAPDEV_MAP_POPULATE : 0,
	};
	unsigned char *whole = mmapdev_map_addr(w->map);
	unsigned char *slice;
	struct mmapdev_map *map;
	uint32_t crc;

	if (mmapdev_map(w->dev, &opts, &map)) {
		w->wrong++;
		return;
	}
	slice = mmapdev_map_addr(map);
	w->wrong += !!mmapdev_fill(w->dev, opts.offset, SLICE, round + 1);
	w->wrong += slice[8] != round + 1;
	whole[opts.offset] = 0xaa;
	w->wrong += slice[0] != 0xaa;
	w->wrong += !!mmapdev_sum(w->dev, opts.offset, SLICE, &crc);
	w->wrong += crc != slow_crc32c(slice, SLICE);
	w->wrong += !!mmapdev_flush(w->map, opts.offset, SLICE);
	w->wrong += !!mmapdev_get_info(w->dev, &info);
	w->wrong += info.size != THREADS * SLICE;
	w->wrong += !!mmapdev_set_mode(w->dev, MMAPDEV_MODE_DEMAND);
	w->wrong += !!mmapdev_commit(w->dev);
	w->wrong += !!mmapdev_unmap(map);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	unsigned int round;

	for (round = 0; round < ROUNDS; round++)
		round_of(w, round);
	return NULL;
}

static void test_object(struct object *o)
{
	struct worker workers[THREADS] = { 0 };
	struct mmapdev_map *map;
	unsigned int i;

	need(mmapdev_map(o->dev, NULL, &map), "map");
	for (i = 0; i < THREADS; i++) {
		workers[i].dev = o->dev;
		workers[i].map = map;
		workers[i].index = i;
		need(-pthread_create(&workers[i].thread, NULL, work,
				     &workers[i]),
		     "pthread_create");
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		is(workers[i].wrong, 0, "thread %u of one handle (%s)", i,
		   o->name);
	}
	mmapdev_unmap(map);
}

int main(void)
{
	on_each_object(THREADS * SLICE, test_object);
	return done();
}
