// SPDX-License-Identifier: Apache-2.0
/* Tokens expanded to their choices, in the order of the experts: row p of the result is the token of choice
 * order[p], where order sorts the experts stably, and expandedRowIdx says where each choice went. With a
 * capacity every expert has as many rows, choices beyond it are dropped and places without one are 0. Only
 * the experts of a range count in the third version. Results may be int8, quantised on the way
 * (quantise_rows.h), or floats of a byte or less (quantise_formats.h). */
#include "fp4.h"
#include "quantise_formats.h"
#include "quantise_rows.h"

/* Experts are numbers below this: the interface allows 10240, tests of it more. */
enum { MAX_EXPERTS = 1 << 20 };

/* count_type of what is told of the experts' tokens. */
enum { ENDS = 1, COUNTS = 2, PAIRS = 3 };

struct args {
    int64_t tokens, choices, capacity, experts;
    int64_t first, last;              /* experts [first, last) count */
    int count_type;                   /* 0: nothing is told */
    bool pad, tells_before, by_place; /* by_place: expandedRowIdx is the order itself */
    int64_t quant;                    /* mode: -1 none, 0 static, 1 dynamic, others are formats */
    int64_t rows;                     /* of the result */
    int64_t scale_each;               /* scales that go with a token; 0: it is one of a vector */
};

/* The choices by expert. */
struct routing {
    size_t n;
    int64_t *expert, *order, *first; /* order[first[e] .. first[e + 1]): expert a->first + e */
    int64_t *place, *source, *owner; /* owner: the expert of every row of the result, from a->first on */
    int64_t kept;                    /* choices whose expert counts */
};

/* Experts in the order of the result: those that count, those behind them, and the ones before as one. */
static int64_t ordered_experts(const struct args *a) { return a->experts - a->first + (a->first > 0); }

/* Choices whose expert does not count follow those whose expert does, which shows where expandedRowIdx is the
 * order itself. */
static aclnnStatus sort_choices(const struct hc_call *call, const aclTensor *index, struct routing *r) {
    const struct args *a = call->args;
    HC_TRY(hc_moe_read(call->name, "expertIdx", index, 0, MAX_EXPERTS, r->expert));
    for (size_t i = 0; i < r->n; i++) {
        HC_CHECK(r->expert[i] < a->experts, ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld at position [%zu] of expertIdx is out of range: wanted 0 to %lld",
                 call->name, (long long)r->expert[i], i, (long long)a->experts - 1);
        r->expert[i] = r->expert[i] >= a->first ? r->expert[i] - a->first : a->experts - a->first;
    }
    hc_positions_by_row(r->expert, r->n, ordered_experts(a), -1, r->first, r->order);
    r->kept = r->first[a->last - a->first];
    return 0;
}

/* Places of the choices, and the token of every row of the result; -1: none. */
static void assign_rows(const struct args *a, int64_t rows, struct routing *r) {
    for (size_t i = 0; i < r->n; i++) r->place[i] = -1;
    for (int64_t p = 0; p < rows; p++) r->source[p] = -1;
    for (int64_t e = 0; e < a->last - a->first; e++) {
        for (int64_t p = r->first[e]; p < r->first[e + 1]; p++) {
            const int64_t within = p - r->first[e], choice = r->order[p];
            if (a->pad && within >= a->capacity) break;
            const int64_t row = a->pad ? (a->first + e) * a->capacity + within : p;
            r->place[choice] = row;
            if (row >= rows) continue;
            r->source[row] = choice / a->choices;
            r->owner[row] = e;
        }
    }
}

/* What is told of the experts' tokens: ends, lengths, or pairs of number and length for those that have some,
 * ended by zeros. */
static aclnnStatus tell(const struct args *a, const struct routing *r, int type, const aclTensor *out) {
    const int64_t experts = a->last - a->first, cells = type == PAIRS ? out->numel : experts;
    int64_t *values = hc_block_take_zeroed((size_t)cells, sizeof *values), used = 0;
    HC_CHECK(values != NULL, ACLNN_ERR_INNER, "out of host memory for the counts of %lld experts",
             (long long)experts);
    for (int64_t e = 0; e < experts; e++) {
        const int64_t count = r->first[e + 1] - r->first[e];
        if (type == ENDS) values[e] = r->first[e + 1];
        else if (type == COUNTS) values[e] = count;
        else if (count > 0 && used + 2 <= cells) {
            values[used++] = a->first + e;
            values[used++] = count;
        }
    }
    const aclnnStatus status = hc_moe_write_numbers(out, values);
    hc_block_give(values);
    return status;
}

