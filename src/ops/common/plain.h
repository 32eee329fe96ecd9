// SPDX-License-Identifier: Apache-2.0
/* Operands as an operator's own loops want them: floats in contiguous float32, indices as checked int64.
 *
 * One hc_plain holds what a run has copied. Each call gives a pointer; after a failure all give NULL, and the
 * operator asks for the status once. Inputs are asked for before outputs, so that an output that shares
 * memory with one is written elsewhere first. */
#pragma once
#include "index_load.h"

enum { HC_PLAIN_MAX = 64 };

struct hc_plain {
    const char *op;
    aclnnStatus status;
    int count;
    struct {
        aclTensor view;
        const aclTensor *target; /* written back from the view; NULL: nothing to write */
        void *owned;
        bool read;
    } item[HC_PLAIN_MAX];
};

static inline struct hc_plain hc_plain_open(const char *op) { return (struct hc_plain){.op = op}; }
/* NULL for a tensor that is not there, and after a failure. */
const float *hc_plain_in(struct hc_plain *p, const aclTensor *t);
/* Memory to fill, of undefined contents; into the tensor by hc_plain_close. */
float *hc_plain_out(struct hc_plain *p, const aclTensor *t);
/* What the tensor holds, to be changed; into the tensor by hc_plain_close. */
float *hc_plain_inout(struct hc_plain *p, const aclTensor *t);
/* All elements, each in [lowest, bound); an error names `arg`. */
const int64_t *hc_plain_index(struct hc_plain *p, const char *arg, const aclTensor *t, int64_t lowest,
                              int64_t bound);
/* Numbers written by the operator, converted to the tensor's type by hc_plain_close. */
int64_t *hc_plain_out_index(struct hc_plain *p, const aclTensor *t);
/* Memory of n items for this run. */
void *hc_plain_take(struct hc_plain *p, size_t n, size_t size);
/* Writes outputs where all went well, and gives everything back. Returns the first failure. */
aclnnStatus hc_plain_close(struct hc_plain *p, aclnnStatus status);

/* Phase one: float32, bfloat16 or float16 of exactly this shape; -1 is any size. */
aclnnStatus hc_plain_check(const char *op, const char *arg, const aclTensor *t, int32_t rank,
                           const int64_t *shape);
#define HC_PLAIN_CHECK(op, arg, t, ...)                                                                      \
    hc_plain_check(op, arg, t, (int32_t)HC_ARRAY_SIZE(((const int64_t[]){__VA_ARGS__})),                     \
                   (const int64_t[]){__VA_ARGS__})
/* The same for integers. */
aclnnStatus hc_plain_check_index(const char *op, const char *arg, const aclTensor *t, int32_t rank,
                                 const int64_t *shape);
#define HC_PLAIN_CHECK_INDEX(op, arg, t, ...)                                                                \
    hc_plain_check_index(op, arg, t, (int32_t)HC_ARRAY_SIZE(((const int64_t[]){__VA_ARGS__})),               \
                         (const int64_t[]){__VA_ARGS__})
