// SPDX-License-Identifier: Apache-2.0
/* One step of Adam and its relatives, shared by the operators of this folder. */
#pragma once
#include "foreach.h"

enum adam_flags {
    ADAM_MAXIMIZE = 1,
    ADAM_AMSGRAD = 2, /* a fourth state: the largest v so far */
    ADAM_DECOUPLED =
        4, /* weight decay shrinks the parameter (AdamW) instead of adding to the gradient (Adam) */
    ADAM_NESTEROV = 8,
};

struct adam {
    double lr, beta1, beta2, weight_decay, eps;
    double bias1, bias2; /* 1 - beta^t */
    unsigned flags;
};

/* Update var, m, v (and max_v with ADAM_AMSGRAD, else NULL), each pointing to `count` descriptors, from grad.
 * steps: one struct adam for each tensor if `each`, else one for all; their flags are the same. */
aclnnStatus adam_run(const char *name, size_t count, const aclTensor *var, const aclTensor *m,
                     const aclTensor *v, const aclTensor *max_v, const aclTensor *grad,
                     const struct adam *steps, bool each);
/* Phase one: null, shapes, dtypes. max_v may be NULL. */
aclnnStatus adam_check(const char *name, const aclTensor *var, const aclTensor *m, const aclTensor *v,
                       const aclTensor *max_v, const aclTensor *grad);
/* A float attribute as the double its caller wrote: the shortest decimal that rounds to it. 1 - 0.999f is off
 * by 1e-5 of itself, which the caller's own arithmetic in double is not. */
double adam_attribute(float x);
