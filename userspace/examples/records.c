// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The log: processes append records, each in its own time; one of them is killed
 * while it does. A reader follows. What a writer was told is appended is there,
 * once, whole and in its order, and nobody has to repair anything.
 *
 *   records [DEVICE-OR-FILE]
 *
 * Try, where a device needs a max_size of 16M: ./records; mmapdevctl log stat
 * /dev/mmapdev. What was in the object is lost.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

#define WRITERS 3
#define RECORDS 50000 /* of each */
#define KILLED 1      /* this one, when it has written about a half */

struct record {
	int writer, number;
	char text[40];
};

static int *told; /* by each writer: how many it knows to be in the log */

static void write_records(struct mmapdev *dev, int writer)
{
	struct record record = { .writer = writer };
	struct mmapdev_log_writer *to;
	struct mmapdev_log *log;

	/* A log is opened by each process for itself, as a writer is. */
	need(mmapdev_log_open(dev, NULL, &log), "open the log");
	need(mmapdev_log_writer_open(log, &to), "open a writer");
	while (record.number < RECORDS) {
		snprintf(record.text, sizeof(record.text), "record %d of %d",
			 record.number, writer);
		need(mmapdev_log_append(to, &record, sizeof(record), -1),
		     "append");
		record.number++;
		__atomic_store_n(&told[writer], record.number,
				 __ATOMIC_RELEASE);
	}
	mmapdev_log_writer_close(to);
	mmapdev_log_close(log);
	_exit(0);
}

/* How many of each writer there are: in order, none twice. */
static bool read_records(struct mmapdev_log *log, int *count)
{
	struct mmapdev_log_record record = { .sz = sizeof(record) };
	struct mmapdev_log_reader *from;
	bool good = true;
	int ret;

	need(mmapdev_log_reader_open(log, NULL, &from), "open a reader");
	while (!(ret = mmapdev_log_read(from, &record, 0))) {
		const struct record *r = record.data;

		good &= record.length == sizeof(*r) &&
			r->number == count[r->writer]++;
	}
	mmapdev_log_reader_close(from);
	return good && ret == -EAGAIN;
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev_log_opts opts = {
		.sz = sizeof(opts),
		.flags = MMAPDEV_LOG_CREATE,
	};
	struct mmapdev_map_opts page = { .sz = sizeof(page), .length = 4096 };
	int count[WRITERS] = { 0 };
	struct mmapdev_map *shared;
	struct mmapdev_log *log;
	struct mmapdev *dev;
	pid_t pid[WRITERS];

	need(mmapdev_open(path, O_RDWR, &dev), path);
	need(mmapdev_resize(dev, 0), "empty the object");
	need(mmapdev_log_open(dev, &opts, &log), "make a log");
	need(mmapdev_map_anonymous(&page, &shared), "share a page");
	told = mmapdev_map_addr(shared);

	for (int i = 0; i < WRITERS; i++) {
		pid[i] = fork();
		need(pid[i] < 0 ? -errno : 0, "fork");
		if (!pid[i])
			write_records(dev, i);
	}
	while (__atomic_load_n(&told[KILLED], __ATOMIC_ACQUIRE) < RECORDS / 2)
		usleep(100);
	kill(pid[KILLED], SIGKILL);
	for (int i = 0; i < WRITERS; i++)
		waitpid(pid[i], NULL, 0);

	claim(read_records(log, count), "each writer's records are in order");
	claim(count[0] == RECORDS && count[2] == RECORDS,
	      "two writers have all of theirs in the log: %d", RECORDS);
	/* It may have been killed before it could say so of the last. */
	claim(count[KILLED] == told[KILLED] ||
	      count[KILLED] == told[KILLED] + 1,
	      "the one that was killed has all that it was told of");
	claim(mmapdev_log_recover(log) == 1, "one writer died");
	need(mmapdev_log_close(log), "cut the log to its size");
	mmapdev_unmap(shared);
	mmapdev_close(dev);
	return failed;
}
