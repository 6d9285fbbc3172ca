// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * Structs that grow.
 *
 * Each struct of the API begins with a size_t in which the caller says how long
 * the struct is in the header it was compiled with. Shorter than ours: an older
 * program, the fields that it lacks are zero. Longer: a newer program, which
 * must not ask for what this library has never heard of.
 */
#include <errno.h>
#include <string.h>

#include "private.h"

/* No version will be longer. Larger is a size that was never set. */
#define STRUCT_MAX 4096

int mmapdev_struct_size(const void *s, size_t first, size_t *sz)
{
	memcpy(sz, s, sizeof(*sz));
	if (*sz < first)
		return -EINVAL;
	if (*sz > STRUCT_MAX)
		return -E2BIG;
	return 0;
}

int mmapdev_struct_in(void *to, size_t ours, size_t first, const void *from)
{
	const unsigned char *byte = from;
	size_t sz, i;
	int ret;

	ret = mmapdev_struct_size(from, first, &sz);
	if (ret)
		return ret;
	for (i = ours; i < sz; i++)
		if (byte[i])
			return -E2BIG;

	memset(to, 0, ours);
	memcpy(to, from, sz < ours ? sz : ours);
	return 0;
}

int mmapdev_struct_out(void *to, size_t ours, size_t first, const void *from)
{
	const size_t head = sizeof(size_t); /* stays as the caller set it */
	unsigned char *byte = to;
	size_t sz;
	int ret;

	ret = mmapdev_struct_size(to, first, &sz);
	if (ret)
		return ret;

	memcpy(byte + head, (const unsigned char *)from + head,
	       (sz < ours ? sz : ours) - head);
	if (sz > ours)
		memset(byte + ours, 0, sz - ours);
	return 0;
}
