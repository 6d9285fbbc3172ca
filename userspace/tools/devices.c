// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Devices at run time: create, remove and list.
 *
 * A directory under configfs is a device to be. What create made it takes back
 * when it cannot finish: there is a device with its node, or nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "nodes.h"

/* In the order in which they are written: max_size is not below size. */
static const char *const attributes[] = { "size", "max_size", "mode", "huge",
					  "prealloc", "node_mode", NULL };

#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]) - 1)

struct device {
	char path[PATH_MAX]; /* of the directory */
	const char *name;
	char made_up[32];
	const char *values[ATTRIBUTES]; /* NULL: as it is by default */
};

static int set_value(struct device *device, char *arg)
{
	size_t length = strcspn(arg, "="), i;
	const char *wanted, *near, *value = arg + length + 1;

	arg[length] = '\0';
	for (i = 0; i < ATTRIBUTES; i++)
		if (!strcmp(attributes[i], arg))
			break;
	if (i == ATTRIBUTES) {
		near = nearest(arg, attributes);
		return usage("there is no attribute '%s'%s%s%s", arg,
			     near ? ", did you mean '" :
				    "; there are size, max_size, mode, huge, prealloc and node_mode",
			     near ? near : "", near ? "'?" : "");
	}
	if (!param_fits(arg, NULL, value, &wanted))
		return usage("%s=%s: want %s", arg, value, wanted);
	device->values[i] = value;
	return 0;
}

static int parse_create(int argc, char **argv, struct device *device,
			bool *json)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	int option, ret = 0;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		*json = true;
	}
	for (; optind < argc && !ret; optind++) {
		if (strchr(argv[optind], '='))
			ret = set_value(device, argv[optind]);
		else if (device->name)
			ret = usage("one NAME at a time, not also '%s'",
				    argv[optind]);
		else
			device->name = argv[optind];
	}
	if (!ret && device->name &&
	    (!*device->name || *device->name == '.' ||
	     strchr(device->name, '/') || strlen(device->name) > NAME_MAX))
		ret = usage("'%s' is no name for a directory of its own",
			    device->name);
	return ret;
}

static int explain_refusal(const char *what, int err)
{
	if (err == EACCES || err == EPERM)
		error("%s: not permitted%s", what,
		      geteuid() ? ": run as root" : "");
	else
		error("%s: %s", what, strerror(err));
	return EXIT_FAILURE;
}

/* The lowest of dev1, dev2, ... that is free, unless it has a name. */
static int make_directory(struct device *device, const char *config)
{
	bool made_up = !device->name;
	unsigned int i;

	for (i = 1;; i++) {
		if (made_up) {
			snprintf(device->made_up, sizeof(device->made_up),
				 "dev%u", i);
			device->name = device->made_up;
		}
		snprintf(device->path, sizeof(device->path), "%s/%s", config,
			 device->name);
		if (!mkdir(device->path, 0755))
			return 0;
		if (!made_up || errno != EEXIST)
			break;
	}
	if (errno == EEXIST) {
		error("there is a '%s' already: mmapdevctl list",
		      device->name);
		return EXIT_FAILURE;
	}
	return explain_refusal(device->path, errno);
}

/* 0 or a positive errno. */
static int write_attribute(const struct device *device, const char *name,
			   const char *value)
{
	char path[PATH_MAX + 32];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s/%s", device->path, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (write(fd, value, strlen(value)) < 0)
		err = errno;
	close(fd);
	return err;
}

static int bring_to_life(const struct device *device)
{
	const char *wanted = "";
	char what[128];
	size_t i;
	int err;

	for (i = 0; i < ATTRIBUTES; i++) {
		if (!device->values[i])
			continue;
		err = write_attribute(device, attributes[i],
				      device->values[i]);
		if (!err)
			continue;
		snprintf(what, sizeof(what), "%s=%s", attributes[i],
			 device->values[i]);
		if (err != EINVAL)
			return explain_refusal(what, err);
		param_fits(attributes[i], NULL, "", &wanted);
		error("%s: want %s%s", what, wanted,
		      i < 2 ? ", a multiple of the page size" : "");
		return EXIT_FAILURE;
	}

	err = write_attribute(device, "live", "1");
	if (err == EINVAL)
		error("%s: the values do not go together: max_size is not below size",
		      device->name);
	else if (err == ENOMEM)
		error("%s: there is not enough memory for it", device->name);
	else if (err)
		return explain_refusal(device->name, err);
	return err ? EXIT_FAILURE : 0;
}

