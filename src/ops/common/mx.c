// SPDX-License-Identifier: Apache-2.0
/* See mx.h. Along the last axis a block is a run of a row; along another one it is a column of 32 rows, and a
 * tile of such rows stays in the cache while its columns' largest values are found and then used. Maxima are
 * those of the bits without the sign: NaN is above infinity, infinity above numbers. */
#include "mx.h"

HC_KERNEL(mx_max_run, (size_t n, const float *x, uint32_t *max))
HC_KERNEL(mx_max_rows, (size_t n, const float *x, uint32_t *max))
HC_KERNEL(mx_scales, (size_t n, const uint32_t *max, const struct hc_mx *mx, uint8_t *scale, float *factor))
HC_KERNEL(mx_round_run, (size_t n, float *x, float factor, const struct hc_mx *mx))
HC_KERNEL(mx_round_rows, (size_t n, float *x, const float *factor, const struct hc_mx *mx))

#ifdef HC_ISA
#include "simd.h"
#include "simd_narrow.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* The largest magnitude of a run into *max. */
void HC_FN(mx_max_run)(size_t n, const float *x, uint32_t *max) {
    uint32_t most = 0;
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {
        const uint32_t m = hc_f32_bits(x[i]) & 0x7fffffffu;
        most = m > most ? m : most;
    }
    *max = most;
}
/* max[i] becomes the larger of itself and a row's element. */
void HC_FN(mx_max_rows)(size_t n, const float *x, uint32_t *max) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {
        const uint32_t m = hc_f32_bits(x[i]) & 0x7fffffffu;
        max[i] = m > max[i] ? m : max[i];
    }
}

/* e8m0 of each block and what its elements are multiplied with, which is exact. By value the exponent is
 * rounded up, a subnormal quotient like a number of the lowest binade. */
void HC_FN(mx_scales)(size_t n, const uint32_t *max, const struct hc_mx *mx, uint8_t *scale, float *factor) {
    const int32_t emax = mx->format.emax;
    const bool by_value = mx->divisor > 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = max[i];
        if (by_value) {
            const float largest = hc_bits_f32(bits);
            bits =
                hc_f32_bits((largest < mx->low_bound ? mx->low_bound : largest) / mx->divisor) & 0x7fffffffu;
        }
        /* The exponent's field is the e8m0, as both count from 2^-127. */
        const uint32_t field = bits >> 23, rest = bits & 0x7fffffu;
        const uint32_t up = field > 0 ? rest > 0 : rest > 0x400000u;
        const int32_t below = (int32_t)field - emax;
        const uint32_t code = by_value ? field + up : (uint32_t)(below < 0 ? 0 : below);
        const bool none = max[i] >= 0x7f800000u || code >= 0xffu;
        scale[i] = (uint8_t)(none ? 0xffu : code);
        /* 2^(127 - code), which for the largest code is a subnormal float. */
        factor[i] = hc_bits_f32(none ? 0x7fc00000u : code == 254 ? 0x400000u : (254u - code) << 23);
    }
}

/* Of a multiple of 2^-k: to a whole number of them. |x| is small. */
ALWAYS_INLINE float whole(float x, enum hc_mx_rounding ROUNDING) {
    const float size = x < 0 ? -x : x, near = (size + 0x1p23f) - 0x1p23f;
    if (ROUNDING == HC_MX_NEAREST) return x < 0 ? -near : near;
    const float low = near > size ? near - 1 : near;
    if (ROUNDING == HC_MX_AWAY) {
        const float away = size - low >= 0.5f ? low + 1 : low;
        return x < 0 ? -away : away;
    }
    return x < 0 ? -(low < size ? low + 1 : low) : low;
}

/* Clipped; fp4, which is stored as it is, is rounded here: the step between neighbours is a half below 2 and
 * as much more in each binade above (e2m1), or always a quarter (e1m2). fp4 has no NaN. */
