// SPDX-License-Identifier: Apache-2.0
/* Every dtype into every block type and back, once per instruction set.
 *
 * Kernels are written for five block types only; a block stays in the first-level cache between its load, the
 * kernel and its store, so the conversion costs no memory traffic. Each function handles the contiguous, the
 * repeated (stride 0) and the strided run in its own loop: the first two vectorise. */
#include "convert.h"

#define DECLARE_LOAD(dtype, block)                                                                           \
    HC_KERNEL(hc_load_##dtype##_##block, (size_t n, void *dst, const void *src, int64_t stride))
#define DECLARE_STORE(dtype, block)                                                                          \
    HC_KERNEL(hc_store_##dtype##_##block, (size_t n, void *dst, int64_t stride, const void *src))
#define DECLARE(dtype, type, class_, name)                                                                   \
    DECLARE_LOAD(dtype, F32)                                                                                 \
    DECLARE_LOAD(dtype, F64)                                                                                 \
    DECLARE_LOAD(dtype, I64)                                                                                 \
    DECLARE_LOAD(dtype, C128)                                                                                \
    DECLARE_LOAD(dtype, B8)                                                                                  \
    DECLARE_STORE(dtype, F32)                                                                                \
    DECLARE_STORE(dtype, F64) DECLARE_STORE(dtype, I64) DECLARE_STORE(dtype, C128) DECLARE_STORE(dtype, B8)
HC_FOR_DTYPES(DECLARE)

#if defined(HC_ISA)
#include "simd.h"
#include "simd_narrow.h"

/* Out of range, and NaN, give the lowest value: what the hardware conversion gives, but defined. */
static inline int64_t to_i64(double x) { return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN; }
static inline int64_t to_i64f(float x) { return x >= -0x1p63f && x < 0x1p63f ? (int64_t)x : INT64_MIN; }

/* Each dtype as one of the four classes of block: as_<block>_<dtype>(x). */
#define AS_REAL(dtype, type)                                                                                 \
    static inline float as_F32_##dtype(type x) { return (float)x; }                                          \
    static inline double as_F64_##dtype(type x) { return (double)x; }                                        \
    static inline hc_c128 as_C128_##dtype(type x) { return (hc_c128){(double)x, 0}; }                        \
    static inline uint8_t as_B8_##dtype(type x) { return x != 0; }
#define AS_INT(dtype, type)                                                                                  \
    AS_REAL(dtype, type)                                                                                     \
    static inline int64_t as_I64_##dtype(type x) { return (int64_t)x; }
AS_INT(ACL_INT8, int8_t)
AS_INT(ACL_INT16, int16_t)
AS_INT(ACL_INT32, int32_t)
AS_INT(ACL_INT64, int64_t)
AS_INT(ACL_UINT8, uint8_t)
AS_INT(ACL_UINT16, uint16_t)
AS_INT(ACL_UINT32, uint32_t)
AS_INT(ACL_UINT64, uint64_t)
/* A bool of memory may hold any non-zero byte (a view of uint8). */
#define AS_BOOL(block, type)                                                                                 \
    static inline type as_##block##_ACL_BOOL(uint8_t x) { return (type)(x != 0); }
AS_BOOL(F32, float)
AS_BOOL(F64, double)
AS_BOOL(I64, int64_t)
AS_BOOL(B8, uint8_t)
static inline hc_c128 as_C128_ACL_BOOL(uint8_t x) { return (hc_c128){x != 0, 0}; }
AS_REAL(ACL_FLOAT, float)
AS_REAL(ACL_DOUBLE, double)
static inline int64_t as_I64_ACL_FLOAT(float x) { return to_i64f(x); }
static inline int64_t as_I64_ACL_DOUBLE(double x) { return to_i64(x); }
#define AS_HALF(dtype, type, widen)                                                                          \
    static inline float as_F32_##dtype(type x) { return widen(x); }                                          \
    static inline double as_F64_##dtype(type x) { return (double)widen(x); }                                 \
    static inline int64_t as_I64_##dtype(type x) { return to_i64f(widen(x)); }                               \
    static inline hc_c128 as_C128_##dtype(type x) { return (hc_c128){(double)widen(x), 0}; }                 \
    static inline uint8_t as_B8_##dtype(type x) { return widen(x) != 0; }
AS_HALF(ACL_FLOAT16, hc_f16, hc_f16_to_f32)
AS_HALF(ACL_BF16, hc_bf16, hc_bf16_to_f32)
AS_HALF(ACL_FLOAT8_E4M3FN, hc_f8e4m3, hc_f8e4m3_to_f32)
AS_HALF(ACL_FLOAT8_E5M2, hc_f8e5m2, hc_f8e5m2_to_f32)
AS_HALF(ACL_FLOAT8_E8M0, hc_f8e8m0, hc_f8e8m0_to_f32)
AS_HALF(ACL_HIFLOAT8, hc_hif8, hc_hif8_to_f32)
#define AS_COMPLEX(dtype, type)                                                                              \
    static inline float as_F32_##dtype(type x) { return (float)x.re; }                                       \
    static inline double as_F64_##dtype(type x) { return (double)x.re; }                                     \
    static inline int64_t as_I64_##dtype(type x) { return to_i64((double)x.re); }                            \
    static inline hc_c128 as_C128_##dtype(type x) { return (hc_c128){(double)x.re, (double)x.im}; }          \
    static inline uint8_t as_B8_##dtype(type x) { return x.re != 0 || x.im != 0; }
AS_COMPLEX(ACL_COMPLEX64, hc_c64)
AS_COMPLEX(ACL_COMPLEX128, hc_c128)

/* Back: to_<dtype>_<block>(x). */
#define TO_INT(dtype, type)                                                                                  \
    static inline type to_##dtype##_F32(float x) { return (type)to_i64f(x); }                                \
    static inline type to_##dtype##_F64(double x) { return (type)to_i64(x); }                                \
    static inline type to_##dtype##_I64(int64_t x) { return (type)x; }                                       \
    static inline type to_##dtype##_C128(hc_c128 x) { return (type)to_i64(x.re); }                           \
    static inline type to_##dtype##_B8(uint8_t x) { return (type)x; }
TO_INT(ACL_INT8, int8_t)
TO_INT(ACL_INT16, int16_t)
TO_INT(ACL_INT32, int32_t)
TO_INT(ACL_INT64, int64_t)
TO_INT(ACL_UINT8, uint8_t)
TO_INT(ACL_UINT16, uint16_t)
TO_INT(ACL_UINT32, uint32_t)
TO_INT(ACL_UINT64, uint64_t)
static inline uint8_t to_ACL_BOOL_F32(float x) { return x != 0; }
static inline uint8_t to_ACL_BOOL_F64(double x) { return x != 0; }
static inline uint8_t to_ACL_BOOL_I64(int64_t x) { return x != 0; }
static inline uint8_t to_ACL_BOOL_C128(hc_c128 x) { return x.re != 0 || x.im != 0; }
static inline uint8_t to_ACL_BOOL_B8(uint8_t x) { return x; }
#define TO_FLOAT(dtype, type, narrow)                                                                        \
    static inline type to_##dtype##_F32(float x) { return narrow(x); }                                       \
    static inline type to_##dtype##_F64(double x) { return narrow((float)x); }                               \
    static inline type to_##dtype##_I64(int64_t x) { return narrow((float)x); }                              \
    static inline type to_##dtype##_C128(hc_c128 x) { return narrow((float)x.re); }                          \
    static inline type to_##dtype##_B8(uint8_t x) { return narrow((float)x); }
#define SAME(x) (x)
TO_FLOAT(ACL_FLOAT, float, SAME)
TO_FLOAT(ACL_FLOAT16, hc_f16, hc_f32_to_f16)
TO_FLOAT(ACL_BF16, hc_bf16, hc_f32_to_bf16)
TO_FLOAT(ACL_FLOAT8_E4M3FN, hc_f8e4m3, hc_f32_to_f8e4m3)
TO_FLOAT(ACL_FLOAT8_E5M2, hc_f8e5m2, hc_f32_to_f8e5m2)
TO_FLOAT(ACL_FLOAT8_E8M0, hc_f8e8m0, hc_f32_to_f8e8m0)
TO_FLOAT(ACL_HIFLOAT8, hc_hif8, hc_f32_to_hif8)
static inline double to_ACL_DOUBLE_F32(float x) { return (double)x; }
static inline double to_ACL_DOUBLE_F64(double x) { return x; }
static inline double to_ACL_DOUBLE_I64(int64_t x) { return (double)x; }
static inline double to_ACL_DOUBLE_C128(hc_c128 x) { return x.re; }
static inline double to_ACL_DOUBLE_B8(uint8_t x) { return (double)x; }
#define TO_COMPLEX(dtype, type, real)                                                                        \
    static inline type to_##dtype##_F32(float x) { return (type){(real)x, 0}; }                              \
    static inline type to_##dtype##_F64(double x) { return (type){(real)x, 0}; }                             \
    static inline type to_##dtype##_I64(int64_t x) { return (type){(real)x, 0}; }                            \
    static inline type to_##dtype##_C128(hc_c128 x) { return (type){(real)x.re, (real)x.im}; }               \
    static inline type to_##dtype##_B8(uint8_t x) { return (type){(real)x, 0}; }
TO_COMPLEX(ACL_COMPLEX64, hc_c64, float)
TO_COMPLEX(ACL_COMPLEX128, hc_c128, double)

/* Memory type of a dtype: bool is accessed as a byte, see AS_BOOL. */
#define STORAGE(dtype, type) __typeof__(to_##dtype##_F32(0))

#define DEFINE_LOAD(dtype, type, block)                                                                      \
    void HC_FN(hc_load_##dtype##_##block)(size_t n, void *dst, const void *src, int64_t stride) {            \
        hc_block_##block *y = dst;                                                                           \
        const STORAGE(dtype, type) *x = src;                                                                 \
        if (stride == 1) {                                                                                   \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = as_##block##_##dtype(x[i]);           \
        } else if (stride == 0) {                                                                            \
            const hc_block_##block value = as_##block##_##dtype(x[0]);                                       \
            for (size_t i = 0; i < n; i++) y[i] = value;                                                     \
        } else {                                                                                             \
            for (size_t i = 0; i < n; i++) y[i] = as_##block##_##dtype(x[(int64_t)i * stride]);              \
        }                                                                                                    \
    }
/* What mixed precision does all day, in vectors of two registers: GCC's loop takes twice as long. */
static inline void store_run_bf16(size_t n, hc_bf16 *y, const float *x) {
    size_t i = 0;
    for (; i + 2 * HC_VL <= n; i += 2 * HC_VL)
        vf_store_bf16_pair(y + i, vf_load(x + i), vf_load(x + i + HC_VL));
    for (; i + HC_VL <= n; i += HC_VL) vf_store_bf16(y + i, vf_load(x + i));
    if (i < n) vf_store_bf16_part(y + i, vf_load_part(x + i, n - i), n - i);
}
#define IS_BF16_OF_F32(dtype, type, block)                                                                   \
    (__builtin_types_compatible_p(STORAGE(dtype, type), hc_bf16) &&                                          \
     __builtin_types_compatible_p(hc_block_##block, float))
#define DEFINE_STORE(dtype, type, block)                                                                     \
    void HC_FN(hc_store_##dtype##_##block)(size_t n, void *dst, int64_t stride, const void *src) {           \
        STORAGE(dtype, type) *y = dst;                                                                       \
        const hc_block_##block *x = src;                                                                     \
        if (stride == 1 && IS_BF16_OF_F32(dtype, type, block)) {                                             \
            store_run_bf16(n, dst, src);                                                                     \
        } else if (stride == 1) {                                                                            \
            _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = to_##dtype##_##block(x[i]);           \
        } else {                                                                                             \
            for (size_t i = 0; i < n; i++) y[(int64_t)i * stride] = to_##dtype##_##block(x[i]);              \
        }                                                                                                    \
    }
#define DEFINE(dtype, type, class_, name)                                                                    \
    DEFINE_LOAD(dtype, type, F32)                                                                            \
    DEFINE_LOAD(dtype, type, F64)                                                                            \
    DEFINE_LOAD(dtype, type, I64)                                                                            \
    DEFINE_LOAD(dtype, type, C128)                                                                           \
    DEFINE_LOAD(dtype, type, B8)                                                                             \
    DEFINE_STORE(dtype, type, F32)                                                                           \
    DEFINE_STORE(dtype, type, F64)                                                                           \
    DEFINE_STORE(dtype, type, I64) DEFINE_STORE(dtype, type, C128) DEFINE_STORE(dtype, type, B8)
HC_FOR_DTYPES(DEFINE)

#else

enum { ROWS = 64 };
#define LOAD_ROW(dtype, type, class_, name)                                                                  \
    [dtype] = {[HC_F32] = hc_load_##dtype##_F32_table,                                                       \
               [HC_F64] = hc_load_##dtype##_F64_table,                                                       \
               [HC_I64] = hc_load_##dtype##_I64_table,                                                       \
               [HC_C128] = hc_load_##dtype##_C128_table,                                                     \
               [HC_B8] = hc_load_##dtype##_B8_table},
#define STORE_ROW(dtype, type, class_, name)                                                                 \
    [dtype] = {[HC_F32] = hc_store_##dtype##_F32_table,                                                      \
               [HC_F64] = hc_store_##dtype##_F64_table,                                                      \
               [HC_I64] = hc_store_##dtype##_I64_table,                                                      \
               [HC_C128] = hc_store_##dtype##_C128_table,                                                    \
               [HC_B8] = hc_store_##dtype##_B8_table},
static hc_load_fn *const *const LOADS[ROWS][HC_BLOCK_COUNT] = {HC_FOR_DTYPES(LOAD_ROW)};
static hc_store_fn *const *const STORES[ROWS][HC_BLOCK_COUNT] = {HC_FOR_DTYPES(STORE_ROW)};

hc_load_fn *hc_load_for(aclDataType dtype, enum hc_block block) { return LOADS[dtype][block][hc_isa()]; }
hc_store_fn *hc_store_for(aclDataType dtype, enum hc_block block) { return STORES[dtype][block][hc_isa()]; }

/* -1: the dtype is no block type, so its values must be converted. */
int hc_block_of(aclDataType dtype) {
    switch (dtype) {
    case ACL_FLOAT: return HC_F32;
    case ACL_DOUBLE: return HC_F64;
    case ACL_INT64:
    case ACL_UINT64: return HC_I64;
    case ACL_COMPLEX128: return HC_C128;
    default: return -1;
    }
}

enum hc_block hc_compute_block(aclDataType dtype) {
    switch (hc_dtype_class(dtype)) {
    case HC_CLASS_COMPLEX: return HC_C128;
    case HC_CLASS_NARROW:
    case HC_CLASS_FLOAT: return dtype == ACL_DOUBLE ? HC_F64 : HC_F32;
    default: return HC_I64;
    }
}

size_t hc_block_size(enum hc_block block) {
    static const size_t SIZES[] = {
#define X(id, type) sizeof(type),
        HC_FOR_BLOCKS(X)
#undef X
    };
    return SIZES[block];
}
#endif
