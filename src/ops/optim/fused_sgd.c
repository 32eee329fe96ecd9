// SPDX-License-Identifier: Apache-2.0
/* SGD over lists, with momentum, dampening, Nesterov, weight decay, and gradients divided by gradScale first
 * (and stored so, as PyTorch's fused SGD does). In the first step the momentum buffer becomes the gradient.
 */
#include "adam_step.h"

enum { SGD_NESTEROV = 1, SGD_MAXIMIZE = 2, SGD_FIRST = 4, SGD_MOMENTUM = 8 };
/* Settings of all tensors of the lists. */
struct sgd {
    double weight_decay, momentum, lr, dampening, scale;
    unsigned flags;
};
HC_EW_KERNEL(fused_sgd_F32)
HC_EW_KERNEL(fused_sgd_F64)

#ifdef HC_ISA
/* Dividing the gradient and storing it saves the separate pass of a gradient scaler. */
#define SGD(name, type)                                                                                      \
    static inline __attribute__((always_inline)) void name##_loop(                                           \
        size_t n, void *const *out, const void *const *in, const struct sgd *a, bool has_momentum) {         \
        type *p_out = out[0], *g_out = out[1], *buffer_out = has_momentum ? out[2] : NULL;                   \
        const type *p = in[0], *g = in[1], *buffer = has_momentum ? in[2] : NULL;                            \
        const type scale = (type)a->scale, decay = (type)a->weight_decay, momentum = (type)a->momentum;      \
        const type lr = (type)a->lr, keep = (type)(1 - a->dampening),                                        \
                   sign = a->flags & SGD_MAXIMIZE ? -1 : 1;                                                  \
        const bool first = a->flags & SGD_FIRST, nesterov = a->flags & SGD_NESTEROV;                         \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const type plain = g[i] / scale;                                                                 \
            type step = plain * sign;                                                                        \
            step = decay != 0 ? step + decay * p[i] : step;                                                  \
            if (has_momentum) {                                                                              \
                const type b = first ? step : momentum * buffer[i] + keep * step;                            \
                buffer_out[i] = b;                                                                           \
                step = nesterov ? step + momentum * b : b;                                                   \
            }                                                                                                \
            p_out[i] = p[i] - lr * step;                                                                     \
            g_out[i] = plain;                                                                                \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        const struct sgd *a = args;                                                                          \
        if (a->flags & SGD_MOMENTUM) name##_loop(n, out, in, a, true);                                       \
        else name##_loop(n, out, in, a, false);                                                              \
    }
SGD(fused_sgd_F32, float)
SGD(fused_sgd_F64, double)
#else
HC_FOREACH_SPEC2(FUSED_SGD, "aclnnFusedSgd", fused_sgd)

/* Lists are outputs and inputs alike: parameters, gradients, momentum. */
static aclnnStatus run(const struct hc_call *call) {
    struct sgd args = *(const struct sgd *)call->args;
    args.scale = hc_arg(call, 3) ? hc_foreach_read(hc_arg(call, 3), 0).F64 : 1;
    const int lists = args.flags & SGD_MOMENTUM ? 3 : 2;
    const aclTensor *operands[] = {hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2)};
    return hc_foreach_run(&FUSED_SGD, hc_arg_count(call, 0), operands, lists, operands, lists, &args, 0);
}

/* torch._fused_sgd_. Without a momentum list momentum must be 0: it would have nowhere to stay. */
HC_API aclnnStatus aclnnFusedSgdGetWorkspaceSize(const aclTensorList *paramsRef,
                                                 const aclTensorList *gradsRef,
                                                 const aclTensorList *momentumBufferListOptionalRef,
                                                 const aclTensor *gradScaleOptional, float weightDecay,
                                                 float momentum, float lr, float dampening, bool nesterov,
                                                 bool maximize, bool isFirstStep, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    const aclTensorList *buffers = momentumBufferListOptionalRef;
    const bool has_momentum = buffers != NULL && buffers->size > 0;
    const aclTensorList *lists[] = {paramsRef, gradsRef, buffers};
    static const char *const NAMES[] = {"paramsRef", "gradsRef", "momentumBufferListOptionalRef"};
    HC_TRY(hc_foreach_check(FUSED_SGD.name, lists, NAMES, has_momentum ? 3 : 2));
    HC_TRY(hc_foreach_check_dtypes(&FUSED_SGD, lists, has_momentum ? 3 : 2));
    HC_CHECK(has_momentum || momentum == 0 || paramsRef->size == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: momentum is %g but momentumBufferListOptionalRef is empty", FUSED_SGD.name,
             (double)momentum);
    HC_CHECK(gradScaleOptional == NULL || gradScaleOptional->numel == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: gradScaleOptional is %s, wanted one element", FUSED_SGD.name, HC_SHOW(gradScaleOptional));
    const unsigned flags = (nesterov ? SGD_NESTEROV : 0u) | (maximize ? SGD_MAXIMIZE : 0u) |
                           (isFirstStep ? SGD_FIRST : 0u) | (has_momentum ? SGD_MOMENTUM : 0u);
    const struct sgd args = {adam_attribute(weightDecay),
                             adam_attribute(momentum),
                             adam_attribute(lr),
                             adam_attribute(dampening),
                             1,
                             flags};
    return HC_PLAN(FUSED_SGD.name, run, &args, HC_INOUT_LIST(paramsRef), HC_INOUT_LIST(gradsRef),
                   HC_INOUT_LIST(buffers), HC_IN_OPT(gradScaleOptional));
}
HC_OP_LAUNCH(aclnnFusedSgd)
#endif
