// SPDX-License-Identifier: Apache-2.0
/* Scalars keep the class they were made with; the value is widened once, here. */
#include <stdlib.h>
#include <string.h>

#include "hc_error.h"
#include "hc_tensor.h"
#include "simd_narrow.h"

/* uint64 shares the branch of int64: its bits are kept, and what is above 2^63 reads as negative. */
static int64_t load_int(const void *value, aclDataType dtype) {
    switch (dtype) {
    case ACL_BOOL: return *(const bool *)value;
    case ACL_INT8: return *(const int8_t *)value;
    case ACL_UINT8: return *(const uint8_t *)value;
    case ACL_INT16: return *(const int16_t *)value;
    case ACL_UINT16: return *(const uint16_t *)value;
    case ACL_INT32: return *(const int32_t *)value;
    case ACL_UINT32: return *(const uint32_t *)value;
    default: return *(const int64_t *)value;
    }
}

/* Exact for all four types. */
static double load_float(const void *value, aclDataType dtype) {
    switch (dtype) {
    case ACL_FLOAT: return (double)*(const float *)value;
    case ACL_FLOAT16: return (double)hc_f16_to_f32(*(const hc_f16 *)value);
    case ACL_BF16: return (double)hc_bf16_to_f32(*(const hc_bf16 *)value);
    case ACL_FLOAT8_E4M3FN: return (double)hc_f8e4m3_to_f32(*(const hc_f8e4m3 *)value);
    case ACL_FLOAT8_E5M2: return (double)hc_f8e5m2_to_f32(*(const hc_f8e5m2 *)value);
    case ACL_FLOAT8_E8M0: return (double)hc_f8e8m0_to_f32(*(const hc_f8e8m0 *)value);
    case ACL_HIFLOAT8: return (double)hc_hif8_to_f32(*(const hc_hif8 *)value);
    default: return *(const double *)value;
    }
}

/* `value` is only read, though the interface takes it as non-const. */
aclScalar *aclCreateScalar(void *value, aclDataType dataType) {
    const enum hc_dtype_class class_ = hc_dtype_class(dataType);
    if (value == NULL || class_ == HC_CLASS_NONE) {
        hc_fail(ACLNN_ERR_PARAM_INVALID, "aclCreateScalar: value %p of %s", value, hc_dtype_name(dataType));
        hc_error_keep_creation();
        return NULL;
    }
    aclScalar *s = calloc(1, sizeof *s);
    if (s == NULL) {
        hc_fail(ACLNN_ERR_INNER, "aclCreateScalar: out of host memory");
        hc_error_keep_creation();
        return NULL;
    }
    s->dtype = dataType;
    if (class_ <= HC_CLASS_INT) {
        s->value.i = load_int(value, dataType);
    } else if (class_ == HC_CLASS_FLOAT || class_ == HC_CLASS_NARROW) {
        s->value.f = load_float(value, dataType);
    } else if (dataType == ACL_COMPLEX64) {
        const hc_c64 *c = value;
        s->value.c = (hc_c128){(double)c->re, (double)c->im};
    } else {
        s->value.c = *(const hc_c128 *)value;
    }
    return s;
}

/* NULL is legal, as for all destroyers here. */
aclnnStatus aclDestroyScalar(const aclScalar *scalar) {
    free((void *)scalar);
    return ACLNN_SUCCESS;
}

/* Of a complex scalar the real part: operators of real tensors have no use for the other. */
double hc_scalar_f64(const aclScalar *s) {
    if (hc_dtype_is_integral(s->dtype)) return (double)s->value.i;
    return hc_dtype_is_complex(s->dtype) ? s->value.c.re : s->value.f;
}

/* Floats are truncated. */
int64_t hc_scalar_i64(const aclScalar *s) {
    if (hc_dtype_is_integral(s->dtype)) return s->value.i;
    /* Out of range, and NaN, as in the kernels' conversions: defined, unlike the cast. */
    const double x = hc_scalar_f64(s);
    return x >= -0x1p63 && x < 0x1p63 ? (int64_t)x : INT64_MIN;
}

/* A real scalar gets no imaginary part, not even a negative zero. */
hc_c128 hc_scalar_c128(const aclScalar *s) {
    if (hc_dtype_is_complex(s->dtype)) return s->value.c;
    return (hc_c128){hc_scalar_f64(s), 0};
}
