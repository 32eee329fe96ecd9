// SPDX-License-Identifier: Apache-2.0
/* Products of groups: see grouped.h.
 *
 * Most run side by side, a thread to each, which then waits for no other; those with a large share of all
 * rows one after the other, each on all threads: a few experts with most of the tokens then do not leave
 * threads without work. Either way hc_gemm's bits are the same. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>

#include "grouped.h"
#include "grouped_quant.h"
#include "long_loop.h"
#include "temporary.h"

/* Multiply-adds from which a product has tiles for every thread. */
enum { LARGE_PRODUCT = 1 << 21 };

/* The operands of one group. */
struct views {
    aclTensor x, weight, bias, y;
    bool has_bias;
};

static const aclTensor *list_at(const struct hc_grouped_list *list, size_t i) {
    return list->at != NULL ? list->at[i] : list->flat + i;
}

static void count_elements(aclTensor *t) {
    t->numel = 1;
    for (int32_t d = 0; d < t->rank; d++) t->numel *= t->shape[d];
}

aclTensor hc_grouped_part(const aclTensor *t, int32_t dim, int64_t first, int64_t length) {
    aclTensor v = *t;
    v.offset += first * v.stride[dim];
    v.shape[dim] = length;
    count_elements(&v);
    return v;
}

aclTensor hc_grouped_member(const aclTensor *t, size_t i) {
    aclTensor v = *t;
    v.offset += (int64_t)i * v.stride[0];
    v.rank--;
    for (int32_t d = 0; d < v.rank; d++) v.shape[d] = t->shape[d + 1], v.stride[d] = t->stride[d + 1];
    count_elements(&v);
    return v;
}

/* A tensor of one for all groups, or the group's own. */
static aclTensor group_or_member(const struct hc_grouped_list *list, size_t i, int32_t stacked) {
    if (list->n > 1) return *list_at(list, i);
    const aclTensor *t = list_at(list, 0);
    return t->rank == stacked ? hc_grouped_member(t, i) : *t;
}

static struct views views_of(const struct hc_grouped *g, size_t i, int64_t first, int64_t length) {
    struct views v = {.has_bias = g->bias.n > 0};
    const aclTensor *y = list_at(&g->y, 0);
    v.x = g->x.n > 1 ? *list_at(&g->x, i) : hc_grouped_part(list_at(&g->x, 0), g->by_steps, first, length);
    if (!g->by_steps) v.weight = group_or_member(&g->weight, i, 3);
    else
        v.weight = g->weight.n > 1 ? *list_at(&g->weight, i)
                                   : hc_grouped_part(list_at(&g->weight, 0), 0, first, length);
    if (g->y.n > 1) v.y = *list_at(&g->y, i);
    else if (!g->by_steps) v.y = hc_grouped_part(y, 0, first, length);
    else if (y->rank == 3) v.y = hc_grouped_member(y, i);
    else
        v.y = hc_grouped_part(y, 0, (int64_t)i * (y->shape[0] / (int64_t)g->groups),
                              y->shape[0] / (int64_t)g->groups);
    if (v.has_bias) v.bias = group_or_member(&g->bias, i, 2);
    return v;
}

/* A quantised group's operands; `scratch` holds the views that it points to. */
enum { SCALE, OFFSET, ROWS, ANTIQUANT, SHIFT, WEIGHT_OFFSET, NUMBERS };
struct quant_views {
    struct hc_group_quant q;
    aclTensor scratch[NUMBERS];
};

/* One tensor of the list, or a row of one that has a row (or a matrix) for each group. */
static const aclTensor *numbers_of(const struct hc_grouped *g, const struct hc_grouped_list *list, size_t i,
                                   aclTensor *view) {
    if (list->n == 0) return NULL;
    if (list->n > 1) return list_at(list, i);
    const aclTensor *t = list_at(list, 0);
    const bool stacked = t->rank == 3 || (t->rank == 2 && t->shape[0] == (int64_t)g->groups);
    *view = stacked ? hc_grouped_member(t, i) : *t;
    return view;
}

