// SPDX-License-Identifier: Apache-2.0
/* Tokens to the ranks of their experts: expandX has the rows that this rank's experts get, by expert, then by
 * the rank that they come from, then in the order of its tokens. What lies behind them is not written.
 *
 * With quantMode 2 a row is multiplied by its expert's scales and rounded to int8 before it travels, with a
 * scale of its own in dynamicScales. Steps: blocks are filled, exchanged, and put together (distribute.h). */
#include <string.h>

#include "distribute.h"
#include "quantise_rows.h"

enum { QUANT_NONE = 0, QUANT_DYNAMIC = 2 };
enum {
    X,
    IDS,
    SCALES,
    MASK,
    WEIGHTS,
    EXPAND_X,
    ROW_SCALES,
    PLACES,
    TOKENS,
    RECEIVED,
    TP_RECEIVED,
    EXPAND_WEIGHTS
};
/* Of a row in the output for the way back: its rank, token and choice. */
enum { ORIGIN = 3 };

/* Rows for one rank, with the number of each expert's before them. */
static aclnnStatus fill_rows(const struct hc_call *call, char *block, size_t count, const int64_t *token,
                             const int64_t *expert) {
    const struct hc_distribute_args *a = call->args;
    const aclTensor *x = hc_arg(call, X);
    const int64_t n = (int64_t)count, shape[] = {n, a->hidden};
    if (count == 0) return 0;
    const aclTensor rows = hc_tensor_view(hc_arg(call, EXPAND_X)->dtype, shape, 2, block + a->rows);
    const aclTensor scales = hc_tensor_view(ACL_FLOAT, &n, 1, block + a->scales);
    if (a->quant == QUANT_NONE) return hc_row_take(&rows, x, token);
    return hc_moe_quantise(&(const struct hc_moe_quant){.name = call->name,
                                                        .x = x,
                                                        .source = token,
                                                        .owner = expert,
                                                        .dynamic = true,
                                                        .scale = hc_arg(call, SCALES),
                                                        .out = &rows,
                                                        .row_scales = &scales});
}

/* What travels beside the rows of cells [first[e], first[e + 1]) of a rank's experts. */
static void fill_numbers(const struct hc_call *call, char *block, const struct hc_distribute_order *order,
                         int64_t expert, const double *weight) {
    const struct hc_distribute_args *a = call->args;
    int32_t *counts = (int32_t *)(void *)(block + a->counts);
    int32_t *origins = (int32_t *)(void *)(block + a->origins);
    float *weights = (float *)(void *)(block + a->weights);
    const int64_t begin = order->first[expert], end = order->first[expert + a->local];
    for (int64_t e = 0; e < a->local; e++)
        counts[e] = (int32_t)(order->first[expert + e + 1] - order->first[expert + e]);
    for (int64_t i = begin; i < end; i++) {
        const int64_t cell = order->cell[i];
        if (weight != NULL) weights[i - begin] = (float)weight[cell];
        if (!a->with_places) continue;
        origins[2 * (i - begin)] = (int32_t)(cell / a->choices);
        origins[2 * (i - begin) + 1] = (int32_t)(cell % a->choices);
    }
}

/* The place of each choice among this rank's of the same expert; -1 where none travels. */
static aclnnStatus write_places(const struct hc_call *call, const struct hc_distribute_order *order,
                                int64_t *place) {
    const struct hc_distribute_args *a = call->args;
    const size_t n = (size_t)(a->tokens * a->choices);
    if (a->with_places) return 0;
    for (size_t i = 0; i < n; i++) place[i] = -1;
    for (int64_t e = 0; e < a->experts; e++)
        for (int64_t i = order->first[e]; i < order->first[e + 1]; i++)
            place[order->cell[i]] = i - order->first[e];
    return hc_moe_write_numbers(hc_arg(call, PLACES), place);
}

