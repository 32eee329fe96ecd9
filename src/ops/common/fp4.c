// SPDX-License-Identifier: Apache-2.0
/* Packing of fp4.h. */
#include "fp4.h"

#ifdef HC_ISA
#include "simd_narrow.h"

#define DEFINE(format)                                                                                       \
    void HC_FN(hc_fp4_load_##format)(size_t n, float *to, const uint8_t *from) {                             \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n / 2; i++) {                                            \
            to[2 * i] = hc_f4##format##_to_f32(from[i] & 15u);                                               \
            to[2 * i + 1] = hc_f4##format##_to_f32((uint32_t)from[i] >> 4);                                  \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(hc_fp4_store_##format)(size_t n, uint8_t *to, const float *from) {                            \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n / 2; i++) {                                            \
            const uint32_t low = hc_f32_to_f4##format(from[2 * i]);                                          \
            const uint32_t high = hc_f32_to_f4##format(from[2 * i + 1]);                                     \
            to[i] = (uint8_t)(low | high << 4);                                                              \
        }                                                                                                    \
    }
DEFINE(e2m1)
DEFINE(e1m2)

#else
/* As clients decide it: the last dimension unless the one before has stride 1 and the last has not. */
static int32_t packed_dim(const aclTensor *t) {
    const int32_t last = t->rank - 1;
    return last > 0 && t->stride[last] != 1 && t->stride[last - 1] == 1 ? last - 1 : last;
}

/* Halves exactly: a checked tensor has pairs, and its other strides are of whole bytes. */
aclTensor hc_fp4_bytes(const aclTensor *t) {
    aclTensor bytes = *t;
    if (!hc_is_fp4(t->dtype)) return bytes;
    bytes.dtype = ACL_UINT8;
    bytes.item_size = 1;
    bytes.storage_numel = t->storage_numel / 2;
    if (t->rank == 0) return bytes;
    const int32_t packed = packed_dim(t);
    for (int32_t d = 0; d < t->rank; d++)
        if (d != packed) bytes.stride[d] = t->stride[d] / 2;
    bytes.shape[packed] = t->shape[packed] / 2;
    bytes.numel = t->numel / 2;
    return bytes;
}

aclTensor hc_fp4_of_bytes(const aclTensor *bytes, aclDataType dtype) {
    aclTensor t = *bytes;
    if (!hc_is_fp4(dtype)) return t;
    const int32_t packed = packed_dim(&t);
    t.dtype = dtype;
    for (int32_t d = 0; d < t.rank; d++)
        if (d != packed) t.stride[d] *= 2;
    t.shape[packed] *= 2;
    t.numel *= 2;
    return t;
}

/* A plan would refuse the type; so what it checks of other tensors is checked here. */
aclnnStatus hc_fp4_check(const char *name, const char *arg, const aclTensor *t) {
    HC_CHECK(t->base != NULL || t->numel == 0, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is %s but has no memory",
             name, arg, HC_SHOW(t));
    const int32_t packed = t->rank > 0 ? packed_dim(t) : 0;
    bool whole = t->rank > 0 && t->shape[packed] % 2 == 0 && (t->stride[packed] == 1 || t->numel == 0);
    for (int32_t d = 0; d < t->rank; d++)
        whole = whole && (d == packed || t->shape[d] <= 1 || t->stride[d] % 2 == 0);
    HC_CHECK(whole, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted pairs of fp4 along a dimension without gaps, each in a byte", name, arg,
             HC_SHOW(t));
    return 0;
}

/* Pieces count bytes. */
struct pass {
    uint8_t *bytes;
    float *values;
    aclDataType type;
};

static void load_pairs(void *ctx, size_t begin, size_t end) {
    const struct pass *p = ctx;
    hc_fp4_load(p->type, 2 * (end - begin), p->values + 2 * begin, p->bytes + begin);
}
static void store_pairs(void *ctx, size_t begin, size_t end) {
    const struct pass *p = ctx;
    const size_t n = 2 * (end - begin);
    if (p->type == ACL_FLOAT4_E2M1)
        HC_DISPATCH(hc_fp4_store_e2m1)(n, p->bytes + begin, p->values + 2 * begin);
    else HC_DISPATCH(hc_fp4_store_e1m2)(n, p->bytes + begin, p->values + 2 * begin);
}

/* By way of float32, which holds what either side has but for the last bits of float64 and wide integers. */
aclnnStatus hc_fp4_to(const aclTensor *bytes, aclDataType type, const aclTensor *out) {
    enum { GRAIN = 16384 };
    aclTensor from, to;
    void *own_from = NULL, *own_to = NULL;
    aclnnStatus status = hc_contiguous_apart(bytes, ACL_UINT8, out, &from, &own_from);
    if (status == 0) status = hc_contiguous_out(out, ACL_FLOAT, &to, &own_to);
    if (status == 0) {
        struct pass p = {(uint8_t *)hc_data(&from), (float *)hc_data(&to), type};
        hc_parallel_for(hc_numel(&from), GRAIN, load_pairs, &p);
        if (own_to != NULL) status = hc_copy(out, &to);
    }
    hc_block_give(own_from);
    hc_block_give(own_to);
    return status;
}

aclnnStatus hc_fp4_from(const aclTensor *self, aclDataType type, const aclTensor *bytes) {
    enum { GRAIN = 16384 };
    aclTensor from, to;
    void *own_from = NULL, *own_to = NULL;
    aclnnStatus status = hc_contiguous_apart(self, ACL_FLOAT, bytes, &from, &own_from);
    if (status == 0) status = hc_contiguous_out(bytes, ACL_UINT8, &to, &own_to);
    if (status == 0) {
        struct pass p = {(uint8_t *)hc_data(&to), (float *)hc_data(&from), type};
        hc_parallel_for(hc_numel(&to), GRAIN, store_pairs, &p);
        if (own_to != NULL) status = hc_copy(bytes, &to);
    }
    hc_block_give(own_from);
    hc_block_give(own_to);
    return status;
}
#endif