static struct hc_group_quant *quant_of(const struct hc_grouped *g, const struct views *v, size_t i,
                                       int64_t first, int64_t length, struct quant_views *views) {
    aclTensor *scratch = views->scratch;
    views->q = (struct hc_group_quant){.name = g->name,
                                       .x = v->x,
                                       .weight = v->weight,
                                       .y = v->y,
                                       .bias = v->has_bias ? &v->bias : NULL,
                                       .scale = numbers_of(g, &g->scale, i, &scratch[SCALE]),
                                       .offset = numbers_of(g, &g->offset, i, &scratch[OFFSET]),
                                       .antiquant = numbers_of(g, &g->antiquant, i, &scratch[ANTIQUANT]),
                                       .shift = numbers_of(g, &g->shift, i, &scratch[SHIFT]),
                                       .weight_offset =
                                           numbers_of(g, &g->weight_offset, i, &scratch[WEIGHT_OFFSET])};
    if (g->rows.n > 1) {
        views->q.rows = list_at(&g->rows, i);
    } else if (g->rows.n == 1) {
        scratch[ROWS] =
            g->x.n > 1 ? *list_at(&g->rows, 0) : hc_grouped_part(list_at(&g->rows, 0), 0, first, length);
        views->q.rows = &scratch[ROWS];
    }
    return &views->q;
}

/* Everything but addresses. */
static aclnnStatus describe(const struct hc_grouped *g, const struct views *v, const char *x_name,
                            const char *weight_name, struct hc_gemm *gemm) {
    const struct hc_matmul op = {.name = g->name,
                                 .a = &v->x,
                                 .b = &v->weight,
                                 .out = &v->y,
                                 .self = v->has_bias      ? &v->bias
                                         : g->accumulates ? &v->y
                                                          : NULL,
                                 .a_name = x_name,
                                 .b_name = weight_name,
                                 .b_rank = 2};
    return hc_matmul_describe(&op, gemm);
}

/* Length that the tensors of group i have along the divided dimension; -1 where only the list knows. */
static int64_t own_length(const struct hc_grouped *g, size_t i) {
    if (g->x.n > 1) return list_at(&g->x, i)->shape[g->by_steps];
    if (g->by_steps && g->weight.n > 1) return list_at(&g->weight, i)->shape[0];
    if (!g->by_steps && g->y.n > 1) return list_at(&g->y, i)->shape[0];
    return g->listed ? -1 : list_at(&g->x, 0)->shape[g->by_steps];
}

int64_t hc_grouped_extent(const struct hc_grouped *g) {
    if (g->x.n == 1) return list_at(&g->x, 0)->shape[g->by_steps];
    int64_t sum = 0;
    for (size_t i = 0; i < g->x.n; i++)
        sum = hc_add_i64_saturated(sum, list_at(&g->x, i)->shape[g->by_steps]);
    return sum;
}

/* Every member is there and has dimensions to divide. */
static aclnnStatus check_list(const struct hc_grouped *g, const struct hc_grouped_list *list,
                              const char *name, int32_t lowest, int32_t highest) {
    HC_CHECK(list->n == 1 || list->n == g->groups, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %zu tensors for %zu groups, wanted 1 or one for each", g->name, name, list->n,
             g->groups);
    for (size_t i = 0; i < list->n; i++) {
        const aclTensor *t = list_at(list, i);
        HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s[%zu] is null", g->name, name, i);
        HC_CHECK(t->rank >= lowest && t->rank <= highest, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%zu] is %s, wanted %d to %d dimensions", g->name, name, i, HC_SHOW(t), lowest,
                 highest);
    }
    return 0;
}

