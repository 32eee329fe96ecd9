// SPDX-License-Identifier: Apache-2.0
/* Planning (phase one) and launching (phase two) of an operator.
 *
 * Phase one checks, copies descriptors and arguments into an executor, and touches no data. Phase two puts
 * the executor into the stream. An executor runs once and is freed by its launch, unless
 * aclSetAclOpExecutorRepeatable made it the caller's until aclDestroyAclOpExecutor. */
#pragma once
#include "hc_error.h"
#include "hc_tensor.h"

enum hc_role { HC_ROLE_IN = 1, HC_ROLE_OUT = 2, HC_ROLE_INOUT = 3, HC_ROLE_OPTIONAL = 4, HC_ROLE_LIST = 8 };

/* One operand: a tensor or a list of tensors. Made by the macros below. */
struct hc_operand {
    const aclTensor *tensor;
    const aclTensorList *list;
    int role;
    const char *name;
};
#define HC_IN(t) {(t), NULL, HC_ROLE_IN, #t}
#define HC_OUT(t) {(t), NULL, HC_ROLE_OUT, #t}
#define HC_INOUT(t) {(t), NULL, HC_ROLE_INOUT, #t}
/* May be null: hc_arg() then gives NULL. */
#define HC_IN_OPT(t) {(t), NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, #t}
#define HC_OUT_OPT(t) {(t), NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, #t}
/* Lists: null is an empty list; members may be null only with _OPT. */
#define HC_IN_LIST(l) {NULL, (l), HC_ROLE_IN | HC_ROLE_LIST, #l}
#define HC_OUT_LIST(l) {NULL, (l), HC_ROLE_OUT | HC_ROLE_LIST, #l}
#define HC_INOUT_LIST(l) {NULL, (l), HC_ROLE_INOUT | HC_ROLE_LIST, #l}
#define HC_IN_LIST_OPT(l) {NULL, (l), HC_ROLE_IN | HC_ROLE_LIST | HC_ROLE_OPTIONAL, #l}

/* Where an operand lies in hc_call.tensors. */
struct hc_slot {
    uint32_t first, count;
    int role;
};

/* What an operator's run function gets. */
struct hc_call {
    const char *name;
    const void *args;            /* the copy of the plan's args */
    const aclTensor *tensors;    /* all operands, lists flattened */
    const struct hc_slot *slots; /* one per operand of the plan */
    size_t num_slots;
    char *workspace;
    size_t workspace_bytes;
    aclOpExecutor *executor;
};

/* Do the work; return 0 or a code by hc_fail. Runs on the stream, maybe in another thread than phase one. */
typedef aclnnStatus (*hc_run_fn)(const struct hc_call *call);

struct hc_plan {
    const char *name; /* "aclnnAdd" */
    hc_run_fn run;
    const void *args; /* copied, args_size bytes; no pointers into caller memory */
    size_t args_size;
    const struct hc_operand *operands;
    size_t num_operands;
    size_t workspace; /* bytes that run needs */
    uint64_t flops;   /* for the trace */
    bool sync;        /* run sets an output's shape, so phase two returns only when it has run */
};

/* End of phase one: checks operands (present, known dtype, has data) and makes the executor. */
HC_SHARED aclnnStatus hc_plan(const struct hc_plan *plan, uint64_t *workspaceSize, aclOpExecutor **executor);
/* Phase two. */
HC_SHARED aclnnStatus hc_op_launch(aclOpExecutor *executor, void *workspace, uint64_t workspaceSize,
                                   aclrtStream stream);

/* An operator asks for an operand that its own plan does not list: says so and aborts. Going on would compute
 * with memory that is no tensor. */
HC_SHARED _Noreturn void hc_no_such_operand(const struct hc_call *call, int slot);
static inline const struct hc_slot *hc_slot(const struct hc_call *call, int slot) {
    if (HC_UNLIKELY((size_t)slot >= call->num_slots)) hc_no_such_operand(call, slot);
    return &call->slots[slot];
}
/* Operand number `slot`: NULL where an optional one was not given or a list is empty. */
static inline const aclTensor *hc_arg(const struct hc_call *call, int slot) {
    const struct hc_slot *at = hc_slot(call, slot);
    return at->count > 0 ? call->tensors + at->first : NULL;
}
static inline size_t hc_arg_count(const struct hc_call *call, int slot) { return hc_slot(call, slot)->count; }
/* Member `i` of a list operand; NULL base and rank -1 mark a member that was null. */
static inline const aclTensor *hc_arg_at(const struct hc_call *call, int slot, size_t i) {
    return call->tensors + hc_slot(call, slot)->first + i;
}
/* Set the view shape of the caller's output tensor (plans with sync only). */
HC_SHARED void hc_set_view_shape(const struct hc_call *call, int slot, const int64_t *shape, int32_t rank);

/* In a GetWorkspaceSize function: plan with `run`, `args` (address of a struct) and the operands listed. */
#define HC_PLAN(op_name, run_fn, args_ptr, ...)                                                              \
    hc_plan(                                                                                                 \
        &(const struct hc_plan){.name = (op_name),                                                           \
                                .run = (run_fn),                                                             \
                                .args = (args_ptr),                                                          \
                                .args_size = sizeof *(args_ptr),                                             \
                                .operands = (const struct hc_operand[]){__VA_ARGS__},                        \
                                .num_operands = HC_ARRAY_SIZE(((const struct hc_operand[]){__VA_ARGS__}))},  \
        workspaceSize, executor)
/* The same for an operator without arguments besides its operands. */
#define HC_PLAN0(op_name, run_fn, ...) HC_PLAN(op_name, run_fn, &(const char){0}, __VA_ARGS__)

/* The second phase, the same body for every operator. */
#define HC_OP_LAUNCH(op)                                                                                     \
    HC_API aclnnStatus op(void *workspace, uint64_t workspaceSize, aclOpExecutor *executor,                  \
                          aclrtStream stream) {                                                              \
        return hc_op_launch(executor, workspace, workspaceSize, stream);                                     \
    }
