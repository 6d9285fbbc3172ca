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

#define SYSFS "/sys/module/" MODULE
#define POLL_MS 50

static int print_busy(struct kmod_module *module)
{
	struct holders holders;

	error("the module is in use, its reference count is %d",
	      kmod_module_get_refcnt(module));
	if (!find_holders(DEVICE, &holders) && holders.count) {
		printf("%s is held by\n", DEVICE);
		print_holders(&holders, "");
	} else {
		printf("No process that can be seen holds %s%s.\n", DEVICE,
		       geteuid() ? "; run as root to see all" :
				   "; look for mounts, containers or kernel users");
	}
	free(holders.list);
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

static int unload(struct kmod_module *module, uint64_t wait)
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

	ret = remove_by(module, now_ms() + wait * 1000);
	if (!ret)
		return 0;
	if (ret == -EAGAIN || ret == -EBUSY)
		return print_busy(module);
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
		{ NULL, 0, NULL, 0 },
	};
	struct kmod_module *module;
	struct kmod_ctx *ctx;
	uint64_t wait = 0;
	int option, status;

	while ((option = next_option(argc, argv, ":", options)) != -1) {
		if (option == '?')
			return EXIT_USAGE;
		if (!parse_u64(optarg, &wait) || wait > INT_MAX)
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
	status = unload(module, wait);
	kmod_module_unref(module);
	kmod_unref(ctx);
	return status;
}

/* The first line of a sysfs attribute; "" where it cannot be read. */
static void read_attribute(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "re");

	if (!file || !fgets(line, size, file))
		*line = '\0';
	line[strcspn(line, "\n")] = '\0';
	if (file)
		fclose(file);
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
	char path[PATH_MAX], value[256];
	struct dirent **entries;
	int i, n;

	n = scandir(SYSFS "/parameters", &entries, no_dots, alphasort);
	if (json)
		printf(", \"parameters\": {");
	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), SYSFS "/parameters/%s",
			 entries[i]->d_name);
		read_attribute(path, value, sizeof(value));
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

static void print_json_holders(const struct holders *holders)
{
	size_t i;

	printf(", \"holders\": [");
	for (i = 0; i < holders->count; i++) {
		const struct holder *h = &holders->list[i];

		printf("%s{\"pid\": %d, \"name\": ", i ? ", " : "", h->pid);
		print_json_string(h->name);
		printf(", \"open\": %s, \"mapped\": %s}",
		       h->opened ? "true" : "false",
		       h->mapped ? "true" : "false");
	}
	printf("], \"holders_complete\": %s",
	       holders->partial ? "false" : "true");
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

static void print_status(bool loaded, const char *path, const char *version,
			 const char *refs, const struct holders *holders)
{
	if (!loaded) {
		printf("%s is not loaded\n", MODULE);
	} else {
		printf("%s is loaded\n", MODULE);
		print_attribute("version", version);
		print_attribute("refcount", refs);
		print_parameters(false);
	}
	if (holders->count) {
		printf("%s is held by\n", path);
		print_holders(holders, "");
	} else if (holders->partial) {
		printf("No holder of %s is seen; run as root to see all.\n",
		       path);
	}
}

static int run_status(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ NULL, 0, NULL, 0 },
	};
	char version[64], refs[32];
	const char *path = DEVICE;
	struct holders holders;
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
	if (optind < argc)
		path = argv[optind];

	loaded = !access(SYSFS, F_OK);
	read_attribute(SYSFS "/version", version, sizeof(version));
	read_attribute(SYSFS "/refcnt", refs, sizeof(refs));
	ret = find_holders(path, &holders);
	if (ret && (loaded || optind < argc))
		error("%s: %s", path, strerror(-ret));
	else
		ret = 0;

	if (json)
		print_json_status(loaded, version, refs, &holders);
	else
		print_status(loaded, path, version, refs, &holders);
	free(holders.list);
	return loaded && !ret ? 0 : EXIT_FAILURE;
}

const struct command unload_command = {
	"unload",
	"[--wait SEC]",
	"Unload the module. While somebody has the device open or mapped that is\n"
	"refused; then this says who. --wait tries again for so many seconds.\n"
	"\n"
	"  mmapdevctl unload\n"
	"  mmapdevctl unload --wait 10\n",
	run_unload,
};

const struct command status_command = {
	"status",
	"[DEVICE] [--json]",
	"Print whether the module is loaded, with which parameters, and who has\n"
	"DEVICE (" DEVICE ") open or mapped. Exit status 1: it is not loaded.\n"
	"\n"
	"  mmapdevctl status\n"
	"  mmapdevctl status --json | jq '.holders[].pid'\n",
	run_status,
};