/* A tensor for all groups has as many matrices, or rows, as there are groups. */
static aclnnStatus check_stack(const struct hc_grouped *g, const struct hc_grouped_list *list,
                               const char *name, int32_t stacked) {
    if (list->n != 1) return 0;
    const aclTensor *t = list_at(list, 0);
    HC_CHECK(t->rank == stacked ? t->shape[0] == (int64_t)g->groups : g->groups == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s for %zu groups", g->name, name, HC_SHOW(t), g->groups);
    return 0;
}

/* What is divided has one length in x and what is divided with it. */
static aclnnStatus check_extent(const struct hc_grouped *g, const struct hc_grouped_list *list,
                                const char *name) {
    const int64_t extent = hc_grouped_extent(g);
    HC_CHECK(list->n > 1 || list_at(list, 0)->shape[0] == extent, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, x has %lld %s to divide", g->name, name, HC_SHOW(list_at(list, 0)),
             (long long)extent, g->by_steps ? "columns" : "rows");
    return 0;
}

/* Types and scales of a quantised group. Its shapes are then checked like any other's, as float32. */
static aclnnStatus check_quantised(const struct hc_grouped *g, struct views *v, size_t i, int64_t length) {
    struct quant_views views;
    HC_CHECK(v->weight.rank == 2 && !g->by_steps, ACLNN_ERR_PARAM_INVALID,
             "%s: %s of group %zu is %s: quantised groups are of rows, with a matrix each", g->name,
             g->weight_name, i, HC_SHOW(&v->weight));
    HC_TRY(hc_group_quant_check(quant_of(g, v, i, 0, length, &views)));
    v->weight = hc_group_quant_weight(&v->weight);
    v->x = hc_group_quant_weight(&v->x); /* int4, too */
    v->x.dtype = v->weight.dtype = v->y.dtype = v->bias.dtype = ACL_FLOAT;
    return 0;
}

/* Scales of rows are as many as there are rows, in one tensor or in one for each group. */
static aclnnStatus check_rows(const struct hc_grouped *g) {
    const struct hc_grouped_list *rows = &g->rows;
    if (rows->n == 0) return 0;
    HC_CHECK(rows->n == g->x.n, ACLNN_ERR_PARAM_INVALID,
             "%s: perTokenScaleOptional has %zu tensors, x %zu: wanted the same", g->name, rows->n, g->x.n);
    for (size_t i = 0; i < rows->n; i++) {
        const aclTensor *t = list_at(rows, i);
        HC_CHECK(t != NULL && hc_fits_f32(t->dtype) && t->rank >= 1 && t->numel == t->shape[0] &&
                     t->numel == list_at(&g->x, i)->shape[0],
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: perTokenScaleOptional[%zu] is %s, wanted float32 of the %lld rows of x", g->name, i,
                 t != NULL ? HC_SHOW(t) : "null", (long long)list_at(&g->x, i)->shape[0]);
    }
    return 0;
}

/* Lists of numbers for columns: one, or one for each group. */
static aclnnStatus check_numbers(const struct hc_grouped *g, const struct hc_grouped_list *list,
                                 const char *name) {
    HC_CHECK(list->n <= 1 || list->n == g->groups, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %zu tensors for %zu groups, wanted 1 or one for each", g->name, name, list->n,
             g->groups);
    for (size_t i = 0; i < list->n; i++) {
        const aclTensor *t = list_at(list, i);
        HC_CHECK(t != NULL && t->rank >= 1 && t->rank <= 3, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%zu] is %s, wanted 1 to 3 dimensions", g->name, name, i,
                 t != NULL ? HC_SHOW(t) : "null");
    }
    return 0;
}

/* Shapes of one group. A length that only the list knows is 0 here: no other size depends on it. Names with
 * the group's number are made only for a message. */
static aclnnStatus check_group(const struct hc_grouped *g, size_t i) {
    const int64_t own = own_length(g, i);
    HC_CHECK(g->x.n > 1 || own <= hc_grouped_extent(g), ACLNN_ERR_PARAM_INVALID,
             "%s: group %zu has %lld %s, x has %lld", g->name, i, (long long)own,
             g->by_steps ? "columns" : "rows", (long long)hc_grouped_extent(g));
    const int64_t length = hc_max_i64(own, 0);
    struct views v = views_of(g, i, 0, length);
    struct hc_gemm gemm;
    if (hc_is_quantised(&v.weight)) HC_TRY(check_quantised(g, &v, i, length));
    if (HC_LIKELY(describe(g, &v, "x", g->weight_name, &gemm) == 0)) return 0;
    char x_name[48], weight_name[64];
    snprintf(x_name, sizeof x_name, "x of group %zu", i);
    snprintf(weight_name, sizeof weight_name, "%s of group %zu", g->weight_name, i);
    return describe(g, &v, x_name, weight_name, &gemm);
}

