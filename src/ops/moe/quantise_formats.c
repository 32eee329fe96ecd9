// SPDX-License-Identifier: Apache-2.0
/* See quantise_formats.h. One table says what a number of quantMode means. */
#include "quantise_formats.h"

#include <string.h>

#include "mx.h"
#include "quant.h"

enum kind { BLOCKS, GROUPS, CAST };
enum { OF_GROUP = 128 };

struct format {
    int64_t mode;
    enum kind kind;
    aclDataType dtype;
    enum hc_quant_kind target; /* of what is not MX */
    float low_bound;           /* max counts as this at least */
    bool by_value;             /* MX: scales by the value of max, not its exponent */
    bool power_of_two, pairs;  /* scales of groups; an even number of them */
    bool given, own;           /* of casts: a factor is given; each row has one of its own */
};

static const struct format FORMATS[] = {
    {.mode = 2, .kind = BLOCKS, .dtype = ACL_FLOAT8_E5M2, .by_value = true},
    {.mode = 3, .kind = BLOCKS, .dtype = ACL_FLOAT8_E4M3FN, .by_value = true},
    {.mode = 16, .kind = BLOCKS, .dtype = ACL_FLOAT8_E5M2, .by_value = true, .low_bound = 1e-4f},
    {.mode = 17, .kind = BLOCKS, .dtype = ACL_FLOAT8_E4M3FN, .by_value = true, .low_bound = 1e-4f},
    {.mode = 9, .kind = BLOCKS, .dtype = ACL_FLOAT4_E2M1},
    {.mode = 11, .kind = GROUPS, .dtype = ACL_FLOAT8_E5M2, .target = HC_QUANT_F8E5M2, .pairs = true},
    {.mode = 12, .kind = GROUPS, .dtype = ACL_FLOAT8_E4M3FN, .target = HC_QUANT_F8E4M3, .pairs = true},
    {.mode = 4, .kind = GROUPS, .dtype = ACL_FLOAT8_E5M2, .target = HC_QUANT_F8E5M2, .power_of_two = true},
    {.mode = 5, .kind = GROUPS, .dtype = ACL_FLOAT8_E4M3FN, .target = HC_QUANT_F8E4M3, .power_of_two = true},
    {.mode = 14,
     .kind = GROUPS,
     .dtype = ACL_FLOAT8_E5M2,
     .target = HC_QUANT_F8E5M2,
     .power_of_two = true,
     .low_bound = 1e-4f},
    {.mode = 15,
     .kind = GROUPS,
     .dtype = ACL_FLOAT8_E4M3FN,
     .target = HC_QUANT_F8E4M3,
     .power_of_two = true,
     .low_bound = 1e-4f},
    {.mode = 6, .kind = CAST, .dtype = ACL_HIFLOAT8, .target = HC_QUANT_HIF8},
    {.mode = 7, .kind = CAST, .dtype = ACL_HIFLOAT8, .target = HC_QUANT_HIF8, .given = true},
    {.mode = 8, .kind = CAST, .dtype = ACL_HIFLOAT8, .target = HC_QUANT_HIF8, .own = true},
};

static const struct format *format_of(int64_t mode) {
    for (size_t i = 0; i < HC_ARRAY_SIZE(FORMATS); i++)
        if (FORMATS[i].mode == mode) return &FORMATS[i];
    return NULL;
}

bool hc_moe_is_format(int64_t mode) { return format_of(mode) != NULL; }

aclDataType hc_moe_format_dtype(int64_t mode) { return format_of(mode)->dtype; }

bool hc_moe_format_tells(int64_t mode) {
    const struct format *f = format_of(mode);
    return f != NULL && (f->kind != CAST || f->own);
}

/* ---- phase one ---- */

/* Of MX pairs, as a dimension of their own or not. */
static int64_t scales_of_row(const struct format *f, int64_t hidden) {
    const size_t h = (size_t)hidden;
    switch (f->kind) {
    case BLOCKS: return (int64_t)(2 * hc_ceil_div(h, 64));
    case GROUPS: return (int64_t)(f->pairs ? 2 * hc_ceil_div(h, 2 * OF_GROUP) : hc_ceil_div(h, OF_GROUP));
    default: return 1;
    }
}

