// SPDX-License-Identifier: Apache-2.0
/* Experts' results summed for every token, with skip connections and the experts' biases:
 *
 *     out[i] = x1[i] + x2[i] + sum over k of scales[i, k] * (expandedX[row(i, k)] + bias[expert(i, k)])
 *
 * row(i, k) is expandedRowIdx[k * N + i], or expandedRowIdx[i * K + k] in modes 2 and 3; -1 is a choice that
 * was dropped, which still has its bias. Everything is one list of scaled rows for each token, summed in
 * float and rounded once: where there are biases or skips, rows are gathered behind each other first. */
#include "moe.h"

/* Of dropPadMode. */
enum { DROP_PAD = 1, BY_TOKEN = 2 };

struct args {
    int64_t tokens, choices, mode;
};

/* Operands expandedX, expandedRowIdx, x1, x2, bias, scales, expertIdx, out. */
struct sources {
    int64_t *row, *expert;
    double *scale;
};

static aclnnStatus read_sources(const struct hc_call *call, int64_t rows, const struct sources *s) {
    const struct args *a = call->args;
    const aclTensor *bias = hc_arg(call, 4), *scales = hc_arg(call, 5);
    HC_TRY(hc_moe_read(call->name, "expandedRowIdx", hc_arg(call, 1), -1, rows, s->row));
    if (bias != NULL)
        HC_TRY(hc_moe_read(call->name, "expertIdxOptional", hc_arg(call, 6), 0, bias->shape[0], s->expert));
    if (scales != NULL) return hc_moe_read_reals(scales, s->scale);
    for (int64_t i = 0; i < a->tokens * a->choices; i++) s->scale[i] = 1;
    return 0;
}

/* All rows that are added, behind each other, as float or double: the experts' results, biases, skips. The
 * experts' results alone stay where they are. */
static aclnnStatus stack_rows(const struct hc_call *call, aclTensor *stack, void **owned) {
    static const int PARTS[] = {0, 4, 2, 3};
    const aclTensor *out = hc_arg(call, 7), *x = hc_arg(call, 0);
    const int64_t hidden = out->shape[1];
    int64_t rows = 0;
    if (hc_arg(call, 2) == NULL && hc_arg(call, 3) == NULL && hc_arg(call, 4) == NULL) {
        HC_TRY(hc_contiguous(x, x->dtype, stack, owned));
        *stack = hc_tensor_view(x->dtype, (const int64_t[]){hidden > 0 ? x->numel / hidden : 0, hidden}, 2,
                                hc_data(stack));
        return 0;
    }
    for (size_t k = 0; k < HC_ARRAY_SIZE(PARTS); k++) {
        const aclTensor *t = hc_arg(call, PARTS[k]);
        if (t != NULL && hidden > 0) rows += t->numel / hidden;
    }
    const aclDataType dtype = hc_compute_block(x->dtype) == HC_F64 ? ACL_DOUBLE : ACL_FLOAT;
    *owned = hc_block_take_array((size_t)(rows * hidden), hc_dtype_size(dtype));
    HC_CHECK(*owned != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld rows", call->name,
             (long long)rows);
    *stack = hc_tensor_view(dtype, (const int64_t[]){rows, hidden}, 2, *owned);
    char *to = *owned;
    aclnnStatus status = 0;
    for (size_t k = 0; k < HC_ARRAY_SIZE(PARTS) && status == 0; k++) {
        const aclTensor *t = hc_arg(call, PARTS[k]);
        if (t == NULL) continue;
        const aclTensor view = hc_tensor_view(dtype, t->shape, t->rank, to);
        status = hc_copy(&view, t);
        to += (size_t)t->numel * hc_dtype_size(dtype);
    }
    if (status != 0) hc_block_give(*owned);
    return status;
}

