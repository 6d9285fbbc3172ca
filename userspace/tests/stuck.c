// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * stuck PATH: a writer of a log that stops in the middle of a record. When it
 * goes on it commits it; its exit status is the errno of that.
 */
#include <fcntl.h>
#include <mmapdev.h>
#include <signal.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct mmapdev_log_writer *writer;
	struct mmapdev_log *log;
	struct mmapdev *dev;
	void *data;

	if (argc != 2 || mmapdev_open(argv[1], O_RDWR, &dev) ||
	    mmapdev_log_open(dev, NULL, &log) ||
	    mmapdev_log_writer_open(log, &writer) ||
	    mmapdev_log_append(writer, "before", 6, 0) ||
	    mmapdev_log_claim(writer, 4, 0, &data))
		return 1;
	raise(SIGSTOP);
	memcpy(data, "late", 4);
	return -mmapdev_log_commit(writer, 4);
}
