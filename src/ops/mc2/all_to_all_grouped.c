// SPDX-License-Identifier: Apache-2.0
/* The product of each expert with its tokens, next to the exchange that brings tokens to the ranks of their
 * experts or takes results back. W ranks have E experts each; counts [W, E] say how many rows go to, or come
 * from, expert e of rank w (on the way back: of this rank's expert e to rank w):
 *
 *   AlltoAllvGroupedMatMul   rows travel, are ordered by expert, and multiplied: y = permuteOut weight[e]
 *   GroupedMatMulAlltoAllv   rows lie by expert, are multiplied, ordered by rank, and travel
 *
 * Rows travel by rank, then expert; an expert's rows lie by rank. The second operator takes back what the
 * first one brought, with the two lists of counts exchanged, and each is the gradient of the other.
 *
 * The shared experts' product (mmX mmWeight) needs no exchange: it runs while rows travel, where
 * communication leaves the cores free (mc2.h). One message to each rank of its size, so nothing is sent that
 * is not used; what it costs is a copy of the rows from one order to the other, which one expert on each
 * rank, or one rank, does not need. */
#include <string.h>

#include "grouped.h"
#include "matmul.h"
#include "mc2.h"
#include "temporary.h"

enum { X, WEIGHT, MM_X, MM_WEIGHT, Y, MM_Y, PERMUTED };

/* mc2's m, n, k are those of this rank's product of experts: m rows that its experts have. */
struct args {
    struct hc_mc2_args mc2; /* first: hc_mc2_group reads it */
    size_t experts;
    bool transposed, mm_transposed;
    bool ordered;                           /* both orders are the same */
    size_t packed_at, moved_at, product_at; /* in the workspace */
    int64_t counts[];                       /* rows that are sent, then that come: [W, E] each */
};

static const int64_t *sent(const struct args *a) { return a->counts; }
static const int64_t *received(const struct args *a) { return a->counts + a->mc2.num_ranks * a->experts; }

/* Runs of rows: of one expert and one rank. `travel` and `place`: the first row of each run in the order of
 * ranks and in that of experts, both indexed as counts are. */
struct runs {
    const int64_t *counts;
    int64_t *travel, *place;
    const char *from;
    char *to;
    size_t row_bytes;
    bool by_expert; /* the order that `to` gets */
};

static aclnnStatus take_runs(const struct hc_call *call, const int64_t *counts, struct runs *runs) {
    const struct args *a = call->args;
    const size_t ranks = a->mc2.num_ranks, n = ranks * a->experts;
    int64_t *memory = hc_block_take_array(2 * n, sizeof *memory);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu counts", call->name, n);
    *runs = (struct runs){.counts = counts, .travel = memory, .place = memory + n};
    int64_t row = 0;
    for (size_t i = 0; i < n; row += counts[i++]) runs->travel[i] = row;
    row = 0;
    for (size_t e = 0; e < a->experts; e++)
        for (size_t i = e; i < n; row += counts[i], i += a->experts) runs->place[i] = row;
    return 0;
}

static void copy_runs(void *ctx, size_t begin, size_t end) {
    const struct runs *r = ctx;
    for (size_t i = begin; i < end; i++) {
        const int64_t from = r->by_expert ? r->travel[i] : r->place[i],
                      to = r->by_expert ? r->place[i] : r->travel[i];
        if (r->counts[i] > 0)
            memcpy(r->to + (size_t)to * r->row_bytes, r->from + (size_t)from * r->row_bytes,
                   (size_t)r->counts[i] * r->row_bytes);
    }
}

static struct hc_grouped groups_of(const char *name, const aclTensor *x, const aclTensor *weight,
                                   const aclTensor *y, size_t experts) {
    return (struct hc_grouped){.name = name,
                               .x = {NULL, x, 1},
                               .weight = {NULL, weight, 1},
                               .y = {NULL, y, 1},
                               .weight_name = "gmmWeight",
                               .y_name = "y",
                               .groups = experts,
                               .listed = true};
}