/* Entries of every token in the order of the formula: skips, then the choices with their biases. */
static aclnnStatus finalize(const struct hc_call *call, const struct sources *s, int64_t *source,
                            double *scale) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0), *bias = hc_arg(call, 4), *out = hc_arg(call, 7);
    const int64_t hidden = out->shape[1], rows = hidden > 0 ? x->numel / hidden : 0;
    const bool first = hc_arg(call, 2) != NULL, second = hc_arg(call, 3) != NULL;
    const int64_t biases = rows, skips = biases + (bias != NULL ? bias->shape[0] : 0);
    HC_TRY(read_sources(call, rows, s));
    size_t e = 0;
    for (int64_t i = 0; i < a->tokens; i++) {
        if (first) source[e] = skips + i, scale[e++] = 1;
        if (second) source[e] = skips + (first ? a->tokens : 0) + i, scale[e++] = 1;
        for (int64_t k = 0; k < a->choices; k++) {
            const int64_t cell = i * a->choices + k;
            source[e] = s->row[(a->mode & BY_TOKEN) != 0 ? cell : k * a->tokens + i];
            scale[e++] = s->scale[cell];
            if (bias != NULL) source[e] = biases + s->expert[cell], scale[e++] = s->scale[cell];
        }
    }
    aclTensor stack;
    void *owned;
    HC_TRY(stack_rows(call, &stack, &owned));
    const aclnnStatus status =
        hc_row_sum(&(const struct hc_row_sum){.name = call->name,
                                              .out = out,
                                              .src = &stack,
                                              .each = a->tokens > 0 ? e / (size_t)a->tokens : 0,
                                              .source = source,
                                              .scale = scale});
    hc_block_give(owned);
    return status;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const size_t n = (size_t)(a->tokens * a->choices), most = 2 * n + 2 * (size_t)a->tokens;
    int64_t *memory = hc_moe_take(call->name, 3 * n + 2 * most);
    if (memory == NULL) return ACLNN_ERR_INNER;
    const struct sources s = {memory, memory + n, (double *)(void *)(memory + 2 * n)};
    const aclnnStatus status = finalize(call, &s, memory + 3 * n, (double *)(void *)(memory + 3 * n + most));
    hc_block_give(memory);
    return status;
}

