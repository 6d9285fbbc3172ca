/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* Which devices there are, and which of them were made at run time. */
#ifndef CTL_NODES_H
#define CTL_NODES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#define MISC "/sys/class/misc/"

struct node {
	char name[32];		/* under /dev; "" for a device to be */
	char dir[NAME_MAX + 1]; /* under config_path(); "" for the module's own */
};

struct nodes {
	struct node *list;
	size_t count;
};

/* Those with a node first, by their number. What fails was reported. */
int find_nodes(struct nodes *nodes);
void node_path(const struct node *node, char path[PATH_MAX]);

/* The node of a character device, mmapdev1 of /dev/mmapdev1; 0 or -errno. */
int node_of(const char *path, char *name, size_t size);

/* NULL where there is no such directory. */
const char *config_path(void);
/* Says why there is none; returns EXIT_FAILURE. */
int explain_no_config(void);

/* The first line of DIR/NAME; "" where it cannot be read. */
void read_attribute(const char *dir, const char *name, char *line, size_t size);

/* Until @path can be opened; 0, or EXIT_FAILURE, which was reported. */
int wait_for_node(const char *path);

#endif /* CTL_NODES_H */
