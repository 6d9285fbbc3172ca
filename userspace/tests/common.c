// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

static int lines, failures;

static bool vok(bool truth, const char *sentence, va_list args)
{
	printf("%sok %d - ", truth ? "" : "not ", ++lines);
	vprintf(sentence, args);
	putchar('\n');
	fflush(stdout);
	failures += !truth;
	return truth;
}

bool ok(bool truth, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	vok(truth, sentence, args);
	va_end(args);
	return truth;
}

bool is(long long got, long long wanted, const char *sentence, ...)
{
	va_list args;

	va_start(args, sentence);
	vok(got == wanted, sentence, args);
	va_end(args);
	if (got != wanted)
		printf("#   got %lld (%#llx), wanted %lld (%#llx)\n", got, got,
		       wanted, wanted);
	return got == wanted;
}

void need(int ret, const char *what)
{
	if (ret >= 0)
		return;
	printf("Bail out! %s: %s\n", what, strerror(-ret));
	exit(1);
}

int done(void)
{
	printf("1..%d\n", lines);
	return failures || !lines;
}

static void on_file(uint64_t size, void (*test)(struct object *))
{
	struct object object = { .name = "file" };
	const char *dir = getenv("TMPDIR");
	int fd;

	snprintf(object.path, sizeof(object.path), "%.40s/mmapdev.XXXXXX",
		 dir ? dir : "/tmp");
	fd = mkstemp(object.path);
	if (fd < 0 || ftruncate(fd, size))
		need(-errno, object.path);
	close(fd);

	need(mmapdev_open(object.path, O_RDWR, &object.dev), object.path);
	test(&object);
	mmapdev_close(object.dev);
	unlink(object.path);
}

static void on_memfd(uint64_t size, void (*test)(struct object *))
{
	struct object object = { .name = "memfd" };

	need(mmapdev_open_memfd("test", size, &object.dev), "memfd");
	snprintf(object.path, sizeof(object.path), "/proc/self/fd/%d",
		 mmapdev_fd(object.dev));
	test(&object);
	mmapdev_close(object.dev);
}

void on_each_object(uint64_t size, void (*test)(struct object *))
{
	on_file(size, test);
	on_memfd(size, test);
}

struct mmapdev *reopen(struct object *object, int oflags)
{
	struct mmapdev *dev = NULL;

	need(mmapdev_open(object->path, oflags, &dev), "reopen");
	return dev;
}

uint64_t page_size(void)
{
	return sysconf(_SC_PAGESIZE);
}

uint32_t slow_crc32c(const void *data, size_t length)
{
	const unsigned char *byte = data;
	uint32_t crc = ~0u;
	int bit;

	while (length--) {
		crc ^= *byte++;
		for (bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
	}
	return ~crc;
}

unsigned char pattern_byte(uint64_t pattern, uint64_t offset)
{
	return (pattern >> (8 * (offset % 8))) & 0xff;
}
