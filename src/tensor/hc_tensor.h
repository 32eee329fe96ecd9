// SPDX-License-Identifier: Apache-2.0
/* Tensors, scalars and lists as the library sees them. Descriptors are plain values: copying one copies
 * the description, never the data, which the tensor only borrows. */
#pragma once
#include "aclnn/aclnn_base.h"
#include "hc_dtype.h"

/* PyTorch allows 64 dimensions, the vendor's operators 8; a descriptor of 16 stays in a few cache lines. */
enum { HC_MAX_RANK = 16 };
/* No tensor has more elements (a dimension of size 0 counted as 1), nor reaches further in its storage: it is
 * the address space of a host. What operators compute from shapes, strides and offsets are products of these
 * with a few small numbers and stays far below 2^63. aclCreateTensor refuses what is beyond; views keep to
 * it. */
#define HC_MAX_NUMEL ((int64_t)1 << 48)

struct aclTensor {
    char *base;     /* start of the storage; NULL is legal while it has no elements */
    int64_t offset; /* of the first element, in elements */
    int64_t numel;
    aclDataType dtype;
    aclFormat format;
    int32_t rank;
    int32_t item_size;
    int64_t shape[HC_MAX_RANK];
    int64_t stride[HC_MAX_RANK]; /* in elements; 0 and overlapping are legal */
    int64_t storage_numel;
};

union hc_scalar_value {
    double f;
    int64_t i;
    hc_c128 c;
};
struct aclScalar {
    aclDataType dtype;
    union hc_scalar_value value; /* f for floats, i for integers and bool, c for complex */
};
struct aclIntArray {
    size_t size;
    int64_t *data;
};
struct aclFloatArray {
    size_t size;
    float *data;
};
struct aclBoolArray {
    size_t size;
    bool *data;
};
struct aclTensorList {
    size_t size;
    aclTensor **data;
};
struct aclScalarList {
    size_t size;
    aclScalar **data;
};

/* Address of the first element. */
static inline char *hc_data(const aclTensor *t) { return t->base + t->offset * t->item_size; }
static inline size_t hc_numel(const aclTensor *t) { return (size_t)t->numel; }

/* Row-major without gaps (dimensions of size 1 may have any stride; no elements counts as contiguous). */
HC_SHARED bool hc_is_contiguous(const aclTensor *t);
HC_SHARED bool hc_same_shape(const aclTensor *a, const aclTensor *b);
/* "float32[2,3]" into buf, returns buf; for messages. */
HC_SHARED const char *hc_describe(const aclTensor *t, char *buf, size_t size);
enum { HC_DESCRIBE_BYTES = 160 };
/* In a message: HC_SHOW(t) is that text in a buffer that lives until the end of the enclosing block. */
#define HC_SHOW(t) hc_describe((t), (char[HC_DESCRIBE_BYTES]){0}, HC_DESCRIBE_BYTES)

/* Broadcast shape of a and b into shape/rank; false if they do not fit, or are too large together. */
HC_SHARED bool hc_broadcast_shape(const aclTensor *a, const aclTensor *b, int64_t *shape, int32_t *rank);
/* View of t broadcast to shape (stride 0 where repeated); false if it does not fit, or the shape is too
 * large. */
HC_SHARED bool hc_broadcast_to(const aclTensor *t, const int64_t *shape, int32_t rank, aclTensor *view);
/* Elements of the shape into *numel; false if a dimension is negative, or they are more than HC_MAX_NUMEL. */
HC_SHARED bool hc_shape_numel(const int64_t *shape, int32_t rank, int64_t *numel);
/* -rank <= dim < rank made non-negative, else -1; a scalar counts as rank 1. */
static inline int64_t hc_wrap_dim(int64_t dim, int64_t rank) {
    const int64_t n = rank > 0 ? rank : 1;
    return dim < -n || dim >= n ? -1 : dim < 0 ? dim + n : dim;
}
/* A view of t with dimensions a and b exchanged. */
HC_SHARED aclTensor hc_transpose_view(const aclTensor *t, int32_t a, int32_t b);
/* A contiguous tensor description over `data`. */
HC_SHARED aclTensor hc_tensor_view(aclDataType dtype, const int64_t *shape, int32_t rank, void *data);
/* Lowest and one-past-highest byte that the view touches; false if it has no elements. */
HC_SHARED bool hc_byte_range(const aclTensor *t, const char **begin, const char **end);
/* Whether two views share memory without being the same view of it: then an operator must not stream. */
HC_SHARED bool hc_overlaps_partly(const aclTensor *a, const aclTensor *b);

/* Scalar as another class; bool true is 1. */
HC_SHARED double hc_scalar_f64(const aclScalar *s);
HC_SHARED int64_t hc_scalar_i64(const aclScalar *s);
HC_SHARED hc_c128 hc_scalar_c128(const aclScalar *s);
