// SPDX-License-Identifier: Apache-2.0
/* The table of element types, indexed by the interface's number, and PyTorch's promotion rules. */
#include "hc_dtype.h"

#include <stdio.h>

struct dtype_row {
    size_t size;
    enum hc_dtype_class class_;
    const char *name;
};

enum { ROWS = 64 };
static const struct dtype_row TABLE[ROWS] = {
#define X(id, type, class_value, text) [id] = {sizeof(type), class_value, text},
    HC_FOR_DTYPES(X)
#undef X
};

/* NULL for numbers outside the table and for its gaps (types without kernels, such as int4). */
static const struct dtype_row *find(aclDataType dtype) {
    const int i = (int)dtype;
    return i >= 0 && i < ROWS && TABLE[i].size > 0 ? &TABLE[i] : NULL;
}

size_t hc_dtype_size(aclDataType dtype) {
    const struct dtype_row *row = find(dtype);
    return row ? row->size : 0;
}

/* Never NULL; the text of an unknown number is good until the thread's next question. */
const char *hc_dtype_name(aclDataType dtype) {
    static _Thread_local char other[32];
    const struct dtype_row *row = find(dtype);
    if (row) return row->name;
    snprintf(other, sizeof other, "dtype(%d)", (int)dtype);
    return other;
}

enum hc_dtype_class hc_dtype_class(aclDataType dtype) {
    const struct dtype_row *row = find(dtype);
    return row ? row->class_ : HC_CLASS_NONE;
}

/* bool is not: it is a class of its own, below all integers. */
static bool is_unsigned(aclDataType t) {
    return t == ACL_UINT8 || t == ACL_UINT16 || t == ACL_UINT32 || t == ACL_UINT64;
}

/* A signed type that holds both: the wider one, or one wider than the unsigned one (int64 at most). */
static aclDataType promote_int(aclDataType a, aclDataType b) {
    const size_t size_a = hc_dtype_size(a), size_b = hc_dtype_size(b);
    if (is_unsigned(a) == is_unsigned(b)) return size_a >= size_b ? a : b;
    const aclDataType u = is_unsigned(a) ? a : b, s = is_unsigned(a) ? b : a;
    const size_t need = hc_dtype_size(u) * 2, have = hc_dtype_size(s);
    if (have >= need) return s;
    return need <= 2 ? ACL_INT16 : need <= 4 ? ACL_INT32 : ACL_INT64;
}

/* The parts of a complex number are as wide as the widest operand's. */
static aclDataType promote_complex(aclDataType a, aclDataType b) {
    const bool wide = a == ACL_COMPLEX128 || b == ACL_COMPLEX128 || a == ACL_DOUBLE || b == ACL_DOUBLE;
    return wide ? ACL_COMPLEX128 : ACL_COMPLEX64;
}

/* The order of the classes is that of promotion: bool, integers, floats, complex. A higher class wins
 * whatever the sizes: int64 with float16 is float16. */
aclDataType hc_dtype_promote(aclDataType a, aclDataType b) {
    if (a == b) return a;
    const enum hc_dtype_class class_a = hc_dtype_class(a), class_b = hc_dtype_class(b);
    if (class_a == HC_CLASS_COMPLEX || class_b == HC_CLASS_COMPLEX) return promote_complex(a, b);
    if (class_a != class_b) return class_a > class_b ? a : b;
    if (class_a == HC_CLASS_INT) return promote_int(a, b);
    if (class_a == HC_CLASS_NARROW) return ACL_FLOAT; /* two kinds of a byte: neither holds the other */
    if (hc_dtype_size(a) == 2 && hc_dtype_size(b) == 2) return ACL_FLOAT; /* float16 with bfloat16 */
    return hc_dtype_size(a) > hc_dtype_size(b) ? a : b;
}
