// SPDX-License-Identifier: Apache-2.0
/* Lossless compression of floating point: the byte with the exponent is coded, the other bytes are not.
 *
 * An element is rotated left by one bit, which puts its sign last: the highest byte then is the exponent of
 * float32 and bfloat16, of float16 the exponent and three bits behind it. The 256 values of that byte are
 * ranked by how often they occur (`pdf`), the most frequent one first. Of 64 elements the ranks take as many
 * bits as the largest one needs, and are stored as so many planes of 64 bits. Exponents of a tensor are much
 * alike, so a block has 2 to 5 planes instead of 8; with 8 nothing is lost but the byte that says so. A code
 * of its own length for each element (Huffman, ANS) would save half a bit more and be read one after the
 * other; planes are read and written 64 elements at a time, at the speed of memory.
 *
 *     stream     struct hc_hans_meta, up to HC_HANS_META bytes
 *                number of planes of each block, a byte each
 *                planes of all blocks: plane p of a block is 8 bytes, bit i % 8 of byte i / 8 is element i's
 *     mantissa   bfloat16, float16: the low byte of each element
 *                float32: the low 16 bits of all elements, then the 8 bits above them of all elements
 *
 * The stream's first bytes are in `fixed` as far as it goes, the others in `var`. */
#pragma once
#include "op.h"

enum {
    HC_HANS_META = 512,  /* what `fixed` must hold at least */
    HC_HANS_BLOCK = 64,  /* elements with one number of planes */
    HC_HANS_PIECE = 512, /* blocks that one thread does at a time */
    HC_HANS_LEAST = 32768,
    HC_HANS_VALUES = 256
};
#define HC_HANS_MAGIC 0x31534e4148534dULL /* "MSHANS1" */

struct hc_hans_meta {
    uint64_t magic;
    uint64_t numel;
    uint64_t bytes; /* of the stream */
    uint64_t ranks; /* hash of the ranks that the elements were coded with */
    uint32_t item;  /* bytes of an element */
};

/* `rank` of each value, `value` of each rank. */
struct hc_hans_table {
    uint8_t rank[HC_HANS_VALUES], value[HC_HANS_VALUES];
};
void hc_hans_table(const int32_t *pdf, struct hc_hans_table *table);
uint64_t hc_hans_hash(const struct hc_hans_table *table);

/* The bytes that a stream is in. */
struct hc_hans_stream {
    char *fixed, *var;
    size_t fixed_bytes, var_bytes;
};
struct hc_hans_stream hc_hans_stream(const aclTensor *fixed, const aclTensor *var, bool only_fixed);
void hc_hans_write(const struct hc_hans_stream *s, size_t at, const void *from, size_t bytes);
void hc_hans_read(const struct hc_hans_stream *s, size_t at, void *to, size_t bytes);

/* What both operators demand of their arguments; `x` is the tensor that is not compressed. */
aclnnStatus hc_hans_check(const char *name, const char *x_name, const aclTensor *x, const aclTensor *mantissa,
                          const aclTensor *fixed, const aclTensor *var, const aclTensor *pdf);

static inline size_t hc_hans_blocks(size_t numel) { return numel / HC_HANS_BLOCK; }
static inline size_t hc_hans_pieces(size_t numel) {
    return hc_ceil_div(hc_hans_blocks(numel), HC_HANS_PIECE);
}
/* The most bytes that a stream takes. */
static inline size_t hc_hans_bound(size_t numel) { return HC_HANS_META + hc_hans_blocks(numel) + numel; }
