// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * CRC-32C: the Castagnoli polynomial 0x11EDC6F41, bit-reflected, begun with and
 * xored with all ones (RFC 3720, section 12.1 and appendix B.4). The check
 * value, of the nine bytes "123456789", is 0xE3069283.
 *
 * Eight bytes a step: word[k][b] is what byte b does to the remainder once k
 * more zero bytes have followed it, and the eight contributions of a step add
 * up by xor. The tables are made when they are needed, in a few microseconds,
 * which spares the library a global and its initialisation. A processor that
 * has an instruction for this polynomial is asked instead.
 */
#include <endian.h>
#include <string.h>

#include "private.h"

#define POLYNOMIAL 0x82F63B78u /* 0x1EDC6F41 reflected */

#if defined(__x86_64__)
#include <cpuid.h>

#define ECX_SSE42 (1u << 20)

static bool has_instruction(void)
{
	unsigned int a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) && c & ECX_SSE42;
}

static uint32_t add_word(uint32_t crc, uint64_t word)
{
	uint64_t sum = crc;

	__asm__("crc32q %1, %0" : "+r"(sum) : "r"(word));
	return sum;
}

static uint32_t add_byte(uint32_t crc, unsigned char byte)
{
	__asm__("crc32b %1, %0" : "+r"(crc) : "r"(byte));
	return crc;
}

#elif defined(__aarch64__)
#include <sys/auxv.h>

static bool has_instruction(void)
{
	return getauxval(AT_HWCAP) & HWCAP_CRC32;
}

static uint32_t add_word(uint32_t crc, uint64_t word)
{
	__asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %1"
		: "+r"(crc) : "r"(word));
	return crc;
}

static uint32_t add_byte(uint32_t crc, unsigned char byte)
{
	__asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1"
		: "+r"(crc) : "r"(byte));
	return crc;
}

#else

static bool has_instruction(void)
{
	return false;
}

static uint32_t add_word(uint32_t crc, uint64_t word)
{
	return crc ^ word; /* never */
}

static uint32_t add_byte(uint32_t crc, unsigned char byte)
{
	return crc ^ byte;
}

#endif

static uint32_t by_instruction(uint32_t crc, const unsigned char *byte,
			       size_t length)
{
	for (; length >= 8; byte += 8, length -= 8) {
		uint64_t word;

		memcpy(&word, byte, sizeof(word));
		crc = add_word(crc, le64toh(word));
	}
	while (length--)
		crc = add_byte(crc, *byte++);
	return crc;
}

void mmapdev_crc32c_init(struct mmapdev_crc32c_table *table)
{
	unsigned int byte, bit, k;

	for (byte = 0; byte < 256; byte++) {
		uint32_t crc = byte;

		for (bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		table->word[0][byte] = crc;
	}
	for (k = 1; k < 8; k++) {
		for (byte = 0; byte < 256; byte++) {
			uint32_t crc = table->word[k - 1][byte];

			table->word[k][byte] =
				crc >> 8 ^ table->word[0][crc & 0xff];
		}
	}
	table->instruction = has_instruction();
}

uint32_t mmapdev_crc32c(const struct mmapdev_crc32c_table *table, uint32_t crc,
			const void *data, size_t length)
{
	const unsigned char *byte = data;
	unsigned int k;

	crc = ~crc;
	if (table->instruction)
		return ~by_instruction(crc, byte, length);
	for (; length >= 8; byte += 8, length -= 8) {
		uint64_t word;

		memcpy(&word, byte, sizeof(word));
		word = le64toh(word) ^ crc;
		for (crc = 0, k = 0; k < 8; k++)
			crc ^= table->word[7 - k][word >> (8 * k) & 0xff];
	}
	for (; length; byte++, length--)
		crc = crc >> 8 ^ table->word[0][(crc ^ *byte) & 0xff];
	return ~crc;
}
