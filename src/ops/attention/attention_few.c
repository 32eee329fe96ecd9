// SPDX-License-Identifier: Apache-2.0
/* A step of decoding is bound by reading keys and values, or by the products where query heads share them.
 * Each is read once, for all rows and in its own type; of key heads that lie side by side all are multiplied
 * before the next few keys are, so that memory is read in order, and asked for in order some KiB ahead (by
 * heads, 256 bytes of every 2 KiB at a time, an EPYC reads at two thirds of the rate).
 *
 * A score is a chain of additions over the columns of a key. Keys are turned from rows into columns for that,
 * bfloat16 two columns at a time, which become floats when they are turned. Where the order of additions may
 * be another, keys of bfloat16 are not turned: a score is then the sum of a vector's lanes. */
#include "attention_few.h"

#include <string.h>

#ifdef HC_ISA
#include "gemm_load.h"
#include "simd_transpose.h"

/* Rows and vectors of a block: its sums, and what is multiplied, live in registers. */
#if defined(HC_ISA_avx512) || defined(__aarch64__)
enum { SCORE_ROWS = 8, OUTPUT_VECTORS = 4 };
#else
enum { SCORE_ROWS = 4, OUTPUT_VECTORS = 3 };
#endif
enum {
    SCORE_VECTORS = 2, /* of keys: as many chains of additions again */
    SCORE_KEYS = SCORE_VECTORS * HC_VL,
    SCORE_COLUMNS = 64,
    OUTPUT_ROWS = 4,
    OUTPUT_MOST = 8,  /* vectors of a single row */
    BLOCK_KEYS = 16,  /* that stay in the first-level cache while rows and columns pass */
    ASK_COLUMNS = 16, /* to multiply between some lines that are asked for and others */
    ASK_KEYS = 4,
    AHEAD_BYTES = 8192, /* that are on their way from memory at least; 100 ns of it are 2 KiB */
};
_Static_assert(ATTN_FEW_KEYS % SCORE_KEYS == 0 && ATTN_FEW_KEYS % BLOCK_KEYS == 0, "keys are whole blocks");

/* Memory that is asked for while other is multiplied: some lines at a time, as a core waits with all else
 * when it has asked for more than some 20. */
struct ahead {
    const struct attn_few *p;
    const char *line, *end;
    size_t row, bytes, passes; /* passes: how often rows are multiplied with the same keys */
};

ALWAYS_INLINE size_t item_size(aclDataType dtype) { return dtype == ACL_FLOAT ? 4 : 2; }

/* Rows that are asked for before they are read. */
ALWAYS_INLINE size_t rows_ahead(size_t bytes) { return hc_max_size(AHEAD_BYTES / bytes, BLOCK_KEYS); }

/* From the rows on that were asked for on the way to these. */
static struct ahead look_ahead(const struct attn_few *p, size_t item_size, size_t rows) {
    const size_t bytes = p->heads * p->d * item_size;
    return (struct ahead){
        .p = p, .row = rows_ahead(bytes), .bytes = bytes, .passes = hc_ceil_div(p->m, rows)};
}

static bool next_row(struct ahead *a) {
    const struct attn_few *p = a->p;
    const bool here = a->row < p->keys;
    const size_t behind = here ? 0 : a->row - p->keys;
    if (!here && behind >= hc_min_size(p->ahead_rows, rows_ahead(p->ahead_bytes))) return false;
    a->line = here ? p->row[a->row] : p->ahead[behind];
    a->end = a->line + (here ? a->bytes : p->ahead_bytes);
    a->row++;
    return true;
}

/* Not into the first level: rows that lie far apart would fill few sets of it. */
ALWAYS_INLINE void ask_for(struct ahead *a, size_t lines) {
    for (; lines > 0; lines--, a->line += HC_CACHE_LINE) {
        if (a->line >= a->end && !next_row(a)) return;
        __builtin_prefetch(a->line, 0, 2);
    }
}

/* Lines for each of so many steps in which a pass over a head's part of `count` keys goes. */
ALWAYS_INLINE size_t lines_of_step(const struct ahead *a, size_t count, size_t steps) {
    return hc_ceil_div(count * a->bytes / HC_CACHE_LINE, steps * a->p->heads * a->passes);
}

/* Elements of a row from `from` on, at most a vector of memory, as they are; zeros behind `left` of them. */
ALWAYS_INLINE vf load_words(const char *from, size_t left, aclDataType dtype) {
    if (dtype != ACL_BF16) return load_some(from, left, dtype);
    vf x = vf_zero(); /* pairs may lie at any address of a bfloat16 */
    if (left >= 2 * HC_VL) memcpy(&x, from, sizeof x);
    else memcpy(&x, from, left * sizeof(uint16_t));
    return x;
}

