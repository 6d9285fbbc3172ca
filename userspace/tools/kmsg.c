// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* What the kernel says of us: one errno stands for too many mistakes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ctl.h"

int open_kmsg(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		lseek(fd, 0, SEEK_END);
	return fd;
}

void print_kmsg(int fd)
{
	char record[1024], *text;
	ssize_t n;

	while (fd >= 0) {
		n = read(fd, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE) /* the oldest was overwritten */
			continue;
		if (n <= 0)
			return;
		record[n] = '\0';
		text = strchr(record, ';');
		if (!text || !strstr(text, MODULE))
			continue;
		text[strcspn(text, "\n")] = '\0';
		fprintf(stderr, "  kernel: %s\n", text + 1);
	}
}