/* out[p] = t[source[p]], and 0 where there is none, which is what a sum of one row is. */
static aclnnStatus take_rows(const char *name, const aclTensor *out, const aclTensor *t,
                             const int64_t *source) {
    return hc_row_sum(
        &(const struct hc_row_sum){.name = name, .out = out, .src = t, .each = 1, .source = source});
}

/* A tensor of rows as [rows, H]: one with a dimension for the experts, or of single values. */
static aclTensor as_rows(const aclTensor *t, int64_t hidden) {
    aclTensor v =
        hc_tensor_view(t->dtype, (const int64_t[]){hidden > 0 ? t->numel / hidden : 0, hidden}, 2, NULL);
    v.base = t->base;
    v.offset = t->offset;
    v.storage_numel = t->storage_numel;
    return v;
}

/* Formats are made of rows that lie together. */
static aclnnStatus fill_format(const struct hc_call *call, const struct routing *r, const aclTensor *rows) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0);
    const size_t bytes = (size_t)(a->rows * x->shape[1]) * (size_t)x->item_size;
    char *memory = hc_block_take(bytes + 1);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld rows", call->name,
             (long long)a->rows);
    const aclTensor taken = hc_tensor_view(x->dtype, (const int64_t[]){a->rows, x->shape[1]}, 2, memory);
    aclnnStatus status = take_rows(call->name, &taken, x, r->source);
    if (status == 0)
        status = hc_moe_to_format(call->name, a->quant, &taken, hc_arg(call, 2), rows, hc_arg(call, 7));
    hc_block_give(memory);
    return status;
}

/* The rows of the result, as they are or quantised. */
static aclnnStatus fill_rows(const struct hc_call *call, const struct routing *r, const aclTensor *rows) {
    const struct args *a = call->args;
    if (a->quant < 0) return take_rows(call->name, rows, hc_arg(call, 0), r->source);
    if (hc_moe_is_format(a->quant)) return fill_format(call, r, rows);
    return hc_moe_quantise(&(const struct hc_moe_quant){.name = call->name,
                                                        .x = hc_arg(call, 0),
                                                        .source = r->source,
                                                        .owner = r->owner,
                                                        .dynamic = a->quant == 1,
                                                        .scale = hc_arg(call, 2),
                                                        .offset = hc_arg(call, 8),
                                                        .out = rows,
                                                        .row_scales = hc_arg(call, 7)});
}

/* Operands x, expertIdx, scaleOptional, expandedX, expandedRowIdx, counts, before, expandedScale, offset. */
static aclnnStatus route(const struct hc_call *call, struct routing *r) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0), *scale = hc_arg(call, 2), *out = hc_arg(call, 3);
    HC_TRY(sort_choices(call, hc_arg(call, 1), r));
    aclTensor rows, results;
    void *owned, *owned_scale = NULL;
    HC_TRY(hc_contiguous_out(out, out->dtype, &rows, &owned));
    const aclTensor flat = as_rows(&rows, a->rows > 0 ? rows.numel / a->rows : x->shape[1]);
    assign_rows(a, a->rows, r);
    aclnnStatus status = fill_rows(call, r, &flat);
    if (status == 0 && owned != NULL) status = hc_copy(out, &rows);
    hc_block_give(owned);
    if (status == 0) status = hc_moe_write_numbers(hc_arg(call, 4), a->by_place ? r->order : r->place);
    if (status == 0 && a->count_type != 0) status = tell(a, r, a->count_type, hc_arg(call, 5));
    if (status == 0 && a->tells_before) status = tell(a, r, COUNTS, hc_arg(call, 6));
    if (status != 0 || scale == NULL || a->quant >= 0) return status;
    HC_TRY(hc_contiguous_out(hc_arg(call, 7), hc_arg(call, 7)->dtype, &results, &owned_scale));
    const aclTensor columns = as_rows(&results, hc_max_i64(a->scale_each, 1));
    aclTensor given = a->scale_each > 0 ? as_rows(scale, a->scale_each) : *scale;
    if (a->scale_each == 0) given.rank = 2, given.shape[1] = given.stride[1] = 1;
    status = take_rows(call->name, &columns, &given, r->source);
    if (status == 0 && owned_scale != NULL) status = hc_copy(hc_arg(call, 7), &results);
    hc_block_give(owned_scale);
    return status;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    struct routing r = {.n = hc_numel(hc_arg(call, 1))};
    const size_t experts = (size_t)ordered_experts(a), rows = (size_t)a->rows;
    r.expert = hc_moe_take(call->name, 3 * r.n + experts + 2 + 2 * rows);
    if (r.expert == NULL) return ACLNN_ERR_INNER;
    r.order = r.expert + r.n;
    r.place = r.order + r.n;
    r.first = r.place + r.n;
    r.source = r.first + experts + 2;
    r.owner = r.source + rows;
    const aclnnStatus status = route(call, &r);
    hc_block_give(r.expert);
    return status;
}