ALWAYS_INLINE float finish(float x, float largest, aclDataType DTYPE, enum hc_mx_rounding ROUNDING) {
    const float inside = x > largest ? largest : x < -largest ? -largest : x;
    if (DTYPE != ACL_FLOAT4_E2M1 && DTYPE != ACL_FLOAT4_E1M2) return inside;
    const float size = inside < 0 ? -inside : inside;
    const float steps = DTYPE == ACL_FLOAT4_E1M2 ? 4.0f : size < 2 ? 2.0f : size < 4 ? 1.0f : 0.5f;
    const float rounded = whole(inside * steps, ROUNDING) * (1 / steps);
    return x == x ? __builtin_copysignf(rounded > largest ? largest : rounded, x) : 0;
}

/* One factor for a run, or one for each element: two loops, so that both are vectors. */
ALWAYS_INLINE void round_run(size_t n, float *x, float factor, float largest, aclDataType DTYPE,
                             enum hc_mx_rounding ROUNDING) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] =
        finish(x[i] * factor, largest, DTYPE, ROUNDING);
}
ALWAYS_INLINE void round_rows(size_t n, float *x, const float *factor, float largest, aclDataType DTYPE,
                              enum hc_mx_rounding ROUNDING) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] =
        finish(x[i] * factor[i], largest, DTYPE, ROUNDING);
}

/* The format and the rounding are constants of each loop. */
#define CHOOSE(loop, factor)                                                                                 \
    const float largest = mx->format.largest;                                                                \
    const aclDataType dtype = mx->format.dtype;                                                              \
    if (!hc_is_fp4(dtype)) loop(n, x, factor, largest, ACL_FLOAT8_E4M3FN, HC_MX_NEAREST);                    \
    else if (dtype == ACL_FLOAT4_E2M1 && mx->rounding == HC_MX_NEAREST)                                      \
        loop(n, x, factor, largest, ACL_FLOAT4_E2M1, HC_MX_NEAREST);                                         \
    else if (dtype == ACL_FLOAT4_E2M1 && mx->rounding == HC_MX_FLOOR)                                        \
        loop(n, x, factor, largest, ACL_FLOAT4_E2M1, HC_MX_FLOOR);                                           \
    else if (dtype == ACL_FLOAT4_E2M1) loop(n, x, factor, largest, ACL_FLOAT4_E2M1, HC_MX_AWAY);             \
    else if (mx->rounding == HC_MX_NEAREST) loop(n, x, factor, largest, ACL_FLOAT4_E1M2, HC_MX_NEAREST);     \
    else if (mx->rounding == HC_MX_FLOOR) loop(n, x, factor, largest, ACL_FLOAT4_E1M2, HC_MX_FLOOR);         \
    else loop(n, x, factor, largest, ACL_FLOAT4_E1M2, HC_MX_AWAY);
void HC_FN(mx_round_run)(size_t n, float *x, float factor, const struct hc_mx *mx) {
    CHOOSE(round_run, factor)
}
void HC_FN(mx_round_rows)(size_t n, float *x, const float *factor, const struct hc_mx *mx) {
    CHOOSE(round_rows, factor)
}

#else
#include <stdatomic.h>
#include <string.h>

/* Columns of a tile: 64 rows of them are 64 KiB of float32 at most. Elements of a piece, about. */
enum { COLUMNS = 256, GRAIN = 16384, SCALES_IN_PAIR = 2 };

/* ---- phase one ---- */

/* emax is the exponent of the largest number: 448 is 1.75 * 2^8, 57344 is 1.75 * 2^15, 6 is 1.5 * 2^2. */
static const struct hc_mx_format FORMATS[] = {{ACL_FLOAT8_E4M3FN, 8, 448},
                                              {ACL_FLOAT8_E5M2, 15, 57344},
                                              {ACL_FLOAT4_E2M1, 2, 6},
                                              {ACL_FLOAT4_E1M2, 0, 1.75f}};