/* Columns [i, i + columns) of some keys as floats: those of a column side by side. */
struct turned {
    _Alignas(64) float column[SCORE_COLUMNS][SCORE_KEYS];
};

/* A vector of keys, a vector of memory of each. */
ALWAYS_INLINE void turn_square(const char *const *key, size_t at, size_t left, float *to, aclDataType dtype) {
    const size_t WORDS = dtype == ACL_BF16 ? 2 : 1; /* columns of a word */
    vf x[HC_VL];
    _Pragma("GCC unroll 16") for (size_t j = 0; j < HC_VL; j++) x[j] =
        load_words(element(key[j], (int64_t)at, dtype), left, dtype);
    vf_transpose(x);
    _Pragma("GCC unroll 16") for (size_t j = 0; j < HC_VL; j++) {
        if (WORDS == 1) {
            vf_store(to + j * SCORE_KEYS, x[j]);
        } else {
            vf_store(to + 2 * j * SCORE_KEYS, vi_float(vf_bits(x[j]) << 16));
            vf_store(to + (2 * j + 1) * SCORE_KEYS, vi_float(vf_bits(x[j]) & (int32_t)0xffff0000));
        }
    }
}

/* What fills the last vectors of memory up is zero. */
ALWAYS_INLINE void turn(const char *const *key, size_t at, size_t columns, struct turned *to,
                        aclDataType dtype) {
    const size_t STEP = HC_VL * (dtype == ACL_BF16 ? 2 : 1);
    for (size_t v = 0; v < SCORE_VECTORS; v++, key += HC_VL) {
        float *first = &to->column[0][v * HC_VL];
        size_t i = 0;
        for (; i + STEP <= columns; i += STEP) turn_square(key, at + i, STEP, first + i * SCORE_KEYS, dtype);
        if (i < columns) turn_square(key, at + i, columns - i, first + i * SCORE_KEYS, dtype);
    }
}

/* ROWS rows of scores, from some columns; `add`: to what others have given. Of every ASK_COLUMNS columns
 * `lines` are asked for. */
ALWAYS_INLINE void score_block(const struct attn_few *p, const struct turned *x, size_t columns,
                               const float *a, float *c, int ROWS, bool add, struct ahead *ahead,
                               size_t lines) {
    vf sum[SCORE_ROWS][SCORE_VECTORS];
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < SCORE_VECTORS; v++)
            sum[r][v] = add ? vf_load(c + (size_t)r * p->ldc + v * HC_VL) : vf_zero();
    }
    for (size_t i = 0; i < columns;) {
        const size_t end = hc_min_size(i + ASK_COLUMNS, columns);
        ask_for(ahead, lines);
        for (; i < end; i++) {
            vf key[SCORE_VECTORS];
            for (int v = 0; v < SCORE_VECTORS; v++) key[v] = vf_load(&x->column[i][v * HC_VL]);
            for (int r = 0; r < ROWS; r++) {
                const vf query = vf_set(a[(size_t)r * p->lda + i]);
                for (int v = 0; v < SCORE_VECTORS; v++) sum[r][v] = vf_fma(query, key[v], sum[r][v]);
            }
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < SCORE_VECTORS; v++) vf_store(c + (size_t)r * p->ldc + v * HC_VL, sum[r][v]);
    }
}

/* Constant row counts, so that the sums live in registers. */
static void score_rows(const struct attn_few *p, const struct turned *x, size_t columns, const float *a,
                       float *c, bool add, struct ahead *ahead, size_t lines) {
    size_t m = p->m;
    for (; m >= SCORE_ROWS; m -= SCORE_ROWS, a += SCORE_ROWS * p->lda, c += SCORE_ROWS * p->ldc)
        score_block(p, x, columns, a, c, SCORE_ROWS, add, ahead, lines);
    if (m >= 4)
        score_block(p, x, columns, a, c, 4, add, ahead, lines), m -= 4, a += 4 * p->lda, c += 4 * p->ldc;
    if (m >= 2)
        score_block(p, x, columns, a, c, 2, add, ahead, lines), m -= 2, a += 2 * p->lda, c += 2 * p->ldc;
    if (m >= 1) score_block(p, x, columns, a, c, 1, add, ahead, lines);
}

ALWAYS_INLINE void scores(const struct attn_few *p, aclDataType dtype) {
    struct ahead ahead = look_ahead(p, item_size(dtype), SCORE_ROWS);
    const size_t lines = lines_of_step(&ahead, SCORE_KEYS, hc_ceil_div(p->d, ASK_COLUMNS));
    struct turned x;
    for (size_t j = 0; j < p->keys; j += SCORE_KEYS) {
        for (size_t head = 0; head < p->heads; head++) {
            const float *a = p->a + head * p->m * p->lda;
            float *c = p->c + head * p->m * p->ldc + j;
            for (size_t i = 0; i < p->d; i += SCORE_COLUMNS) {
                const size_t columns = hc_min_size(p->d - i, SCORE_COLUMNS);
                turn(p->row + j, head * p->d + i, columns, &x, dtype);
                score_rows(p, &x, columns, a + i, c, i > 0, &ahead, lines);
            }
        }
    }
}

