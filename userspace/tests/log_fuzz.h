/* SPDX-License-Identifier: LGPL-2.1-or-later OR MIT */
/*
 * Comes before all else in what tests/log_fuzz.c is fuzzed with: each look that
 * the library takes at a shared word is told, so that the word can be another
 * at the next one.
 */
#ifndef TESTS_LOG_FUZZ_H
#define TESTS_LOG_FUZZ_H

void log_fuzz_look(const volatile void *word);

#define __atomic_load_n(word, order)                                           \
	(log_fuzz_look(word), __atomic_load_n(word, order))

#endif /* TESTS_LOG_FUZZ_H */
