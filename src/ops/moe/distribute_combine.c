// SPDX-License-Identifier: Apache-2.0
/* Experts' results back to the ranks of their tokens:
 *
 *     x[i] = sum over k of expertScales[i, k] * (the row of token i's choice k) + sharedExpertX[i]
 *            + residualX[i]
 *
 * where choices that are masked out or of a zero expert have no row, and those of a copying expert that of
 * oriX. Rows travel as they lie, are summed in float32 and rounded once. What came is one matrix, block
 * behind block, with sharedExpertX and residualX below; behind its rows each block says how many it has of
 * each expert, which must be what this rank sent there (distribute.h). */
#include <string.h>

#include "distribute_combine.h"

enum { EXPAND_X, IDS, MASK, PLACES, COUNTS, WEIGHTS, SHARED_X, ORIGINAL, OUT, RESIDUAL, GAMMA, Y, RSTD };

/* The arguments of the plan: the way's, first, as distribute.c reads them, then the norm's behind the sum. */
struct args {
    struct hc_distribute_args way;
    struct hc_rms_norm norm;
};
/* As the dispatch writes it. */
enum { ORIGIN = 3 };

/* epSendCounts are sums up to and with each run of rows: of expert e from rank s is run e * W + s. */
static aclnnStatus read_ends(const struct hc_call *call, int64_t *end) {
    const struct hc_distribute_args *a = call->args;
    const aclTensor *t = hc_arg(call, COUNTS);
    const int64_t runs = a->local * a->num_ranks, rows = hc_arg(call, EXPAND_X)->shape[0];
    const aclTensor used = hc_tensor_view(t->dtype, &runs, 1, hc_data(t));
    HC_TRY(hc_moe_read(call->name, "epSendCounts", &used, 0, rows + 1, end));
    for (int64_t i = 1; i < runs; i++)
        HC_CHECK(end[i] >= end[i - 1], ACLNN_ERR_PARAM_INVALID,
                 "%s: epSendCounts falls from %lld to %lld at position [%lld], wanted sums", call->name,
                 (long long)end[i - 1], (long long)end[i], (long long)i);
    return 0;
}

/* Rows of one rank's dispatch do not fit another one's counts. */
static aclnnStatus check_origins(const struct hc_call *call, int64_t begin, int64_t end, uint32_t rank) {
    const struct hc_distribute_args *a = call->args;
    if (!a->with_places) return 0;
    const int32_t *origins = (const int32_t *)hc_data(hc_arg(call, PLACES));
    for (int64_t i = begin; i < end; i++) {
        const int32_t origin = origins[ORIGIN * i];
        HC_CHECK(origin == (int32_t)rank, ACLNN_ERR_PARAM_INVALID,
                 "%s: assistInfoForCombine says row %lld is of rank %d, epSendCounts of rank %u", call->name,
                 (long long)i, origin, rank);
    }
    return 0;
}

/* Runs for a rank, expert by expert, and how many rows each has. */
static aclnnStatus fill_block(const struct hc_call *call, const aclTensor *x, const int64_t *end,
                              uint32_t rank) {
    const struct hc_distribute_args *a = call->args;
    char *block = hc_distribute_to(call, rank);
    int64_t rows = 0;
    for (int64_t e = 0; e < a->local; e++) {
        const int64_t run = e * a->num_ranks + rank, begin = run > 0 ? end[run - 1] : 0;
        const int32_t count = (int32_t)(end[run] - begin);
        HC_CHECK(rows + count <= a->capacity, ACLNN_ERR_PARAM_INVALID,
                 "%s: epSendCounts has %lld rows for rank %u, wanted at most %lld", call->name,
                 (long long)(rows + count), rank, (long long)a->capacity);
        HC_TRY(check_origins(call, begin, end[run], rank));
        if (count > 0)
            memcpy(block + (size_t)rows * a->row_bytes, (char *)hc_data(x) + (size_t)begin * a->row_bytes,
                   (size_t)count * a->row_bytes);
        memcpy(block + a->counts + (size_t)e * sizeof count, &count, sizeof count);
        rows += count;
    }
    return 0;
}