/* Even and odd columns of a key or a row. */
ALWAYS_INLINE void load_apart(const struct attn_few *p, const char *const *key, size_t at, const float *a,
                              size_t i, bool of_key, vf *even, vf *odd) {
    if (of_key) {
        vf_load_bf16_apart(element(key[i], (int64_t)at, ACL_BF16), even, odd);
    } else {
        *even = vf_load(a + i * p->lda), *odd = vf_load(a + i * p->lda + HC_VL);
    }
}

/* HC_VL / ROWS keys, from `at` on in a row, against ROWS rows. Few rows stay in registers while keys pass,
 * else keys do while rows pass. */
ALWAYS_INLINE void dot_block(const struct attn_few *p, const char *const *key, size_t at, const float *a,
                             float *c, size_t ROWS) {
    const size_t KEYS = HC_VL / ROWS, OUTER = ROWS > 2 ? KEYS : ROWS, INNER = HC_VL / OUTER;
    vf sum[HC_VL];
    _Pragma("GCC unroll 16") for (size_t i = 0; i < HC_VL; i++) sum[i] = vf_zero();
    for (size_t i = 0; i < p->d; i += 2 * HC_VL) {
        vf even[HC_VL], odd[HC_VL];
        _Pragma("GCC unroll 4") for (size_t o = 0; o < OUTER; o++)
            load_apart(p, key, at + i, a + i, o, ROWS > 2, &even[o], &odd[o]);
        _Pragma("GCC unroll 16") for (size_t n = 0; n < INNER; n++) {
            vf first, second;
            load_apart(p, key, at + i, a + i, n, ROWS <= 2, &first, &second);
            _Pragma("GCC unroll 4") for (size_t o = 0; o < OUTER; o++) {
                vf *to = &sum[ROWS > 2 ? n * KEYS + o : o * KEYS + n];
                *to = vf_fma(second, odd[o], vf_fma(first, even[o], *to));
            }
        }
    }
    vf_transpose(sum);
    _Pragma("GCC unroll 16") for (size_t i = 1; i < HC_VL; i++) sum[0] += sum[i];
    _Pragma("GCC unroll 4") for (size_t r = 0; r < ROWS; r++)
        memcpy(c + r * p->ldc, (const char *)&sum[0] + r * KEYS * sizeof(float), KEYS * sizeof(float));
}

/* A block of keys against ROWS rows. */
ALWAYS_INLINE void dot_keys(const struct attn_few *p, const char *const *key, size_t at, const float *a,
                            float *c, size_t ROWS, struct ahead *ahead) {
    const size_t KEYS = HC_VL / ROWS, lines = lines_of_step(ahead, KEYS, 1);
    for (size_t k = 0; k < BLOCK_KEYS; k += KEYS) {
        ask_for(ahead, lines);
        dot_block(p, key + k, at, a, c + k, ROWS);
    }
}

void HC_FN(attn_few_dots)(const struct attn_few *p) {
    struct ahead ahead = look_ahead(p, sizeof(uint16_t), 4);
    for (size_t j = 0; j < p->keys; j += BLOCK_KEYS) {
        for (size_t head = 0; head < p->heads; head++) {
            const float *a = p->a + head * p->m * p->lda;
            float *c = p->c + head * p->m * p->ldc + j;
            const size_t at = head * p->d;
            size_t r = 0;
            for (; r + 4 <= p->m; r += 4)
                dot_keys(p, p->row + j, at, a + r * p->lda, c + r * p->ldc, 4, &ahead);
            if (p->m - r >= 2) dot_keys(p, p->row + j, at, a + r * p->lda, c + r * p->ldc, 2, &ahead), r += 2;
            if (p->m - r >= 1) dot_keys(p, p->row + j, at, a + r * p->lda, c + r * p->ldc, 1, &ahead);
        }
    }
}

void HC_FN(attn_few_apart)(size_t rows, size_t d, float *x, size_t ld) {
    for (size_t r = 0; r < rows; r++, x += ld) {
        for (size_t i = 0; i < d; i += 2 * HC_VL) {
            float y[2 * HC_VL];
            for (size_t j = 0; j < HC_VL; j++) y[j] = x[i + 2 * j], y[HC_VL + j] = x[i + 2 * j + 1];
            memcpy(x + i, y, sizeof y);
        }
    }
}

/* Some values, the columns of a head in them, and its weights. */
struct values {
    const char *const *row;
    size_t count, at;
    const float *weight;
    float *c;
};

