// SPDX-License-Identifier: Apache-2.0
/* SwiGLU of clipped halves: y = a sigmoid(alpha a) (b + bias) with a <= limit and |b| <= limit.
 *
 * x is a matrix of what lies before dim and of dim with what lies behind it; a and b are its halves, or take
 * turns. Groups say how many of its rows count: those behind them are 0. Both operands are views of x. */
#include "index_load.h"
#include "messages.h"

HC_EW_KERNELS_FLOAT(clipped_swiglu)

struct clip {
    double alpha, limit, bias;
};

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

void HC_FN(clipped_swiglu_F32)(size_t n, void *const *out, const void *const *in, const void *args) {
    float *y = out[0];
    const float *a = in[0], *b = in[1];
    const struct clip *c = args;
    const float alpha = (float)c->alpha, bias = (float)c->bias;
    const vf limit = vf_set((float)c->limit);
    for (size_t i = 0; i < n; i += HC_VL) {
        const size_t rest = hc_min_size(n - i, HC_VL);
        const vf va = vf_load_part(a + i, rest), vb = vf_load_part(b + i, rest);
        const vf x = vf_select(va > limit, limit, va);
        const vf z = vf_select(vb > limit, limit, vf_select(vb < -limit, -limit, vb));
        vf_store_part(y + i, x * vf_sigmoid(x * alpha) * (z + bias), rest);
    }
}

/* Comparisons that a NaN passes through. */
void HC_FN(clipped_swiglu_F64)(size_t n, void *const *out, const void *const *in, const void *args) {
    double *y = out[0];
    const double *a = in[0], *b = in[1];
    const struct clip *c = args;
    for (size_t i = 0; i < n; i++) {
        const double x = a[i] > c->limit ? c->limit : a[i];
        const double z = b[i] > c->limit ? c->limit : b[i] < -c->limit ? -c->limit : b[i];
        y[i] = x / (1 + exp(-c->alpha * x)) * (z + c->bias);
    }
}

#else
static const struct hc_ew SPEC = {"aclnnClippedSwiglu", HC_EW_TABLE_FLOAT(clipped_swiglu), 0, HC_CLASS_FLOAT};

struct args {
    struct clip clip;
    int64_t dim;
    bool interleaved;
};

enum { X, GROUPS, Y };

/* Rows that the groups have together; all of them without groups. */
static aclnnStatus count_rows(const struct hc_call *call, int64_t rows, int64_t *count) {
    const aclTensor *groups = hc_arg(call, GROUPS);
    *count = rows;
    if (groups == NULL) return 0;
    struct hc_index index;
    HC_TRY(hc_index_copy(call->name, "groupIndexOptional", groups, HC_MAX_NUMEL, false, &index));
    const int64_t *sizes = (const int64_t *)hc_data(&index.view);
    int64_t sum = 0;
    for (int64_t i = 0; i < groups->numel && sum < rows; i++)
        sum = sizes[i] < rows - sum ? sum + sizes[i] : rows;
    hc_block_give(index.owned);
    *count = sum;
    return 0;
}

/* `rows` rows of a contiguous tensor as a matrix of n columns, every `step`th one from `first` on. */
static aclTensor columns(const aclTensor *t, int64_t rows, int64_t n, int64_t row, int64_t first,
                         int64_t step) {
    aclTensor view = hc_tensor_view(t->dtype, (const int64_t[]){rows, n}, 2, hc_data(t));
    view.stride[0] = row;
    view.stride[1] = step;
    view.offset += first;
    return view;
}

static aclnnStatus run_matrix(const struct hc_call *call, const aclTensor *x, const aclTensor *y) {
    const struct args *a = call->args;
    int64_t rows = 1, count;
    for (int64_t d = 0; d < a->dim; d++) rows *= x->shape[d];
    if (y->numel == 0) return 0;
    const int64_t n = y->numel / rows;
    HC_TRY(count_rows(call, rows, &count));
    const aclTensor out = columns(y, count, n, n, 0, 1), rest = columns(y, rows - count, n, n, count * n, 1);
    const aclTensor left = columns(x, count, n, 2 * n, 0, a->interleaved ? 2 : 1);
    const aclTensor right = columns(x, count, n, 2 * n, a->interleaved ? 1 : n, a->interleaved ? 2 : 1);
    const aclTensor *outs[] = {&out}, *ins[] = {&left, &right};
    const struct hc_element zero = {{0}};
    if (count > 0) HC_TRY(hc_ew_run(&SPEC, -1, outs, 1, ins, 2, &a->clip));
    return count < rows ? hc_fill(&rest, &zero) : 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *given_x = hc_arg(call, X), *given_y = hc_arg(call, Y);
    aclTensor x, y;
    void *own_x = NULL, *own_y = NULL;
    aclnnStatus status = hc_contiguous_apart(given_x, given_x->dtype, given_y, &x, &own_x);
    if (status == 0) status = hc_contiguous_out(given_y, given_y->dtype, &y, &own_y);
    if (status == 0) status = run_matrix(call, &x, &y);
    if (status == 0 && own_y != NULL) status = hc_copy(given_y, &y);
    hc_block_give(own_x);
    hc_block_give(own_y);
    return status;
}

HC_API aclnnStatus aclnnClippedSwigluGetWorkspaceSize(const aclTensor *x, const aclTensor *groupIndexOptional,
                                                      int64_t dim, double alpha, double limit, double bias,
                                                      bool interleaved, const aclTensor *out,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnClippedSwiglu";
    HC_CHECK(x && out, ACLNN_ERR_PARAM_NULLPTR, "%s: x or out is null", NAME);
    HC_CHECK(hc_dtype_is_float(x->dtype) && out->dtype == x->dtype && x->rank > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, out %s, want one floating point type and a dimension or more", NAME, HC_SHOW(x),
             HC_SHOW(out));
    const struct args args = {{alpha, limit, bias}, hc_wrap_dim(dim, x->rank), interleaved};
    if (args.dim < 0) return hc_fail_dim(NAME, "dim", dim, "x", x);
    bool fits = x->rank == out->rank && x->shape[args.dim] % 2 == 0;
    for (int32_t d = 0; fits && d < x->rank; d++)
        fits = x->shape[d] == out->shape[d] * (d == args.dim ? 2 : 1);
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, want the shape of x, %s, with dimension %lld halved", NAME, HC_SHOW(out),
             HC_SHOW(x), (long long)args.dim);
    if (groupIndexOptional != NULL)
        HC_TRY(hc_index_check_dtype(NAME, "groupIndexOptional", groupIndexOptional));
    return HC_PLAN(NAME, run, &args, HC_IN(x), HC_IN_OPT(groupIndexOptional), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnClippedSwiglu)
#endif