/* The experts' results may have any strides; runs are copied from rows without gaps. */
static aclnnStatus fill_blocks(const struct hc_call *call, int64_t *end) {
    const struct hc_distribute_args *a = call->args;
    const aclTensor *x = hc_arg(call, EXPAND_X);
    aclTensor rows;
    void *owned;
    HC_TRY(read_ends(call, end));
    HC_TRY(hc_contiguous(x, x->dtype, &rows, &owned));
    aclnnStatus status = 0;
    for (uint32_t rank = 0; rank < a->num_ranks && status == 0; rank++)
        status = fill_block(call, &rows, end, rank);
    hc_block_give(owned);
    return status;
}

/* The first step. */
static aclnnStatus fill(const struct hc_call *call, size_t part) {
    const struct hc_distribute_args *a = call->args;
    int64_t *end = hc_moe_take(call->name, (size_t)a->local * a->num_ranks);
    (void)part;
    if (end == NULL) return ACLNN_ERR_INNER;
    const aclnnStatus status = fill_blocks(call, end);
    hc_block_give(end);
    return status;
}

/* What comes back must be what went: other counts would give tokens the rows of others. */
static aclnnStatus check_counts(const struct hc_call *call, const struct hc_distribute_order *order) {
    const struct hc_distribute_args *a = call->args;
    for (int64_t e = 0; e < a->experts; e++) {
        const uint32_t rank = (uint32_t)(e / a->local);
        const int64_t wanted = order->first[e + 1] - order->first[e];
        int32_t count;
        memcpy(&count, hc_distribute_from(call, rank) + a->counts + (size_t)(e % a->local) * sizeof count,
               sizeof count);
        HC_CHECK(
            count == wanted, ACLNN_ERR_PARAM_INVALID,
            "%s: rank %u returns %d rows of expert %lld, but expertIds and xActiveMask choose it %lld times",
            call->name, rank, count, (long long)e, (long long)wanted);
    }
    return 0;
}

/* expandIdx numbers the choices of each expert. `place` has room for all choices. */
static aclnnStatus check_places(const struct hc_call *call, const struct hc_distribute_order *order,
                                int64_t *place) {
    const struct hc_distribute_args *a = call->args;
    if (a->with_places) return 0;
    HC_TRY(hc_moe_read(call->name, "expandIdx", hc_arg(call, PLACES), -1, INT32_MAX, place));
    for (int64_t e = 0; e < a->experts; e++) {
        for (int64_t i = order->first[e]; i < order->first[e + 1]; i++) {
            const int64_t found = place[order->cell[i]], wanted = i - order->first[e];
            HC_CHECK(found == wanted, ACLNN_ERR_PARAM_INVALID,
                     "%s: expandIdx is %lld at position [%lld], wanted %lld by expertIds and xActiveMask",
                     call->name, (long long)found, (long long)order->cell[i], (long long)wanted);
        }
    }
    return 0;
}

/* Entries of every token: its choices, then its rows of the shared expert and of the residual, where there
 * are such: `shared` is how many. */
static void list_rows(const struct hc_call *call, const struct hc_distribute_order *order,
                      const double *weight, int64_t *source, double *scale) {
    const struct hc_distribute_args *a = call->args;
    const int64_t each = a->choices + a->shared, rows = (int64_t)(a->block / a->row_bytes);
    for (int64_t i = 0; i < a->tokens * each; i++) source[i] = -1, scale[i] = 1;
    for (int64_t e = 0; e < a->experts; e++) {
        const int64_t rank = e / a->local, first = order->first[rank * a->local];
        for (int64_t i = order->first[e]; i < order->first[e + 1]; i++) {
            const int64_t cell = order->cell[i];
            const int64_t at = cell / a->choices * each + cell % a->choices;
            source[at] = rank * rows + i - first;
            scale[at] = weight[cell];
        }
    }
    /* Below the blocks: rows that are added as they are, then the tokens as they were. */
    const int64_t below = a->num_ranks * rows;
    for (int64_t s = 0; s < a->shared; s++)
        for (int64_t i = 0; i < a->tokens; i++) source[i * each + a->choices + s] = below + s * a->tokens + i;
    for (int64_t cell = 0; cell < a->tokens * a->choices && a->copy > 0; cell++) {
        if (order->ids[cell] < a->experts + a->zero) continue;
        const int64_t token = cell / a->choices, at = token * each + cell % a->choices;
        source[at] = below + a->shared * a->tokens + token;
        scale[at] = weight[cell];
    }
}

