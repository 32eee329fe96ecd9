// SPDX-License-Identifier: Apache-2.0
/* fp4 in memory: two in a byte, the first in the lower half. No dtype of the table, as an element has no
 * address: operators that know it take the bytes. Clients describe such a tensor with its number of elements,
 * packed along the dimension of stride 1, and give its offset in bytes. */
#pragma once
#include "temporary.h"

static inline bool hc_is_fp4(aclDataType t) { return t == ACL_FLOAT4_E2M1 || t == ACL_FLOAT4_E1M2; }
/* The bytes of t as uint8: half as many along the packed dimension. Other tensors as they are. */
aclTensor hc_fp4_bytes(const aclTensor *t);
/* Such bytes as the fp4 that they were; another dtype leaves them as they are. */
aclTensor hc_fp4_of_bytes(const aclTensor *bytes, aclDataType dtype);
/* An fp4 tensor's packed dimension holds pairs. */
aclnnStatus hc_fp4_check(const char *name, const char *arg, const aclTensor *t);

/* n elements, an even number. */
HC_KERNEL(hc_fp4_load_e2m1, (size_t n, float *to, const uint8_t *from))
HC_KERNEL(hc_fp4_load_e1m2, (size_t n, float *to, const uint8_t *from))
static inline void hc_fp4_load(aclDataType type, size_t n, float *to, const uint8_t *from) {
    if (type == ACL_FLOAT4_E2M1) HC_DISPATCH(hc_fp4_load_e2m1)(n, to, from);
    else HC_DISPATCH(hc_fp4_load_e1m2)(n, to, from);
}
/* To nearest even, clipped; NaN is 0. */
HC_KERNEL(hc_fp4_store_e2m1, (size_t n, uint8_t *to, const float *from))
HC_KERNEL(hc_fp4_store_e1m2, (size_t n, uint8_t *to, const float *from))
/* out = self in another type where one of them is fp4, of this `type`, and is given as its bytes; both may be
 * of any strides. */
aclnnStatus hc_fp4_to(const aclTensor *bytes, aclDataType type, const aclTensor *out);
aclnnStatus hc_fp4_from(const aclTensor *self, aclDataType type, const aclTensor *bytes);
