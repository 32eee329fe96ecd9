// SPDX-License-Identifier: Apache-2.0
/* Vector norms over dimensions: (sum |x|^p)^(1/p), and its limits: p = 0 counts, p = +-inf is the largest or
 * smallest magnitude. Powers of floats are summed in double, so neither large nor tiny values are lost. */
#include "reduce.h"

/* X(kind, name): the powers that have a kernel of their own, and all the others. */
#define FOR_KINDS(X) X(ZERO, zero) X(ONE, one) X(TWO, two) X(INF, inf) X(NEG_INF, neg_inf) X(ANY, any)
#define DECLARE(kind, name)                                                                                  \
    HC_REDUCE_DECLARE(norm_##name##_F32)                                                                     \
    HC_REDUCE_DECLARE(norm_##name##_F64) HC_REDUCE_DECLARE(norm_##name##_C128)
FOR_KINDS(DECLARE)
HC_KERNEL(norm_two_BF16_row, (size_t n, void *state, const void *x, size_t index, const void *args))
HC_KERNEL(norm_two_BF16_col,
          (size_t rows, size_t cols, void *state, const void *x, size_t pitch, const void *args))

/* Of the general kernel; the others ignore it. */
struct args {
    double p;
};

#ifdef HC_ISA
#include "hypot.h"
#include "simd_rows.h"

#define INFINITE __builtin_inf()
/* The state of every kind is one double; fold and join differ. Magnitudes of complex numbers by hypot, so
 * that they do not overflow where the result does not. */
#define POWER(args) (((const struct args *)(args))->p)
#define ADD(a, b) ((a) + (b))
#define MAX(s, x) (((x) > (s)) | ((x) != (x)) ? (x) : (s))
#define MIN(s, x) (((x) < (s)) | ((x) != (x)) ? (x) : (s))
#define ABS_F32(x) fabs((double)(x))
#define ABS_F64(x) fabs(x)
#define ABS_C128(x) hypot((x).re, (x).im)
#define SQUARE_F32(x) ((double)(x) * (double)(x))
#define SQUARE_F64(x) ((x) * (x))
#define SQUARE_C128(x) ((x).re * (x).re + (x).im * (x).im)
/* The float folds widen before they square or take magnitudes, so that neither 1e-30 nor 1e30 leaves the
 * range. */
#define FOLDS(block)                                                                                         \
    static inline double zero_##block(double s, hc_block_##block x) {                                        \
        return s + (ABS_##block(x) != 0 ? 1 : 0);                                                            \
    }                                                                                                        \
    static inline double one_##block(double s, hc_block_##block x) { return s + ABS_##block(x); }            \
    static inline double two_##block(double s, hc_block_##block x) { return s + SQUARE_##block(x); }         \
    static inline double inf_##block(double s, hc_block_##block x) {                                         \
        const double a = ABS_##block(x);                                                                     \
        return MAX(s, a);                                                                                    \
    }                                                                                                        \
    static inline double neg_inf_##block(double s, hc_block_##block x) {                                     \
        const double a = ABS_##block(x);                                                                     \
        return MIN(s, a);                                                                                    \
    }                                                                                                        \
    static inline double any_##block(double s, hc_block_##block x, const void *args) {                       \
        return s + pow(ABS_##block(x), POWER(args));                                                         \
    }
FOLDS(F32)
FOLDS(F64)
FOLDS(C128)
#define ZERO_F32(s, x, args) zero_F32(s, x)
#define ZERO_F64(s, x, args) zero_F64(s, x)
#define ZERO_C128(s, x, args) zero_C128(s, x)
#define ONE_F32(s, x, args) one_F32(s, x)
#define ONE_F64(s, x, args) one_F64(s, x)
#define ONE_C128(s, x, args) one_C128(s, x)
#define TWO_F32(s, x, args) two_F32(s, x)
#define TWO_F64(s, x, args) two_F64(s, x)
#define TWO_C128(s, x, args) two_C128(s, x)
#define INF_F32(s, x, args) inf_F32(s, x)
#define INF_F64(s, x, args) inf_F64(s, x)
#define INF_C128(s, x, args) inf_C128(s, x)
#define NEG_INF_F32(s, x, args) neg_inf_F32(s, x)
#define NEG_INF_F64(s, x, args) neg_inf_F64(s, x)
#define NEG_INF_C128(s, x, args) neg_inf_C128(s, x)