/* `memory` has room for three numbers for each choice. */
static aclnnStatus fill_blocks(const struct hc_call *call, const struct hc_distribute_order *order,
                               int64_t *memory) {
    const struct hc_distribute_args *a = call->args;
    const size_t n = (size_t)(a->tokens * a->choices);
    const aclTensor *weights = hc_arg(call, WEIGHTS);
    double *weight = weights != NULL ? (double *)(void *)(memory + 2 * n) : NULL;
    HC_TRY(write_places(call, order, memory));
    if (weights != NULL) HC_TRY(hc_moe_read_reals(weights, weight));
    /* Token and expert of each row, in the order in which they lie in the blocks. */
    for (int64_t e = 0; e < a->experts; e++) {
        for (int64_t i = order->first[e]; i < order->first[e + 1]; i++) {
            memory[i] = order->cell[i] / a->choices;
            memory[n + (size_t)i] = e;
        }
    }
    for (uint32_t rank = 0; rank < a->num_ranks; rank++) {
        char *block = hc_distribute_to(call, rank);
        const int64_t expert = rank * a->local, begin = order->first[expert];
        fill_numbers(call, block, order, expert, weight);
        HC_TRY(fill_rows(call, block, (size_t)(order->first[expert + a->local] - begin), memory + begin,
                         memory + n + begin));
    }
    return 0;
}

/* The first step reads all that the caller's tensors say; after it the exchange works on own memory only, so
 * that a client that changes them meanwhile cannot make sides disagree. */
static aclnnStatus fill(const struct hc_call *call, size_t part) {
    const struct hc_distribute_args *a = call->args;
    struct hc_distribute_order order;
    (void)part;
    HC_TRY(hc_distribute_sort(call, hc_arg(call, IDS), hc_arg(call, MASK), &order));
    int64_t *memory = hc_moe_take(call->name, 3 * (size_t)(a->tokens * a->choices));
    const aclnnStatus status = memory != NULL ? fill_blocks(call, &order, memory) : ACLNN_ERR_INNER;
    hc_block_give(memory);
    hc_block_give(order.memory);
    return status;
}

/* Runs of rows: of expert e from rank s is run e * W + s. */
struct runs {
    const struct hc_call *call;
    int64_t *to;   /* the first row in the output; one more entry is the end */
    int64_t *from; /* and in its block */
};

/* Counts of other processes are looked at before they become addresses. */
static aclnnStatus read_counts(const struct runs *runs) {
    const struct hc_call *call = runs->call;
    const struct hc_distribute_args *a = call->args;
    const int64_t ranks = a->num_ranks;
    for (uint32_t s = 0; s < a->num_ranks; s++) {
        int64_t before = 0;
        for (int64_t e = 0; e < a->local; e++) {
            int32_t count;
            memcpy(&count, hc_distribute_from(call, s) + a->counts + e * (int64_t)sizeof count, sizeof count);
            HC_CHECK(count >= 0 && before + count <= a->capacity, ACLNN_ERR_INNER,
                     "%s: rank %u sends %d rows for expert %lld, wanted at most %lld for all", call->name, s,
                     count, (long long)e, (long long)a->capacity);
            runs->from[e * ranks + s] = before;
            runs->to[e * ranks + s] = count;
            before += count;
        }
    }
    /* Counts become first rows. */
    int64_t total = 0;
    for (int64_t i = 0; i < a->local * ranks; i++) {
        const int64_t count = runs->to[i];
        runs->to[i] = total;
        total += count;
    }
    runs->to[a->local * ranks] = total;
    return 0;
}

/* The rows of a run, or numbers of 4 bytes beside them, lie together on both sides. */
static void copy_part(const struct runs *runs, size_t run, int operand, size_t at, size_t item) {
    const struct hc_distribute_args *a = runs->call->args;
    const char *block = hc_distribute_from(runs->call, (uint32_t)(run % a->num_ranks));
    memcpy((char *)hc_data(hc_arg(runs->call, operand)) + (size_t)runs->to[run] * item,
           block + at + (size_t)runs->from[run] * item, (size_t)(runs->to[run + 1] - runs->to[run]) * item);
}

