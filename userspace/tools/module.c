// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* Commands on the loaded module: unload and status. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libkmod.h>

#include "ctl.h"
#include "kmod.h"
#include "nodes.h"

#define SYSFS "/sys/module/" MODULE
#define POLL_MS 50

/* Of all devices, those that were removed and are held yet included. */
static void find_all_holders(const struct nodes *nodes, struct holders *holders)
{
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < nodes->count; i++) {
		node_path(&nodes->list[i], path);
		if (*nodes->list[i].name)
			find_holders(path, holders);
	}
	find_holders(NULL, holders);
}

static void print_obstacles(const struct nodes *nodes,
			    const struct holders *holders)
{
	size_t i, dirs = 0;

	for (i = 0; i < nodes->count; i++) {
		const char *dir = nodes->list[i].dir;

		if (*dir)
			printf("'%s' was made at run time: mmapdevctl remove %s\n",
			       dir, dir);
		dirs += !!*dir;
	}
	print_holders(holders, true);
	if (!holders->count && !dirs)
		printf("No process that can be seen holds a device%s.\n",
		       geteuid() ? "; run as root to see all" :
				   "; look for mounts, containers or kernel users");
}

static void print_json_obstacles(int refs, const struct nodes *nodes,
				 const struct holders *holders)
{
	const char *comma = "";
	size_t i;

	printf("{\"unloaded\": false, \"refcount\": %d, \"directories\": [",
	       refs);
	for (i = 0; i < nodes->count; i++) {
		if (!*nodes->list[i].dir)
			continue;
		printf("%s", comma);
		print_json_string(nodes->list[i].dir);
		comma = ", ";
	}
	printf("]");
	print_json_holders(holders);
	printf("}\n");
}

static int print_busy(struct kmod_module *module, bool json)
{
	int refs = kmod_module_get_refcnt(module);
	struct holders holders = { .count = 0 };
	struct nodes nodes;

	error("the module is in use, its reference count is %d", refs);
	if (find_nodes(&nodes))
		return EXIT_FAILURE;
	find_all_holders(&nodes, &holders);
	if (json)
		print_json_obstacles(refs, &nodes, &holders);
	else
		print_obstacles(&nodes, &holders);
	free(holders.list);
	free(nodes.list);
	return EXIT_FAILURE;
}

/* libkmod never waits: the kernel has no waiting removal any more. */
static int remove_by(struct kmod_module *module, uint64_t deadline)
{
	int ret;

	for (;;) {
		ret = kmod_module_remove_module(module, KMOD_REMOVE_NOLOG);
		if (ret != -EAGAIN && ret != -EBUSY)
			return ret;
		if (now_ms() >= deadline)
			return ret;
		usleep(POLL_MS * 1000);
	}
}

static int unload(struct kmod_module *module, uint64_t wait, bool json)
{
	int ret;

	ret = kmod_module_get_initstate(module);
	if (ret == -ENOENT) {
		error("the module is not loaded");
		return EXIT_FAILURE;
	}
	if (ret == KMOD_MODULE_BUILTIN) {
		error("it is built into this kernel and cannot be unloaded");
		return EXIT_FAILURE;
	}

	begin_progress("unload");
	ret = remove_by(module, now_ms() + wait * 1000);
	end_progress();
	if (!ret && json)
		printf("{\"unloaded\": true}\n");
	if (!ret)
		return 0;
	if (ret == -EAGAIN || ret == -EBUSY)
		return print_busy(module, json);
	if (ret == -EPERM)
		error("not permitted: run as root");
	else
		error("%s", strerror(-ret));
	return EXIT_FAILURE;
}

