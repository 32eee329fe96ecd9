// SPDX-License-Identifier: Apache-2.0
/* A product with what follows it: out = f(x1 @ x2 + bias) or (x1 @ x2 + bias) op x3, to runs of a row while
 * they are in the cache. As the operators in turn would, what follows gets the product in out's type, and
 * computes in float32; with cubeMathType 4, which clients ask for where they want that, nothing is rounded
 * before the end. */
#include <string.h>

#include "activate.h"
#include "matmul.h"

enum { NOTHING, ACTIVATE, ADD, MULTIPLY, WIDEN };

static const struct {
    const char *word;
    int what;
    enum hc_activation activation;
} OPERATIONS[] = {{"", NOTHING, 0},
                  {"16cast32", WIDEN, 0},
                  {"relu", ACTIVATE, HC_ACTIVATION_RELU},
                  {"gelu_erf", ACTIVATE, HC_ACTIVATION_GELU},
                  {"gelu_tanh", ACTIVATE, HC_ACTIVATION_GELU_TANH},
                  {"add", ADD, 0},
                  {"mul", MULTIPLY, 0}};

/* The planned product without addresses. */
struct args {
    struct hc_gemm g;
    int what;
    enum hc_activation activation;
    bool has_bias, rounds; /* rounds: the product, to out's type */
};

enum slot { X1, X2, BIAS, X3, OUT };

enum { RUN = 256, USE_FP32_ADD = 4 };

/* x3 as rows: of a tensor of out's shape, whose strides may be 0. */
struct third {
    const struct args *a;
    const aclTensor *x3;
    hc_load_fn *load;
    aclDataType dtype; /* of out */
};

/* To the type and back. */
static void round_run(aclDataType dtype, size_t n, float *x) {
    char rounded[RUN * sizeof(float)];
    hc_store_for(dtype, HC_F32)(n, rounded, 1, x);
    hc_load_for(dtype, HC_F32)(n, x, rounded, 1);
}

/* Of the first element of a row of matrix `batch`, in row-major order of the dimensions before the last two.
 */
static int64_t row_offset(const aclTensor *t, size_t batch, size_t row) {
    int64_t offset = (int64_t)row * t->stride[t->rank - 2];
    for (int32_t d = t->rank - 3; d >= 0; d--) {
        offset += (int64_t)(batch % (size_t)t->shape[d]) * t->stride[d];
        batch /= (size_t)t->shape[d];
    }
    return offset;
}

/* Some elements of one row of the product. */
static void finish_run(const struct third *t, size_t n, const char *third, float *x) {
    float y[RUN];
    if (t->a->rounds) round_run(t->dtype, n, x);
    if (t->a->what == ACTIVATE) {
        HC_DISPATCH(hc_activate)(n, x, t->a->activation);
        return;
    }
    t->load(n, y, third, t->x3->stride[t->x3->rank - 1]);
    for (size_t k = 0; k < n; k++) x[k] = t->a->what == ADD ? x[k] + y[k] : x[k] * y[k];
}

/* The epilogue of hc_gemm. Runs are short enough for x3 as float32 on the stack. */
static void finish(void *ctx, size_t batch, size_t row, size_t col, size_t n, float *x) {
    const struct third *t = ctx;
    const char *third = NULL;
    int64_t step = 0; /* bytes between elements of x3 */
    if (t->load != NULL) {
        step = t->x3->stride[t->x3->rank - 1] * t->x3->item_size;
        third = hc_data(t->x3) + row_offset(t->x3, batch, row) * t->x3->item_size + (int64_t)col * step;
    }
    for (size_t i = 0; i < n; i += RUN)
        finish_run(t, hc_min_size(n - i, RUN), third + (int64_t)i * step, x + i);
}

/* Addresses into the planned product. x3 is an operand that is read while out is written, like the others:
 * the product goes by way of a copy where it overlaps out. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    struct hc_gemm g = a->g;
    const aclTensor *out = hc_arg(call, OUT), *read[] = {hc_arg(call, X1), hc_arg(call, X2), NULL, NULL};
    size_t n = 2;
    aclTensor x3;
    struct third third = {a, &x3, NULL, out->dtype};
    g.a.data = hc_data(read[0]);
    g.b.data = hc_data(read[1]);
    g.out.data = hc_data(out);
    if (a->has_bias) {
        read[n++] = hc_arg(call, BIAS);
        g.self.data = hc_data(hc_arg(call, BIAS));
    }
    if (hc_arg(call, X3) != NULL) {
        read[n++] = hc_arg(call, X3);
        hc_broadcast_to(hc_arg(call, X3), out->shape, out->rank, &x3);
        third.load = hc_load_for(x3.dtype, HC_F32);
    }
    if (a->what == ACTIVATE || third.load != NULL) {
        g.epilogue = finish;
        g.epilogue_ctx = &third;
    }
    return hc_matmul_run(call->name, &g, out, read, n);
}

/* ---- phase one ---- */