/* The rank is not in the message: it is whose block this is. */
static void copy_origins(const struct runs *runs, size_t run) {
    const struct hc_distribute_args *a = runs->call->args;
    const uint32_t source = (uint32_t)(run % a->num_ranks);
    const char *block = hc_distribute_from(runs->call, source);
    const int32_t *origins = (const int32_t *)(const void *)(block + a->origins) + 2 * runs->from[run];
    int32_t *to = (int32_t *)hc_data(hc_arg(runs->call, PLACES)) + ORIGIN * runs->to[run];
    for (int64_t i = 0; i < runs->to[run + 1] - runs->to[run]; i++) {
        to[ORIGIN * i] = (int32_t)source;
        to[ORIGIN * i + 1] = origins[2 * i];
        to[ORIGIN * i + 2] = origins[2 * i + 1];
    }
}

/* A dispatch without quantisation leaves dynamicScales as it is, and one without weights expandScales. */
static void copy_runs(void *ctx, size_t begin, size_t end) {
    const struct runs *runs = ctx;
    const struct hc_distribute_args *a = runs->call->args;
    for (size_t run = begin; run < end; run++) {
        if (runs->to[run] == runs->to[run + 1]) continue;
        copy_part(runs, run, EXPAND_X, a->rows, a->row_bytes);
        if (a->quant == QUANT_DYNAMIC) copy_part(runs, run, ROW_SCALES, a->scales, sizeof(float));
        if (hc_arg(runs->call, WEIGHTS) != NULL)
            copy_part(runs, run, EXPAND_WEIGHTS, a->weights, sizeof(float));
        if (a->with_places) copy_origins(runs, run);
    }
}

/* epRecvCounts are sums up to and with each run; what a client has room for behind them is 0. */
static aclnnStatus write_counts(const struct runs *runs, int64_t *numbers) {
    const struct hc_call *call = runs->call;
    const struct hc_distribute_args *a = call->args;
    const int64_t ranks = a->num_ranks;
    const aclTensor *received = hc_arg(call, RECEIVED), *tp = hc_arg(call, TP_RECEIVED);
    for (int64_t e = 0; e < a->local; e++)
        numbers[e] = runs->to[(e + 1) * ranks] - (a->cumulative ? 0 : runs->to[e * ranks]);
    HC_TRY(hc_moe_write_numbers(hc_arg(call, TOKENS), numbers));
    for (int64_t i = 0; i < received->numel; i++) numbers[i] = i < a->local * ranks ? runs->to[i + 1] : 0;
    HC_TRY(hc_moe_write_numbers(received, numbers));
    return tp != NULL && tp->numel > 0 ? hc_moe_write_numbers(tp, runs->to + a->local * ranks) : 0;
}

/* The last step. One run is one piece of work: runs of an expert that many choose are long, but there are as
 * many as ranks, and threads that are done take the next. */
static aclnnStatus unpack(const struct hc_call *call, size_t part) {
    const struct hc_distribute_args *a = call->args;
    const size_t num_runs = (size_t)a->local * a->num_ranks;
    int64_t *memory = hc_moe_take(call->name, 2 * num_runs + 1 + hc_numel(hc_arg(call, RECEIVED)));
    (void)part;
    if (memory == NULL) return ACLNN_ERR_INNER;
    struct runs runs = {call, memory, memory + num_runs + 1};
    aclnnStatus status = read_counts(&runs);
    if (status == 0) {
        hc_parallel_for(num_runs, 1, copy_runs, &runs);
        status = write_counts(&runs, memory + 2 * num_runs + 1);
    }
    hc_block_give(memory);
    return status;
}

/* Steps and exchange are in the stream's order; nothing here waits for them. */
static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    HC_TRY(hc_op_step(call, fill, 0, 0, stream));
    HC_TRY(hc_distribute_exchange(call, stream));
    return hc_op_step(call, unpack, 0, 0, stream);
}

/* One call, whichever version it came by; what a version does not have is NULL or 0. `places` is expandIdx,
 * or assistInfoForCombine. */
struct dispatch {
    struct hc_distribute shared;
    const aclTensor *x, *scales, *weights;
    int64_t quant, token_nums_type;
    const aclTensor *expand_x, *row_scales, *places, *tokens, *received, *tp_received, *expand_weights;
    bool with_places;
};

/* Smooth scales have a row for each expert of the group, not only for this rank's: rows are quantised where
 * their token is. */