static aclTensor as_stored(const aclTensor *t, bool transposed) {
    return transposed ? hc_transpose_view(t, t->rank - 2, t->rank - 1) : *t;
}

/* An expert's rows begin where its run of rank 0 does. */
static aclnnStatus multiply_experts(const struct hc_call *call, const struct runs *runs, const aclTensor *x,
                                    const aclTensor *y) {
    const struct args *a = call->args;
    const aclTensor weight = as_stored(hc_arg(call, WEIGHT), a->transposed);
    const struct hc_grouped g = groups_of(call->name, x, &weight, y, a->experts);
    int64_t *first = hc_block_take_array(a->experts + 1, sizeof *first);
    HC_CHECK(first != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu experts", call->name,
             a->experts);
    memcpy(first, runs->place, a->experts * sizeof *first);
    first[a->experts] = (int64_t)a->mc2.m;
    const aclnnStatus status = hc_grouped_run(&g, first);
    hc_block_give(first);
    return status;
}

static aclTensor rows_at(const struct hc_call *call, size_t width, char *data) {
    const struct args *a = call->args;
    return hc_tensor_view(hc_arg(call, Y)->dtype, (const int64_t[]){(int64_t)a->mc2.m, (int64_t)width}, 2,
                          data);
}

/* Where rows lie by expert before they are multiplied: where the caller wants them, if it does. */
static char *by_expert(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *t = hc_arg(call, PERMUTED);
    if (t != NULL) return hc_data(t);
    return call->workspace + (a->ordered ? a->moved_at : a->product_at);
}
/* Where they come, and where they leave from after they were multiplied. */
static char *came(const struct hc_call *call) {
    const struct args *a = call->args;
    return a->ordered ? by_expert(call) : call->workspace + a->moved_at;
}
static char *leaves(const struct hc_call *call) {
    const struct args *a = call->args;
    return call->workspace + (a->ordered ? a->product_at : a->moved_at);
}

static aclnnStatus multiply_arrived(const struct hc_call *call, size_t part) {
    const struct args *a = call->args;
    const aclTensor x = rows_at(call, a->mc2.k, by_expert(call));
    struct runs runs;
    (void)part;
    HC_TRY(take_runs(call, received(a), &runs));
    runs.from = came(call), runs.to = by_expert(call), runs.by_expert = true;
    runs.row_bytes = a->mc2.k * (size_t)x.item_size;
    if (!a->ordered) hc_parallel_for(a->mc2.num_ranks * a->experts, 1, copy_runs, &runs);
    const aclnnStatus status = multiply_experts(call, &runs, &x, hc_arg(call, Y));
    hc_block_give(runs.travel);
    return status;
}

static aclnnStatus multiply_leaving(const struct hc_call *call, size_t part) {
    const struct args *a = call->args;
    const aclTensor product = rows_at(call, a->mc2.n, call->workspace + a->product_at);
    struct runs runs;
    (void)part;
    HC_TRY(take_runs(call, sent(a), &runs));
    runs.from = hc_data(&product), runs.to = leaves(call);
    runs.row_bytes = a->mc2.n * (size_t)product.item_size;
    const aclnnStatus status = multiply_experts(call, &runs, hc_arg(call, X), &product);
    if (status == 0 && !a->ordered) hc_parallel_for(a->mc2.num_ranks * a->experts, 1, copy_runs, &runs);
    hc_block_give(runs.travel);
    return status;
}

/* The shared experts' product, described alike in both phases. */
static aclnnStatus describe_shared(const char *name, const aclTensor *x, const aclTensor *weight,
                                   const aclTensor *y, struct hc_gemm *g) {
    const struct hc_matmul op = {.name = name,
                                 .a = x,
                                 .b = weight,
                                 .out = y,
                                 .a_name = "mmXOptional",
                                 .b_name = "mmWeightOptional",
                                 .a_rank = 2,
                                 .b_rank = 2};
    return hc_matmul_describe(&op, g);
}