aclnnStatus hc_moe_check_format(const char *name, int64_t mode, const aclTensor *x, const aclTensor *scale,
                                const aclTensor *scales, int64_t rows) {
    const struct format *f = format_of(mode);
    HC_CHECK(hc_fits_f32(x->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float32, float16 or bfloat16 with quantMode %lld", name, HC_SHOW(x),
             (long long)mode);
    HC_CHECK(!hc_is_fp4(f->dtype) || x->shape[1] % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted an even number of columns with quantMode %lld", name, HC_SHOW(x),
             (long long)mode);
    HC_CHECK(f->given ? scale != NULL && scale->numel == 1 && hc_fits_f32(scale->dtype) : scale == NULL,
             ACLNN_ERR_PARAM_INVALID, "%s: scaleOptional is %s, wanted %s with quantMode %lld", name,
             scale != NULL ? HC_SHOW(scale) : "null", f->given ? "one number" : "none", (long long)mode);
    if (!hc_moe_format_tells(mode)) return 0;
    const aclDataType dtype = f->kind == BLOCKS ? ACL_FLOAT8_E8M0 : ACL_FLOAT;
    const int64_t each = scales_of_row(f, x->shape[1]);
    HC_CHECK(scales != NULL && scales->dtype == dtype && scales->numel == rows * each,
             ACLNN_ERR_PARAM_INVALID,
             "%s: expandedScaleOut is %s, wanted %lld %s for each of %lld rows with quantMode %lld", name,
             scales != NULL ? HC_SHOW(scales) : "null", (long long)each,
             f->kind == BLOCKS ? "float8_e8m0" : "float32", (long long)rows, (long long)mode);
    return 0;
}

/* ---- phase two ---- */

static aclnnStatus to_blocks(const char *name, const struct format *f, const aclTensor *x,
                             const aclTensor *out, const aclTensor *scales) {
    struct hc_mx mx;
    const int64_t pairs = scales_of_row(f, x->shape[1]) / 2;
    HC_TRY(hc_mx_check(name, "rint", f->dtype, 32, f->by_value ? 1 : 0, 0, &mx));
    mx.low_bound = f->low_bound;
    const aclTensor view =
        hc_tensor_view(ACL_FLOAT8_E8M0, (const int64_t[]){x->shape[0], pairs, 2}, 3, hc_data(scales));
    return hc_mx_quantise(name, &mx, x, 1, out, &view);
}

struct job {
    const struct format *f;
    size_t n, each;
    const float *factor; /* given */
    float *scales;
    char *out;
};

/* The least power of two that is not below x; what is less than the smallest normal number is 0. */
static float power_above(float x) {
    const uint32_t bits = hc_f32_bits(x), whole = (bits + 0x7fffffu) & 0xff800000u;
    return whole < 0x800000u ? 0 : hc_bits_f32(whole);
}

static float scale_of_group(const struct format *f, const struct hc_quant_target *target, size_t n,
                            float *x) {
    enum { SMALLEST_NORMAL = 0x800000 };
    struct hc_quant_range range;
    HC_DISPATCH(hc_quant_range)(n, x, NULL, &range);
    float scale = hc_quant_scale_of(target, range, true).scale;
    const float least = f->low_bound / target->high;
    if (scale < least) scale = least;
    if (f->power_of_two) return power_above(scale);
    return scale < hc_bits_f32(SMALLEST_NORMAL) ? 0 : scale;
}

static void group_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    const struct hc_quant_target target = hc_quant_target_of(j->f->target);
    float *scales = j->scales + row * j->each;
    (void)spare;
    for (size_t g = 0; g < j->each; g++) {
        const size_t at = g * OF_GROUP, n = at < j->n ? hc_min_size(j->n - at, OF_GROUP) : 0;
        struct hc_quant_scale by = {0};
        if (n > 0) by.scale = scale_of_group(j->f, &target, n, x + at);
        if (n > 0) hc_quant_row(&target, &by, n, x + at);
        scales[g] = by.scale;
    }
    hc_quant_store(&target, j->out, row, j->n, x);
}

static void cast_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    const struct hc_quant_target target = hc_quant_target_of(j->f->target);
    struct hc_quant_range range;
    (void)spare;
    if (j->f->given) {
        const struct hc_quant_affine by = {.scale = j->factor, .target = target};
        HC_DISPATCH(hc_quant_affine)(j->n, x, x, &by);
    } else if (j->f->own) {
        HC_DISPATCH(hc_quant_range)(j->n, x, NULL, &range);
        const struct hc_quant_scale by = hc_quant_scale_of(&target, range, true);
        j->scales[row] = by.scale;
        hc_quant_row(&target, &by, j->n, x);
    }
    hc_quant_store(&target, j->out, row, j->n, x);
}

static aclnnStatus to_bytes(const char *name, const struct format *f, const aclTensor *x,
                            const aclTensor *scale, const aclTensor *out, const aclTensor *scales) {
    float factor = 1;
    if (f->given) hc_load_for(scale->dtype, HC_F32)(1, &factor, hc_data(scale), 1);
    const struct job j = {.f = f,
                          .n = (size_t)x->shape[1],
                          .each = (size_t)scales_of_row(f, x->shape[1]),
                          .factor = &factor,
                          .scales = scales != NULL ? (float *)hc_data(scales) : NULL,
                          .out = hc_data(out)};
    return hc_quant_rows_run(&(const struct hc_quant_rows){name, x, j.n, (size_t)x->shape[0],
                                                           f->kind == GROUPS ? group_row : cast_row, &j});
}

aclnnStatus hc_moe_to_format(const char *name, int64_t mode, const aclTensor *x, const aclTensor *scale,
                             const aclTensor *out, const aclTensor *scales) {
    const struct format *f = format_of(mode);
    aclTensor told;
    void *owned = NULL;
    const bool tells = hc_moe_format_tells(mode);
    if (tells) HC_TRY(hc_contiguous_out(scales, scales->dtype, &told, &owned));
    aclnnStatus status = f->kind == BLOCKS ? to_blocks(name, f, x, out, &told)
                                           : to_bytes(name, f, x, scale, out, tells ? &told : NULL);
    if (status == 0 && owned != NULL) status = hc_copy(scales, &told);
    hc_block_give(owned);
    return status;
}