/* Rows of this rank's tokens, where there are such. */
static aclnnStatus place_below(const struct hc_call *call, const aclTensor *rows, char *to) {
    const aclTensor *out = hc_arg(call, OUT);
    const aclTensor view = hc_tensor_view(out->dtype, out->shape, 2, to);
    return rows != NULL ? hc_copy(&view, rows) : 0;
}

/* Everything is one sum of scaled rows per token: no row is added twice or in another order, so the bits do
 * not depend on the number of threads, nor on which rank an expert is on. */
static aclnnStatus sum_rows(const struct hc_call *call, const struct hc_distribute_order *order,
                            int64_t *memory) {
    const struct hc_distribute_args *a = call->args;
    const aclTensor *out = hc_arg(call, OUT);
    const size_t n = (size_t)(a->tokens * a->choices), each = (size_t)(a->choices + a->shared);
    double *weight = (double *)(void *)memory, *scale = (double *)(void *)(memory + n);
    int64_t *source = memory + n + (size_t)a->tokens * each;
    const int64_t blocks = (int64_t)(a->block / a->row_bytes) * a->num_ranks;
    const int64_t shape[] = {blocks + (a->shared + (a->copy > 0)) * a->tokens, a->hidden};
    const aclTensor rows = hc_tensor_view(out->dtype, shape, 2, hc_distribute_from(call, 0));
    HC_TRY(check_counts(call, order));
    HC_TRY(check_places(call, order, source));
    HC_TRY(hc_moe_read_reals(hc_arg(call, WEIGHTS), weight));
    char *below = hc_distribute_from(call, a->num_ranks);
    const size_t more = (size_t)a->tokens * a->row_bytes;
    HC_TRY(place_below(call, hc_arg(call, SHARED_X), below));
    HC_TRY(place_below(call, hc_arg(call, RESIDUAL), below + (hc_arg(call, SHARED_X) != NULL ? more : 0)));
    HC_TRY(place_below(call, hc_arg(call, ORIGINAL), below + (size_t)a->shared * more));
    list_rows(call, order, weight, source, scale);
    return hc_row_sum(&(const struct hc_row_sum){
        .name = call->name, .out = out, .src = &rows, .each = each, .source = source, .scale = scale});
}

/* The last step sorts the choices again, as the dispatch did: the same order gives the same places, and no
 * place has to travel. */
static aclnnStatus sum(const struct hc_call *call, size_t part) {
    const struct hc_distribute_args *a = call->args;
    const size_t n = (size_t)(a->tokens * a->choices);
    struct hc_distribute_order order;
    (void)part;
    HC_TRY(hc_distribute_sort(call, hc_arg(call, IDS), hc_arg(call, MASK), &order));
    int64_t *memory = hc_moe_take(call->name, 3 * n + 2 * (size_t)(a->tokens * a->shared));
    aclnnStatus status = memory != NULL ? sum_rows(call, &order, memory) : ACLNN_ERR_INNER;
    hc_block_give(memory);
    hc_block_give(order.memory);
    /* What is normalised is what the caller gets: the sum, rounded. */
    if (status == 0 && hc_arg(call, GAMMA) != NULL)
        status = hc_rms_norm_run(call->name, &((const struct args *)call->args)->norm, hc_arg(call, OUT),
                                 hc_arg(call, GAMMA), hc_arg(call, Y), hc_arg(call, RSTD));
    return status;
}

/* As the dispatch: nothing here waits. */
static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    HC_TRY(hc_op_step(call, fill, 0, 0, stream));
    HC_TRY(hc_distribute_exchange(call, stream));
    return hc_op_step(call, sum, 0, 0, stream);
}

/* The client of the first version sends 0 for what it does not set; anything else asks for int8 on the way,
 * or results that are still to be scaled. */
