// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Messages between processes, the receiving end: prints what is sent to it by
 * send, a line each, until every sender has closed, or until COUNT have come.
 *
 *   receive [DEVICE-OR-FILE [COUNT]]
 *
 * A sender that dies is noticed: what it sent is received, then that is told,
 * and the exit status is 1.
 *
 * Try: as send says.
 */
#include <errno.h>
#include <fcntl.h>

#include <mmapdev.h>

#include "example.h"

#define LENGTH 65536 /* the same as send's */

static char text[LENGTH];

/* False when nothing more will come. */
static bool receive(struct mmapdev_channel *channel)
{
	ssize_t length;

	length = mmapdev_channel_receive(channel, text, sizeof(text), -1);
	if (length == -EPIPE) {
		printf("-- every sender has closed\n");
		return false;
	}
	if (length == -ECONNRESET) {
		printf("-- a sender died\n");
		failed = true;
		return true;
	}
	need(length, "receive");
	printf("%.*s\n", (int)length, text);
	return true;
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/dev/mmapdev";
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = LENGTH };
	struct mmapdev_channel_opts receiver = {
		.sz = sizeof(receiver),
		.role = MMAPDEV_CHANNEL_RECEIVER,
	};
	long count = argc > 2 ? atol(argv[2]) : -1;
	struct mmapdev_channel *channel;
	struct mmapdev_map *map;
	struct mmapdev *dev;

	if (argc > 3 || *path == '-')
		usage(argv, "[DEVICE-OR-FILE [COUNT]]");
	need(mmapdev_open(path, O_RDWR, &dev), path);
	need(mmapdev_map(dev, &opts, &map), "map");
	need(mmapdev_channel_open(map, &receiver, &channel), "channel");

	/* Each line at once, also into a pipe. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (count && receive(channel))
		count -= count > 0;

	/* So a sender that is still there learns that nobody listens. */
	need(mmapdev_channel_close(channel), "close");
	mmapdev_unmap(map);
	mmapdev_close(dev);
	return failed;
}
