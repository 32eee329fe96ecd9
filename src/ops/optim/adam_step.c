// SPDX-License-Identifier: Apache-2.0
/* The formulas, in PyTorch's order of operations (m by lerp, denominator sqrt(v) / sqrt(bias2) + eps), so
 * that a trajectory follows PyTorch's to rounding. One pass: 28 bytes move per float32 element (var, m, v
 * read and written, the gradient read), so memory bandwidth is the cost; square root and division hide
 * behind it. */
#include "adam_step.h"

HC_EW_KERNEL(adam_F32)
HC_EW_KERNEL(adam_F64)

#ifdef HC_ISA
/* Flags are constants of each instance, or the loop would not vectorise. Settings are rounded to the
 * block's type once, outside; 1 - beta is taken in double before that. */
#define STEP(name, type, sqrt_)                                                                              \
    static inline __attribute__((always_inline)) void name##_loop(                                           \
        size_t n, void *const *out, const void *const *in, const struct adam *a, bool amsgrad,               \
        bool decoupled, bool nesterov) {                                                                     \
        type *var_out = out[0], *m_out = out[1], *v_out = out[2], *max_out = amsgrad ? out[3] : NULL;        \
        const type *var = in[0], *m = in[1], *v = in[2], *max_v = amsgrad ? in[3] : NULL;                    \
        const type *grad = in[amsgrad ? 4 : 3];                                                              \
        const type sign = a->flags & ADAM_MAXIMIZE ? -1 : 1, shrink = (type)(1 - a->lr * a->weight_decay);   \
        const type decay = (type)a->weight_decay, one_beta1 = (type)(1 - a->beta1), beta1 = (type)a->beta1;  \
        const type beta2 = (type)a->beta2, one_beta2 = (type)(1 - a->beta2), eps = (type)a->eps;             \
        const type rate = (type)(a->lr / a->bias1), root = (type)__builtin_sqrt(a->bias2);                   \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const type p = decoupled ? var[i] * shrink : var[i];                                             \
            const type g = decoupled ? grad[i] * sign : grad[i] * sign + decay * p;                          \
            const type mean = m[i] + one_beta1 * (g - m[i]);                                                 \
            const type square = beta2 * v[i] + one_beta2 * g * g;                                            \
            type largest = square;                                                                           \
            if (amsgrad) largest = max_v[i] > square || max_v[i] != max_v[i] ? max_v[i] : square;            \
            const type direction = nesterov ? beta1 * mean + one_beta1 * g : mean;                           \
            var_out[i] = p - rate * direction / (sqrt_(largest) / root + eps);                               \
            m_out[i] = mean;                                                                                 \
            v_out[i] = square;                                                                               \
            if (amsgrad) max_out[i] = largest;                                                               \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        const struct adam *a = args;                                                                         \
        switch (a->flags & (ADAM_AMSGRAD | ADAM_DECOUPLED | ADAM_NESTEROV)) {                                \
        case ADAM_DECOUPLED: name##_loop(n, out, in, a, false, true, false); break;                          \
        case ADAM_DECOUPLED | ADAM_AMSGRAD: name##_loop(n, out, in, a, true, true, false); break;            \
        case ADAM_AMSGRAD: name##_loop(n, out, in, a, true, false, false); break;                            \
        case ADAM_NESTEROV: name##_loop(n, out, in, a, false, false, true); break;                           \
        default: name##_loop(n, out, in, a, false, false, false); break;                                     \
        }                                                                                                    \
    }
STEP(adam_F32, float, __builtin_sqrtf)
STEP(adam_F64, double, __builtin_sqrt)
#else
#include <stdio.h>
#include <stdlib.h>

HC_FOREACH_SPEC2(ADAM, "adam", adam)

/* Without amsgrad the fourth list does not exist, and the gradient moves up. */
aclnnStatus adam_run(const char *name, size_t count, const aclTensor *var, const aclTensor *m,
                     const aclTensor *v, const aclTensor *max_v, const aclTensor *grad,
                     const struct adam *steps, bool each) {
    struct hc_foreach op = ADAM;
    op.name = name;
    const bool amsgrad = max_v != NULL;
    const aclTensor *outs[] = {var, m, v, max_v};
    const aclTensor *ins[] = {var, m, v, amsgrad ? max_v : grad, grad};
    return hc_foreach_run(&op, count, outs, amsgrad ? 4 : 3, ins, amsgrad ? 5 : 4, steps,
                          each ? sizeof *steps : 0);
}

/* Dtypes may differ from one another: states in float32 beside a 16-bit parameter. */
aclnnStatus adam_check(const char *name, const aclTensor *var, const aclTensor *m, const aclTensor *v,
                       const aclTensor *max_v, const aclTensor *grad) {
    const aclTensor *tensors[] = {var, m, v, grad, max_v};
    static const char *const NAMES[] = {"var", "m", "v", "grad", "the largest v"};
    for (size_t i = 0; i < HC_ARRAY_SIZE(tensors); i++) {
        const aclTensor *t = tensors[i];
        if (t == NULL && i == 4) continue;
        HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, NAMES[i]);
        HC_CHECK(hc_same_shape(var, t), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, var is %s, wanted the same shape", name, NAMES[i], HC_SHOW(t), HC_SHOW(var));
        HC_CHECK(hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted a float type",
                 name, NAMES[i], HC_SHOW(t));
    }
    return 0;
}

/* Nine digits name every float; most were written with fewer. */
double adam_attribute(float x) {
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        const double shortest = strtod(text, NULL);
        if ((float)shortest == x) return shortest;
    }
    return (double)x;
}
#endif
