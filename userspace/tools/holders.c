// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Who holds a device: each process that has it open or mapped, out of /proc.
 *
 * Nodes for one device may be made anywhere, so a device is known by its
 * number, and only a file by its inode. A map is asked through map_files, which
 * stands for the very file that was mapped, and where that is not allowed
 * through the inode in the text of maps. An eager mapping is of a file of its
 * own, which only its name gives away. Of a device that was removed nothing but
 * the name is left either.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ctl.h"
#include "nodes.h"

#define REMOVED " (deleted)"
#define EAGER_BEFORE "anon_inode:"
#define EAGER_AFTER "-eager"

struct object {
	struct stat st;
	char eager[64]; /* name of its eager mappings' files; "": it has none */
	bool removed;	/* any device that was */
};

static int find_device(const char *path, struct object *object)
{
	unsigned int major_number, minor_number;
	char dir[PATH_MAX], node[32], number[32];

	memset(object, 0, sizeof(*object));
	object->removed = !path;
	if (!path)
		return 0;
	if (!stat(path, &object->st)) {
		if (!node_of(path, node, sizeof(node)))
			snprintf(object->eager, sizeof(object->eager),
				 EAGER_BEFORE "%s" EAGER_AFTER, node);
		return 0;
	}
	if (strncmp(path, DEVICE, strlen(DEVICE)))
		return -errno;

	/* It has lost its node, and may be held all the same. */
	snprintf(dir, sizeof(dir), MISC "%s", path + strlen("/dev/"));
	read_attribute(dir, "dev", number, sizeof(number));
	if (sscanf(number, "%u:%u", &major_number, &minor_number) != 2)
		return -ENOENT;
	snprintf(object->eager, sizeof(object->eager),
		 EAGER_BEFORE "%s" EAGER_AFTER, path + strlen("/dev/"));
	object->st.st_mode = S_IFCHR;
	object->st.st_rdev = makedev(major_number, minor_number);
	return 0;
}

