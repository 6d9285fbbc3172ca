// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Devices, out of sysfs; those made at run time have a directory in configfs,
 * which may be mounted anywhere.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <mmapdev.h>

#include "ctl.h"
#include "nodes.h"

#define NODE_DEADLINE_MS 5000
#define POLL_MS 10

void read_attribute(const char *dir, const char *name, char *line, size_t size)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "re");
	if (!file || !fgets(line, size, file))
		*line = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (file)
		fclose(file);
}

static bool mounted(char *path, size_t size)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	bool found = false;

	while (mounts && !found && (mount = getmntent(mounts))) {
		found = !strcmp(mount->mnt_type, "configfs");
		if (found)
			snprintf(path, size, "%s/" MODULE, mount->mnt_dir);
	}
	if (mounts)
		endmntent(mounts);
	return found;
}

const char *config_path(void)
{
	static char path[PATH_MAX];

	return mounted(path, sizeof(path)) && !access(path, F_OK) ? path :
								    NULL;
}

int explain_no_config(void)
{
	char path[PATH_MAX];

	if (access("/sys/module/" MODULE, F_OK))
		error("the module is not loaded: mmapdevctl load");
	else if (mounted(path, sizeof(path)))
		error("there is no %s: the module was loaded without configfs; mmapdevctl unload, modprobe configfs, mmapdevctl load",
		      path);
	else
		error("configfs is not mounted: mount -t configfs configfs /sys/kernel/config; where there is no such file system: mmapdevctl unload, modprobe configfs, mmapdevctl load");
	return EXIT_FAILURE;
}

void node_path(const struct node *node, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "/dev/%s", node->name);
}

int node_of(const char *path, char *name, size_t size)
{
	char device[64], link[PATH_MAX];
	struct stat st;
	ssize_t n;

	if (stat(path, &st))
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENODEV;
	snprintf(device, sizeof(device), "/sys/dev/char/%u:%u",
		 major(st.st_rdev), minor(st.st_rdev));
	n = readlink(device, link, sizeof(link) - 1);
	if (n < 0)
		return -ENODEV;
	link[n] = '\0';
	snprintf(name, size, "%s",
		 strrchr(link, '/') ? strrchr(link, '/') + 1 : link);
	return strncmp(name, MODULE, strlen(MODULE)) ? -ENODEV : 0;
}

/* mmapdev, mmapdev1, ... */
static bool is_node(const char *name)
{
	const char *number = name + strlen(MODULE);

	return !strncmp(name, MODULE, strlen(MODULE)) &&
	       number[strspn(number, "0123456789")] == '\0';
}

static int add(struct nodes *nodes, const char *name, const char *dir)
{
	struct node *list;

	list = reallocarray(nodes->list, nodes->count + 1, sizeof(*list));
	if (!list) {
		error("%m");
		return EXIT_FAILURE;
	}
	nodes->list = list;
	snprintf(list[nodes->count].name, sizeof(list->name), "%s", name);
	snprintf(list[nodes->count].dir, sizeof(list->dir), "%s", dir);
	nodes->count++;
	return 0;
}

static int add_dir(struct nodes *nodes, const char *config, const char *dir)
{
	char path[PATH_MAX], name[32];
	size_t i;

	snprintf(path, sizeof(path), "%s/%s", config, dir);
	read_attribute(path, "node", name, sizeof(name));
	for (i = 0; i < nodes->count; i++) {
		if (strcmp(nodes->list[i].name, name))
			continue;
		snprintf(nodes->list[i].dir, sizeof(nodes->list[i].dir), "%s",
			 dir);
		return 0;
	}
	return add(nodes, "", dir);
}

static int by_number(const void *a, const void *b)
{
	const struct node *x = a, *y = b;

	if (!*x->name != !*y->name)
		return *x->name ? -1 : 1;
	return *x->name ? strverscmp(x->name, y->name) :
			  strcmp(x->dir, y->dir);
}

int find_nodes(struct nodes *nodes)
{
	const char *config = config_path();
	DIR *dir = opendir(MISC);
	struct dirent *entry;
	int ret = 0;

	memset(nodes, 0, sizeof(*nodes));
	while (dir && !ret && (entry = readdir(dir)))
		if (is_node(entry->d_name))
			ret = add(nodes, entry->d_name, "");
	if (dir)
		closedir(dir);

	dir = config ? opendir(config) : NULL;
	while (dir && !ret && (entry = readdir(dir)))
		if (*entry->d_name != '.')
			ret = add_dir(nodes, config, entry->d_name);
	if (dir)
		closedir(dir);

	if (nodes->count)
		qsort(nodes->list, nodes->count, sizeof(*nodes->list),
		      by_number);
	if (ret)
		free(nodes->list);
	return ret;
}

int wait_for_node(const char *path)
{
	uint64_t deadline = now_ms() + NODE_DEADLINE_MS;
	struct mmapdev *dev;
	int ret;

	while ((ret = mmapdev_open(path, O_RDONLY, &dev)) && ret != -EACCES &&
	       now_ms() < deadline)
		usleep(POLL_MS * 1000);
	if (!ret)
		mmapdev_close(dev);
	if (!ret || ret == -EACCES)
		return 0;
	error("the device is made, but after %d seconds %s is not there (%s): is /dev a devtmpfs, does udev run?",
	      NODE_DEADLINE_MS / 1000, path, strerror(-ret));
	return EXIT_FAILURE;
}