/* VECTORS vectors, `left` columns, of ROWS rows of the output. Of every ASK_KEYS values `lines` are asked
 * for. */
ALWAYS_INLINE void output_block(const struct attn_few *p, const struct values *x, size_t i, size_t left,
                                int VECTORS, int ROWS, aclDataType dtype, struct ahead *ahead, size_t lines) {
    vf sum[OUTPUT_ROWS][OUTPUT_MOST];
    for (int r = 0; r < ROWS; r++) {
        _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sum[r][v] =
            vf_load(x->c + (size_t)r * p->ldc + i + (size_t)v * HC_VL);
    }
    for (size_t j = 0; j < x->count; j++) {
        const char *row = element(x->row[j], (int64_t)(x->at + i), dtype);
        vf value[OUTPUT_MOST];
        if (j % ASK_KEYS == 0) ask_for(ahead, lines);
        _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) {
            const size_t at = (size_t)v * HC_VL;
            value[v] = load_some(element(row, (int64_t)at, dtype), left - at, dtype);
        }
        for (int r = 0; r < ROWS; r++) {
            const vf weight = vf_set(x->weight[(size_t)r * p->lda + j]);
            _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++) sum[r][v] =
                vf_fma(weight, value[v], sum[r][v]);
        }
    }
    for (int r = 0; r < ROWS; r++) {
        _Pragma("GCC unroll 8") for (int v = 0; v < VECTORS; v++)
            vf_store(x->c + (size_t)r * p->ldc + i + (size_t)v * HC_VL, sum[r][v]);
    }
}

/* All columns of ROWS rows: whole blocks of vectors, but four as two pairs rather than three and one; the
 * very last vector may reach into the padding of c. */
ALWAYS_INLINE void output_columns(const struct attn_few *p, const struct values *x, int ROWS, int VECTORS,
                                  aclDataType dtype, struct ahead *ahead) {
    const size_t WIDE = (size_t)VECTORS * HC_VL, PAIR = 2 * HC_VL;
    const size_t lines = lines_of_step(ahead, BLOCK_KEYS, BLOCK_KEYS / ASK_KEYS * hc_ceil_div(p->d, WIDE));
    size_t i = 0;
    for (; i + WIDE <= p->d && (VECTORS != 3 || p->d - i != 2 * PAIR); i += WIDE)
        output_block(p, x, i, WIDE, VECTORS, ROWS, dtype, ahead, lines);
    for (; i + PAIR <= p->d; i += PAIR) output_block(p, x, i, PAIR, 2, ROWS, dtype, ahead, lines);
    for (; i < p->d; i += HC_VL) output_block(p, x, i, p->d - i, 1, ROWS, dtype, ahead, lines);
}

/* Four rows share what is loaded of the values; two and one are what is left of them. */
ALWAYS_INLINE void output_rows(const struct attn_few *p, struct values x, aclDataType dtype,
                               struct ahead *ahead) {
    size_t m = p->m;
    for (; m >= OUTPUT_ROWS; m -= OUTPUT_ROWS, x.weight += OUTPUT_ROWS * p->lda, x.c += OUTPUT_ROWS * p->ldc)
        output_columns(p, &x, OUTPUT_ROWS, OUTPUT_VECTORS, dtype, ahead);
    if (m >= 2) output_columns(p, &x, 2, 4, dtype, ahead), m -= 2, x.weight += 2 * p->lda, x.c += 2 * p->ldc;
    if (m >= 1) output_columns(p, &x, 1, OUTPUT_MOST, dtype, ahead);
}

ALWAYS_INLINE void outputs(const struct attn_few *p, aclDataType dtype) {
    struct ahead ahead = look_ahead(p, item_size(dtype), OUTPUT_ROWS);
    for (size_t j = 0; j < p->keys; j += BLOCK_KEYS) {
        for (size_t head = 0; head < p->heads; head++) {
            const struct values x = {p->row + j, hc_min_size(BLOCK_KEYS, p->keys - j), head * p->d,
                                     p->a + head * p->m * p->lda + j, p->c + head * p->m * p->ldc};
            output_rows(p, x, dtype, &ahead);
        }
    }
}

void HC_FN(attn_few_scores)(const struct attn_few *p) {
    if (p->dtype == ACL_FLOAT) scores(p, ACL_FLOAT);
    else if (p->dtype == ACL_BF16) scores(p, ACL_BF16);
    else scores(p, ACL_FLOAT16);
}
void HC_FN(attn_few_outputs)(const struct attn_few *p) {
    if (p->dtype == ACL_FLOAT) outputs(p, ACL_FLOAT);
    else if (p->dtype == ACL_BF16) outputs(p, ACL_BF16);
    else outputs(p, ACL_FLOAT16);
}
#endif
