// SPDX-License-Identifier: LGPL-2.1-or-later OR MIT
/*
 * CRC-32C: the Castagnoli polynomial 0x11EDC6F41, bit-reflected, begun with and
 * xored with all ones (RFC 3720, section 12.1 and appendix B.4). The check
 * value, of the nine bytes "123456789", is 0xE3069283.
 *
 * Eight bytes a step: word[k][b] is what byte b does to the remainder once k
 * more zero bytes have followed it, and the eight contributions of a step add
 * up by xor. The tables are made when they are needed, in a few microseconds,
 * which spares the library a global and its initialisation.
 */
#include <endian.h>
#include <string.h>

#include "private.h"

#define POLYNOMIAL 0x82F63B78u /* 0x1EDC6F41 reflected */

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
}

uint32_t mmapdev_crc32c(const struct mmapdev_crc32c_table *table, uint32_t crc,
			const void *data, size_t length)
{
	const unsigned char *byte = data;
	unsigned int k;

	crc = ~crc;
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
