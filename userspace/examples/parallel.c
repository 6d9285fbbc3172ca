// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The parallel writer: threads of several processes append lines to one log
 * without a lock. Each takes a range that is its own by mmapdev_reserve, and
 * fills it in its own time. The log grows as it must, below all of them, and no
 * pointer moves; at the end it is cut to what was written.
 *
 * Try, where a device needs a max_size of 16M: ./parallel; head /dev/mmapdev
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

#define PROCESSES 2
#define THREADS 2
#define WRITERS (PROCESSES * THREADS)
#define LINES 100000 /* of each writer */
#define LINE_MAX 80
#define WINDOW ((uint64_t)16 << 20)

static struct mmapdev_map *map;
static uint64_t *end; /* of the log, for all processes */

/* Lines are of many lengths, and each is known by how it begins. */
static int make_line(char *line, int writer, int number)
{
	static const char stars[] =
		"*************************************************";

	return sprintf(line, "%d %05d %.*s\n", writer, number,
		       number % (int)sizeof(stars), stars);
}

static void *write_lines(void *arg)
{
	int writer = (intptr_t)arg;
	char line[LINE_MAX];

	for (int i = 0; i < LINES; i++) {
		int length = make_line(line, writer, i);
		int64_t at = mmapdev_reserve(map, end, length);

		need(at < 0 ? at : 0, "reserve");
		memcpy((char *)mmapdev_map_addr(map) + at, line, length);
	}
	return NULL;
}

static void start_process(int process)
{
	pthread_t threads[THREADS];
	pid_t pid = fork();

	need(pid < 0 ? -errno : 0, "fork");
	if (pid)
		return;
	for (intptr_t i = 0; i < THREADS; i++)
		need(-pthread_create(&threads[i], NULL, write_lines,
				     (void *)(process * THREADS + i)),
		     "thread");
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

/* Whole lines, of each writer in its order, up to the first that is not. */
static int count_lines(void)
{
	const char *log = mmapdev_map_addr(map);
	int next[WRITERS] = { 0 }, good = 0;
	char line[LINE_MAX];

	for (uint64_t at = 0; at < *end; good++) {
		unsigned int writer = log[at] - '0';
		uint64_t length;

		if (writer >= WRITERS)
			break;
		length = make_line(line, writer, next[writer]++);
		if (length > *end - at || memcmp(log + at, line, length))
			break;
		at += length;
	}
	return good;
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .window = WINDOW };
	struct mmapdev_map_opts one = { .sz = sizeof(one), .length = 8 };
	struct mmapdev_info info = { .sz = sizeof(info) };
	struct mmapdev_map *shared;
	int status, well = 0;
	struct mmapdev *dev;

	need(mmapdev_map_anonymous(&one, &shared), "map memory");
	end = mmapdev_map_addr(shared);
	need(mmapdev_open(path, O_RDWR, &dev), path);
	need(mmapdev_resize(dev, 0), "resize");
	need(mmapdev_map(dev, &opts, &map), "map");

	for (int i = 0; i < PROCESSES; i++)
		start_process(i);
	while (wait(&status) > 0)
		well += WIFEXITED(status) && !WEXITSTATUS(status);
	claim(well == PROCESSES, "%d processes of %d threads wrote %llu bytes",
	      well, THREADS, (unsigned long long)*end);

	/* They grew the object, which this process's map shall know. */
	need(mmapdev_map_grow(map, *end), "grow");
	need(mmapdev_map_cut(map, *end), "cut");
	need(mmapdev_get_info(dev, &info), "info");
	/* A device has whole pages. */
	claim(info.size - *end < info.page_size,
	      "the object is cut to that length");
	well = count_lines();
	claim(well == WRITERS * LINES, "%d lines of %d: none lost, none torn",
	      well, WRITERS * LINES);

	mmapdev_unmap(map);
	mmapdev_close(dev);
	mmapdev_unmap(shared);
	return failed;
}