static aclnnStatus check_options(const struct hc_combine *c) {
    const char *name = c->shared.name;
    HC_CHECK(
        c->activation_scale == NULL && c->weight_scale == NULL && c->group_list == NULL,
        ACLNN_ERR_PARAM_INVALID,
        "%s: activationScale, weightScale or groupList is given, wanted none: results are floating point",
        name);
    HC_CHECK(c->shared.copy == 0 || c->original != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: oriX is null, but copyExpertNum is %lld", name, (long long)c->shared.copy);
    HC_CHECK(
        c->alpha1 == NULL && c->alpha2 == NULL && c->constant_row == NULL, ACLNN_ERR_PARAM_INVALID,
        "%s: constExpertAlpha1, constExpertAlpha2 or constExpertV is given, wanted none: constant experts "
        "are not supported",
        name);
    HC_CHECK(c->out_dtype == 0, ACLNN_ERR_PARAM_INVALID, "%s: outDtype is %lld, wanted 0", name,
             (long long)c->out_dtype);
    HC_CHECK(c->comm_quant == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: commQuantMode is %lld, wanted 0: rows travel as they are", name, (long long)c->comm_quant);
    HC_CHECK(c->group_list_type == 0, ACLNN_ERR_PARAM_INVALID, "%s: groupListType is %lld, wanted 0", name,
             (long long)c->group_list_type);
    return 0;
}

static aclnnStatus check_rows(const struct hc_combine *c) {
    const char *name = c->shared.name;
    HC_TRY(hc_moe_check_matrix(name, "expandX", c->expand_x, -1, -1));
    HC_CHECK(hc_fits_f32(c->expand_x->dtype) && c->expand_x->shape[1] > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: expandX is %s, wanted rows of float16, bfloat16 or float32", name, HC_SHOW(c->expand_x));
    return 0;
}

/* What is summed and what it becomes have one type: a row of another one could not lie below the others. */
static aclnnStatus check_like(const struct hc_combine *c, const struct hc_distribute_args *a, const char *arg,
                              const aclTensor *t) {
    HC_TRY(hc_moe_check_floats(c->shared.name, arg, t, a->tokens, a->hidden));
    HC_CHECK(t->dtype == c->expand_x->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the type of expandX %s", c->shared.name, arg, HC_SHOW(t),
             HC_SHOW(c->expand_x));
    return 0;
}

/* Shapes are those of the dispatch: counts may be longer (it has room for other machines' needs), places too.
 */
static aclnnStatus check_tensors(const struct hc_combine *c, const struct hc_distribute_args *a) {
    const char *name = c->shared.name;
    const int64_t runs = a->local * a->num_ranks, rows = c->expand_x->shape[0];
    HC_TRY(check_like(c, a, c->out_name, c->out));
    if (c->residual != NULL) HC_TRY(check_like(c, a, "residualX", c->residual));
    if (c->shared_x != NULL) HC_TRY(check_like(c, a, "sharedExpertX", c->shared_x));
    if (c->shared.copy > 0) HC_TRY(check_like(c, a, "oriX", c->original));
    HC_TRY(hc_moe_check_floats(name, "expertScales", c->weights, a->tokens, a->choices));
    HC_TRY(hc_moe_check_numbers(name, "epSendCounts", c->counts, -1));
    HC_CHECK(c->counts->numel >= runs && hc_is_contiguous(c->counts), ACLNN_ERR_PARAM_INVALID,
             "%s: epSendCounts is %s, wanted %lld elements or more, contiguous", name, HC_SHOW(c->counts),
             (long long)runs);
    if (!c->with_places) return hc_moe_check_numbers(name, "expandIdx", c->places, a->tokens * a->choices);
    HC_TRY(hc_moe_check_numbers(name, "assistInfoForCombine", c->places, -1));
    HC_CHECK(c->places->dtype == ACL_INT32 && c->places->numel / ORIGIN >= rows &&
                 hc_is_contiguous(c->places),
             ACLNN_ERR_PARAM_INVALID,
             "%s: assistInfoForCombine is %s, wanted int32 of %d elements or more for each of %lld rows, "
             "contiguous",
             name, HC_SHOW(c->places), ORIGIN, (long long)rows);
    return 0;
}

/* A block is a whole number of rows, the last of which hold counts. */
static aclnnStatus lay_out(const struct hc_combine *c, struct hc_distribute_args *a) {
    size_t bytes = 0;
    a->row_bytes = (size_t)a->hidden * (size_t)c->expand_x->item_size;
    const size_t more = ((size_t)a->local * sizeof(int32_t) + a->row_bytes - 1) / a->row_bytes;
    HC_CHECK(hc_bytes_fit((size_t)a->capacity + more, a->row_bytes, &bytes) && bytes < HC_MAX_BYTES / 4,
             ACLNN_ERR_PARAM_INVALID, "%s: %lld rows of expandX %s are too large", c->shared.name,
             (long long)a->capacity, HC_SHOW(c->expand_x));
    a->counts = (size_t)a->capacity * a->row_bytes;
    a->block = bytes;
    a->received = a->block * a->num_ranks;
    return 0;
}

/* All of a token is one row. */
static aclnnStatus check_norm(const struct hc_combine *c, const struct hc_distribute_args *a,
                              struct hc_rms_norm *norm) {
    const char *name = c->shared.name;
    if (c->gamma == NULL) return 0;
    HC_CHECK(c->gamma->rank == 1 && c->gamma->shape[0] == a->hidden && hc_fits_f32(c->gamma->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: gamma is %s, wanted [%lld] of float16, bfloat16 or float32", name,
             HC_SHOW(c->gamma), (long long)a->hidden);
    HC_TRY(check_like(c, a, "yOut", c->y));
    HC_CHECK(c->rstd->dtype == ACL_FLOAT && c->rstd->numel == a->tokens && hc_is_contiguous(c->rstd),
             ACLNN_ERR_PARAM_INVALID, "%s: rstdOut is %s, wanted float32 of %lld elements, contiguous", name,
             HC_SHOW(c->rstd), (long long)a->tokens);
    *norm = (struct hc_rms_norm){
        .epsilon = c->epsilon, .added = -0.0, .mask = 1u << 1, .block = hc_compute_block(c->out->dtype)};
    return 0;
}

aclnnStatus hc_combine_plan(const struct hc_combine *c, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.norm = {.epsilon = 0}};
    struct hc_distribute_args a;
    size_t workspace = 0;
    HC_TRY(check_options(c));
    HC_TRY(check_rows(c));
    HC_TRY(hc_distribute_describe(&c->shared, c->expand_x->shape[1], &a));
    a.with_places = c->with_places;
    a.shared = (c->shared_x != NULL) + (c->residual != NULL);
    HC_TRY(check_tensors(c, &a));
    HC_TRY(check_norm(c, &a, &args.norm));
    HC_TRY(lay_out(c, &a));
    HC_TRY(hc_distribute_workspace(c->shared.name, &a,
                                   (size_t)((a.shared + (a.copy > 0)) * a.tokens) * a.row_bytes, &workspace));
    const int in = HC_ROLE_IN, optional = HC_ROLE_IN | HC_ROLE_OPTIONAL;
    const struct hc_operand operands[] = {
        [EXPAND_X] = {c->expand_x, NULL, in, "expandX"},
        [IDS] = {c->shared.ids, NULL, in, "expertIds"},
        [MASK] = {c->shared.mask, NULL, optional, "xActiveMask"},
        [PLACES] = {c->places, NULL, in, c->with_places ? "assistInfoForCombine" : "expandIdx"},
        [COUNTS] = {c->counts, NULL, in, "epSendCounts"},
        [WEIGHTS] = {c->weights, NULL, in, "expertScales"},
        [SHARED_X] = {c->shared_x, NULL, optional, "sharedExpertX"},
        [ORIGINAL] = {c->shared.copy > 0 ? c->original : NULL, NULL, optional, "oriX"},
        [OUT] = {c->out, NULL, HC_ROLE_OUT, c->out_name},
        [RESIDUAL] = {c->residual, NULL, optional, "residualX"},
        [GAMMA] = {c->gamma, NULL, optional, "gamma"},
        [Y] = {c->y, NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, "yOut"},
        [RSTD] = {c->rstd, NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, "rstdOut"},
    };
    args.way = a;
    const struct hc_plan plan = {.name = c->shared.name,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = HC_ARRAY_SIZE(operands),
                                 .workspace = workspace};
    return hc_plan_steps(&plan, launch, workspaceSize, executor);
}

/* Not read: groupTp and tpSendCounts, as there is one rank of tensors, and expandScales, which are
 * expertScales where the rows were. */

/* torch_npu.npu_moe_distribute_combine. */
HC_API aclnnStatus aclnnMoeDistributeCombineGetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *expandIdx,
    const aclTensor *epSendCounts, const aclTensor *expertScales, const aclTensor *tpSendCounts,
    const aclTensor *xActiveMask, const aclTensor *activationScale, const aclTensor *weightScale,
    const aclTensor *groupList, const aclTensor *expandScales, const char *groupEp, int64_t epWorldSize,
    int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize, int64_t tpRankId,
    int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t globalBs,
    int64_t outDtype, int64_t commQuantMode, int64_t groupListType, aclTensor *x, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    (void)groupTp;
    (void)tpSendCounts;
    (void)expandScales;
    const struct hc_combine d = {.shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeCombine", xActiveMask)},
                                 .expand_x = expandX,
                                 .places = expandIdx,
                                 .counts = epSendCounts,
                                 .weights = expertScales,
                                 .activation_scale = activationScale,
                                 .weight_scale = weightScale,
                                 .group_list = groupList,
                                 .out_dtype = outDtype,
                                 .comm_quant = commQuantMode,
                                 .group_list_type = groupListType,
                                 .out = x,
                                 .out_name = "x"};
    return hc_combine_plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeCombine)

/* torch_npu.npu_moe_distribute_combine_v2. */
HC_API aclnnStatus aclnnMoeDistributeCombineV2GetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales, const aclTensor *tpSendCountsOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *activationScaleOptional,
    const aclTensor *weightScaleOptional, const aclTensor *groupListOptional,
    const aclTensor *expandScalesOptional, const aclTensor *sharedExpertXOptional, const char *groupEp,
    int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t globalBs, int64_t outDtype, int64_t commQuantMode, int64_t groupListType, const char *commAlg,
    aclTensor *xOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)groupTp;
    (void)tpSendCountsOptional;
    (void)expandScalesOptional;
    const struct hc_combine d = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeCombineV2", xActiveMaskOptional),
                   .algorithm = commAlg},
        HC_COMBINE_LATER,
        .out = xOut,
        .out_name = "x"};
    return hc_combine_plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeCombineV2)

