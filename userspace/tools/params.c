// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Values of module parameters, looked at before the kernel sees them.
 *
 * Only what is certainly wrong is refused: by the parameter's name where this
 * tool knows it, else by the type that the module declares. The kernel has the
 * last word, and its message is shown.
 */
#include <inttypes.h>
#include <string.h>

#include "ctl.h"

#define DEVICES_MAX 64

static bool is_size(const char *value)
{
	uint64_t size;

	return parse_size(value, &size) && size;
}

static bool is_mode(const char *value)
{
	return !strcmp(value, "demand") || !strcmp(value, "eager");
}

static bool is_node_mode(const char *value)
{
	return *value && strlen(value) <= 4 &&
	       strspn(value, "01234567") == strlen(value) &&
	       strtoul(value, NULL, 8) <= 0777;
}

static bool is_bool(const char *value)
{
	return *value && !value[1] && strchr("01yYnN", *value);
}

static bool is_unsigned(const char *value, unsigned int bits)
{
	uint64_t number;

	return parse_u64(value, &number) &&
	       (bits == 64 || number >> bits == 0);
}

static bool is_signed(const char *value, unsigned int bits)
{
	const char *digits = value + (*value == '-');
	uint64_t number, limit = (uint64_t)1 << (bits - 1);

	return parse_u64(digits, &number) &&
	       number <= limit - (*value != '-');
}

static bool is_huge(const char *value)
{
	return !strcmp(value, "never") || !strcmp(value, "advise") ||
	       !strcmp(value, "always");
}

static bool is_count(const char *value)
{
	uint64_t count;

	return parse_u64(value, &count) && count <= DEVICES_MAX;
}

/* @list: of one value for each device, as a parameter. */
static const struct {
	const char *name, *wanted;
	bool (*fits)(const char *value);
	bool list;
} by_name[] = {
	{ "devices", "a number from 0 to 64", is_count, false },
	{ "size", "bytes, as 65536, 64K, 16M or 1G", is_size, true },
	{ "max_size", "bytes, as 65536, 64K, 16M or 1G", is_size, true },
	{ "mode", "demand or eager", is_mode, true },
	{ "huge", "never, advise or always", is_huge, true },
	{ "prealloc", "0 or 1", is_bool, false },
	{ "node_mode", "octal permission bits, 0 to 0777", is_node_mode,
	  false },
};

/* Each part between commas, and there are no empty ones. */
static bool all_fit(const char *values, bool (*fits)(const char *value))
{
	char part[64];
	size_t length;

	for (;; values += length + 1) {
		length = strcspn(values, ",");
		if (length >= sizeof(part))
			return false;
		memcpy(part, values, length);
		part[length] = '\0';
		if (!fits(part))
			return false;
		if (!values[length])
			return true;
	}
}

static const struct {
	const char *type, *wanted;
	unsigned int bits;
	bool (*fits)(const char *value, unsigned int bits);
} by_type[] = {
	{ "byte", "a number from 0 to 255", 8, is_unsigned },
	{ "ushort", "a number from 0 to 65535", 16, is_unsigned },
	{ "short", "a number of 16 bits", 16, is_signed },
	{ "uint", "a number from 0 to 4294967295", 32, is_unsigned },
	{ "int", "a number of 32 bits", 32, is_signed },
	{ "ulong", "a number from 0 on", 8 * sizeof(long), is_unsigned },
	{ "long", "a number", 8 * sizeof(long), is_signed },
};

bool param_fits(const char *name, const char *type, const char *value,
		const char **wanted)
{
	size_t i;

	for (i = 0; i < sizeof(by_name) / sizeof(by_name[0]); i++) {
		if (strcmp(by_name[i].name, name))
			continue;
		*wanted = by_name[i].wanted;
		if (type && by_name[i].list)
			return all_fit(value, by_name[i].fits);
		return by_name[i].fits(value);
	}
	for (i = 0; type && i < sizeof(by_type) / sizeof(by_type[0]); i++) {
		if (strcmp(by_type[i].type, type))
			continue;
		*wanted = by_type[i].wanted;
		return by_type[i].fits(value, by_type[i].bits);
	}
	*wanted = "0 or 1";
	return !type || strcmp(type, "bool") || is_bool(value);
}