aclnnStatus hc_grouped_check(const struct hc_grouped *g) {
    HC_CHECK(g->groups > 0, ACLNN_ERR_PARAM_INVALID, "%s: no groups", g->name);
    HC_TRY(check_list(g, &g->x, "x", 2, g->by_steps || g->listed ? 2 : HC_MAX_RANK - 1));
    HC_TRY(check_list(g, &g->weight, g->weight_name, 2, g->by_steps || g->weight.n > 1 ? 2 : 3));
    HC_TRY(check_list(g, &g->y, g->y_name, 2, HC_MAX_RANK - 1));
    if (g->bias.n > 0) HC_TRY(check_list(g, &g->bias, "biasOptional", 1, 2));
    if (!g->by_steps) HC_TRY(check_stack(g, &g->weight, g->weight_name, 3));
    HC_TRY(check_stack(g, &g->bias, "biasOptional", 2));
    HC_CHECK(g->listed || g->groups == 1 || g->x.n > 1, ACLNN_ERR_PARAM_INVALID,
             "%s: x is one tensor for %zu groups, and there is no group list to divide it", g->name,
             g->groups);
    const aclTensor *y = list_at(&g->y, 0);
    if (!g->by_steps) HC_TRY(check_extent(g, &g->y, g->y_name));
    else HC_TRY(check_extent(g, &g->weight, g->weight_name));
    const bool stacked = !g->by_steps || g->y.n > 1 || y->shape[0] % (int64_t)g->groups == 0;
    HC_CHECK(stacked && (y->rank != 3 || !g->by_steps || g->y.n > 1 || y->shape[0] == (int64_t)g->groups),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s for %zu groups", g->name, g->y_name, HC_SHOW(y),
             g->groups);
    HC_TRY(check_rows(g));
    HC_TRY(check_numbers(g, &g->scale, "scaleOptional"));
    HC_TRY(check_numbers(g, &g->offset, "offsetOptional"));
    HC_TRY(check_numbers(g, &g->antiquant, "antiquantScaleOptional"));
    HC_TRY(check_numbers(g, &g->shift, "antiquantOffsetOptional"));
    HC_TRY(check_numbers(g, &g->weight_offset, "offsetOptional"));
    for (size_t i = 0; i < g->groups; i++) HC_TRY(check_group(g, i));
    return 0;
}

void hc_grouped_lengths(const struct hc_grouped *g, int64_t *first) {
    first[0] = 0;
    for (size_t i = 0; i < g->groups; i++) first[i + 1] = hc_add_i64_saturated(first[i], own_length(g, i));
}

aclnnStatus hc_grouped_read(const struct hc_grouped *g, const int64_t *values, bool counts, int64_t *first) {
    const int64_t extent = hc_grouped_extent(g);
    first[0] = 0;
    for (size_t i = 0; i < g->groups; i++) {
        const int64_t value = values[i], lowest = counts ? 0 : first[i];
        const int64_t highest = counts ? extent - first[i] : extent;
        HC_CHECK(value >= lowest && value <= highest, ACLNN_ERR_PARAM_INVALID,
                 "%s: groupList[%zu] is %lld, wanted %lld to %lld: %s of %lld %s", g->name, i,
                 (long long)value, (long long)lowest, (long long)highest,
                 counts ? "the length of a group" : "the end of a group", (long long)extent,
                 g->by_steps ? "columns" : "rows");
        first[i + 1] = counts ? first[i] + value : value;
        const int64_t own = own_length(g, i), length = first[i + 1] - first[i];
        HC_CHECK(own < 0 || own == length, ACLNN_ERR_PARAM_INVALID,
                 "%s: groupList[%zu] is %lld, which gives group %zu a length of %lld; its tensors have %lld",
                 g->name, i, (long long)value, i, (long long)length, (long long)own);
    }
    return 0;
}

