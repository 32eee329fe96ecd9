// SPDX-License-Identifier: Apache-2.0
/* A step of decoding over keys and values of bfloat16, multiplied in pairs as they lie in memory: nothing is
 * converted.
 *
 * Scores are dot products along a key, of 16 keys and rows at a time: 32 elements an instruction, then the 16
 * vectors of partial sums become one by a tree of additions (45 instructions, where a transposition alone
 * takes 64). Outputs take two keys at a time: their rows are interleaved to pairs, in an order of columns
 * that is undone at the end. Both are half the instructions of attention_few.c. Queries are bfloat16 already,
 * weights are rounded to it as in attention_pairs.c; sums are float32; subnormal numbers are taken for zero.
 */
#include "attention_few.h"

#if defined(HC_ISA) && defined(HC_ISA_avx512bf16)
#include "attention_bf16.h"

enum {
    WORDS = HC_VL,              /* pairs of a vector */
    PAIRED = 2 * HC_VL,         /* elements of a vector of pairs */
    SUMS = 16,                  /* of a block of scores: keys times rows */
    MOST_ROWS = ATTN_FEW_ROWS,  /* below that */
    MOST_STEPS = ATTN_FEW_MOST, /* elements of a row */
    BLOCK = 2 * PAIRED,         /* columns of a block of outputs */
    OUTPUT_ROWS = 4,
};
_Static_assert(SUMS == HC_VL, "a block of scores is one vector");

/* A key head: where its elements lie in a row, its results, and its rows of floats as pairs; what fills the
 * last vector is zero. */
struct head {
    size_t index, offset;
    float *c;
    _Alignas(64) float row[MOST_ROWS][MOST_STEPS / 2];
};

#define INLINE static inline __attribute__((always_inline))

INLINE vf dot(vf a, vf b, vf sum) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

static void pack(const struct attn_few *p, size_t index, size_t steps, struct head *head) {
    head->index = index, head->offset = index * p->d * sizeof(uint16_t);
    head->c = p->c + index * p->m * p->ldc;
    for (size_t r = 0; r < p->m; r++) row_in_pairs(steps, p->a + (index * p->m + r) * p->lda, head->row[r]);
}

/* Elements of a row from `i` on, `left` of them; nothing behind is touched. */
INLINE vf words(const char *row, size_t i, size_t left) {
    const char *from = row + i * sizeof(uint16_t);
    if (left >= PAIRED) return (vf)_mm512_loadu_si512(from);
    return (vf)_mm512_maskz_loadu_epi16((__mmask32)((1u << left) - 1), from);
}

/* Asks for what is read next, in the order of memory, the part that goes with `count` keys of a head: into
 * the first-level cache where rows lie together; rows far apart would fill few sets of it. */
INLINE void ask_for(const struct attn_few *p, const struct head *head, size_t key, size_t count) {
    const uint32_t at = (uint32_t)(head->index * p->keys + key), heads = (uint32_t)p->heads;
    const size_t end = hc_min_size((at + (uint32_t)count) / heads, p->ahead_rows), bytes = p->ahead_bytes;
    const bool together = p->ahead_rows > 1 && p->ahead[1] == p->ahead[0] + bytes;
    for (size_t row = at / heads; row < end; row++) {
        const char *from = p->ahead[row];
        for (size_t i = 0; together && i < bytes; i += HC_CACHE_LINE) __builtin_prefetch(from + i);
        for (size_t i = 0; !together && i < bytes; i += HC_CACHE_LINE) __builtin_prefetch(from + i, 0, 2);
    }
}

/* Lane i of the result is the sum of x[i]'s lanes. */
INLINE vf sums_of(vf x[SUMS]) {
    __m512 pair[8], four[4], eight[2];
    for (size_t i = 0; i < 8; i++) {
        const __m512 a = (__m512)x[2 * i], b = (__m512)x[2 * i + 1];
        pair[i] = _mm512_unpacklo_ps(a, b) + _mm512_unpackhi_ps(a, b);
    }
    for (size_t i = 0; i < 4; i++) {
        const __m512d a = (__m512d)pair[2 * i], b = (__m512d)pair[2 * i + 1];
        four[i] = (__m512)_mm512_unpacklo_pd(a, b) + (__m512)_mm512_unpackhi_pd(a, b);
    }
    for (size_t i = 0; i < 2; i++) {
        const __m512 a = four[2 * i], b = four[2 * i + 1];
        eight[i] = _mm512_shuffle_f32x4(a, b, 0x88) + _mm512_shuffle_f32x4(a, b, 0xdd);
    }
    return (vf)(_mm512_shuffle_f32x4(eight[0], eight[1], 0x88) +
                _mm512_shuffle_f32x4(eight[0], eight[1], 0xdd));
}

