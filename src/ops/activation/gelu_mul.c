// SPDX-License-Identifier: Apache-2.0
/* y = GELU(a) * b of the two halves a and b of the last dimension; the exact GELU or the one by tanh. */
#include "gated.h"

HC_EW_KERNELS_FLOAT(gelu_mul)
HC_EW_KERNELS_FLOAT(gelu_tanh_mul)

#ifdef HC_ISA
#include "gelu_math.h"

/* The tail of a row through padded vectors. */
#define DEFINE(name, gelu_vf, gelu_f64)                                                                      \
    void HC_FN(name##_F32)(size_t n, void *const *out, const void *const *in, const void *args) {            \
        float *y = out[0];                                                                                   \
        const float *a = in[0], *b = in[1];                                                                  \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i += HC_VL) {                                                              \
            const size_t rest = hc_min_size(n - i, HC_VL);                                                   \
            vf_store_part(y + i, gelu_vf(vf_load_part(a + i, rest)) * vf_load_part(b + i, rest), rest);      \
        }                                                                                                    \
    }                                                                                                        \
    void HC_FN(name##_F64)(size_t n, void *const *out, const void *const *in, const void *args) {            \
        double *y = out[0];                                                                                  \
        const double *a = in[0], *b = in[1];                                                                 \
        (void)args;                                                                                          \
        for (size_t i = 0; i < n; i++) y[i] = gelu_f64(a[i]) * b[i];                                         \
    }
DEFINE(gelu_mul, hc_gelu_vf, hc_gelu_f64)
DEFINE(gelu_tanh_mul, hc_gelu_tanh_vf, hc_gelu_tanh_f64)

#else
#include <string.h>

static const struct hc_ew EXACT = {"aclnnGeluMul", HC_EW_TABLE_FLOAT(gelu_mul), 0, HC_CLASS_FLOAT};
static const struct hc_ew TANH = {"aclnnGeluMul", HC_EW_TABLE_FLOAT(gelu_tanh_mul), 0, HC_CLASS_FLOAT};

HC_API aclnnStatus aclnnGeluMulGetWorkspaceSize(const aclTensor *input, char *approximateOptional,
                                                const aclTensor *out, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    const char *mode = approximateOptional != NULL ? approximateOptional : "none";
    const bool is_tanh = strcmp(mode, "tanh") == 0;
    HC_CHECK(is_tanh || strcmp(mode, "none") == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnGeluMul: approximateOptional is '%.32s', wanted none or tanh", mode);
    return hc_gated_plan(is_tanh ? &TANH : &EXACT, input, -1, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGeluMul)
#endif