static aclnnStatus plan(const char *name, const aclTensor *expandedX, const aclTensor *expandedRowIdx,
                        const aclTensor *x1, const aclTensor *x2, const aclTensor *bias,
                        const aclTensor *scales, const aclTensor *expertIdx, int64_t mode,
                        const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(hc_moe_check_floats(name, "out", out, -1, -1));
    HC_CHECK(mode >= 0 && mode <= 3, ACLNN_ERR_PARAM_INVALID, "%s: dropPadMode is %lld, wanted 0 to 3", name,
             (long long)mode);
    HC_CHECK(expandedX != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: expandedX is null", name);
    const int64_t tokens = out->shape[0], hidden = out->shape[1];
    const int32_t rank = (mode & DROP_PAD) != 0 && expandedX->rank == 3 ? 3 : 2;
    HC_CHECK(expandedX->rank == rank && expandedX->shape[rank - 1] == hidden &&
                 hc_dtype_is_float(expandedX->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: expandedX is %s, wanted floating point rows like those of out %s",
             name, HC_SHOW(expandedX), HC_SHOW(out));
    HC_TRY(hc_moe_check_numbers(name, "expandedRowIdx", expandedRowIdx,
                                expandedRowIdx != NULL ? expandedRowIdx->numel : -1));
    HC_CHECK(tokens > 0 ? expandedRowIdx->numel % tokens == 0 : expandedRowIdx->numel == 0,
             ACLNN_ERR_PARAM_INVALID, "%s: expandedRowIdx is %s, wanted as many for each of %lld rows", name,
             HC_SHOW(expandedRowIdx), (long long)tokens);
    const int64_t none = scales != NULL && scales->rank == 2 ? scales->shape[1] : 0;
    const struct args args = {tokens, tokens > 0 ? expandedRowIdx->numel / tokens : none, mode};
    if (x1 != NULL) HC_TRY(hc_moe_check_floats(name, "x1", x1, tokens, hidden));
    if (x2 != NULL) HC_TRY(hc_moe_check_floats(name, "x2", x2, tokens, hidden));
    if (scales != NULL) HC_TRY(hc_moe_check_floats(name, "scales", scales, tokens, args.choices));
    if (bias != NULL) {
        HC_TRY(hc_moe_check_floats(name, "bias", bias, -1, hidden));
        HC_TRY(hc_moe_check_numbers(name, "expertIdx", expertIdx, tokens * args.choices));
    } else {
        expertIdx = NULL;
    }
    return HC_PLAN(name, run, &args, HC_IN(expandedX), HC_IN(expandedRowIdx), HC_IN_OPT(x1), HC_IN_OPT(x2),
                   HC_IN_OPT(bias), HC_IN_OPT(scales), HC_IN_OPT(expertIdx), HC_OUT(out));
}

HC_API aclnnStatus aclnnMoeFinalizeRoutingGetWorkspaceSize(
    const aclTensor *expandedX, const aclTensor *x1, const aclTensor *x2Optional, const aclTensor *bias,
    const aclTensor *scales, const aclTensor *expandedRowIdx, const aclTensor *expandedExpertIdx,
    const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnMoeFinalizeRouting", expandedX, expandedRowIdx, x1, x2Optional, bias, scales,
                expandedExpertIdx, 0, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeFinalizeRouting)

HC_API aclnnStatus aclnnMoeFinalizeRoutingV2GetWorkspaceSize(
    const aclTensor *expandedX, const aclTensor *expandedRowIdx, const aclTensor *x1Optional,
    const aclTensor *x2Optional, const aclTensor *biasOptional, const aclTensor *scalesOptional,
    const aclTensor *expertIdxOptional, int64_t dropPadMode, const aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return plan("aclnnMoeFinalizeRoutingV2", expandedX, expandedRowIdx, x1Optional, x2Optional, biasOptional,
                scalesOptional, expertIdxOptional, dropPadMode, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeFinalizeRoutingV2)

/* As V2, with the number of choices given where there are no scales. Experts that compute nothing (zero, copy
 * and constant experts, arXiv 2410.07348) are not there: torch_npu passes null for what belongs to them. */
HC_API aclnnStatus aclnnMoeFinalizeRoutingV4GetWorkspaceSize(
    const aclTensor *expandedX, const aclTensor *expandedRowIdx, const aclTensor *x1Optional,
    const aclTensor *x2Optional, const aclTensor *biasOptional, const aclTensor *scalesOptional,
    const aclTensor *expertIdxOptional, const aclTensor *xOptional, const aclTensor *a1Optional,
    const aclTensor *a2Optional, const aclTensor *vOptional, int64_t dropPadMode,
    const aclIntArray *zeroExpertRange, const aclIntArray *copyExpertRange,
    const aclIntArray *constantExpertRange, int64_t k, const aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char NAME[] = "aclnnMoeFinalizeRoutingV4";
    const struct {
        const char *name;
        bool given;
    } special[] = {{"xOptional", xOptional != NULL},
                   {"a1Optional", a1Optional != NULL},
                   {"a2Optional", a2Optional != NULL},
                   {"vOptional", vOptional != NULL},
                   {"zeroExpertRange", zeroExpertRange != NULL && zeroExpertRange->size > 0},
                   {"copyExpertRange", copyExpertRange != NULL && copyExpertRange->size > 0},
                   {"constantExpertRange", constantExpertRange != NULL && constantExpertRange->size > 0}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(special); i++)
        HC_CHECK(!special[i].given, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is given: zero, copy and constant experts are not supported, pass null", NAME,
                 special[i].name);
    HC_CHECK(scalesOptional != NULL || (k > 0 && out != NULL && expandedRowIdx != NULL && out->rank > 0 &&
                                        hc_numel(expandedRowIdx) / (size_t)k == (size_t)out->shape[0]),
             ACLNN_ERR_PARAM_INVALID, "%s: k is %lld, wanted what expandedRowIdx has for each row of out",
             NAME, (long long)k);
    return plan(NAME, expandedX, expandedRowIdx, x1Optional, x2Optional, biasOptional, scalesOptional,
                expertIdxOptional, dropPadMode, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeFinalizeRoutingV4)
