// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Messages between processes, the sending end: each TEXT, or else each line of
 * stdin, goes to the one that runs receive on the same object.
 *
 *   send [DEVICE-OR-FILE [TEXT]...]
 *
 * Many may send at once. A sender waits while there is no room, and learns when
 * the receiver has closed or died.
 *
 * Try, on an object of 64 KiB or more that begins with zeros:
 * ./receive /dev/mmapdev & ./send /dev/mmapdev hello "how are you"
 */
#include <errno.h>
#include <fcntl.h>

#include <mmapdev.h>

#include "example.h"

#define LENGTH 65536 /* the same as receive's */

static void send_text(struct mmapdev_channel *channel, const char *text)
{
	int ret = mmapdev_channel_send(channel, text, strlen(text), -1);

	if (ret == -EPIPE)
		need(ret, "the receiver has closed");
	if (ret == -ECONNRESET)
		need(ret, "the receiver died");
	need(ret, "send");
}

int main(int argc, char **argv)
{
	const char *path = argc > 1 ? argv[1] : "/dev/mmapdev";
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = LENGTH };
	struct mmapdev_channel_opts sender = { .sz = sizeof(sender),
					       .role = MMAPDEV_CHANNEL_SENDER };
	struct mmapdev_channel *channel;
	struct mmapdev_map *map;
	struct mmapdev *dev;
	char *line = NULL;
	size_t room = 0;
	ssize_t length;

	if (*path == '-')
		usage(argv, "[DEVICE-OR-FILE [TEXT]...]");
	need(mmapdev_open(path, O_RDWR, &dev), path);
	need(mmapdev_map(dev, &opts, &map), "map");
	need(mmapdev_channel_open(map, &sender, &channel), "channel");
	printf("connected\n");
	fflush(stdout);

	for (int i = 2; i < argc; i++)
		send_text(channel, argv[i]);
	while (argc < 3 && (length = getline(&line, &room, stdin)) >= 0) {
		if (length && line[length - 1] == '\n')
			line[length - 1] = 0;
		send_text(channel, line);
	}
	free(line);

	/* So the receiver learns that this was all. */
	need(mmapdev_channel_close(channel), "close");
	mmapdev_unmap(map);
	mmapdev_close(dev);
	return 0;
}
