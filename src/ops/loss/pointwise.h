// SPDX-License-Identifier: Apache-2.0
/* Losses that compare element by element: values, their mean or sum, and gradients. An operator supplies
 * kernels of elementwise.h whose args are struct loss_args. Inputs broadcast. */
#pragma once
#include "elementwise.h"

/* The interface's numbers. */
enum loss_reduction { LOSS_NONE, LOSS_MEAN, LOSS_SUM };
enum { LOSS_MAX_INS = 5 };

/* What an input may not be, seen by the kernel: the first value found, told by whoever runs it. */
struct loss_outside;

/* Of every kernel. */
struct loss_args {
    double scale; /* of a gradient: 1 / n after a mean */
    double beta;
    struct loss_outside *outside;
};

/* One call. Tensors in the interface's order, a gradient's gradOutput first; `optional` of the last ones may
 * be null, and are 1 then. */
struct loss {
    const char *name;
    const struct hc_ew *ew;
    const aclTensor *ins[LOSS_MAX_INS];
    int num_ins, optional;
    int64_t reduction;
    double beta;
};

/* One in place: the number of optional inputs, then all inputs. */
#define LOSS(api, spec, reduction_, optional_, ...)                                                          \
    (&(const struct loss){.name = (api),                                                                     \
                          .ew = &(spec),                                                                     \
                          .ins = {__VA_ARGS__},                                                              \
                          .num_ins = HC_ARRAY_SIZE(((const aclTensor *[]){__VA_ARGS__})),                    \
                          .optional = (optional_),                                                           \
                          .reduction = (reduction_)})

/* An error that names the number where it is none of the three. */
aclnnStatus loss_check_reduction(const char *name, int64_t reduction);
/* out: of the broadcast shape without a reduction, else a scalar. */
aclnnStatus loss_plan(const struct loss *loss, const aclTensor *out, uint64_t *workspaceSize,
                      aclOpExecutor **executor);
/* out: of the broadcast shape, or of one that broadcasts to it and gets the sums. n is the number of pairs of
 * the second and third input. */
aclnnStatus loss_plan_gradient(const struct loss *loss, const aclTensor *out, uint64_t *workspaceSize,
                               aclOpExecutor **executor);

/* The interface of a loss of self and target alone, and of its gradient. */
#define LOSS_OF_PAIRS(api, spec)                                                                             \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *self, const aclTensor *target,                 \
                                             int64_t reduction, aclTensor *out, uint64_t *workspaceSize,     \
                                             aclOpExecutor **executor) {                                     \
        return loss_plan(LOSS(#api, spec, reduction, 0, self, target), out, workspaceSize, executor);        \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
#define LOSS_OF_PAIRS_BACKWARD(api, spec)                                                                    \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,             \
                                             const aclTensor *target, int64_t reduction, aclTensor *out,     \
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {            \
        return loss_plan_gradient(LOSS(#api, spec, reduction, 0, gradOutput, self, target), out,             \
                                  workspaceSize, executor);                                                  \
    }                                                                                                        \
    HC_OP_LAUNCH(api)

/* For kernels whose inputs are probabilities: input number `in` holds x, which is none. Any thread. */
void loss_tell_outside(struct loss_outside *outside, int in, double x);

#ifdef HC_ISA
/* Bodies by an inline function of the inputs: vf fn(const vf *x, const struct loss_args *a), and the same of
 * doubles. */
#define LOSS_BODY_F32(name, num_ins, fn)                                                                     \
    void HC_FN(name##_F32)(size_t n, void *const *out, const void *const *in, const void *args) {            \
        float *y = out[0];                                                                                   \
        for (size_t i = 0; i < n; i += HC_VL) {                                                              \
            const size_t some = n - i;                                                                       \
            vf x[num_ins];                                                                                   \
            for (int k = 0; k < (num_ins); k++) {                                                            \
                const float *from = (const float *)in[k] + i;                                                \
                x[k] = some >= HC_VL ? vf_load(from) : vf_load_part(from, some);                             \
            }                                                                                                \
            const vf value = fn(x, args);                                                                    \
            if (some >= HC_VL) vf_store(y + i, value);                                                       \
            else vf_store_part(y + i, value, some);                                                          \
        }                                                                                                    \
    }
#define LOSS_BODY_F64(name, num_ins, fn)                                                                     \
    void HC_FN(name##_F64)(size_t n, void *const *out, const void *const *in, const void *args) {            \
        double *y = out[0];                                                                                  \
        for (size_t i = 0; i < n; i++) {                                                                     \
            double x[num_ins];                                                                               \
            for (int k = 0; k < (num_ins); k++) x[k] = ((const double *)in[k])[i];                           \
            y[i] = fn(x, args);                                                                              \
        }                                                                                                    \
    }
#endif
