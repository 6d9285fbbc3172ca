// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * The inline functions of the header as symbols, for programs of another
 * language, and for those of 1.0, in which some were calls.
 */
#define MMAPDEV_INLINE MMAPDEV_API

#include <mmapdev.h>
