// SPDX-License-Identifier: Apache-2.0
/* The loops of pointwise.h. Values are stored in the type they are computed in, then added up: two passes,
 * but order and accuracy of the sum are those of every sum here. */
#include "pointwise.h"

#include <stdatomic.h>

#include "messages.h"
#include "reduce.h"

/* One for each run, on its stack. */
struct loss_outside {
    atomic_bool found;
    int in;
    double value;
};

/* The first one to come is told of; which that is depends on the threads, that there is one does not. The
 * value is read when all threads are done. */
void loss_tell_outside(struct loss_outside *outside, int in, double x) {
    if (atomic_exchange(&outside->found, true)) return;
    outside->in = in;
    outside->value = x;
}

/* What phase one has settled. Shapes are not part of it: the run has the operands' own. */
struct planned {
    const struct hc_ew *ew;
    enum hc_block block;
    int num_ins;
    bool mean;
    struct loss_args args;
};

aclnnStatus loss_check_reduction(const char *name, int64_t reduction) {
    HC_CHECK(reduction >= LOSS_NONE && reduction <= LOSS_SUM, ACLNN_ERR_PARAM_INVALID,
             "%s: reduction is %lld, want 0 (none), 1 (mean) or 2 (sum)", name, (long long)reduction);
    return 0;
}

/* All inputs against each other, as a tensor without data. */
static aclnnStatus broadcast(const struct loss *l, int first, int last, aclTensor *all) {
    *all = (aclTensor){.numel = 1, .dtype = ACL_FLOAT};
    for (int i = first; i < last; i++) {
        aclTensor joined;
        if (l->ins[i] == NULL) continue;
        HC_CHECK(hc_broadcast_shape(all, l->ins[i], joined.shape, &joined.rank), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s %s does not broadcast with the inputs before it, %s", l->name,
                 hc_tensor_name(l->name, i), HC_SHOW(l->ins[i]), HC_SHOW(all));
        *all = hc_tensor_view(ACL_FLOAT, joined.shape, joined.rank, NULL);
    }
    return 0;
}

/* The types are those of the tensors that are there. */
static aclnnStatus check(const struct loss *l, const aclTensor *out, struct planned *p, aclTensor *all) {
    const aclTensor *present[LOSS_MAX_INS], *outs[] = {out};
    int num = 0;
    for (int i = 0; i < l->num_ins; i++) {
        HC_CHECK(l->ins[i] != NULL || i >= l->num_ins - l->optional, ACLNN_ERR_PARAM_NULLPTR,
                 "%s: %s is null", l->name, hc_tensor_name(l->name, i));
        if (l->ins[i] != NULL) present[num++] = l->ins[i];
    }
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", l->name,
             hc_tensor_name(l->name, l->num_ins));
    HC_TRY(loss_check_reduction(l->name, l->reduction));
    HC_TRY(broadcast(l, 0, l->num_ins, all));
    HC_TRY(hc_ew_check_types(l->name, l->ew, HC_CLASS_BOOL, outs, 1, present, num));
    *p = (struct planned){.ew = l->ew,
                          .block = hc_ew_compute(l->ew, outs, 1, present, num),
                          .num_ins = l->num_ins,
                          .args = {.scale = 1, .beta = l->beta}};
    return 0;
}

/* `out` seen with a dimension of 1 for each that is added up; false if it is no such shape. */
static bool spread(const aclTensor *out, const aclTensor *all, aclTensor *view, uint32_t *mask) {
    const int32_t more = all->rank - out->rank;
    if (more < 0) return false;
    *view = *out;
    view->rank = all->rank;
    *mask = 0;
    for (int32_t d = 0; d < all->rank; d++) {
        view->shape[d] = d < more ? 1 : out->shape[d - more];
        view->stride[d] = d < more ? 0 : out->stride[d - more];
        if (view->shape[d] != 1 && view->shape[d] != all->shape[d]) return false;
        if (view->shape[d] != all->shape[d]) *mask |= 1u << d;
    }
    return true;
}

/* Through memory of its own where elements are added up. */
static aclnnStatus run_summed(const struct hc_call *call, const struct loss_args *args,
                              const aclTensor *const *ins, const aclTensor *all, const aclTensor *view,
                              uint32_t mask) {
    const struct planned *p = call->args;
    const aclDataType dtype = p->block == HC_F64 ? ACL_DOUBLE : ACL_FLOAT;
    void *memory = hc_block_take_array(hc_numel(all), hc_dtype_size(dtype));
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu values", call->name,
             hc_numel(all));
    const aclTensor values = hc_tensor_view(dtype, all->shape, all->rank, memory), *outs[] = {&values};
    aclnnStatus status = hc_ew_run(p->ew, (int)p->block, outs, 1, ins, p->num_ins, args);
    if (status == 0) status = hc_reduce_sum(&values, mask, p->mean, view);
    hc_block_give(memory);
    return status;
}

