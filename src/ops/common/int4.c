// SPDX-License-Identifier: Apache-2.0
/* Unpacking of int4.h: a pass over memory, on the pool. */
#include "int4.h"

HC_KERNEL(int4_load, (size_t n, int8_t *y, const uint8_t *x))

#ifdef HC_ISA
/* A byte holds two elements: the lowest bits of an int32 are its first byte on the machines in question. */
void HC_FN(int4_load)(size_t n, int8_t *y, const uint8_t *x) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n / 2; i++) {
        y[2 * i] = (int8_t)((int8_t)(uint8_t)(x[i] << 4) >> 4);
        y[2 * i + 1] = (int8_t)((int8_t)x[i] >> 4);
    }
}

#else
void hc_int4_load(size_t n, int8_t *to, const char *packed, size_t first) {
    HC_DISPATCH(int4_load)(n, to, (const uint8_t *)packed + first / 2);
}

/* As clients decide it: they make a transpose of what they have packed along its last dimension. */
int32_t hc_int4_dim(const aclTensor *t) {
    const int32_t last = t->rank - 1;
    if (last < 1) return last;
    const bool one = t->shape[last] == 1 && t->shape[last - 1] == 1;
    const bool turned = t->stride[last - 1] == 1 && t->stride[last] == t->shape[last - 1];
    return turned && !one ? last - 1 : last;
}

aclTensor hc_int4_shape(const aclTensor *t) {
    aclTensor shape = hc_tensor_view(ACL_INT8, t->shape, t->rank, NULL);
    shape.shape[hc_int4_dim(t)] *= HC_INT4_IN_INT32;
    return hc_tensor_view(ACL_INT8, shape.shape, t->rank, NULL);
}

struct job {
    const char *from;
    int8_t *to;
};

/* Pieces count int32. */
static void unpack(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    hc_int4_load((end - begin) * HC_INT4_IN_INT32, j->to + begin * HC_INT4_IN_INT32, j->from,
                 begin * HC_INT4_IN_INT32);
}

/* The packed dimension last; the result is turned back. */
aclnnStatus hc_int4_unpack(const aclTensor *t, aclTensor *view, void **owned) {
    enum { GRAIN = 8192 };
    const int32_t last = t->rank - 1, dim = hc_int4_dim(t);
    aclTensor source = dim == last ? *t : hc_transpose_view(t, dim, last), plain;
    void *copy = NULL;
    *owned = NULL;
    HC_TRY(hc_contiguous(&source, ACL_INT32, &plain, &copy));
    int8_t *to = hc_block_take_array(hc_numel(t), HC_INT4_IN_INT32);
    if (to != NULL) {
        struct job j = {hc_data(&plain), to};
        hc_parallel_for(hc_numel(t), GRAIN, unpack, &j);
    }
    hc_block_give(copy);
    HC_CHECK(to != NULL, ACLNN_ERR_INNER, "out of host memory for the int4 of %s", HC_SHOW(t));
    source.shape[last] *= HC_INT4_IN_INT32;
    const aclTensor whole = hc_tensor_view(ACL_INT8, source.shape, source.rank, to);
    *view = dim == last ? whole : hc_transpose_view(&whole, dim, last);
    *owned = to;
    return 0;
}
#endif