/* SUMS / ROWS keys against ROWS rows. */
INLINE void score_block(const struct attn_few *p, const struct head *head, size_t key, size_t r0,
                        size_t ROWS) {
    const size_t KEYS = SUMS / ROWS;
    vf sum[SUMS];
    _Pragma("GCC unroll 16") for (size_t i = 0; i < SUMS; i++) sum[i] = vf_zero();
    for (size_t i = 0; i < p->d; i += PAIRED) {
        vf of_row[4];
        _Pragma("GCC unroll 4") for (size_t r = 0; r < ROWS; r++) of_row[r] =
            vf_load(&head->row[r0 + r][i / 2]);
        _Pragma("GCC unroll 16") for (size_t k = 0; k < KEYS; k++) {
            const vf of_key = words(p->row[key + k] + head->offset, i, p->d - i);
            _Pragma("GCC unroll 4") for (size_t r = 0; r < ROWS; r++) sum[r * KEYS + k] =
                dot(of_row[r], of_key, sum[r * KEYS + k]);
        }
    }
    const vf found = sums_of(sum);
    _Pragma("GCC unroll 4") for (size_t r = 0; r < ROWS; r++)
        memcpy(head->c + (r0 + r) * p->ldc + key, (const char *)&found + r * KEYS * sizeof(float),
               KEYS * sizeof(float));
}

/* All keys in blocks; the last one reaches into the padding of c, and reads its last key again. */
INLINE void score_rows(const struct attn_few *p, const struct head *head, size_t r0, size_t ROWS) {
    const size_t KEYS = SUMS / ROWS;
    for (size_t key = 0; key < p->keys; key += KEYS) {
        if (r0 == 0) ask_for(p, head, key, KEYS);
        score_block(p, head, key, r0, ROWS);
    }
}

static void score_head(const struct attn_few *p, const struct head *head) {
    size_t r = 0;
    for (; r + 4 <= p->m; r += 4) score_rows(p, head, r, 4);
    if (p->m - r >= 2) score_rows(p, head, r, 2), r += 2;
    if (p->m - r >= 1) score_rows(p, head, r, 1);
}

void HC_FN(attn_few_scores_BF16)(const struct attn_few *p) {
    struct head head;
    for (size_t index = 0; index < p->heads; index++) {
        pack(p, index, p->d, &head);
        score_head(p, &head);
    }
}

/* The sums of PAIRED columns, in the order that interleaving by halves of 16 bytes makes, added to c. `left`
 * columns are there; the last vector may reach into the padding of c. */
INLINE void add_in_order(vf low, vf high, float *c, size_t left) {
    const __m512i first = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
    const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));
    vf_store(c, vf_load(c) + (vf)_mm512_permutex2var_ps(low, first, high));
    if (left > HC_VL) vf_store(c + HC_VL, vf_load(c + HC_VL) + (vf)_mm512_permutex2var_ps(low, second, high));
}

/* Some columns of ROWS rows, over all keys: VECTORS vectors of the values' elements. */
INLINE void output_block(const struct attn_few *p, const struct head *head, size_t i, size_t VECTORS,
                         size_t r0, size_t ROWS) {
    vf sum[OUTPUT_ROWS][2][2];
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t v = 0; v < VECTORS; v++) sum[r][v][0] = sum[r][v][1] = vf_zero();
    }
    for (size_t key = 0; key < p->keys; key += 2) {
        vf low[2], high[2];
        if (i == 0 && r0 == 0) ask_for(p, head, key, 2);
        for (size_t v = 0; v < VECTORS; v++) {
            const size_t at = i + v * PAIRED, left = p->d - at;
            const __m512i even = (__m512i)words(p->row[key] + head->offset, at, left),
                          odd = key + 1 < p->keys ? (__m512i)words(p->row[key + 1] + head->offset, at, left)
                                                  : (__m512i)vf_zero();
            low[v] = (vf)_mm512_unpacklo_epi16(even, odd);
            high[v] = (vf)_mm512_unpackhi_epi16(even, odd);
        }
        for (size_t r = 0; r < ROWS; r++) {
            const vf weights = vf_set(head->row[r0 + r][key / 2]);
            for (size_t v = 0; v < VECTORS; v++) {
                sum[r][v][0] = dot(weights, low[v], sum[r][v][0]);
                sum[r][v][1] = dot(weights, high[v], sum[r][v][1]);
            }
        }
    }
    for (size_t r = 0; r < ROWS; r++) {
        float *c = head->c + (r0 + r) * p->ldc + i;
        for (size_t v = 0; v < VECTORS; v++)
            add_in_order(sum[r][v][0], sum[r][v][1], c + v * PAIRED, p->d - i - v * PAIRED);
    }
}

INLINE void output_rows(const struct attn_few *p, const struct head *head, size_t i, size_t VECTORS) {
    size_t r = 0;
    for (; r + OUTPUT_ROWS <= p->m; r += OUTPUT_ROWS) output_block(p, head, i, VECTORS, r, OUTPUT_ROWS);
    if (p->m - r >= 2) output_block(p, head, i, VECTORS, r, 2), r += 2;
    if (p->m - r >= 1) output_block(p, head, i, VECTORS, r, 1);
}

void HC_FN(attn_few_outputs_BF16)(const struct attn_few *p) {
    struct head head;
    for (size_t index = 0; index < p->heads; index++) {
        size_t i = 0;
        pack(p, index, p->keys, &head);
        for (; i + BLOCK <= p->d; i += BLOCK) output_rows(p, &head, i, 2);
        for (; i < p->d; i += PAIRED) output_rows(p, &head, i, 1);
    }
}
#endif