/* fp8 is rounded to nearest whatever else there is. */
static aclnnStatus find_rounding(const char *name, const char *word, struct hc_mx *mx) {
    static const char *const WORDS[] = {
        [HC_MX_NEAREST] = "rint", [HC_MX_FLOOR] = "floor", [HC_MX_AWAY] = "round"};
    const size_t words = hc_is_fp4(mx->format.dtype) ? HC_ARRAY_SIZE(WORDS) : 1;
    HC_CHECK(word != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: roundMode is null", name);
    for (size_t i = 0; i < words; i++) {
        mx->rounding = (enum hc_mx_rounding)i;
        if (strcmp(word, WORDS[i]) == 0) return 0;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: roundMode is '%.32s', wanted rint%s", name, word,
                   words > 1 ? ", floor or round" : " for fp8");
}

/* By value where the algorithm is not 0: of fp8 the second, of fp4 the third, which alone may be given a
 * value. */
static aclnnStatus find_divisor(const char *name, int64_t scale_alg, double dst_type_max, struct hc_mx *mx) {
    const bool four = hc_is_fp4(mx->format.dtype);
    HC_CHECK(scale_alg == 0 || scale_alg == (four ? 2 : 1), ACLNN_ERR_PARAM_INVALID,
             "%s: scaleAlg is %lld, wanted 0 or %d for dstType %d", name, (long long)scale_alg, four ? 2 : 1,
             (int)mx->format.dtype);
    HC_CHECK(dst_type_max == 0 || (scale_alg == 2 && dst_type_max >= (double)mx->format.largest &&
                                   dst_type_max <= 2 * (double)mx->format.largest),
             ACLNN_ERR_PARAM_INVALID, "%s: dstTypeMax is %g, wanted 0, or %g to %g for fp4 with scaleAlg 2",
             name, dst_type_max, (double)mx->format.largest, 2 * (double)mx->format.largest);
    mx->divisor = scale_alg == 0 ? 0 : dst_type_max > 0 ? (float)dst_type_max : mx->format.largest;
    return 0;
}

/* In the order of the arguments. */
aclnnStatus hc_mx_check(const char *name, const char *round_mode, int64_t dst_type, int64_t block,
                        int64_t scale_alg, double dst_type_max, struct hc_mx *mx) {
    size_t i = 0;
    while (i < HC_ARRAY_SIZE(FORMATS) && (int64_t)FORMATS[i].dtype != dst_type) i++;
    HC_CHECK(i < HC_ARRAY_SIZE(FORMATS), ACLNN_ERR_PARAM_INVALID,
             "%s: dstType is %lld, wanted 35 (float8_e5m2), 36 (float8_e4m3fn), 40 (float4_e2m1) or 41 "
             "(float4_e1m2)",
             name, (long long)dst_type);
    HC_CHECK(block > 0 && block % 32 == 0 && block <= 1024, ACLNN_ERR_PARAM_INVALID,
             "%s: blocksize is %lld, wanted a multiple of 32 up to 1024", name, (long long)block);
    *mx = (struct hc_mx){.format = FORMATS[i], .block = (size_t)block};
    HC_TRY(find_rounding(name, round_mode, mx));
    return find_divisor(name, scale_alg, dst_type_max, mx);
}

/* Also asked by what turns y back: then x is the result, and y and scale are read. */
aclnnStatus hc_mx_check_outputs(const char *name, const struct hc_mx *mx, const aclTensor *x, int32_t axis,
                                const char *y_name, const aclTensor *y, const char *scale_name,
                                const aclTensor *scale) {
    HC_CHECK(y != NULL && scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             y == NULL ? y_name : scale_name);
    HC_CHECK(y->dtype == mx->format.dtype && hc_same_shape(x, y), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of x %s and dstType %d", name, y_name, HC_SHOW(y), HC_SHOW(x),
             (int)mx->format.dtype);
    if (hc_is_fp4(y->dtype)) HC_TRY(hc_fp4_check(name, y_name, y));
    aclTensor wanted = *x;
    wanted.shape[axis] = (int64_t)hc_ceil_div(hc_ceil_div((size_t)x->shape[axis], mx->block), SCALES_IN_PAIR);
    wanted.shape[x->rank] = SCALES_IN_PAIR;
    wanted = hc_tensor_view(ACL_FLOAT8_E8M0, wanted.shape, x->rank + 1, NULL);
    HC_CHECK(scale->dtype == ACL_FLOAT8_E8M0 && hc_same_shape(scale, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %s", name, scale_name, HC_SHOW(scale), HC_SHOW(&wanted));
    return 0;
}

/* ---- phase two ---- */

struct job {
    struct hc_mx_run r;
    hc_load_fn *load;
    hc_store_fn *store; /* NULL: fp4 */
    size_t pairs, item, tiles;
    atomic_bool failed;
};

/* n values of the format at element `at` of y. */
/* Bytes of two fp4 are whole: rows and runs of columns have an even number. */
static void put(const struct job *j, size_t at, size_t n, const float *x) {
    uint8_t *y = j->r.y;
    if (j->store != NULL) j->store(n, y + at, 1, x);
    else if (j->r.mx->format.dtype == ACL_FLOAT4_E2M1) HC_DISPATCH(hc_fp4_store_e2m1)(n, y + at / 2, x);
    else HC_DISPATCH(hc_fp4_store_e1m2)(n, y + at / 2, x);
}

/* Rows along which blocks lie. A row has all its scales, the filling one too. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    struct job *j = ctx;
    const struct hc_mx *mx = j->r.mx;
    const size_t n = j->r.n, blocks = hc_ceil_div(n, mx->block), scales = j->pairs * SCALES_IN_PAIR;
    float *x = hc_scratch(HC_SCRATCH_C, (hc_align_up(n, 16) + 2 * scales) * sizeof *x);
    if (x == NULL) {
        atomic_store(&j->failed, true);
        return;
    }
    float *factor = x + hc_align_up(n, 16);
    uint32_t *max = (uint32_t *)(factor + scales);
    for (size_t row = begin; row < end; row++) {
        j->load(n, x, j->r.x + row * n * j->item, 1);
        memset(max, 0, scales * sizeof *max);
        for (size_t b = 0; b < blocks; b++)
            HC_DISPATCH(mx_max_run)(hc_min_size(mx->block, n - b * mx->block), x + b * mx->block, &max[b]);
        HC_DISPATCH(mx_scales)(blocks, max, mx, j->r.scale + row * scales, factor);
        memset(j->r.scale + row * scales + blocks, 0, scales - blocks);
        for (size_t b = 0; b < blocks; b++) HC_DISPATCH(mx_round_run)
        (hc_min_size(mx->block, n - b * mx->block), x + b * mx->block, factor[b], mx);
        put(j, row * n, n, x);
    }
}

/* A block of rows by some columns, at row `first` of the stretch that starts with `row0`. */
static void run_block(const struct job *j, float *x, size_t row0, size_t first, size_t col0, size_t cols,
                      uint8_t *scale) {
    const struct hc_mx *mx = j->r.mx;
    const size_t rows = hc_min_size(mx->block, j->r.n - first), inner = j->r.inner;
    uint32_t max[COLUMNS] = {0};
    float factor[COLUMNS];
    for (size_t r = 0; r < rows; r++) {
        j->load(cols, x + r * COLUMNS, j->r.x + ((row0 + first + r) * inner + col0) * j->item, 1);
        HC_DISPATCH(mx_max_rows)(cols, x + r * COLUMNS, max);
    }
    HC_DISPATCH(mx_scales)(cols, max, mx, scale, factor);
    for (size_t r = 0; r < rows; r++) {
        HC_DISPATCH(mx_round_rows)(cols, x + r * COLUMNS, factor, mx);
        put(j, (row0 + first + r) * inner + col0, cols, x + r * COLUMNS);
    }
}

/* Piece u: a pair of blocks of some columns, whose scales interleave. */
static void run_columns(void *ctx, size_t begin, size_t end) {
    struct job *j = ctx;
    const size_t block = j->r.mx->block, inner = j->r.inner;
    float *x = hc_scratch(HC_SCRATCH_C, block * COLUMNS * sizeof *x);
    if (x == NULL) {
        atomic_store(&j->failed, true);
        return;
    }
    for (size_t u = begin; u < end; u++) {
        const size_t col0 = u % j->tiles * COLUMNS, pair = u / j->tiles % j->pairs,
                     o = u / j->tiles / j->pairs;
        const size_t cols = hc_min_size(COLUMNS, inner - col0);
        uint8_t scale[SCALES_IN_PAIR][COLUMNS] = {{0}};
        for (size_t s = 0; s < SCALES_IN_PAIR; s++) {
            const size_t first = (pair * SCALES_IN_PAIR + s) * block;
            if (first < j->r.n) run_block(j, x, o * j->r.n, first, col0, cols, scale[s]);
        }
        /* The two scales of a column lie side by side. */
        uint8_t *to = j->r.scale + ((o * j->pairs + pair) * inner + col0) * SCALES_IN_PAIR;
        for (size_t i = 0; i < cols; i++) to[2 * i] = scale[0][i], to[2 * i + 1] = scale[1][i];
    }
}

/* Pieces depend on the shape only. Columns of fp4 are an even number, so that no byte is shared. */
aclnnStatus hc_mx_run(const char *name, const struct hc_mx_run *r) {
    struct job j = {.r = *r,
                    .load = hc_load_for(r->dtype, HC_F32),
                    .store =
                        hc_is_fp4(r->mx->format.dtype) ? NULL : hc_store_for(r->mx->format.dtype, HC_F32),
                    .pairs = hc_ceil_div(hc_ceil_div(r->n, r->mx->block), SCALES_IN_PAIR),
                    .item = hc_dtype_size(r->dtype),
                    .tiles = hc_ceil_div(r->inner, COLUMNS)};
    if (r->outer == 0 || r->n == 0 || r->inner == 0) return 0;
    if (r->inner == 1) hc_parallel_for(r->outer, hc_max_size(GRAIN / r->n, 1), run_rows, &j);
    else
        hc_parallel_for(r->outer * j.pairs * j.tiles,
                        hc_max_size(GRAIN / (2 * r->mx->block * hc_min_size(r->inner, COLUMNS)), 1),
                        run_columns, &j);
    HC_CHECK(!atomic_load(&j.failed), ACLNN_ERR_INNER, "%s: out of host memory for blocks of %zu", name,
             r->mx->block);
    return 0;
}

/* y and scale as contiguous bytes, and back into where they belong. */
aclnnStatus hc_mx_quantise(const char *name, const struct hc_mx *mx, const aclTensor *x, int32_t axis,
                           const aclTensor *y, const aclTensor *scale) {
    const aclTensor y_bytes = hc_fp4_bytes(y);
    struct hc_mx_run r = {.mx = mx, .outer = 1, .n = (size_t)x->shape[axis], .inner = 1, .x = hc_data(x)};
    aclTensor to_y, to_scale;
    void *own_y = NULL, *own_scale = NULL;
    r.dtype = x->dtype;
    for (int32_t d = 0; d < x->rank; d++) {
        if (d < axis) r.outer *= (size_t)x->shape[d];
        if (d > axis) r.inner *= (size_t)x->shape[d];
    }
    aclnnStatus status = hc_contiguous_out(&y_bytes, y_bytes.dtype, &to_y, &own_y);
    if (status == 0) status = hc_contiguous_out(scale, scale->dtype, &to_scale, &own_scale);
    if (status == 0) {
        r.y = (uint8_t *)hc_data(&to_y);
        r.scale = (uint8_t *)hc_data(&to_scale);
        status = hc_mx_run(name, &r);
    }
    if (status == 0 && own_y != NULL) status = hc_copy(&y_bytes, &to_y);
    if (status == 0 && own_scale != NULL) status = hc_copy(scale, &to_scale);
    hc_block_give(own_y);
    hc_block_give(own_scale);
    return status;
}

/* Two fp4 share a byte of y. */
aclnnStatus hc_mx_quantise_groups(const char *name, const struct hc_mx *mx, const aclTensor *x,
                                  const int64_t *ends, size_t groups, const aclTensor *y,
                                  const aclTensor *scale) {
    const size_t n = (size_t)x->shape[1], per_byte = hc_is_fp4(mx->format.dtype) ? 2 : 1;
    size_t first = 0;
    memset(hc_data(scale), 0, hc_numel(scale));
    for (size_t g = 0; g < groups; g++) {
        const size_t pair = first / (2 * mx->block) + g;
        const struct hc_mx_run r = {.mx = mx,
                                    .outer = 1,
                                    .n = (size_t)ends[g] - first,
                                    .inner = n,
                                    .x = hc_data(x) + first * n * (size_t)x->item_size,
                                    .dtype = x->dtype,
                                    .y = (uint8_t *)hc_data(y) + first * n / per_byte,
                                    .scale = (uint8_t *)hc_data(scale) + pair * SCALES_IN_PAIR * n};
        HC_TRY(hc_mx_run(name, &r));
        first = (size_t)ends[g];
    }
    memset(hc_data(y) + first * n / per_byte, 0, ((size_t)x->shape[0] - first) * n / per_byte);
    return 0;
}

/* ---- squares ---- */

struct square_job {
    struct job j;
    uint8_t *rows, *columns; /* scales */
    size_t row_pairs;        /* of a row */
};

/* 32 rows by some columns, which are whole squares but for the last: what is the largest of a column becomes
 * the largest of its square. */
static void run_square(const struct square_job *q, float *x, size_t o, size_t first, size_t col0,
                       size_t cols) {
    const struct job *j = &q->j;
    const struct hc_mx *mx = j->r.mx;
    const size_t rows = hc_min_size(mx->block, j->r.n - first), inner = j->r.inner, row0 = o * j->r.n + first;
    uint32_t max[COLUMNS] = {0};
    uint8_t scale[COLUMNS];
    float factor[COLUMNS];
    for (size_t r = 0; r < rows; r++) {
        j->load(cols, x + r * COLUMNS, j->r.x + ((row0 + r) * inner + col0) * j->item, 1);
        HC_DISPATCH(mx_max_rows)(cols, x + r * COLUMNS, max);
    }
    for (size_t at = 0; at < cols; at += mx->block) {
        const size_t end = hc_min_size(at + mx->block, cols);
        uint32_t most = 0;
        for (size_t i = at; i < end; i++) most = max[i] > most ? max[i] : most;
        for (size_t i = at; i < end; i++) max[i] = most;
    }
    HC_DISPATCH(mx_scales)(cols, max, mx, scale, factor);
    for (size_t r = 0; r < rows; r++) {
        uint8_t *of_row = q->rows + (row0 + r) * q->row_pairs * SCALES_IN_PAIR + col0 / mx->block;
        HC_DISPATCH(mx_round_rows)(cols, x + r * COLUMNS, factor, mx);
        put(j, (row0 + r) * inner + col0, cols, x + r * COLUMNS);
        for (size_t at = 0; at < cols; at += mx->block) of_row[at / mx->block] = scale[at];
    }
    const size_t block = first / mx->block, pair = block / SCALES_IN_PAIR;
    uint8_t *of_column =
        q->columns + ((o * j->pairs + pair) * inner + col0) * SCALES_IN_PAIR + block % SCALES_IN_PAIR;
    for (size_t i = 0; i < cols; i++) of_column[i * SCALES_IN_PAIR] = scale[i];
}

/* Piece u: squares of a row of them. */
static void run_squares(void *ctx, size_t begin, size_t end) {
    struct square_job *q = ctx;
    const size_t block = q->j.r.mx->block, down = hc_ceil_div(q->j.r.n, block);
    float *x = hc_scratch(HC_SCRATCH_C, block * COLUMNS * sizeof *x);
    if (x == NULL) {
        atomic_store(&q->j.failed, true);
        return;
    }
    for (size_t u = begin; u < end; u++) {
        const size_t col0 = u % q->j.tiles * COLUMNS, row = u / q->j.tiles;
        run_square(q, x, row / down, row % down * block, col0, hc_min_size(COLUMNS, q->j.r.inner - col0));
    }
}

/* With everything contiguous. What fills pairs up is written before. */
static aclnnStatus square(const char *name, const struct hc_mx_run *r, const aclTensor *rows,
                          const aclTensor *columns) {
    struct square_job q = {
        .j = {.r = *r,
              .load = hc_load_for(r->dtype, HC_F32),
              .store = hc_is_fp4(r->mx->format.dtype) ? NULL : hc_store_for(r->mx->format.dtype, HC_F32),
              .pairs = hc_ceil_div(hc_ceil_div(r->n, r->mx->block), SCALES_IN_PAIR),
              .item = hc_dtype_size(r->dtype),
              .tiles = hc_ceil_div(r->inner, COLUMNS)},
        .rows = (uint8_t *)hc_data(rows),
        .columns = (uint8_t *)hc_data(columns)};
    q.row_pairs = hc_ceil_div(hc_ceil_div(r->inner, r->mx->block), SCALES_IN_PAIR);
    memset(q.rows, 0, hc_numel(rows));
    memset(q.columns, 0, hc_numel(columns));
    hc_parallel_for(r->outer * hc_ceil_div(r->n, r->mx->block) * q.j.tiles,
                    hc_max_size(GRAIN / (r->mx->block * hc_min_size(r->inner, COLUMNS)), 1), run_squares, &q);
    HC_CHECK(!atomic_load(&q.j.failed), ACLNN_ERR_INNER, "%s: out of host memory for squares of %zu", name,
             r->mx->block);
    return 0;
}

/* The three results by way of copies where they are not contiguous. */
aclnnStatus hc_mx_square(const char *name, const struct hc_mx *mx, const aclTensor *x, const aclTensor *y,
                         const aclTensor *row_scale, const aclTensor *column_scale) {
    const aclTensor bytes = hc_fp4_bytes(y), *const outs[] = {&bytes, row_scale, column_scale};
    const int32_t last = x->rank - 1;
    aclTensor to[3];
    void *owned[3] = {NULL};
    aclnnStatus status = 0;
    if (x->numel == 0) return 0;
    for (int i = 0; i < 3 && status == 0; i++)
        status = hc_contiguous_out(outs[i], outs[i]->dtype, &to[i], &owned[i]);
    if (status == 0) {
        const struct hc_mx_run r = {.mx = mx,
                                    .outer = hc_numel(x) / (size_t)(x->shape[last] * x->shape[last - 1]),
                                    .n = (size_t)x->shape[last - 1],
                                    .inner = (size_t)x->shape[last],
                                    .x = hc_data(x),
                                    .dtype = x->dtype,
                                    .y = (uint8_t *)hc_data(&to[0])};
        status = square(name, &r, &to[1], &to[2]);
    }
    for (int i = 0; i < 3; i++) {
        if (status == 0 && owned[i] != NULL) status = hc_copy(outs[i], &to[i]);
        hc_block_give(owned[i]);
    }
    return status;
}
#endif