static aclnnStatus multiply_shared(const struct hc_call *call, size_t part) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, MM_X), *y = hc_arg(call, MM_Y),
                    weight = as_stored(hc_arg(call, MM_WEIGHT), a->mm_transposed);
    struct hc_gemm g;
    (void)part;
    HC_TRY(describe_shared(call->name, x, &weight, y, &g));
    g.a.data = hc_data(x), g.b.data = hc_data(&weight), g.out.data = hc_data(y);
    return hc_matmul_run(call->name, &g, y, (const aclTensor *const[]){x, &weight}, 2);
}

/* What each rank gets of a buffer of `width` elements a row; blocks lie behind each other. */
static struct hc_group_blocks blocks_of(const struct args *a, const int64_t *counts, size_t width,
                                        uint64_t *memory, void *data) {
    uint64_t *at = memory + a->mc2.num_ranks, next = 0;
    for (size_t w = 0; w < a->mc2.num_ranks; w++) {
        memory[w] = 0;
        for (size_t e = 0; e < a->experts; e++) memory[w] += (uint64_t)counts[w * a->experts + e] * width;
        at[w] = next;
        next += memory[w];
    }
    return (struct hc_group_blocks){data, memory, at};
}

/* Launches the exchange of rows of `width`. */
static aclnnStatus exchange(const struct hc_call *call, const struct hc_group *group, void *send, void *recv,
                            size_t width, aclrtStream stream) {
    const struct args *a = call->args;
    const size_t n = a->mc2.num_ranks;
    uint64_t *memory = hc_block_take_array(4 * n, sizeof *memory);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu ranks", call->name, n);
    const struct hc_group_blocks from = blocks_of(a, sent(a), width, memory, send),
                                 to = blocks_of(a, received(a), width, memory + 2 * n, recv);
    const int code = group->calls->exchange_blocks(group, &from, &to, hc_arg(call, Y)->dtype, stream);
    hc_block_give(memory);
    return hc_mc2_collective(code);
}

/* The exchange, and the shared experts' product while rows travel. What is put into the stream afterwards
 * comes after both. */
static aclnnStatus exchange_and_share(const struct hc_call *call, void *send, void *recv, size_t width,
                                      aclrtStream stream) {
    const aclTensor *x = hc_arg(call, MM_X), *y = hc_arg(call, MM_Y);
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    const bool beside = x != NULL && group.beside != NULL;
    if (beside) HC_TRY(hc_mc2_order(call, stream, group.beside));
    HC_TRY(exchange(call, &group, send, recv, width, beside ? group.beside : stream));
    if (x != NULL)
        HC_TRY(hc_op_step(call, multiply_shared, 0, 2 * (uint64_t)x->numel * (uint64_t)y->shape[1], stream));
    return beside ? hc_mc2_order(call, group.beside, stream) : 0;
}

/* An exchange sends memory without gaps. */
static aclnnStatus pack(const struct hc_call *call, size_t part) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, X);
    const aclTensor copy = hc_tensor_view(x->dtype, x->shape, x->rank, call->workspace + a->packed_at);
    (void)part;
    return hc_copy(&copy, x);
}

static aclnnStatus launch_before(const struct hc_call *call, aclrtStream stream) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, X);
    void *send = hc_data(x);
    if (!hc_is_contiguous(x)) {
        HC_TRY(hc_op_step(call, pack, 0, 0, stream));
        send = call->workspace + a->packed_at;
    }
    HC_TRY(exchange_and_share(call, send, came(call), a->mc2.k, stream));
    return hc_op_step(call, multiply_arrived, 0, hc_mc2_flops(&a->mc2, a->mc2.m), stream);
}

static aclnnStatus launch_after(const struct hc_call *call, aclrtStream stream) {
    const struct args *a = call->args;
    HC_TRY(hc_op_step(call, multiply_leaving, 0, hc_mc2_flops(&a->mc2, a->mc2.m), stream));
    return exchange_and_share(call, leaves(call), hc_data(hc_arg(call, Y)), a->mc2.n, stream);
}

