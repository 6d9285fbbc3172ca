// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/* What a module says of itself, and whether a parameter agrees with it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "kmod.h"

/* "size:bytes of the buffer" or, of parmtype, "size:charp". */
static int add_param(struct module_info *info, const char *value, bool type)
{
	size_t length = strcspn(value, ":"), i;

	for (i = 0; i < PARAMS_MAX && info->params[i]; i++)
		if (!strncmp(info->params[i], value, length) &&
		    !info->params[i][length])
			break;
	if (i == PARAMS_MAX)
		return -E2BIG;
	if (!info->params[i]) {
		info->params[i] = strndup(value, length);
		info->types[i] = "";
	}
	if (!info->params[i])
		return -ENOMEM;
	if (type && value[length])
		info->types[i] = value + length + 1;
	return 0;
}

int read_info(struct kmod_module *module, struct module_info *info)
{
	struct kmod_list *entry;
	int ret;

	memset(info, 0, sizeof(*info));
	ret = kmod_module_get_info(module, &info->list);
	if (ret < 0)
		return ret;

	kmod_list_foreach(entry, info->list) {
		const char *key = kmod_module_info_get_key(entry);
		const char *value = kmod_module_info_get_value(entry);

		ret = 0;
		if (!strcmp(key, "name"))
			info->name = value;
		else if (!strcmp(key, "vermagic"))
			info->vermagic = value;
		else if (!strcmp(key, "depends"))
			info->depends = value;
		else if (!strcmp(key, "parm") || !strcmp(key, "parmtype"))
			ret = add_param(info, value, key[4]);
		if (ret)
			return ret;
	}
	return 0;
}

void free_info(struct module_info *info)
{
	size_t i;

	for (i = 0; info->params[i]; i++)
		free(info->params[i]);
	kmod_module_info_free_list(info->list);
}

static int unknown_param(const struct module_info *info, const char *name)
{
	const char *near = nearest(name, (const char *const *)info->params);
	char known[256] = "none";
	size_t i, n = 0;

	for (i = 0; info->params[i] && n < sizeof(known); i++)
		n += snprintf(known + n, sizeof(known) - n, "%s%s",
			      i ? ", " : "", info->params[i]);
	if (near)
		return usage("there is no parameter '%s', did you mean '%s'?",
			     name, near);
	return usage("there is no parameter '%s'; there are: %s", name, known);
}

int check_param(const struct module_info *info, const char *arg)
{
	size_t length = strcspn(arg, "="), i;
	char name[64];
	const char *wanted;

	if (!length || !arg[length])
		return usage("'%s': want NAME=VALUE, as size=16M", arg);
	if (length >= sizeof(name))
		return usage("'%s': no parameter has so long a name", arg);
	memcpy(name, arg, length);
	name[length] = '\0';

	for (i = 0; info->params[i]; i++)
		if (!strcmp(info->params[i], name))
			break;
	if (!info->params[i])
		return unknown_param(info, name);
	if (arg[strcspn(arg, " \t\n\"")])
		return usage("'%s': no blank and no quote in a value", arg);
	if (!param_fits(name, info->types[i], arg + length + 1, &wanted))
		return usage("%s=%s: want %s", name, arg + length + 1, wanted);
	return 0;
}