static bool same(const struct stat *a, const struct object *object)
{
	const struct stat *b = &object->st;

	if (S_ISCHR(b->st_mode))
		return S_ISCHR(a->st_mode) && a->st_rdev == b->st_rdev;
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* "/dev/mmapdev1 (deleted)" */
static bool is_removed(const char *name)
{
	size_t length = strlen(name);

	return !strncmp(name, DEVICE, strlen(DEVICE)) &&
	       length > strlen(REMOVED) &&
	       !strcmp(name + length - strlen(REMOVED), REMOVED);
}

/* "anon_inode:mmapdev1-eager", where there is no mmapdev1 */
static bool is_removed_eager(const char *name)
{
	char path[PATH_MAX];
	size_t length = strlen(name);

	if (strncmp(name, EAGER_BEFORE MODULE, strlen(EAGER_BEFORE MODULE)) ||
	    length < strlen(EAGER_AFTER) ||
	    strcmp(name + length - strlen(EAGER_AFTER), EAGER_AFTER))
		return false;
	snprintf(path, sizeof(path), MISC "%.*s",
		 (int)(length - strlen(EAGER_BEFORE) - strlen(EAGER_AFTER)),
		 name + strlen(EAGER_BEFORE));
	return access(path, F_OK);
}

static bool is_open(int fd, const char *name, const struct object *object)
{
	char link[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (!isdigit((unsigned char)*name))
		return false;
	if (!object->removed)
		return !fstatat(fd, name, &st, 0) && same(&st, object);
	n = readlinkat(fd, name, link, sizeof(link) - 1);
	link[n > 0 ? n : 0] = '\0';
	return is_removed(link);
}

static bool has_open(int proc, const struct object *object, bool *denied)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool found = false;

	if (!dir) {
		*denied |= errno == EACCES;
		return false;
	}
	while (!found && (entry = readdir(dir)))
		found = is_open(fd, entry->d_name, object);
	closedir(dir);
	return found;
}

static bool line_maps(int proc, char *line, const struct object *object)
{
	unsigned int major_number, minor_number;
	char range[64], path[80], *name;
	struct stat st;
	uint64_t inode;
	int n;

	if (sscanf(line, "%63s %*s %*s %x:%x %" SCNu64 " %n", range,
		   &major_number, &minor_number, &inode, &n) != 4 || !inode)
		return false;
	name = line + n;
	name[strcspn(name, "\n")] = '\0';
	if (object->removed)
		return is_removed(name) || is_removed_eager(name);
	if (*object->eager && !strcmp(name, object->eager))
		return true;
	snprintf(path, sizeof(path), "map_files/%s", range);
	if (!fstatat(proc, path, &st, 0))
		return same(&st, object);
	return object->st.st_ino == inode &&
	       object->st.st_dev == makedev(major_number, minor_number);
}

static bool has_mapped(int proc, const struct object *object, bool *denied)
{
	int fd = openat(proc, "maps", O_RDONLY | O_CLOEXEC);
	FILE *maps = fd < 0 ? NULL : fdopen(fd, "r");
	size_t room = 0;
	bool found = false;
	char *line = NULL;

	if (!maps) {
		*denied |= errno == EACCES;
		return false;
	}
	while (!found && getline(&line, &room, maps) > 0)
		found = line_maps(proc, line, object);
	free(line);
	fclose(maps);
	return found;
}

static void read_name(int proc, char *name, size_t size)
{
	int fd = openat(proc, "comm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, name, size - 1);

	if (fd >= 0)
		close(fd);
	name[n > 0 ? n : 0] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

static int add(struct holders *holders, const struct holder *holder)
{
	struct holder *list;

	list = reallocarray(holders->list, holders->count + 1, sizeof(*list));
	if (!list)
		return -ENOMEM;
	holders->list = list;
	list[holders->count++] = *holder;
	return 0;
}

static int look_into(const char *pid, const char *what,
		     const struct object *object, struct holders *holders)
{
	struct holder holder = { .pid = strtol(pid, NULL, 10) };
	char path[300];
	int proc, ret = 0;

	snprintf(holder.path, sizeof(holder.path), "%s", what);
	snprintf(path, sizeof(path), "/proc/%s", pid);
	proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return 0; /* it has ended */

	holder.opened = has_open(proc, object, &holders->partial);
	holder.mapped = has_mapped(proc, object, &holders->partial);
	read_name(proc, holder.name, sizeof(holder.name));
	close(proc);
	if (holder.opened || holder.mapped)
		ret = add(holders, &holder);
	return ret;
}

int find_holders(const char *path, struct holders *holders)
{
	struct dirent *entry;
	struct object object;
	DIR *dir;
	int ret;

	ret = find_device(path, &object);
	if (ret)
		return ret;
	dir = opendir("/proc");
	if (!dir)
		return -errno;
	while (!ret && (entry = readdir(dir)))
		if (isdigit((unsigned char)*entry->d_name) &&
		    strtol(entry->d_name, NULL, 10) != getpid())
			ret = look_into(entry->d_name,
					path ? path : "a removed device",
					&object, holders);
	closedir(dir);
	return ret;
}

void print_holders(const struct holders *holders, bool headings)
{
	const char *path = "";
	size_t i;

	for (i = 0; i < holders->count; i++) {
		const struct holder *h = &holders->list[i];

		if (headings && strcmp(path, h->path))
			printf("%s is held by\n", h->path);
		path = h->path;
		printf("%7d  %-15s  %s%s%s\n", h->pid, h->name,
		       h->opened ? "open" : "",
		       h->opened && h->mapped ? ", " : "",
		       h->mapped ? "mapped" : "");
	}
	if (holders->partial)
		printf("There may be %s: not every process could be looked into%s.\n",
		       holders->count ? "others" : "holders",
		       geteuid() ? "; run as root" : "");
}

void print_json_holders(const struct holders *holders)
{
	size_t i;

	printf(", \"holders\": [");
	for (i = 0; i < holders->count; i++) {
		const struct holder *h = &holders->list[i];

		printf("%s{\"path\": ", i ? ", " : "");
		print_json_string(h->path);
		printf(", \"pid\": %d, \"name\": ", h->pid);
		print_json_string(h->name);
		printf(", \"open\": %s, \"mapped\": %s}",
		       h->opened ? "true" : "false",
		       h->mapped ? "true" : "false");
	}
	printf("], \"holders_complete\": %s",
	       holders->partial ? "false" : "true");
}