static int create(struct device *device, char *node)
{
	char name[32];
	int log, ret;

	begin_progress("create");
	log = open_kmsg();
	ret = bring_to_life(device);
	if (ret)
		print_kmsg(log);
	if (log >= 0)
		close(log);
	if (!ret) {
		read_attribute(device->path, "node", name, sizeof(name));
		snprintf(node, PATH_MAX, "/dev/%s", name);
		ret = wait_for_node(node);
	}
	if (ret && rmdir(device->path))
		error("%s: cannot remove it again: %m", device->path);
	end_progress();
	return ret;
}

static int run_create(int argc, char **argv)
{
	struct device device = { .name = NULL };
	char node[PATH_MAX];
	const char *config;
	bool json = false;
	int ret;

	ret = parse_create(argc, argv, &device, &json);
	if (ret)
		return ret;
	config = config_path();
	if (!config)
		return explain_no_config();

	ret = make_directory(&device, config);
	if (!ret)
		ret = create(&device, node);
	if (ret)
		return ret;
	if (json) {
		printf("{\"node\": ");
		print_json_string(node);
		printf(", \"directory\": ");
		print_json_string(device.name);
		printf("}\n");
	} else {
		puts(node);
	}
	return 0;
}

/* By its directory, its node, or a path of the node; NULL was reported. */
static const struct node *find_device(const struct nodes *nodes,
				      const char *name)
{
	const struct node *found = NULL;
	char node[32] = "";
	size_t i;
	int ret;

	if (strchr(name, '/')) {
		ret = node_of(name, node, sizeof(node));
		if (ret == -ENODEV)
			error("%s: not an mmapdev device", name);
		else if (ret)
			error("%s: %s", name, strerror(-ret));
		if (ret)
			return NULL;
	}
	for (i = 0; i < nodes->count; i++) {
		const struct node *n = &nodes->list[i];

		if (!*node && *n->dir && !strcmp(n->dir, name))
			return n;
		if (!strcmp(n->name, *node ? node : name))
			found = n;
	}
	if (!found)
		error("there is no device '%s': mmapdevctl list", name);
	else if (!*found->dir)
		error("/dev/%s was made by the module's parameters, and goes with it: mmapdevctl unload",
		      found->name);
	return found && *found->dir ? found : NULL;
}

static void print_removed(const struct node *node, const char *path,
			  const struct holders *holders, bool json)
{
	if (json) {
		printf("{\"node\": ");
		if (*node->name)
			print_json_string(path);
		else
			printf("null");
		printf(", \"directory\": ");
		print_json_string(node->dir);
		print_json_holders(holders);
		printf("}\n");
	} else if (holders->count) {
		printf("%s was in use, and is revoked: mappings raise SIGBUS, calls fail\n",
		       path);
		print_holders(holders, false);
	}
}

static int remove_node(const struct node *node, const char *config, bool json)
{
	struct holders holders = { .count = 0 };
	char dir[PATH_MAX], path[PATH_MAX];
	int err;

	node_path(node, path);
	snprintf(dir, sizeof(dir), "%s/%s", config, node->dir);
	/* Afterwards nobody could tell whose they were. */
	if (*node->name)
		find_holders(path, &holders);
	begin_progress("remove");
	err = rmdir(dir) ? errno : 0;
	end_progress();
	if (!err)
		print_removed(node, path, &holders, json);
	free(holders.list);
	return err ? explain_refusal(dir, err) : 0;
}

static int run_remove(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	const struct node *node;
	struct nodes nodes;
	const char *config;
	bool json = false;
	int option, ret;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		json = true;
	}
	if (optind == argc)
		return usage("a NAME is needed: mmapdevctl list");
	if (argc - optind > 1)
		return usage("one device at a time, not also '%s'",
			     argv[optind + 1]);
	config = config_path();
	if (!config)
		return explain_no_config();
	if (find_nodes(&nodes))
		return EXIT_FAILURE;

	node = find_device(&nodes, argv[optind]);
	ret = node ? remove_node(node, config, json) : EXIT_FAILURE;
	free(nodes.list);
	return ret;
}

/* What list shows of each; -1 bytes for a figure that it does not have. */
static const struct {
	const char *name, *title;
	int width;
	bool bytes;
} columns[] = {
	{ "size", "SIZE", 8, true },
	{ "max_size", "MAX_SIZE", 8, true },
	{ "mode", "MODE", 6, false },
	{ "huge", "HUGE", 6, false },
	{ "resident", "RESIDENT", 8, true },
	{ "dirty", "DIRTY", 8, true },
};