static int run_unload(int argc, char **argv)
{
	static const struct option options[] = {
		{ "wait", required_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	struct kmod_module *module;
	struct kmod_ctx *ctx;
	uint64_t wait = 0;
	bool json = false;
	int option, status;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (option == 'j')
			json = true;
		else if (!parse_u64(optarg, &wait) || wait > INT_MAX)
			return usage("--wait %s: want seconds", optarg);
	}
	if (optind < argc)
		return usage("'%s' is too much: it takes no name",
			     argv[optind]);

	ctx = quiet_kmod();
	if (!ctx || kmod_module_new_from_name(ctx, MODULE, &module)) {
		error("cannot set up libkmod: %m");
		kmod_unref(ctx);
		return EXIT_FAILURE;
	}
	status = unload(module, wait, json);
	kmod_module_unref(module);
	kmod_unref(ctx);
	return status;
}

static int no_dots(const struct dirent *entry)
{
	return *entry->d_name != '.';
}

static void print_attribute(const char *name, const char *value)
{
	printf("  %-11s %s\n", name, *value ? value : "unknown");
}

static void print_parameters(bool json)
{
	struct dirent **entries;
	char value[1024];
	int i, n;

	n = scandir(SYSFS "/parameters", &entries, no_dots, alphasort);
	if (json)
		printf(", \"parameters\": {");
	for (i = 0; i < n; i++) {
		read_attribute(SYSFS "/parameters", entries[i]->d_name, value,
			       sizeof(value));
		if (json) {
			printf("%s", i ? ", " : "");
			print_json_string(entries[i]->d_name);
			printf(": ");
			print_json_string(value);
		} else {
			print_attribute(entries[i]->d_name, value);
		}
		free(entries[i]);
	}
	if (json)
		printf("}");
	if (n >= 0)
		free(entries);
}

static void print_json_status(bool loaded, const char *version,
			      const char *refs, const struct holders *holders)
{
	printf("{\"loaded\": %s", loaded ? "true" : "false");
	if (loaded) {
		printf(", \"version\": ");
		if (*version)
			print_json_string(version);
		else
			printf("null");
		printf(", \"refcount\": %s", *refs ? refs : "null");
		print_parameters(true);
	}
	print_json_holders(holders);
	printf("}\n");
}

static void print_status(bool loaded, const char *version, const char *refs,
			 const struct holders *holders)
{
	if (!loaded) {
		printf("%s is not loaded\n", MODULE);
	} else {
		printf("%s is loaded\n", MODULE);
		print_attribute("version", version);
		print_attribute("refcount", refs);
		print_parameters(false);
	}
	print_holders(holders, true);
}

/* Of one that was named, else of every device. */
static int look_for_holders(const char *path, bool loaded,
			    struct holders *holders)
{
	struct nodes nodes;
	int ret;

	if (path) {
		ret = find_holders(path, holders);
		if (ret)
			error("%s: %s", path, strerror(-ret));
		return ret;
	}
	if (!loaded)
		return 0;
	ret = find_nodes(&nodes);
	if (ret)
		return ret;
	find_all_holders(&nodes, holders);
	free(nodes.list);
	return 0;
}

static int run_status(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	char version[64], refs[32];
	struct holders holders = { .count = 0 };
	bool json = false, loaded;
	int option, ret;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		json = true;
	}
	if (argc - optind > 1)
		return usage("one DEVICE at a time, not also '%s'",
			     argv[optind + 1]);

	loaded = !access(SYSFS, F_OK);
	read_attribute(SYSFS, "version", version, sizeof(version));
	read_attribute(SYSFS, "refcnt", refs, sizeof(refs));
	ret = look_for_holders(argv[optind], loaded, &holders);

	if (json)
		print_json_status(loaded, version, refs, &holders);
	else
		print_status(loaded, version, refs, &holders);
	free(holders.list);
	return loaded && !ret ? 0 : EXIT_FAILURE;
}

const struct command unload_command = {
	"unload",
	"[--wait SEC] [--json]",
	"Unload the module. While somebody has a device open or mapped, or one that\n"
	"create made is there, that is refused; then this says who and which. --wait\n"
	"tries again for so many seconds.\n"
	"\n"
	"  mmapdevctl unload\n"
	"  mmapdevctl unload --wait 10\n"
	"  mmapdevctl unload --json | jq '.holders[].pid'\n",
	run_unload,
};

const struct command status_command = {
	"status",
	"[DEVICE] [--json]",
	"Print whether the module is loaded, with which parameters, and who has\n"
	"DEVICE open or mapped, or without one, which of the devices. Exit status 1:\n"
	"it is not loaded.\n"
	"\n"
	"  mmapdevctl status\n"
	"  mmapdevctl status --json | jq '.holders[].pid'\n",
	run_status,
};