/* `large`: multiply-adds from which a product gets all threads. `status`: the first failure, as a loop cannot
 * return one. */
struct job {
    const struct hc_grouped *g;
    const int64_t *first;
    double large;
    atomic_int status;
};

static aclnnStatus run_group(const struct hc_grouped *g, const int64_t *first, size_t i) {
    const struct views v = views_of(g, i, first[i], first[i + 1] - first[i]);
    struct hc_gemm gemm;
    struct quant_views views;
    if (hc_is_quantised(&v.weight))
        return hc_group_quant_run(quant_of(g, &v, i, first[i], first[i + 1] - first[i], &views));
    HC_TRY(describe(g, &v, "x", g->weight_name, &gemm));
    gemm.a.data = hc_data(&v.x);
    gemm.b.data = hc_data(&v.weight);
    gemm.out.data = hc_data(&v.y);
    if (v.has_bias) gemm.self.data = hc_data(&v.bias);
    else if (g->accumulates) gemm.self.data = gemm.out.data;
    return hc_matmul_run(g->name, &gemm, &v.y, (const aclTensor *const[]){&v.x, &v.weight, &v.bias},
                         v.has_bias ? 3 : 2);
}

/* Multiply-adds of a group. */
static double work_of(const struct hc_grouped *g, const int64_t *first, size_t i) {
    const struct views v = views_of(g, i, first[i], first[i + 1] - first[i]);
    return (double)v.x.numel * (double)hc_max_i64(v.weight.shape[1], 1);
}

/* More than its part of what keeps every thread busy: with less, threads that have none left wait for at most
 * a quarter of theirs. */
static double large_work(const struct hc_grouped *g, const int64_t *first) {
    enum { GROUPS_A_THREAD = 4 };
    double all = 0;
    for (size_t i = 0; i < g->groups; i++) all += work_of(g, first, i);
    return fmax(LARGE_PRODUCT, all / (double)(GROUPS_A_THREAD * hc_num_threads()));
}

static bool is_large(const struct job *job, size_t i) { return work_of(job->g, job->first, i) > job->large; }

static void run_small(void *ctx, size_t begin, size_t end) {
    struct job *job = ctx;
    for (size_t i = begin; i < end && !hc_results_unwanted(); i++) {
        if (is_large(job, i)) continue;
        const int status = run_group(job->g, job->first, i);
        if (status != 0) atomic_store(&job->status, status);
    }
}

aclnnStatus hc_grouped_run(const struct hc_grouped *g, const int64_t *first) {
    struct job job = {g, first, large_work(g, first), 0};
    for (size_t i = 0; i < g->groups; i++) {
        if (is_large(&job, i)) HC_TRY(run_group(g, first, i));
    }
    hc_parallel_for(g->groups, 1, run_small, &job);
    const int status = atomic_load(&job.status);
    HC_CHECK(status == 0, status, "%s: out of host memory for the product of a group", g->name);
    const aclTensor *y = list_at(&g->y, 0);
    const int64_t end = first[g->groups];
    if (g->by_steps || g->y.n > 1 || end == y->shape[0]) return 0;
    const aclTensor rest = hc_grouped_part(y, 0, end, y->shape[0] - end);
    return hc_fill(&rest, &(const struct hc_element){{0}});
}

uint64_t hc_grouped_flops(const struct hc_grouped *g) {
    uint64_t flops = 0;
    for (size_t i = 0; i < g->x.n; i++) {
        const aclTensor *weight = list_at(&g->weight, g->weight.n > 1 ? i : 0);
        flops += 2 * (uint64_t)list_at(&g->x, i)->numel * (uint64_t)weight->shape[weight->rank - 1];
    }
    return flops;
}
