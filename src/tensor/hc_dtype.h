// SPDX-License-Identifier: Apache-2.0
/* Element types: size, class, name, promotion. One table, many readers. */
#pragma once
#include "acl/acl.h"
#include "hc_util.h"

/* In the order of promotion. HC_CLASS_NARROW: floats of a byte, which are stored, moved and cast; operators
 * compute with them only where they are said to. */
enum hc_dtype_class {
    HC_CLASS_BOOL,
    HC_CLASS_INT,
    HC_CLASS_NARROW,
    HC_CLASS_FLOAT,
    HC_CLASS_COMPLEX,
    HC_CLASS_NONE
};

/* X(aclDataType, C storage type, class, name): every type kernels can load and store. */
#define HC_FOR_DTYPES(X)                                                                                     \
    X(ACL_FLOAT, float, HC_CLASS_FLOAT, "float32")                                                           \
    X(ACL_FLOAT16, hc_f16, HC_CLASS_FLOAT, "float16")                                                        \
    X(ACL_BF16, hc_bf16, HC_CLASS_FLOAT, "bfloat16")                                                         \
    X(ACL_DOUBLE, double, HC_CLASS_FLOAT, "float64")                                                         \
    X(ACL_INT8, int8_t, HC_CLASS_INT, "int8")                                                                \
    X(ACL_INT16, int16_t, HC_CLASS_INT, "int16")                                                             \
    X(ACL_INT32, int32_t, HC_CLASS_INT, "int32")                                                             \
    X(ACL_INT64, int64_t, HC_CLASS_INT, "int64")                                                             \
    X(ACL_UINT8, uint8_t, HC_CLASS_INT, "uint8")                                                             \
    X(ACL_UINT16, uint16_t, HC_CLASS_INT, "uint16")                                                          \
    X(ACL_UINT32, uint32_t, HC_CLASS_INT, "uint32")                                                          \
    X(ACL_UINT64, uint64_t, HC_CLASS_INT, "uint64")                                                          \
    X(ACL_BOOL, bool, HC_CLASS_BOOL, "bool")                                                                 \
    X(ACL_COMPLEX64, hc_c64, HC_CLASS_COMPLEX, "complex64")                                                  \
    X(ACL_COMPLEX128, hc_c128, HC_CLASS_COMPLEX, "complex128")                                               \
    X(ACL_FLOAT8_E4M3FN, hc_f8e4m3, HC_CLASS_NARROW, "float8_e4m3fn")                                        \
    X(ACL_FLOAT8_E5M2, hc_f8e5m2, HC_CLASS_NARROW, "float8_e5m2")                                            \
    X(ACL_FLOAT8_E8M0, hc_f8e8m0, HC_CLASS_NARROW, "float8_e8m0fnu")                                         \
    X(ACL_HIFLOAT8, hc_hif8, HC_CLASS_NARROW, "hifloat8")

/* Storage of the 16-bit floats; arithmetic on them is done in float (simd_half.h). */
typedef struct {
    uint16_t bits;
} hc_f16;
typedef struct {
    uint16_t bits;
} hc_bf16;
/* Those of a byte (simd_narrow.h). */
typedef struct {
    uint8_t bits;
} hc_f8e4m3;
typedef struct {
    uint8_t bits;
} hc_f8e5m2;
typedef struct {
    uint8_t bits;
} hc_f8e8m0;
typedef struct {
    uint8_t bits;
} hc_hif8;
typedef struct {
    float re, im;
} hc_c64;
typedef struct {
    double re, im;
} hc_c128;

/* Bytes of an element; 0 for a type that is not in the table. */
HC_SHARED size_t hc_dtype_size(aclDataType dtype);
/* "float32"; "dtype(40)" style text for others, from a per-thread buffer. */
HC_SHARED const char *hc_dtype_name(aclDataType dtype);
HC_SHARED enum hc_dtype_class hc_dtype_class(aclDataType dtype);
/* The type in which a and b are combined, by PyTorch's rules for two tensors of rank > 0. */
HC_SHARED aclDataType hc_dtype_promote(aclDataType a, aclDataType b);

static inline bool hc_dtype_is_float(aclDataType t) { return hc_dtype_class(t) == HC_CLASS_FLOAT; }
static inline bool hc_dtype_is_complex(aclDataType t) { return hc_dtype_class(t) == HC_CLASS_COMPLEX; }
static inline bool hc_dtype_is_narrow(aclDataType t) { return hc_dtype_class(t) == HC_CLASS_NARROW; }
/* Integers and bool. */
static inline bool hc_dtype_is_integral(aclDataType t) { return hc_dtype_class(t) <= HC_CLASS_INT; }