static const char *const NAME = "aclnnFusedMatmul";

/* By the words of the interface; all of them were found in public clients. */
static aclnnStatus find_operation(const char *word, struct args *args) {
    HC_CHECK(word != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: fusedOpType is null", NAME);
    for (size_t i = 0; i < HC_ARRAY_SIZE(OPERATIONS); i++) {
        if (strcmp(word, OPERATIONS[i].word) != 0) continue;
        args->what = OPERATIONS[i].what;
        args->activation = OPERATIONS[i].activation;
        return 0;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID,
                   "%s: fusedOpType is '%.32s', wanted '', 16cast32, relu, gelu_erf, gelu_tanh, add or mul",
                   NAME, word);
}

/* x3 belongs to add and mul alone, and broadcasts. */
static aclnnStatus check_third(const aclTensor *x3, const struct args *args, const aclTensor *y) {
    const bool wanted = args->what == ADD || args->what == MULTIPLY;
    HC_CHECK(!wanted || x3 != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x3 is null with fusedOpType %s", NAME,
             args->what == ADD ? "add" : "mul");
    HC_CHECK(wanted || x3 == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: x3 is %s, wanted none: fusedOpType is neither add nor mul", NAME, HC_SHOW(x3));
    if (x3 == NULL) return 0;
    aclTensor view;
    HC_CHECK(hc_fits_f32(x3->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: x3 is %s, wanted float32, float16 or bfloat16", NAME, HC_SHOW(x3));
    HC_CHECK(hc_broadcast_to(x3, y->shape, y->rank, &view), ACLNN_ERR_PARAM_INVALID,
             "%s: x3 is %s, which does not broadcast to y %s", NAME, HC_SHOW(x3), HC_SHOW(y));
    return 0;
}

/* Floating point that is computed in float32. The skeleton says the rest of what is wrong with the shapes. */
static aclnnStatus check_operands(const aclTensor *x1, const aclTensor *x2, const aclTensor *bias,
                                  const aclTensor *y, const struct args *args) {
    const aclTensor *all[] = {x1, x2, y, bias};
    static const char *const names[] = {"x1", "x2", "y", "bias"};
    enum { NEEDED = 3 };
    for (size_t i = 0; i < HC_ARRAY_SIZE(all); i++) {
        HC_CHECK(all[i] != NULL || i >= NEEDED, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, names[i]);
        HC_CHECK(all[i] == NULL || hc_fits_f32(all[i]->dtype), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted float32, float16 or bfloat16", NAME, names[i], HC_SHOW(all[i]));
    }
    HC_CHECK(args->what != WIDEN || y->dtype == ACL_FLOAT, ACLNN_ERR_PARAM_INVALID,
             "%s: y is %s, wanted float32 with fusedOpType 16cast32", NAME, HC_SHOW(y));
    HC_CHECK(x1->rank >= 2 && x2->rank >= 2, ACLNN_ERR_PARAM_INVALID,
             "%s: x1 is %s, x2 %s, wanted two dimensions at least", NAME, HC_SHOW(x1), HC_SHOW(x2));
    return 0;
}

/* torch_npu.npu_fused_matmul. */
HC_API aclnnStatus aclnnFusedMatmulGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                    const aclTensor *bias, const aclTensor *x3,
                                                    const char *fusedOpType, int8_t cubeMathType,
                                                    const aclTensor *y, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    struct args args = {.has_bias = bias != NULL};
    HC_TRY(find_operation(fusedOpType, &args));
    HC_TRY(check_operands(x1, x2, bias, y, &args));
    const struct hc_matmul op = {.name = NAME,
                                 .self = bias,
                                 .a = x1,
                                 .b = x2,
                                 .out = y,
                                 .a_name = "x1",
                                 .b_name = "x2",
                                 .self_name = "bias",
                                 .out_name = "y",
                                 .cube_math_type = cubeMathType};
    HC_TRY(hc_matmul_describe(&op, &args.g));
    HC_TRY(check_third(x3, &args, y));
    args.rounds = y->dtype != ACL_FLOAT && cubeMathType != USE_FP32_ADD;
    return HC_PLAN(NAME, run, &args, HC_IN(x1), HC_IN(x2), HC_IN_OPT(bias), HC_IN_OPT(x3), HC_OUT(y));
}
HC_OP_LAUNCH(aclnnFusedMatmul)