/* The same with experts that compute nothing. */
HC_API aclnnStatus aclnnMoeDistributeCombineV3GetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales, const aclTensor *tpSendCountsOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *activationScaleOptional,
    const aclTensor *weightScaleOptional, const aclTensor *groupListOptional,
    const aclTensor *expandScalesOptional, const aclTensor *sharedExpertXOptional,
    const aclTensor *elasticInfoOptional, const aclTensor *oriXOptional,
    const aclTensor *constExpertAlpha1Optional, const aclTensor *constExpertAlpha2Optional,
    const aclTensor *constExpertVOptional, const char *groupEp, int64_t epWorldSize, int64_t epRankId,
    int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t globalBs, int64_t outDtype,
    int64_t commQuantMode, int64_t groupListType, const char *commAlg, int64_t zeroExpertNum,
    int64_t copyExpertNum, int64_t constExpertNum, aclTensor *xOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    (void)groupTp;
    (void)tpSendCountsOptional;
    (void)expandScalesOptional;
    const struct hc_combine d = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeCombineV3", xActiveMaskOptional),
                   HC_DISTRIBUTE_SPECIAL},
        HC_COMBINE_LATER,
        .out = xOut,
        .out_name = "x",
        .original = oriXOptional,
        .alpha1 = constExpertAlpha1Optional,
        .alpha2 = constExpertAlpha2Optional,
        .constant_row = constExpertVOptional};
    return hc_combine_plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeCombineV3)