static aclnnStatus check_input(const struct dispatch *d) {
    const char *name = d->shared.name;
    HC_TRY(hc_moe_check_matrix(name, "x", d->x, -1, -1));
    HC_CHECK(hc_fits_f32(d->x->dtype) && d->x->shape[1] > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted rows of float16, bfloat16 or float32", name, HC_SHOW(d->x));
    HC_CHECK(d->quant == QUANT_NONE || d->quant == QUANT_DYNAMIC, ACLNN_ERR_PARAM_INVALID,
             "%s: quantMode is %lld, wanted 0 or 2", name, (long long)d->quant);
    HC_CHECK(d->quant == QUANT_DYNAMIC || d->scales == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: scales is %s, wanted none with quantMode 0", name, HC_SHOW(d->scales));
    HC_CHECK(d->token_nums_type == 0 || d->token_nums_type == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: expertTokenNumsType is %lld, wanted 0 or 1", name, (long long)d->token_nums_type);
    if (d->scales != NULL)
        HC_TRY(hc_moe_check_floats(name, "scales", d->scales, d->shared.experts, d->x->shape[1]));
    HC_CHECK(d->scales == NULL || hc_fits_f32(d->scales->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: scales is %s, wanted float32", name, HC_SHOW(d->scales));
    return 0;
}

/* An output of at least n elements that is written where it lies. */
static aclnnStatus check_vector(const char *name, const char *arg, const aclTensor *t, aclDataType dtype,
                                int64_t n) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(t->dtype == dtype && t->numel >= n && hc_is_contiguous(t), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %s of %lld elements or more, contiguous", name, arg, HC_SHOW(t),
             dtype == ACL_FLOAT ? "float32" : "int32", (long long)n);
    return 0;
}

/* The client makes outputs for the most rows that could come, before anybody knows how many do: they need not
 * be exactly that size (torch_npu's are larger with shared experts), but never smaller. */
static aclnnStatus check_outputs(const struct dispatch *d, const struct hc_distribute_args *a) {
    const char *name = d->shared.name;
    const int64_t most = a->capacity * a->num_ranks, runs = a->local * a->num_ranks;
    const aclDataType dtype = d->quant == QUANT_DYNAMIC ? ACL_INT8 : d->x->dtype;
    HC_TRY(hc_moe_check_matrix(name, "expandX", d->expand_x, -1, a->hidden));
    HC_CHECK(d->expand_x->dtype == dtype && d->expand_x->shape[0] >= most && hc_is_contiguous(d->expand_x),
             ACLNN_ERR_PARAM_INVALID, "%s: expandX is %s, wanted %lld rows or more of %s, contiguous", name,
             HC_SHOW(d->expand_x), (long long)most, d->quant == QUANT_DYNAMIC ? "int8" : "x's type");
    if (d->quant == QUANT_DYNAMIC)
        HC_TRY(check_vector(name, "dynamicScales", d->row_scales, ACL_FLOAT, most));
    if (d->weights != NULL) {
        HC_TRY(hc_moe_check_floats(name, "expertScales", d->weights, a->tokens, a->choices));
        HC_TRY(check_vector(name, "expandScales", d->expand_weights, ACL_FLOAT, most));
    }
    if (d->with_places)
        HC_TRY(check_vector(name, "assistInfoForCombine", d->places, ACL_INT32, ORIGIN * most));
    else HC_TRY(hc_moe_check_numbers(name, "expandIdx", d->places, a->tokens * a->choices));
    HC_TRY(hc_moe_check_numbers(name, "expertTokenNums", d->tokens, a->local));
    HC_TRY(hc_moe_check_numbers(name, "epRecvCounts", d->received, -1));
    HC_CHECK(d->received->numel >= runs, ACLNN_ERR_PARAM_INVALID,
             "%s: epRecvCounts is %s, wanted %lld elements or more", name, HC_SHOW(d->received),
             (long long)runs);
    if (d->tp_received != NULL && d->tp_received->numel > 0)
        HC_TRY(hc_moe_check_numbers(name, "tpRecvCounts", d->tp_received, 1));
    return 0;
}

/* Counts, then what travels for each row, then rows: all on boundaries of cache lines. */
/* Parts that this call does not use have no bytes. */
static aclnnStatus lay_out(const struct dispatch *d, struct hc_distribute_args *a) {
    const size_t capacity = (size_t)a->capacity, line = 64;
    size_t rows = 0;
    a->row_bytes = (size_t)a->hidden * (size_t)d->expand_x->item_size;
    a->scales = hc_align_up((size_t)a->local * sizeof(int32_t), line);
    a->weights = a->scales + (d->quant == QUANT_DYNAMIC ? hc_align_up(capacity * sizeof(float), line) : 0);
    a->origins = a->weights + (d->weights != NULL ? hc_align_up(capacity * sizeof(float), line) : 0);
    a->rows = a->origins + (d->with_places ? hc_align_up(capacity * 2 * sizeof(int32_t), line) : 0);
    HC_CHECK(hc_bytes_fit(capacity, a->row_bytes, &rows) && rows < HC_MAX_BYTES / 4, ACLNN_ERR_PARAM_INVALID,
             "%s: %zu rows of x %s are too large", d->shared.name, capacity, HC_SHOW(d->x));
    a->block = a->rows + hc_align_up(rows, line);
    a->received = a->block * a->num_ranks;
    return 0;
}

/* Checks come in the order of arguments where one does not need the result of another. */
static aclnnStatus plan(const struct dispatch *d, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_distribute_args a;
    size_t workspace = 0;
    HC_TRY(check_input(d));
    HC_TRY(hc_distribute_describe(&d->shared, d->x->shape[1], &a));
    HC_CHECK(d->x->shape[0] == a.tokens, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s and expertIds %s, wanted one row each", d->shared.name, HC_SHOW(d->x),
             HC_SHOW(d->shared.ids));
    a.quant = d->quant;
    a.cumulative = d->token_nums_type == 0;
    a.with_places = d->with_places;
    HC_TRY(check_outputs(d, &a));
    HC_TRY(lay_out(d, &a));
    HC_TRY(hc_distribute_workspace(d->shared.name, &a, 0, &workspace));
    const bool quantised = d->quant == QUANT_DYNAMIC;
    const int in = HC_ROLE_IN, optional = HC_ROLE_IN | HC_ROLE_OPTIONAL, out = HC_ROLE_OUT,
              out_optional = HC_ROLE_OUT | HC_ROLE_OPTIONAL;
    const struct hc_operand operands[] = {
        [X] = {d->x, NULL, in, "x"},
        [IDS] = {d->shared.ids, NULL, in, "expertIds"},
        [SCALES] = {d->scales, NULL, optional, "scales"},
        [MASK] = {d->shared.mask, NULL, optional, "xActiveMask"},
        [WEIGHTS] = {d->weights, NULL, optional, "expertScales"},
        [EXPAND_X] = {d->expand_x, NULL, out, "expandX"},
        [ROW_SCALES] = {quantised ? d->row_scales : NULL, NULL, out_optional, "dynamicScales"},
        [PLACES] = {d->places, NULL, out, d->with_places ? "assistInfoForCombine" : "expandIdx"},
        [TOKENS] = {d->tokens, NULL, out, "expertTokenNums"},
        [RECEIVED] = {d->received, NULL, out, "epRecvCounts"},
        [TP_RECEIVED] = {d->tp_received, NULL, out_optional, "tpRecvCounts"},
        [EXPAND_WEIGHTS] = {d->weights != NULL ? d->expand_weights : NULL, NULL, out_optional,
                            "expandScales"},
    };
    const struct hc_plan plan = {.name = d->shared.name,
                                 .args = &a,
                                 .args_size = sizeof a,
                                 .operands = operands,
                                 .num_operands = HC_ARRAY_SIZE(operands),
                                 .workspace = workspace};
    return hc_plan_steps(&plan, launch, workspaceSize, executor);
}

/* torch_npu.npu_moe_distribute_dispatch. */
HC_API aclnnStatus aclnnMoeDistributeDispatchGetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIds, const aclTensor *scales, const aclTensor *xActiveMask,
    const aclTensor *expertScales, const char *groupEp, int64_t epWorldSize, int64_t epRankId,
    int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t quantMode, int64_t globalBs,
    int64_t expertTokenNumsType, aclTensor *expandX, aclTensor *dynamicScales, aclTensor *expandIdx,
    aclTensor *expertTokenNums, aclTensor *epRecvCounts, aclTensor *tpRecvCounts, aclTensor *expandScales,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)groupTp;
    const struct dispatch d = {.shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeDispatch", xActiveMask)},
                               .x = x,
                               .scales = scales,
                               .weights = expertScales,
                               .quant = quantMode,
                               .token_nums_type = expertTokenNumsType,
                               .expand_x = expandX,
                               .row_scales = dynamicScales,
                               .places = expandIdx,
                               .tokens = expertTokenNums,
                               .received = epRecvCounts,
                               .tp_received = tpRecvCounts,
                               .expand_weights = expandScales};
    return plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeDispatch)

/* What the versions after the first name alike. */
#define LATER_OUTPUTS                                                                                        \
    .x = x, .scales = scalesOptional, .weights = expertScalesOptional, .quant = quantMode,                   \
    .token_nums_type = expertTokenNumsType, .expand_x = expandXOut, .row_scales = dynamicScalesOut,          \
    .places = assistInfoForCombineOut, .tokens = expertTokenNumsOut, .received = epRecvCountsOut,            \
    .tp_received = tpRecvCountsOut, .expand_weights = expandScalesOut, .with_places = true

/* torch_npu.npu_moe_distribute_dispatch_v2: for the way back, where each row comes from. */
HC_API aclnnStatus aclnnMoeDistributeDispatchV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIds, const aclTensor *scalesOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *expertScalesOptional, const char *groupEp,
    int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t quantMode, int64_t globalBs, int64_t expertTokenNumsType, const char *commAlg,
    aclTensor *expandXOut, aclTensor *dynamicScalesOut, aclTensor *assistInfoForCombineOut,
    aclTensor *expertTokenNumsOut, aclTensor *epRecvCountsOut, aclTensor *tpRecvCountsOut,
    aclTensor *expandScalesOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)groupTp;
    const struct dispatch d = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeDispatchV2", xActiveMaskOptional),
                   .algorithm = commAlg},
        LATER_OUTPUTS};
    return plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeDispatchV2)