/* One call of any of the operators; what it does not have is NULL. */
struct op {
    const char *name, *y_name;
    const aclTensor *x, *weight, *sent_tensor, *received_tensor, *mm_x, *mm_weight;
    const char *group, *comm_mode;
    int64_t ranks;
    const aclIntArray *sent, *received;
    bool transposed, mm_transposed;
    const aclTensor *y, *mm_y, *permuted;
    bool travels_first;
};

/* What is there and of which kind; sizes come later. */
static aclnnStatus check_operands(const struct op *op) {
    HC_CHECK(op->x && op->weight && op->y, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name,
             !op->x        ? "gmmX"
             : !op->weight ? "gmmWeight"
                           : op->y_name);
    HC_CHECK(op->sent_tensor == NULL && op->received_tensor == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is given, wanted none: counts are read from sendCounts and recvCounts", op->name,
             op->sent_tensor != NULL ? "sendCountsTensorOptional" : "recvCountsTensorOptional");
    HC_CHECK(hc_fits_f32(op->x->dtype) && op->x->rank == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: gmmX is %s, wanted 2 dimensions of float16, bfloat16 or float32", op->name, HC_SHOW(op->x));
    HC_CHECK(op->weight->dtype == op->x->dtype && op->weight->rank == 3 && op->weight->shape[0] > 0,
             ACLNN_ERR_PARAM_INVALID, "%s: gmmWeight is %s, wanted 3 dimensions of the type of gmmX %s",
             op->name, HC_SHOW(op->weight), HC_SHOW(op->x));
    return hc_mc2_check_mode(op->name, op->comm_mode);
}

/* A list of counts, and how many rows they are in all. */
static aclnnStatus add_counts(const struct op *op, const char *arg, const aclIntArray *list, size_t wanted,
                              int64_t *sum) {
    HC_CHECK(list != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, arg);
    HC_CHECK(list->size == wanted, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %zu counts, wanted %zu: %lld ranks of %lld experts", op->name, arg, list->size,
             wanted, (long long)op->ranks, (long long)op->weight->shape[0]);
    *sum = 0;
    for (size_t i = 0; i < wanted; i++)
        HC_CHECK(list->data[i] >= 0 && hc_add_i64_fits(*sum, list->data[i], sum), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s has %lld at %zu, wanted a number of rows", op->name, arg, (long long)list->data[i],
                 i);
    return 0;
}

/* gmmX has the rows that are sent, y those that come; what a rank keeps is the same in both lists. */
static aclnnStatus check_counts(const struct op *op, const struct hc_mc2_args *mc2) {
    const size_t experts = (size_t)op->weight->shape[0];
    int64_t sent_rows, received_rows;
    size_t wanted = 0;
    HC_CHECK(op->ranks == mc2->num_ranks, ACLNN_ERR_PARAM_INVALID,
             "%s: epWorldSize is %lld, but group '%s' has %u ranks", op->name, (long long)op->ranks,
             op->group, mc2->num_ranks);
    HC_CHECK(hc_mul_fits(experts, mc2->num_ranks, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: gmmWeight %s has too many experts", op->name, HC_SHOW(op->weight));
    HC_TRY(add_counts(op, "sendCounts", op->sent, wanted, &sent_rows));
    HC_TRY(add_counts(op, "recvCounts", op->received, wanted, &received_rows));
    HC_CHECK(sent_rows == op->x->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: sendCounts are %lld rows in all, gmmX is %s", op->name, (long long)sent_rows,
             HC_SHOW(op->x));
    HC_CHECK(op->y->rank == 2 && received_rows == op->y->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: recvCounts are %lld rows in all, %s is %s", op->name, (long long)received_rows, op->y_name,
             HC_SHOW(op->y));
    for (size_t i = mc2->rank * experts; i < (mc2->rank + 1) * experts; i++)
        HC_CHECK(op->sent->data[i] == op->received->data[i], ACLNN_ERR_PARAM_INVALID,
                 "%s: sendCounts has %lld and recvCounts %lld at %zu, wanted the same: rank %u keeps them",
                 op->name, (long long)op->sent->data[i], (long long)op->received->data[i], i, mc2->rank);
    return 0;
}

/* A result of this shape that nothing else lies in. */
static aclnnStatus check_result(const struct op *op, const char *arg, const aclTensor *t, int64_t rows,
                                int64_t cols) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, arg);
    HC_CHECK(t->rank == 2 && t->shape[0] == rows && t->shape[1] == cols && t->dtype == op->x->dtype &&
                 hc_is_contiguous(t),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted [%lld,%lld] of gmmX's type, contiguous", op->name,
             arg, HC_SHOW(t), (long long)rows, (long long)cols);
    const aclTensor *others[] = {op->x, op->weight, op->mm_x, op->mm_weight, op->y, op->mm_y, op->permuted};
    for (size_t i = 0; i < HC_ARRAY_SIZE(others); i++)
        HC_CHECK(others[i] == NULL || others[i] == t || !hc_overlaps(t, others[i]), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s %s shares memory with %s", op->name, arg, HC_SHOW(t), HC_SHOW(others[i]));
    return 0;
}

/* The shared experts: all of their tensors, or none. */
static aclnnStatus check_shared(const struct op *op) {
    struct hc_gemm g;
    const bool any = op->mm_x != NULL || op->mm_weight != NULL;
    if (!any && op->mm_y == NULL) return 0;
    HC_CHECK(op->mm_x && op->mm_weight && op->mm_y, ACLNN_ERR_PARAM_NULLPTR,
             "%s: %s is null, wanted mmXOptional, mmWeightOptional and mmYOptional, or none of them",
             op->name,
             !op->mm_x        ? "mmXOptional"
             : !op->mm_weight ? "mmWeightOptional"
                              : "mmYOptional");
    HC_CHECK(op->mm_x->dtype == op->x->dtype && op->mm_weight->dtype == op->x->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: mmXOptional is %s, mmWeightOptional %s, wanted the type of gmmX %s", op->name,
             HC_SHOW(op->mm_x), HC_SHOW(op->mm_weight), HC_SHOW(op->x));
    HC_CHECK(op->mm_weight->rank == 2 && op->mm_x->rank == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: mmXOptional is %s, mmWeightOptional %s, wanted 2 dimensions", op->name, HC_SHOW(op->mm_x),
             HC_SHOW(op->mm_weight));
    const aclTensor weight = as_stored(op->mm_weight, op->mm_transposed);
    HC_TRY(check_result(op, "mmYOptional", op->mm_y, op->mm_x->shape[0], weight.shape[1]));
    return describe_shared(op->name, op->mm_x, &weight, op->mm_y, &g);
}

/* Products of sizes that each fit into memory; their product need not. */
static aclnnStatus bytes_of(const struct op *op, size_t rows, size_t width, size_t *bytes) {
    size_t n = 0;
    HC_CHECK(hc_mul_fits(rows, width, &n) && hc_bytes_fit(n, (size_t)op->x->item_size, bytes) &&
                 *bytes < HC_MAX_BYTES / 8,
             ACLNN_ERR_PARAM_INVALID, "%s: %zu rows of %zu elements are too large", op->name, rows, width);
    *bytes = hc_align_up(*bytes, 64);
    return 0;
}

/* Rows that travel before they are multiplied have gmmX's width, and its type of order already where there is
 * one expert or one rank; after, that of y. */
static aclnnStatus lay_out(const struct op *op, struct args *a, size_t *workspace) {
    size_t moved = 0, packed = 0;
    HC_TRY(bytes_of(op, a->mc2.m, op->travels_first ? a->mc2.k : a->mc2.n, &moved));
    if (op->travels_first && !hc_is_contiguous(op->x))
        HC_TRY(bytes_of(op, (size_t)op->x->shape[0], a->mc2.k, &packed));
    a->moved_at = packed;
    a->product_at = a->moved_at + moved;
    *workspace = a->product_at + moved;
    return 0;
}

static aclnnStatus check(const struct op *op, struct args *a, size_t *workspace) {
    const aclTensor weight = as_stored(op->weight, op->transposed);
    HC_CHECK(op->x->shape[1] == weight.shape[1], ACLNN_ERR_PARAM_INVALID,
             "%s: gmmX is %s, gmmWeight %s%s: they cannot be multiplied", op->name, HC_SHOW(op->x),
             HC_SHOW(op->weight), op->transposed ? " (transposed)" : "");
    HC_TRY(check_counts(op, &a->mc2));
    HC_TRY(check_result(op, op->y_name, op->y, op->y->shape[0], weight.shape[2]));
    if (op->permuted != NULL)
        HC_TRY(check_result(op, "permuteOutOptional", op->permuted, op->y->shape[0], op->x->shape[1]));
    HC_TRY(check_shared(op));
    a->mc2.m = (size_t)(op->travels_first ? op->y : op->x)->shape[0];
    a->mc2.k = (size_t)weight.shape[1], a->mc2.n = (size_t)weight.shape[2];
    a->experts = (size_t)weight.shape[0];
    a->ordered = a->experts == 1 || a->mc2.num_ranks == 1;
    a->transposed = op->transposed, a->mm_transposed = op->mm_transposed;
    return lay_out(op, a, workspace);
}

/* Counts travel behind the other arguments: the caller's lists do not outlive this call. */
static aclnnStatus plan_counts(const struct op *op, const struct args *given, size_t workspace,
                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    const size_t bytes = op->sent->size * sizeof(int64_t), size = sizeof *given + 2 * bytes;
    struct args *a = hc_block_take(size);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu counts", op->name, op->sent->size);
    *a = *given;
    memcpy(a->counts, op->sent->data, bytes);
    memcpy(a->counts + op->sent->size, op->received->data, bytes);
    const int optional = HC_ROLE_OPTIONAL;
    const struct hc_operand operands[] = {
        [X] = {op->x, NULL, HC_ROLE_IN, "gmmX"},
        [WEIGHT] = {op->weight, NULL, HC_ROLE_IN, "gmmWeight"},
        [MM_X] = {op->mm_x, NULL, HC_ROLE_IN | optional, "mmXOptional"},
        [MM_WEIGHT] = {op->mm_weight, NULL, HC_ROLE_IN | optional, "mmWeightOptional"},
        [Y] = {op->y, NULL, HC_ROLE_OUT, op->y_name},
        [MM_Y] = {op->mm_y, NULL, HC_ROLE_OUT | optional, "mmYOptional"},
        [PERMUTED] = {op->permuted, NULL, HC_ROLE_OUT | optional, "permuteOutOptional"},
    };
    const struct hc_plan p = {.name = op->name,
                              .args = a,
                              .args_size = size,
                              .operands = operands,
                              .num_operands = HC_ARRAY_SIZE(operands),
                              .workspace = workspace};
    const aclnnStatus status =
        hc_plan_steps(&p, op->travels_first ? launch_before : launch_after, workspaceSize, executor);
    hc_block_give(a);
    return status;
}

static aclnnStatus plan(const struct op *op, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args a = {.experts = 0};
    size_t workspace = 0;
    HC_TRY(check_operands(op));
    HC_TRY(hc_mc2_join(op->name, op->group, &a.mc2));
    HC_TRY(check(op, &a, &workspace));
    return plan_counts(op, &a, workspace, workspaceSize, executor);
}

/* What all four have under the same names, the first two of each kind without commMode. */
#define SHARED_ARGUMENTS(op)                                                                                 \
    .name = (op), .x = gmmX, .weight = gmmWeight, .sent_tensor = sendCountsTensorOptional,                   \
    .received_tensor = recvCountsTensorOptional, .mm_x = mmXOptional, .mm_weight = mmWeightOptional,         \
    .group = group, .ranks = epWorldSize, .sent = sendCounts, .received = recvCounts,                        \
    .transposed = transGmmWeight, .mm_transposed = transMmWeight, .mm_y = mmYOptional
/* permuteOutOptional counts only where permuteOutFlag asks for it: then it has to be there. */
#define TRAVELS_FIRST                                                                                        \
    .y = gmmY, .y_name = "gmmY", .permuted = permuteOutFlag ? permuteOutOptional : NULL, .travels_first = true

static aclnnStatus check_permuted(const char *name, bool flag, const aclTensor *permuted) {
    HC_CHECK(!flag || permuted != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: permuteOutOptional is null, but permuteOutFlag is true", name);
    return 0;
}

/* torch_npu.npu_alltoallv_gmm. */
HC_API aclnnStatus aclnnAlltoAllvGroupedMatMulGetWorkspaceSize(
    const aclTensor *gmmX, const aclTensor *gmmWeight, const aclTensor *sendCountsTensorOptional,
    const aclTensor *recvCountsTensorOptional, const aclTensor *mmXOptional,
    const aclTensor *mmWeightOptional, const char *group, int64_t epWorldSize, const aclIntArray *sendCounts,
    const aclIntArray *recvCounts, bool transGmmWeight, bool transMmWeight, bool permuteOutFlag,
    aclTensor *gmmY, aclTensor *mmYOptional, aclTensor *permuteOutOptional, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    const struct op op = {SHARED_ARGUMENTS("aclnnAlltoAllvGroupedMatMul"), TRAVELS_FIRST};
    HC_TRY(check_permuted(op.name, permuteOutFlag, permuteOutOptional));
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAlltoAllvGroupedMatMul)

/* The same with commMode, of which there is one here (mc2.c). */
HC_API aclnnStatus aclnnAlltoAllvGroupedMatMulV2GetWorkspaceSize(
    const aclTensor *gmmX, const aclTensor *gmmWeight, const aclTensor *sendCountsTensorOptional,
    const aclTensor *recvCountsTensorOptional, const aclTensor *mmXOptional,
    const aclTensor *mmWeightOptional, const char *group, const char *commMode, int64_t epWorldSize,
    const aclIntArray *sendCounts, const aclIntArray *recvCounts, bool transGmmWeight, bool transMmWeight,
    bool permuteOutFlag, aclTensor *gmmY, aclTensor *mmYOptional, aclTensor *permuteOutOptional,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct op op = {SHARED_ARGUMENTS("aclnnAlltoAllvGroupedMatMulV2"), TRAVELS_FIRST,
                          .comm_mode = commMode};
    HC_TRY(check_permuted(op.name, permuteOutFlag, permuteOutOptional));
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAlltoAllvGroupedMatMulV2)

/* torch_npu.npu_gmm_alltoallv. */
HC_API aclnnStatus aclnnGroupedMatMulAlltoAllvGetWorkspaceSize(
    const aclTensor *gmmX, const aclTensor *gmmWeight, const aclTensor *sendCountsTensorOptional,
    const aclTensor *recvCountsTensorOptional, const aclTensor *mmXOptional,
    const aclTensor *mmWeightOptional, const char *group, int64_t epWorldSize, const aclIntArray *sendCounts,
    const aclIntArray *recvCounts, bool transGmmWeight, bool transMmWeight, aclTensor *y,
    aclTensor *mmYOptional, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct op op = {SHARED_ARGUMENTS("aclnnGroupedMatMulAlltoAllv"), .y = y, .y_name = "y"};
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedMatMulAlltoAllv)

/* The same with commMode. */
HC_API aclnnStatus aclnnGroupedMatMulAlltoAllvV2GetWorkspaceSize(
    const aclTensor *gmmX, const aclTensor *gmmWeight, const aclTensor *sendCountsTensorOptional,
    const aclTensor *recvCountsTensorOptional, const aclTensor *mmXOptional,
    const aclTensor *mmWeightOptional, const char *group, const char *commMode, int64_t epWorldSize,
    const aclIntArray *sendCounts, const aclIntArray *recvCounts, bool transGmmWeight, bool transMmWeight,
    aclTensor *y, aclTensor *mmYOptional, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct op op = {SHARED_ARGUMENTS("aclnnGroupedMatMulAlltoAllvV2"), .y = y, .y_name = "y",
                          .comm_mode = commMode};
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedMatMulAlltoAllvV2)
