// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * A record that survives. Two slots take turns: the new record goes where the
 * older one was, so that one of them is whole whenever the machine stops. A
 * checksum tells which. mmapdev_persist makes it last by the cheapest means
 * that the memory has: cache lines written back where it is persistent, else
 * msync(2).
 *
 * Try: ./persist, again and again; an object of two pages or more.
 */
#include <errno.h>
#include <fcntl.h>

#include <mmapdev.h>

#include "example.h"

#define SLOT 4096

struct record {
	uint64_t checksum; /* of the rest of the slot */
	uint64_t number;
	char text[SLOT - 16];
};

static const char *const methods[] = {
	[MMAPDEV_PERSIST_MSYNC] = "msync",
	[MMAPDEV_PERSIST_CLFLUSH] = "clflush",
	[MMAPDEV_PERSIST_CLFLUSHOPT] = "clflushopt",
	[MMAPDEV_PERSIST_CLWB] = "clwb",
	[MMAPDEV_PERSIST_CVAP] = "dc cvap",
};

/* As persistent memory if it is that. */
static struct mmapdev_map *map_slots(struct mmapdev *dev)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = 2 * SLOT,
					 .flags = MMAPDEV_MAP_SYNC };
	struct mmapdev_map *map;
	int ret;

	ret = mmapdev_map(dev, &opts, &map);
	if (ret == -EOPNOTSUPP) {
		opts.flags = 0;
		ret = mmapdev_map(dev, &opts, &map);
	}
	need(ret, "map");
	return map;
}

static uint32_t checksum(struct mmapdev *dev, int slot)
{
	const size_t sum = sizeof(((struct record *)0)->checksum);
	uint32_t crc;

	need(mmapdev_sum(dev, slot * SLOT + sum, SLOT - sum, &crc), "sum");
	return crc;
}

/* The slot of the newest whole record, or -1. */
static int newest(struct mmapdev *dev, const struct record *slots)
{
	int best = -1;

	for (int i = 0; i < 2; i++)
		if (slots[i].checksum == checksum(dev, i) &&
		    (best < 0 || slots[i].number > slots[best].number))
			best = i;
	return best;
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct record *slots, *record;
	struct mmapdev_map *map;
	struct mmapdev *dev;
	uint64_t number = 1;
	int last, slot;

	need(mmapdev_open(path, O_RDWR, &dev), path);
	map = map_slots(dev);
	slots = mmapdev_map_addr(map);

	last = newest(dev, slots);
	if (last < 0) {
		printf("     no record is whole: this is the first\n");
	} else {
		number = slots[last].number + 1;
		printf("     found: %.*s\n", (int)sizeof(slots->text),
		       slots[last].text);
	}

	slot = last == 0; /* the one that is not the newest */
	record = &slots[slot];
	record->number = number;
	memset(record->text, 0, sizeof(record->text));
	snprintf(record->text, sizeof(record->text), "record %llu",
		 (unsigned long long)number);
	record->checksum = checksum(dev, slot);
	need(mmapdev_persist(map, slot * SLOT, SLOT), "persist");

	claim(newest(dev, slots) == slot, "wrote: %s, made to last by %s",
	      record->text, methods[mmapdev_persist_method(map)]);

	mmapdev_unmap(map);
	mmapdev_close(dev);
	return failed;
}
