/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/* What the commands that load and unload share. */
#ifndef CTL_KMOD_H
#define CTL_KMOD_H

#include <stdint.h>

#include <libkmod.h>

#define PARAMS_MAX 64

/* Out of the .ko: parm=, parmtype= and some more of .modinfo. */
struct module_info {
	struct kmod_list *list;
	const char *name, *vermagic, *depends;
	char *params[PARAMS_MAX + 1]; /* names; NULL ends them */
	const char *types[PARAMS_MAX];
};

/* What was read is to be freed, also after an error. */
int read_info(struct kmod_module *module, struct module_info *info);
void free_info(struct module_info *info);
/* 0, or EXIT_USAGE when @arg is no NAME=VALUE that the module could take. */
int check_param(const struct module_info *info, const char *arg);

/* A context that keeps its messages to itself: the tool says it better. */
struct kmod_ctx *quiet_kmod(void);

#endif /* CTL_KMOD_H */
