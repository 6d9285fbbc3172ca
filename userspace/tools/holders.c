// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Who holds a device: each process that has it open or mapped, out of /proc.
 *
 * Nodes for one device may be made anywhere, so a device is known by its
 * number, and only a file by its inode. A map is asked through map_files, which
 * stands for the very file that was mapped, and where that is not allowed
 * through the inode in the text of maps. An eager mapping is of a file of its
 * own, which only its name gives away.
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

#define EAGER_NAME "anon_inode:mmapdev-eager"

static int find_device(const char *path, struct stat *device)
{
	unsigned int major_number, minor_number;
	FILE *file;
	int n;

	if (!stat(path, device))
		return 0;
	if (strcmp(path, DEVICE))
		return -errno;

	file = fopen("/sys/class/misc/" MODULE "/dev", "re");
	if (!file)
		return -errno;
	n = fscanf(file, "%u:%u", &major_number, &minor_number);
	fclose(file);
	if (n != 2)
		return -ENODEV;
	memset(device, 0, sizeof(*device));
	device->st_mode = S_IFCHR;
	device->st_rdev = makedev(major_number, minor_number);
	return 0;
}

static bool same(const struct stat *a, const struct stat *device)
{
	if (S_ISCHR(device->st_mode))
		return S_ISCHR(a->st_mode) && a->st_rdev == device->st_rdev;
	return a->st_dev == device->st_dev && a->st_ino == device->st_ino;
}

static bool has_open(int proc, const struct stat *device, bool *denied)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	bool found = false;
	struct stat st;

	if (!dir) {
		*denied |= errno == EACCES;
		return false;
	}
	while (!found && (entry = readdir(dir)))
		found = isdigit((unsigned char)*entry->d_name) &&
			!fstatat(fd, entry->d_name, &st, 0) &&
			same(&st, device);
	closedir(dir);
	return found;
}

static bool line_maps(int proc, const char *line, const struct stat *device)
{
	unsigned int major_number, minor_number;
	char range[64], path[80];
	struct stat st;
	uint64_t inode;

	if (sscanf(line, "%63s %*s %*s %x:%x %" SCNu64, range, &major_number,
		   &minor_number, &inode) != 4 || !inode)
		return false;
	if (S_ISCHR(device->st_mode) && strstr(line, EAGER_NAME))
		return true;
	snprintf(path, sizeof(path), "map_files/%s", range);
	if (!fstatat(proc, path, &st, 0))
		return same(&st, device);
	return device->st_ino == inode &&
	       device->st_dev == makedev(major_number, minor_number);
}

static bool has_mapped(int proc, const struct stat *device, bool *denied)
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
		found = line_maps(proc, line, device);
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

static int look_into(const char *pid, const struct stat *device,
		     struct holders *holders)
{
	struct holder holder = { .pid = strtol(pid, NULL, 10) };
	char path[300];
	int proc, ret = 0;

	snprintf(path, sizeof(path), "/proc/%s", pid);
	proc = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (proc < 0)
		return 0; /* it has ended */

	holder.opened = has_open(proc, device, &holders->partial);
	holder.mapped = has_mapped(proc, device, &holders->partial);
	read_name(proc, holder.name, sizeof(holder.name));
	close(proc);
	if (holder.opened || holder.mapped)
		ret = add(holders, &holder);
	return ret;
}

int find_holders(const char *path, struct holders *holders)
{
	struct dirent *entry;
	struct stat device;
	DIR *dir;
	int ret;

	memset(holders, 0, sizeof(*holders));
	ret = find_device(path, &device);
	if (ret)
		return ret;
	dir = opendir("/proc");
	if (!dir)
		return -errno;
	while (!ret && (entry = readdir(dir)))
		if (isdigit((unsigned char)*entry->d_name) &&
		    strtol(entry->d_name, NULL, 10) != getpid())
			ret = look_into(entry->d_name, &device, holders);
	closedir(dir);
	return ret;
}

void print_holders(const struct holders *holders, const char *indent)
{
	size_t i;

	for (i = 0; i < holders->count; i++) {
		const struct holder *h = &holders->list[i];

		printf("%s%7d  %-15s  %s%s%s\n", indent, h->pid, h->name,
		       h->opened ? "open" : "",
		       h->opened && h->mapped ? ", " : "",
		       h->mapped ? "mapped" : "");
	}
	if (holders->partial)
		printf("%sThere may be others: not every process could be looked into%s.\n",
		       indent, geteuid() ? "; run as root" : "");
}