#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void print_column(size_t i, const char *value, bool json)
{
	uint64_t bytes = 0;
	bool known = *value && (!columns[i].bytes || parse_u64(value, &bytes));

	if (json) {
		printf(", \"%s\": ", columns[i].name);
		if (!known)
			printf("null");
		else if (columns[i].bytes)
			printf("%" PRIu64, bytes);
		else
			print_json_string(value);
	} else if (columns[i].bytes) {
		char text[32] = "-";

		if (known)
			short_size(bytes, text, sizeof(text));
		printf("  %*s", columns[i].width, text);
	} else {
		printf("  %-*s", columns[i].width, known ? value : "-");
	}
}

static void print_node(const struct node *node, const char *config, bool json)
{
	char dir[PATH_MAX], path[PATH_MAX] = "-", value[64];
	size_t i;

	if (*node->name) {
		node_path(node, path);
		snprintf(dir, sizeof(dir), MISC "%s", node->name);
	} else {
		snprintf(dir, sizeof(dir), "%s/%s", config, node->dir);
	}
	if (json) {
		printf("{\"node\": ");
		if (*node->name)
			print_json_string(path);
		else
			printf("null");
		printf(", \"directory\": ");
		if (*node->dir)
			print_json_string(node->dir);
		else
			printf("null");
	} else {
		printf("%-14s", path);
	}
	for (i = 0; i < COLUMNS; i++) {
		read_attribute(dir, columns[i].name, value, sizeof(value));
		print_column(i, value, json);
	}
	if (json)
		printf("}");
	else
		printf("  %s\n", *node->dir ? node->dir : "-");
}

static void print_nodes(const struct nodes *nodes, bool json)
{
	const char *config = config_path();
	size_t i;

	if (json) {
		printf("{\"devices\": [");
	} else if (nodes->count) {
		printf("%-14s", "NODE");
		for (i = 0; i < COLUMNS; i++)
			printf(columns[i].bytes ? "  %*s" : "  %-*s",
			       columns[i].width, columns[i].title);
		printf("  DIRECTORY\n");
	} else {
		printf("there is no device: mmapdevctl create\n");
	}
	for (i = 0; i < nodes->count; i++) {
		if (json && i)
			printf(", ");
		print_node(&nodes->list[i], config ? config : "", json);
	}
	if (json)
		printf("]}\n");
}

static int run_list(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct nodes nodes;
	bool json = false;
	int option;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		json = true;
	}
	if (optind < argc)
		return usage("'%s' is too much: it lists all devices",
			     argv[optind]);
	if (find_nodes(&nodes))
		return EXIT_FAILURE;
	if (!nodes.count && access("/sys/module/" MODULE, F_OK)) {
		error("the module is not loaded: mmapdevctl load");
		return EXIT_FAILURE;
	}
	print_nodes(&nodes, json);
	free(nodes.list);
	return 0;
}

const struct command list_command = {
	"list",
	"[--json]",
	"List all devices: those of the module's parameters, and those of create,\n"
	"which have a directory in configfs. One without a node is not live.\n"
	"\n"
	"  mmapdevctl list\n"
	"  mmapdevctl list --json | jq -r '.devices[].node'\n",
	run_list,
};

const struct command create_command = {
	"create",
	"[NAME] [NAME=VALUE...] [--json]",
	"Make a device, wait for its node and print the node's path. NAME is that of\n"
	"its directory in configfs, dev1 or the next that is free if it is not said.\n"
	"\n"
	"  size=BYTES       of the buffer, with K, M or G\n"
	"  max_size=BYTES   that it may become\n"
	"  mode=MODE        demand or eager\n"
	"  huge=WHEN        never, advise or always\n"
	"  prealloc=0|1     take all of the memory at once\n"
	"  node_mode=BITS   permissions of the node, octal\n"
	"\n"
	"  mmapdevctl create\n"
	"  mmapdevctl create scratch size=64M max_size=1G\n",
	run_create,
};

const struct command remove_command = {
	"remove",
	"NAME|NODE [--json]",
	"Remove a device that create made, named by its directory, its node or a\n"
	"path of the node. It is not refused while the device is in use: then its\n"
	"mappings raise SIGBUS, calls fail with ENODEV, and this says whose.\n"
	"\n"
	"  mmapdevctl remove scratch\n"
	"  mmapdevctl remove " DEVICE "1\n"
	"  mmapdevctl remove scratch --json | jq '.holders[].pid'\n",
	run_remove,
};