/* An input that was not given is a 1 that broadcasts: one kernel does with weights and without, and the
 * factor costs less than memory does. Where out has the shape of the inputs together nothing is added up,
 * also if that is a scalar of which a mean was asked for. */
static aclnnStatus run(const struct hc_call *call) {
    static const float ONE = 1;
    const struct planned *p = call->args;
    const aclTensor one = hc_tensor_view(ACL_FLOAT, NULL, 0, (void *)(uintptr_t)&ONE);
    const aclTensor *ins[LOSS_MAX_INS], *out = hc_arg(call, p->num_ins);
    struct loss all_ins = {.name = call->name, .num_ins = p->num_ins};
    for (int i = 0; i < p->num_ins; i++) {
        ins[i] = all_ins.ins[i] = hc_arg(call, i);
        if (ins[i] == NULL) ins[i] = &one;
    }
    aclTensor all, view;
    uint32_t mask;
    HC_TRY(broadcast(&all_ins, 0, p->num_ins, &all));
    struct loss_outside outside = {.found = false};
    struct loss_args args = p->args;
    args.outside = &outside;
    aclnnStatus status;
    if (hc_same_shape(&all, out)) status = hc_ew_run(p->ew, (int)p->block, &out, 1, ins, p->num_ins, &args);
    else if (!spread(out, &all, &view, &mask)) return ACLNN_ERR_INNER; /* phase one has seen to it */
    else status = run_summed(call, &args, ins, &all, &view, mask);
    HC_CHECK(!atomic_load(&outside.found), ACLNN_ERR_PARAM_INVALID,
             "%s: %s has the element %g, wanted 0 to 1", call->name, hc_tensor_name(call->name, outside.in),
             outside.value);
    return status;
}

/* All operands may be null for the executor: check() has said which of them may not. */
static aclnnStatus plan(const struct loss *l, const struct planned *p, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_operand operands[LOSS_MAX_INS + 1];
    for (int i = 0; i < l->num_ins; i++)
        operands[i] =
            (struct hc_operand){l->ins[i], NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, hc_tensor_name(l->name, i)};
    operands[l->num_ins] = (struct hc_operand){out, NULL, HC_ROLE_OUT, "out"};
    return hc_plan(&(const struct hc_plan){.name = l->name,
                                           .run = run,
                                           .args = p,
                                           .args_size = sizeof *p,
                                           .operands = operands,
                                           .num_operands = (size_t)l->num_ins + 1},
                   workspaceSize, executor);
}

aclnnStatus loss_plan(const struct loss *l, const aclTensor *out, uint64_t *workspaceSize,
                      aclOpExecutor **executor) {
    struct planned p;
    aclTensor all;
    HC_TRY(check(l, out, &p, &all));
    /* A mean divides by all values that were compared, as the sum is taken over them. */
    p.mean = l->reduction == LOSS_MEAN;
    all.dtype = out->dtype;
    const bool fits = l->reduction == LOSS_NONE ? hc_same_shape(out, &all) : out->rank == 0;
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s", l->name,
             hc_tensor_name(l->name, l->num_ins), HC_SHOW(out),
             l->reduction == LOSS_NONE ? HC_SHOW(&all) : "a scalar");
    return plan(l, &p, out, workspaceSize, executor);
}

aclnnStatus loss_plan_gradient(const struct loss *l, const aclTensor *out, uint64_t *workspaceSize,
                               aclOpExecutor **executor) {
    struct planned p;
    aclTensor all, pairs, view;
    uint32_t mask;
    HC_TRY(check(l, out, &p, &all));
    HC_TRY(broadcast(l, 1, 3, &pairs));
    /* Weights may repeat pairs, and gradOutput is a scalar: neither adds to n. */
    if (l->reduction == LOSS_MEAN) p.args.scale = 1 / (double)pairs.numel;
    HC_CHECK(spread(out, &all, &view, &mask), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted a shape that broadcasts to %s, which the inputs have together", l->name,
             hc_tensor_name(l->name, l->num_ins), HC_SHOW(out), HC_SHOW(&all));
    return plan(l, &p, out, workspaceSize, executor);
}