/* The same with times of waiting. */
HC_API aclnnStatus aclnnMoeDistributeCombineV4GetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales, const aclTensor *tpSendCountsOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *activationScaleOptional,
    const aclTensor *weightScaleOptional, const aclTensor *groupListOptional,
    const aclTensor *expandScalesOptional, const aclTensor *sharedExpertXOptional,
    const aclTensor *elasticInfoOptional, const aclTensor *oriXOptional,
    const aclTensor *constExpertAlpha1Optional, const aclTensor *constExpertAlpha2Optional,
    const aclTensor *constExpertVOptional, const aclTensor *performanceInfoOptional, const char *groupEp,
    int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t globalBs, int64_t outDtype, int64_t commQuantMode, int64_t groupListType, const char *commAlg,
    int64_t zeroExpertNum, int64_t copyExpertNum, int64_t constExpertNum, aclTensor *xOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)groupTp;
    (void)tpSendCountsOptional;
    (void)expandScalesOptional;
    const struct hc_combine d = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeCombineV4", xActiveMaskOptional),
                   HC_DISTRIBUTE_SPECIAL, .performance = performanceInfoOptional},
        HC_COMBINE_LATER,
        .out = xOut,
        .out_name = "x",
        .original = oriXOptional,
        .alpha1 = constExpertAlpha1Optional,
        .alpha2 = constExpertAlpha2Optional,
        .constant_row = constExpertVOptional};
    return hc_combine_plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeCombineV4)
