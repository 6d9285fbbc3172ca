// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The four kinds of mapping, shared or private, of an object or anonymous, and
 * who sees whose writes in each.
 *
 * The parent writes, forks, the child looks and writes, the parent looks again,
 * and so does read(2), as anybody who opens the object would.
 *
 * Try: ./kinds; an object of a page or more.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <mmapdev.h>

#include "example.h"

#define NOBODY '.'
#define PARENT 'p'
#define CHILD 'c'

static const struct kind {
	const char *name;
	bool object; /* else no object is behind it */
	uint32_t flags;
	char sees[4]; /* what child, parent and read(2) find there */
} kinds[] = {
	{ "shared, of the object", true, 0, "pcc" },
	{ "private, of the object", true, MMAPDEV_MAP_PRIVATE, "pp." },
	{ "shared, anonymous", false, 0, "pc" },
	{ "private, anonymous", false, MMAPDEV_MAP_PRIVATE, "pp" },
};

static const char *whose(char write)
{
	return write == NOBODY ? "nobody's" :
	       write == PARENT ? "the parent's" :
	       write == CHILD  ? "the child's" :
				 "-";
}

/* What a child finds, and leaves there. */
static char in_a_child(char *mem)
{
	pid_t pid = fork();
	int status;
	char found;

	need(pid < 0 ? -errno : 0, "fork");
	if (!pid) {
		found = *mem;
		*mem = CHILD;
		_exit(found);
	}
	need(waitpid(pid, &status, 0) < 0 ? -errno : 0, "wait");
	return WIFEXITED(status) ? WEXITSTATUS(status) : '?';
}

static void show(struct mmapdev *dev, const struct kind *kind)
{
	struct mmapdev_map_opts opts = { .sz = sizeof(opts), .length = 1,
					 .flags = kind->flags };
	struct mmapdev_map *map;
	const char nobody = NOBODY;
	char sees[4] = "";
	char *mem;

	need(kind->object ? mmapdev_map(dev, &opts, &map) :
			    mmapdev_map_anonymous(&opts, &map), kind->name);
	mem = mmapdev_map_addr(map);
	if (kind->object && pwrite(mmapdev_fd(dev), &nobody, 1, 0) != 1)
		need(-errno, "write");

	*mem = PARENT;
	sees[0] = in_a_child(mem);
	sees[1] = *mem;
	if (kind->object && pread(mmapdev_fd(dev), sees + 2, 1, 0) != 1)
		need(-errno, "read");
	mmapdev_unmap(map);

	claim(!strcmp(sees, kind->sees), "%-24s%-14s%-14s%s", kind->name,
	      whose(sees[0]), whose(sees[1]), whose(sees[2]));
}

int main(int argc, char **argv)
{
	const char *path = object_path(argc, argv);
	struct mmapdev *dev;

	need(mmapdev_open(path, O_RDWR, &dev), path);
	printf("%-29s%-14s%-14s%s\n", "Whose write is seen by:", "the child",
	       "the parent", "read(2)");
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		show(dev, &kinds[i]);
	mmapdev_close(dev);
	return failed;
}