/* The same with experts that compute nothing. */
HC_API aclnnStatus aclnnMoeDistributeDispatchV3GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIds, const aclTensor *scalesOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *expertScalesOptional,
    const aclTensor *elasticInfoOptional, const char *groupEp, int64_t epWorldSize, int64_t epRankId,
    int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t quantMode, int64_t globalBs,
    int64_t expertTokenNumsType, const char *commAlg, int64_t zeroExpertNum, int64_t copyExpertNum,
    int64_t constExpertNum, aclTensor *expandXOut, aclTensor *dynamicScalesOut,
    aclTensor *assistInfoForCombineOut, aclTensor *expertTokenNumsOut, aclTensor *epRecvCountsOut,
    aclTensor *tpRecvCountsOut, aclTensor *expandScalesOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    (void)groupTp;
    const struct dispatch d = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeDispatchV3", xActiveMaskOptional),
                   HC_DISTRIBUTE_SPECIAL},
        LATER_OUTPUTS};
    return plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeDispatchV3)

/* The same with times of waiting. */
HC_API aclnnStatus aclnnMoeDistributeDispatchV4GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIds, const aclTensor *scalesOptional,
    const aclTensor *xActiveMaskOptional, const aclTensor *expertScalesOptional,
    const aclTensor *elasticInfoOptional, const aclTensor *performanceInfoOptional, const char *groupEp,
    int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t quantMode, int64_t globalBs, int64_t expertTokenNumsType, const char *commAlg,
    int64_t zeroExpertNum, int64_t copyExpertNum, int64_t constExpertNum, aclTensor *expandXOut,
    aclTensor *dynamicScalesOut, aclTensor *assistInfoForCombineOut, aclTensor *expertTokenNumsOut,
    aclTensor *epRecvCountsOut, aclTensor *tpRecvCountsOut, aclTensor *expandScalesOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)groupTp;
    const struct dispatch d = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeDispatchV4", xActiveMaskOptional),
                   HC_DISTRIBUTE_SPECIAL, .performance = performanceInfoOptional},
        LATER_OUTPUTS};
    return plan(&d, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeDispatchV4)