/* What all versions have. expandedX is [n, H], or with a capacity [E, C, H] or [E * C, H]. */
static aclnnStatus check(const char *name, const aclTensor *x, const aclTensor *expertIdx,
                         const aclTensor *expandedX, const aclTensor *expandedRowIdx, struct args *a) {
    HC_CHECK(x != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x is null", name);
    if (x->dtype == ACL_INT8 && a->quant < 0) HC_TRY(hc_moe_check_matrix(name, "x", x, -1, -1));
    else HC_TRY(hc_moe_check_floats(name, "x", x, -1, -1));
    HC_TRY(hc_moe_check_matrix(name, "expertIdx", expertIdx, x->shape[0], -1));
    HC_TRY(hc_moe_check_numbers(name, "expertIdx", expertIdx, expertIdx->numel));
    a->tokens = x->shape[0];
    a->choices = expertIdx->shape[1];
    HC_CHECK(expandedX != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: expandedX is null", name);
    const int32_t rank = a->pad && expandedX->rank == 3 ? 3 : 2;
    const aclDataType dtype = a->quant < 0                 ? x->dtype
                              : hc_moe_is_format(a->quant) ? hc_moe_format_dtype(a->quant)
                                                           : ACL_INT8;
    HC_CHECK(expandedX->rank == rank && expandedX->shape[rank - 1] == x->shape[1] &&
                 expandedX->dtype == dtype,
             ACLNN_ERR_PARAM_INVALID, "%s: expandedX is %s, wanted rows of x %s as %s", name,
             HC_SHOW(expandedX), HC_SHOW(x), hc_dtype_name(dtype));
    const int64_t rows = rank == 3 ? expandedX->shape[0] * expandedX->shape[1] : expandedX->shape[0];
    HC_CHECK(a->pad ? a->capacity > 0 && rows == a->experts * a->capacity : rows <= expertIdx->numel,
             ACLNN_ERR_PARAM_INVALID, "%s: expandedX is %s for %lld choices, %lld experts of capacity %lld",
             name, HC_SHOW(expandedX), (long long)expertIdx->numel, (long long)a->experts,
             (long long)a->capacity);
    a->rows = rows;
    return hc_moe_check_numbers(name, "expandedRowIdx", expandedRowIdx, expertIdx->numel);
}

/* Experts and capacity are numbers that sizes are made of. */
static aclnnStatus check_experts(const char *name, struct args *a, int64_t experts, int64_t capacity,
                                 int64_t mode) {
    HC_CHECK(mode == 0 || mode == 1, ACLNN_ERR_PARAM_INVALID, "%s: dropPadMode is %lld, wanted 0 or 1", name,
             (long long)mode);
    a->pad = mode == 1;
    HC_CHECK(experts >= 0 && experts <= MAX_EXPERTS && (experts > 0 || !a->pad), ACLNN_ERR_PARAM_INVALID,
             "%s: expertNum is %lld, wanted %d to %d", name, (long long)experts, a->pad, MAX_EXPERTS);
    HC_CHECK(!a->pad || (capacity > 0 && capacity <= HC_MAX_NUMEL / MAX_EXPERTS), ACLNN_ERR_PARAM_INVALID,
             "%s: expertCapacity is %lld, wanted 1 to %lld", name, (long long)capacity,
             (long long)(HC_MAX_NUMEL / MAX_EXPERTS));
    a->capacity = capacity;
    a->experts = a->last = experts > 0 ? experts : MAX_EXPERTS;
    return 0;
}

/* Scales of an operator that quantises. */
static aclnnStatus check_quant(const char *name, const aclTensor *x, const aclTensor *scale,
                               const aclTensor *offset, const aclTensor *expandedX, const aclTensor *scales,
                               const struct args *a) {
    const struct hc_moe_quant q = {
        .x = x, .dynamic = a->quant == 1, .scale = scale, .offset = offset, .row_scales = scales};
    return hc_moe_check_quant(name, &q, a->last - a->first, expandedX->numel / hc_max_i64(x->shape[1], 1));
}

/* The second version and its quantising form. */
struct second {
    const char *name, *flag_name, *counts_name, *before_name;
    const aclTensor *x, *expertIdx, *scale, *offset;
    int64_t capacity, experts, mode, flag;
    bool before;
    const aclTensor *expandedX, *expandedRowIdx, *counts, *tokens_before, *scales;
};

static aclnnStatus plan_second(const struct second *s, int64_t quant, uint64_t *workspaceSize,
                               aclOpExecutor **executor) {
    struct args a = {.quant = quant};
    const aclTensor *const x = s->x, *const expertIdx = s->expertIdx, *const expandedX = s->expandedX,
                           *const expandedRowIdx = s->expandedRowIdx, *const scale = s->scale,
                           *const offset = s->offset, *const scales = quant == 1 ? s->scales : NULL;
    HC_TRY(check_experts(s->name, &a, s->experts, s->capacity, s->mode));
    HC_TRY(check(s->name, x, expertIdx, expandedX, expandedRowIdx, &a));
    HC_CHECK(s->flag >= 0 && s->flag <= COUNTS, ACLNN_ERR_PARAM_INVALID, "%s: %s is %lld, wanted 0 to 2",
             s->name, s->flag_name, (long long)s->flag);
    a.count_type = a.pad ? 0 : (int)s->flag;
    a.tells_before = a.pad && s->before;
    const aclTensor *const counts = a.count_type ? s->counts : NULL, *const before = a.tells_before
                                                                                         ? s->tokens_before
                                                                                         : NULL;
    if (a.count_type != 0) HC_TRY(hc_moe_check_numbers(s->name, s->counts_name, counts, s->experts));
    if (a.tells_before) HC_TRY(hc_moe_check_numbers(s->name, s->before_name, before, s->experts));
    if (quant >= 0) HC_TRY(check_quant(s->name, x, scale, offset, expandedX, scales, &a));
    return HC_PLAN(s->name, run, &a, HC_IN(x), HC_IN(expertIdx), HC_IN_OPT(scale), HC_OUT(expandedX),
                   HC_OUT(expandedRowIdx), HC_OUT_OPT(counts), HC_OUT_OPT(before), HC_OUT_OPT(scales),
                   HC_IN_OPT(offset));
}

/* activeNum is the number of rows of the output. */
HC_API aclnnStatus aclnnMoeInitRoutingV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIdx, __attribute__((unused)) int64_t activeNumOptional,
    int64_t expertCapacityOptional, int64_t expertNumOptional, int64_t dropPadModeOptional,
    int64_t expertTokensCountOrCumsumFlagOptional, bool expertTokensBeforeCapacityFlagOptional,
    const aclTensor *expandedXOut, const aclTensor *expandedRowIdxOut,
    const aclTensor *expertTokensCountOrCumsumOutOptional,
    const aclTensor *expertTokensBeforeCapacityOutOptional, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    const struct second s = {.name = "aclnnMoeInitRoutingV2",
                             .flag_name = "expertTokensCountOrCumsumFlagOptional",
                             .counts_name = "expertTokensCountOrCumsumOutOptional",
                             .before_name = "expertTokensBeforeCapacityOutOptional",
                             .x = x,
                             .expertIdx = expertIdx,
                             .capacity = expertCapacityOptional,
                             .experts = expertNumOptional,
                             .mode = dropPadModeOptional,
                             .flag = expertTokensCountOrCumsumFlagOptional,
                             .before = expertTokensBeforeCapacityFlagOptional,
                             .expandedX = expandedXOut,
                             .expandedRowIdx = expandedRowIdxOut,
                             .counts = expertTokensCountOrCumsumOutOptional,
                             .tokens_before = expertTokensBeforeCapacityOutOptional};
    return plan_second(&s, -1, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeInitRoutingV2)

/* torch_npu.npu_moe_init_routing_quant. */
HC_API aclnnStatus aclnnMoeInitRoutingQuantV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIdx, const aclTensor *scaleOptional,
    const aclTensor *offsetOptional, __attribute__((unused)) int64_t activeNum, int64_t expertCapacity,
    int64_t expertNum, int64_t dropPadMode, int64_t expertTokensCountOrCumsumFlag,
    bool expertTokensBeforeCapacityFlag, int64_t quantMode, const aclTensor *expandedXOut,
    const aclTensor *expandedRowIdxOut, const aclTensor *expertTokensCountOrCumsumOutOptional,
    const aclTensor *expertTokensBeforeCapacityOutOptional, const aclTensor *dynamicQuantScaleOutOptional,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct second s = {.name = "aclnnMoeInitRoutingQuantV2",
                             .flag_name = "expertTokensCountOrCumsumFlag",
                             .counts_name = "expertTokensCountOrCumsumOutOptional",
                             .before_name = "expertTokensBeforeCapacityOutOptional",
                             .x = x,
                             .expertIdx = expertIdx,
                             .scale = scaleOptional,
                             .offset = offsetOptional,
                             .capacity = expertCapacity,
                             .experts = expertNum,
                             .mode = dropPadMode,
                             .flag = expertTokensCountOrCumsumFlag,
                             .before = expertTokensBeforeCapacityFlag,
                             .expandedX = expandedXOut,
                             .expandedRowIdx = expandedRowIdxOut,
                             .counts = expertTokensCountOrCumsumOutOptional,
                             .tokens_before = expertTokensBeforeCapacityOutOptional,
                             .scales = dynamicQuantScaleOutOptional};
    HC_CHECK(quantMode == 0 || quantMode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: quantMode is %lld, wanted 0 (static) or 1 (dynamic)", s.name, (long long)quantMode);
    return plan_second(&s, quantMode, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeInitRoutingQuantV2)

/* Formats of a byte or less are carried as bytes. */
static aclTensor bytes_of(const aclTensor *t) {
    aclTensor view = hc_fp4_bytes(t);
    view.dtype = ACL_INT8;
    return view;
}

static bool is_carried(const aclTensor *t) { return hc_dtype_is_narrow(t->dtype) || hc_is_fp4(t->dtype); }

/* Scales that go with their tokens as they are: one for each, or rows of MX scales. */
static aclnnStatus check_carried_scales(const char *name, struct args *a, const aclTensor *scale,
                                        const aclTensor *scales) {
    const bool mx = scale->dtype == ACL_FLOAT8_E8M0;
    const int64_t each = a->tokens > 0 ? scale->numel / a->tokens : 1;
    HC_CHECK(mx ? scale->rank >= 2 && scale->shape[0] == a->tokens && hc_is_contiguous(scale)
                : scale->rank == 1 && scale->numel == a->tokens && hc_dtype_is_float(scale->dtype),
             ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOptional is %s, wanted %lld floating point values or as many rows of float8_e8m0, "
             "contiguous",
             name, HC_SHOW(scale), (long long)a->tokens);
    HC_CHECK(scales != NULL && scales->numel == a->rows * each &&
                 (mx ? scales->dtype == scale->dtype : hc_dtype_is_float(scales->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: expandedScaleOut is %s, wanted %lld %s values", name,
             scales != NULL ? HC_SHOW(scales) : "null", (long long)(a->rows * each),
             mx ? "float8_e8m0" : "floating point");
    a->scale_each = mx ? each : 0;
    return 0;
}

/* With quantMode -1 values stay what they are, and a scale of each token goes with them. */
HC_API aclnnStatus aclnnMoeInitRoutingV3GetWorkspaceSize(
    const aclTensor *x, const aclTensor *expertIdx, const aclTensor *scaleOptional,
    const aclTensor *offsetOptional, int64_t activeNum, int64_t expertCapacity, int64_t expertNum,
    int64_t dropPadMode, int64_t expertTokensNumType, bool expertTokensNumFlag, int64_t quantMode,
    const aclIntArray *activeExpertRangeOptional, int64_t rowIdxType, const aclTensor *expandedXOut,
    const aclTensor *expandedRowIdxOut, const aclTensor *expertTokensCountOrCumsumOut,
    const aclTensor *expandedScaleOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeInitRoutingV3";
    struct args a = {.quant = quantMode};
    (void)activeNum; /* rows behind it are nobody's: they are filled all the same */
    const aclIntArray *range = activeExpertRangeOptional;
    const bool formatted = hc_moe_is_format(quantMode);
    HC_CHECK(
        (quantMode >= -1 && quantMode <= 1) || formatted, ACLNN_ERR_PARAM_INVALID,
        "%s: quantMode is %lld, wanted -1, 0 (static int8), 1 (dynamic int8), 2 to 9, 11, 12 or 14 to 17 "
        "(formats of a byte or less)",
        NAME, (long long)quantMode);
    HC_CHECK(!formatted || dropPadMode == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: dropPadMode is %lld, wanted 0 with quantMode %lld", NAME, (long long)dropPadMode,
             (long long)quantMode);
    HC_CHECK(quantMode == 0 || offsetOptional == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: offsetOptional is %s, wanted none with quantMode %lld", NAME, HC_SHOW(offsetOptional),
             (long long)quantMode);
    HC_TRY(check_experts(NAME, &a, expertNum, expertCapacity, dropPadMode));
    if (range != NULL && range->size > 0) {
        HC_CHECK(range->size == 2 && range->data[0] >= 0 && range->data[1] >= range->data[0] &&
                     range->data[1] <= a.experts,
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: activeExpertRangeOptional has %zu values, the first is %lld, wanted two in 0 to %lld",
                 NAME, range->size, (long long)range->data[0], (long long)a.experts);
        a.first = range->data[0];
        a.last = range->data[1];
    }
    HC_CHECK(rowIdxType == 0 || rowIdxType == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: rowIdxType is %lld, wanted 0 or 1", NAME, (long long)rowIdxType);
    HC_CHECK(expertTokensNumType >= 0 && expertTokensNumType <= 2, ACLNN_ERR_PARAM_INVALID,
             "%s: expertTokensNumType is %lld, wanted 0 to 2", NAME, (long long)expertTokensNumType);
    aclTensor x_bytes, out_bytes, scale_bytes, told_bytes;
    HC_CHECK(x != NULL && expandedXOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             x == NULL ? "x" : "expandedXOut");
    if (quantMode == -1 && is_carried(x) && expandedXOut->dtype == x->dtype) {
        if (hc_is_fp4(x->dtype)) HC_TRY(hc_fp4_check(NAME, "x", x));
        if (hc_is_fp4(x->dtype)) HC_TRY(hc_fp4_check(NAME, "expandedXOut", expandedXOut));
        x_bytes = bytes_of(x), x = &x_bytes;
        out_bytes = bytes_of(expandedXOut), expandedXOut = &out_bytes;
    }
    HC_TRY(check(NAME, x, expertIdx, expandedXOut, expandedRowIdxOut, &a));
    a.by_place = rowIdxType == 1 && !a.pad;
    a.count_type = expertTokensNumFlag ? (int)expertTokensNumType + 1 : 0;
    const aclTensor *const none = NULL, *counts = expertTokensNumFlag ? expertTokensCountOrCumsumOut : NULL;
    if (expertTokensNumFlag)
        HC_TRY(hc_moe_check_numbers(NAME, "expertTokensCountOrCumsumOut", counts,
                                    a.count_type == PAIRS ? 2 * expertNum : a.last - a.first));
    const bool told =
        quantMode == 1 || hc_moe_format_tells(quantMode) || (quantMode == -1 && scaleOptional != NULL);
    const aclTensor *scales = told ? expandedScaleOut : NULL;
    if (formatted) {
        HC_TRY(hc_moe_check_format(NAME, quantMode, x, scaleOptional, scales, a.rows));
        if (hc_is_fp4(expandedXOut->dtype)) HC_TRY(hc_fp4_check(NAME, "expandedXOut", expandedXOut));
    } else if (quantMode >= 0) {
        HC_TRY(check_quant(NAME, x, scaleOptional, offsetOptional, expandedXOut, scales, &a));
    } else if (scaleOptional != NULL) {
        HC_TRY(check_carried_scales(NAME, &a, scaleOptional, scales));
        if (a.scale_each > 0) scale_bytes = bytes_of(scaleOptional), scaleOptional = &scale_bytes;
        if (a.scale_each > 0) told_bytes = bytes_of(scales), scales = &told_bytes;
    }
    const aclTensor bytes = hc_fp4_bytes(expandedXOut), *const rows_out = hc_is_fp4(expandedXOut->dtype)
                                                                              ? &bytes
                                                                              : expandedXOut;
    return HC_PLAN(NAME, run, &a, HC_IN(x), HC_IN(expertIdx), HC_IN_OPT(scaleOptional), HC_OUT(rows_out),
                   HC_OUT(expandedRowIdxOut), HC_OUT_OPT(counts), HC_OUT_OPT(none), HC_OUT_OPT(scales),
                   HC_IN_OPT(offsetOptional));
}
HC_OP_LAUNCH(aclnnMoeInitRoutingV3)

/* The first version: rowIdx numbers the choices, as aclnnMoeGatingTopKSoftmax does. */
static aclnnStatus route_numbered(const struct hc_call *call, struct routing *r, int64_t tokens) {
    const aclTensor *out = hc_arg(call, 3);
    const int64_t n = (int64_t)r->n;
    HC_TRY(hc_moe_read(call->name, "expertIdx", hc_arg(call, 2), 0, MAX_EXPERTS, r->expert));
    HC_TRY(hc_moe_read(call->name, "rowIdx", hc_arg(call, 1), 0, n, r->source));
    int64_t most = 0;
    for (int64_t i = 0; i < n; i++) most = hc_max_i64(most, r->expert[i]);
    hc_positions_by_row(r->expert, r->n, most + 1, -1, r->first, r->order);
    for (int64_t p = 0; p < n; p++) r->place[p] = r->expert[r->order[p]];
    HC_TRY(hc_moe_write_numbers(hc_arg(call, 5), r->place));
    for (int64_t p = 0; p < n; p++) r->order[p] = r->source[r->order[p]];
    for (int64_t p = 0; p < n; p++) r->place[p] = 0;
    for (int64_t p = 0; p < n; p++) r->place[r->order[p]] = p;
    for (int64_t p = 0; p < n; p++) r->order[p] %= tokens;
    HC_TRY(hc_row_take(out, hc_arg(call, 0), r->order));
    return hc_moe_write_numbers(hc_arg(call, 4), r->place);
}

/* Operands x, rowIdx, expertIdx, expandedXOut, expandedRowIdxOut, expandedExpertIdxOut. */
static aclnnStatus run_numbered(const struct hc_call *call) {
    struct routing r = {.n = hc_numel(hc_arg(call, 2))};
    if (r.n == 0) return 0;
    r.expert = hc_moe_take(call->name, 4 * r.n + MAX_EXPERTS + 2);
    if (r.expert == NULL) return ACLNN_ERR_INNER;
    r.order = r.expert + r.n;
    r.place = r.order + r.n;
    r.source = r.place + r.n;
    r.first = r.source + r.n;
    const aclnnStatus status = route_numbered(call, &r, hc_arg(call, 0)->shape[0]);
    hc_block_give(r.expert);
    return status;
}

HC_API aclnnStatus aclnnMoeInitRoutingGetWorkspaceSize(const aclTensor *x, const aclTensor *rowIdx,
                                                       const aclTensor *expertIdx, int64_t activeNum,
                                                       const aclTensor *expandedXOut,
                                                       const aclTensor *expandedRowIdxOut,
                                                       const aclTensor *expandedExpertIdxOut,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeInitRouting";
    struct args a = {.quant = -1};
    HC_TRY(check(NAME, x, expertIdx, expandedXOut, expandedRowIdxOut, &a));
    HC_TRY(hc_moe_check_numbers(NAME, "rowIdx", rowIdx, expertIdx->numel));
    HC_TRY(hc_moe_check_numbers(NAME, "expandedExpertIdxOut", expandedExpertIdxOut, expertIdx->numel));
    HC_CHECK(activeNum >= 0, ACLNN_ERR_PARAM_INVALID, "%s: activeNum is %lld, wanted 0 or more", NAME,
             (long long)activeNum);
    return HC_PLAN0(NAME, run_numbered, HC_IN(x), HC_IN(rowIdx), HC_IN(expertIdx), HC_OUT(expandedXOut),
                    HC_OUT(expandedRowIdxOut), HC_OUT(expandedExpertIdxOut));
}
HC_OP_LAUNCH(aclnnMoeInitRouting)