#define PLAIN(s, count, args) (s)
#define ROOT(s, count, args) sqrt(s)
#define POWER_ROOT(s, count, args) pow(s, 1 / POWER(args))
#define FINISH(name, kind, finish)                                                                           \
    HC_REDUCE_FINISH(norm_##name##_F32, double, double, finish)                                              \
    HC_REDUCE_FINISH(norm_##name##_F64, double, double, finish)                                              \
    HC_REDUCE_FINISH(norm_##name##_C128, double, double, finish)
/* Lanes: 32 doubles for real input, 8 for complex, whose fold is too long to interleave more. PLAIN has no
 * root: the sum, count or extreme is the norm itself. */
#define DEFINE(name, kind, identity, join, finish)                                                           \
    HC_REDUCE_BODY(norm_##name##_F32, float, double, 32, identity, kind##_F32, join)                         \
    HC_REDUCE_BODY(norm_##name##_F64, double, double, 32, identity, kind##_F64, join)                        \
    HC_REDUCE_BODY(norm_##name##_C128, hc_c128, double, 8, identity, kind##_C128, join)                      \
    FINISH(name, kind, finish)
DEFINE(zero, ZERO, 0, ADD, PLAIN)
DEFINE(one, ONE, 0, ADD, PLAIN)
DEFINE(two, TWO, 0, ADD, ROOT)
DEFINE(inf, INF, 0, MAX, PLAIN)
DEFINE(neg_inf, NEG_INF, INFINITE, MIN, PLAIN)
DEFINE(any, any, 0, ADD, POWER_ROOT)

/* The 2-norm of bfloat16, of which a step asks for all gradients: squares are added in floats within a block
 * of 1024, and in double between blocks. Where a block's sum says that squares may have left the range of
 * floats, or lost digits below it, the block is added in double. */
static inline double squares_of_block(const hc_bf16 *x, size_t n) {
    vf sum[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};
    size_t i = 0;
    for (; i + 4 * HC_VL <= n; i += 4 * HC_VL) {
        vf a, b, c, d;
        vf_load_bf16_apart(x + i, &a, &b);
        vf_load_bf16_apart(x + i + 2 * HC_VL, &c, &d);
        sum[0] = vf_fma(a, a, sum[0]);
        sum[1] = vf_fma(b, b, sum[1]);
        sum[2] = vf_fma(c, c, sum[2]);
        sum[3] = vf_fma(d, d, sum[3]);
    }
    for (; i + HC_VL <= n; i += HC_VL) {
        const vf a = vf_load_bf16(x + i);
        sum[0] = vf_fma(a, a, sum[0]);
    }
    if (i < n) {
        const vf a = vf_load_bf16_part(x + i, n - i);
        sum[1] = vf_fma(a, a, sum[1]);
    }
    return vf_sum4(sum);
}
static double squares_in_double(const hc_bf16 *x, size_t n) {
    float widened[HC_ROW_BLOCK];
    double sum = 0;
    for (size_t i = 0; i < n; i++) widened[i] = hc_bf16_to_f32(x[i]);
    HC_FN(norm_two_F32_row)(n, &sum, widened, 0, NULL);
    return sum;
}
void HC_FN(norm_two_BF16_row)(size_t n, void *state, const void *x, size_t index, const void *args) {
    const hc_bf16 *v = x;
    double sum = 0;
    (void)index;
    (void)args;
    for (size_t i = 0; i < n; i += HC_ROW_BLOCK) {
        const size_t m = hc_min_size(HC_ROW_BLOCK, n - i);
        const double block = squares_of_block(v + i, m);
        sum += block > 0x1p-90 && block < 0x1p126 ? block : squares_in_double(v + i, m);
    }
    *(double *)state += sum;
}
void HC_FN(norm_two_BF16_col)(size_t rows, size_t cols, void *state, const void *x, size_t pitch,
                              const void *args) {
    const hc_bf16 *v = x;
    double *s = state;
    (void)args;
    for (size_t r = 0; r < rows; r++, v += pitch) {
        _Pragma("GCC ivdep") for (size_t c = 0; c < cols; c++) s[c] = two_F32(s[c], hc_bf16_to_f32(v[c]));
    }
}

#else
#include "hypot.h"

#define IDENTITY(kind) (kind == KIND_NEG_INF ? __builtin_inf() : 0)
enum kind {
#define X(kind, name) KIND_##kind,
    FOR_KINDS(X)
#undef X
        KIND_COUNT
};
/* Kernels over bfloat16 where it lies. */
#define BF16_TWO .bf16_row = norm_two_BF16_row_table, .bf16_col = norm_two_BF16_col_table
#define BF16_ZERO .bf16_row = NULL
#define BF16_ONE .bf16_row = NULL
#define BF16_INF .bf16_row = NULL
#define BF16_NEG_INF .bf16_row = NULL
#define BF16_ANY .bf16_row = NULL
#define KERNELS(kind, name)                                                                                  \
    static const struct hc_reduce_kernels kind##_F32 = {                                                     \
        HC_REDUCE_FIELDS(norm_##name##_F32, norm_##name##_F32, double, HC_F64, IDENTITY(KIND_##kind)),       \
        BF16_##kind};                                                                                        \
    static const struct hc_reduce_kernels kind##_F64 =                                                       \
        HC_REDUCE_KERNELS(norm_##name##_F64, double, HC_F64, IDENTITY(KIND_##kind));                         \
    static const struct hc_reduce_kernels kind##_C128 =                                                      \
        HC_REDUCE_KERNELS(norm_##name##_C128, double, HC_F64, IDENTITY(KIND_##kind));
FOR_KINDS(KERNELS)
/* The largest magnitude of no values has no answer; sums of powers do. */
#define NEEDS(kind) (kind == KIND_INF || kind == KIND_NEG_INF)
#define ROW_NORM(kind, name)                                                                                 \
    [KIND_##kind] = {"aclnnNorm",                                                                            \
                     NEEDS(KIND_##kind),                                                                     \
                     {[HC_F32] = &kind##_F32, [HC_F64] = &kind##_F64, [HC_C128] = &kind##_C128}},
#define ROW_LINALG(kind, name)                                                                               \
    [KIND_##kind] = {"aclnnLinalgVectorNorm",                                                                \
                     NEEDS(KIND_##kind),                                                                     \
                     {[HC_F32] = &kind##_F32, [HC_F64] = &kind##_F64, [HC_C128] = &kind##_C128}},
static const struct hc_reduce NORM[KIND_COUNT] = {FOR_KINDS(ROW_NORM)},
                              LINALG[KIND_COUNT] = {FOR_KINDS(ROW_LINALG)};

/* pow costs tens of times what a multiplication does, hence kernels of their own for the usual powers. */
static enum kind kind_of(double p) {
    if (p == 0) return KIND_ZERO;
    if (p == 1) return KIND_ONE;
    if (p == 2) return KIND_TWO;
    if (isinf(p)) return p > 0 ? KIND_INF : KIND_NEG_INF;
    return KIND_ANY;
}

/* A missing p is 2. */
static aclnnStatus plan(const struct hc_reduce *ops, const aclTensor *self, const aclScalar *p,
                        struct hc_dims dims, const aclTensor *out, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    const char *name = ops[0].name;
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "out" : "self");
    HC_CHECK(hc_dtype_is_float(self->dtype) || hc_dtype_is_complex(self->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: self is %s, want a floating point or complex type", name, HC_SHOW(self));
    HC_CHECK(hc_dtype_is_float(out->dtype) || hc_dtype_is_complex(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, want a floating point type", name, HC_SHOW(out));
    const struct args args = {p != NULL ? hc_scalar_f64(p) : 2};
    return hc_reduce_plan(&ops[kind_of(args.p)], hc_compute_block(self->dtype), self, dims, out, NULL, &args,
                          sizeof args, workspaceSize, executor);
}

/* torch.norm(self, p, dim, keepdim). */
HC_API aclnnStatus aclnnNormGetWorkspaceSize(const aclTensor *self, const aclScalar *pScalar,
                                             const aclIntArray *dim, bool keepdim, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(NORM, self, pScalar, hc_dims(dim, keepdim), out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNorm)

/* dtype is what out has: everything is computed in double anyway. */
HC_API aclnnStatus aclnnLinalgVectorNormGetWorkspaceSize(const aclTensor *self, const aclScalar *ord,
                                                         const aclIntArray *dims, bool keepDims,
                                                         const aclDataType dtype, aclTensor *out,
                                                         uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(hc_dtype_size(dtype) > 0, ACLNN_ERR_PARAM_INVALID, "aclnnLinalgVectorNorm: dtype is %s",
             hc_dtype_name(dtype));
    return plan(LINALG, self, ord, hc_dims(dims, keepDims), out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnLinalgVectorNorm)
#endif
