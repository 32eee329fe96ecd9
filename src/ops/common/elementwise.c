// SPDX-License-Identifier: Apache-2.0
/* The loop of elementwise.h.
 *
 * The iteration space is the outputs' shape with dimensions ordered by the first output's stride and
 * merged where every operand allows. It is cut into pieces for the pool, and each piece into blocks. A
 * long innermost dimension ends a block at its row, so that each operand is one run; short rows are
 * gathered across rows. What repeats along a long row is written to a block once a row, and the kernel goes
 * along the row in pieces as long as that.
 *
 * Cost beside the memory: one indirect call a block and, where a type is converted, one pass over the
 * block in the first-level cache. Operands of the block's own type, side by side in memory, are handed to
 * the kernel as they are. That case (flat) is what nearly every call is, so it is decided first and
 * copies no descriptor. */
#include "elementwise.h"

#include "messages.h"
#include "past_caches.h"

#include <stdlib.h>
#include <string.h>

/* A piece of 16 blocks takes microseconds: less would cost more to hand out than to do. A row of 128
 * elements is 8 vectors of the widest set, from where on a call per row is cheap. */
enum { GRAIN = 16 * HC_EW_BLOCK, LONG_ROW = 128 };
/* Elements of a block that repeats one value: a call for each costs little, and so does filling it for a row.
 */
enum { REPEATED = 256 };

/* An operand during a run. `load` and `store` convert between its type and the block; `direct` says that
 * neither is needed. */
struct operand {
    char *data;
    int64_t stride[HC_MAX_RANK]; /* in bytes */
    size_t item_size;
    int64_t inner; /* stride[0] in elements */
    enum hc_block block;
    bool direct; /* runs of stride 1 are blocks already */
    bool dense;  /* rows follow each other: any run of elements is one run in memory */
    hc_load_fn *load;
    hc_store_fn *store;
};

/* One run: shared by the pool's threads, read-only. */
struct loop {
    struct operand operand[HC_EW_MAX_OPERANDS];
    int num_outs, num_operands;
    int rank;
    int64_t shape[HC_MAX_RANK]; /* [0] is the innermost */
    bool all_direct;
    bool repeats; /* not all are, but the others are inputs that repeat along long rows */
    hc_copy_past_caches_fn *past_caches; /* of the only output, if its results leave the caches anyway */
    bool any_byte;                       /* truth values need no conversion from bool memory */
    /* Outputs that are wider than the result's type get it through that type: sums of uint8 wrap at 256 in an
     * int32 output too. NULL where a store does it, which is nearly always. */
    hc_store_fn *narrow;
    hc_load_fn *widen;
    hc_ew_kernel *kernel;
    const void *args;
};

/* What the dtypes of a call lead to. */
struct types {
    aclDataType result;
    enum hc_block compute;
};

/* Header of the planned arguments; the operator's own follow. */
struct planned {
    const struct hc_ew *op;
    struct types types;
    int num_outs, num_ins;
    uint8_t slot[HC_EW_MAX_OPERANDS]; /* operand of the executor that is output or input k */
    max_align_t args[];
};

static struct hc_result_rule rule_of(const struct hc_ew *op, enum hc_dtype_class scalar, int num_outs) {
    return (struct hc_result_rule){op->truth >> num_outs, scalar,
                                   (enum hc_dtype_class)(op->result & HC_EW_CLASS)};
}

/* Outputs count only for the width of floats. */
static struct types types_of(const struct hc_ew *op, const struct hc_result_rule *rule,
                             const aclTensor *const *outs, int num_outs, const aclTensor *const *ins,
                             int num_ins) {
    const aclDataType result = hc_result_type(ins, num_ins, rule);
    aclDataType type = result;
    for (int i = 0; i < num_outs; i++) {
        if ((op->truth >> i & 1) == 0) type = hc_computed_type(type, outs[i]->dtype);
    }
    return (struct types){result, hc_compute_block(type)};
}

enum hc_block hc_ew_compute(const struct hc_ew *op, const aclTensor *const *outs, int num_outs,
                            const aclTensor *const *ins, int num_ins) {
    const struct hc_result_rule rule = rule_of(op, HC_CLASS_BOOL, num_outs);
    return types_of(op, &rule, outs, num_outs, ins, num_ins).compute;
}

/* What the interface calls an output; in place, the input that it is. */
static const char *name_of_out(const char *name, const aclTensor *const *outs, int num_outs, int k,
                               const aclTensor *const *ins, int num_ins) {
    for (int i = 0; i < num_ins; i++) {
        if (ins[i] == outs[k]) return hc_tensor_name(name, i);
    }
    return hc_tensor_name(name, k - num_outs);
}

/* What PyTorch refuses of bools, though 0 and 1 could be computed with. */
static aclnnStatus check_bools(const char *name, const struct hc_ew *op, aclDataType result,
                               const aclTensor *const *ins, int num_ins) {
    HC_CHECK(result != ACL_BOOL || (op->result & (HC_EW_NO_BOOL | HC_EW_IS_MINUS)) == 0,
             ACLNN_ERR_PARAM_INVALID,
             op->result & HC_EW_IS_MINUS
                 ? "%s: the `-` operator with bool operands (%s is %s) is not supported: use `^` or "
                   "logical_xor(), and `~` or logical_not() to invert a mask"
                 : "%s: not implemented for bool (%s is %s): convert to an integer type first",
             name, hc_tensor_name(name, 0), HC_SHOW(ins[0]));
    if ((op->result & HC_EW_IS_MINUS) == 0) return 0;
    for (int i = 0; i < num_ins; i++) {
        HC_CHECK(
            ins[i]->dtype != ACL_BOOL, ACLNN_ERR_PARAM_INVALID,
            "%s: the `-` operator with a bool operand (%s is %s) is not supported: use `~` or logical_not() "
            "to invert a mask, or convert it first",
            name, hc_tensor_name(name, i), HC_SHOW(ins[i]));
    }
    return 0;
}

/* All that types decide: whether there is such a result, a kernel for it, and room for it in the outputs. */
static aclnnStatus check_types(const char *name, const struct hc_ew *op, const struct hc_result_rule *rule,
                               const struct types *types, const aclTensor *const *outs, int num_outs,
                               const aclTensor *const *ins, int num_ins) {
    if (op->result & (HC_EW_NO_BOOL | HC_EW_IS_MINUS))
        HC_TRY(check_bools(name, op, types->result, ins, num_ins));
    for (int i = 0; i < num_outs; i++) {
        if (op->truth >> i & 1) {
            HC_CHECK((op->result & HC_EW_BOOL_OUT) == 0 || outs[i]->dtype == ACL_BOOL,
                     ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted a bool tensor", name,
                     name_of_out(name, outs, num_outs, i, ins, num_ins), HC_SHOW(outs[i]));
        } else if ((op->result & HC_EW_CASTS) == 0) {
            HC_TRY(hc_check_result(name, types->result, outs[i], ins, num_ins, rule));
        }
    }
    HC_CHECK(op->kernel[types->compute] != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: not supported for %s (%s is %s), wanted %s tensors", name, hc_dtype_name(types->result),
             hc_tensor_name(name, 0), HC_SHOW(num_ins > 0 ? ins[0] : outs[0]), HC_SUPPORTED(op->kernel));
    return 0;
}

aclnnStatus hc_ew_check_types(const char *name, const struct hc_ew *op, enum hc_dtype_class scalar,
                              const aclTensor *const *outs, int num_outs, const aclTensor *const *ins,
                              int num_ins) {
    const struct hc_result_rule rule = rule_of(op, scalar, num_outs);
    const struct types types = types_of(op, &rule, outs, num_outs, ins, num_ins);
    return check_types(name, op, &rule, &types, outs, num_outs, ins, num_ins);
}

/* Then nothing broadcasts, and strides alone decide how many dimensions the loop has. */
static bool all_same_shape(const aclTensor *const *outs, int num_outs, const aclTensor *const *ins,
                           int num_ins) {
    for (int i = 1; i < num_outs; i++) {
        if (!hc_same_shape(outs[0], outs[i])) return false;
    }
    for (int i = 0; i < num_ins; i++) {
        if (!hc_same_shape(outs[0], ins[i])) return false;
    }
    return true;
}

/* Input i does not fit with those before it, and so with one of them: where it is not 1, a dimension of the
 * joined shape is that of some input. */
static aclnnStatus fail_broadcast(const char *name, const aclTensor *const *ins, int i) {
    aclTensor joined;
    int with = 0;
    while (with + 1 < i && hc_broadcast_shape(ins[with], ins[i], joined.shape, &joined.rank)) with++;
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: %s %s does not broadcast with %s %s", name,
                   hc_tensor_name(name, i), HC_SHOW(ins[i]), hc_tensor_name(name, with), HC_SHOW(ins[with]));
}

/* Outputs must have the broadcast shape itself; they are never broadcast. */
static aclnnStatus check_shapes(const char *name, const aclTensor *const *outs, int num_outs,
                                const aclTensor *const *ins, int num_ins) {
    if (all_same_shape(outs, num_outs, ins, num_ins)) return 0;
    aclTensor shape = {.rank = 0, .numel = 1}, view;
    for (int i = 0; i < num_ins; i++) {
        aclTensor joined;
        if (!hc_broadcast_shape(&shape, ins[i], joined.shape, &joined.rank))
            return fail_broadcast(name, ins, i);
        shape.rank = joined.rank;
        memcpy(shape.shape, joined.shape, sizeof shape.shape[0] * (size_t)joined.rank);
    }
    for (int i = 0; i < num_outs; i++) {
        shape.dtype = outs[i]->dtype;
        HC_CHECK(
            hc_broadcast_to(&shape, outs[i]->shape, outs[i]->rank, &view) && hc_same_shape(outs[0], outs[i]),
            ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s, the broadcast shape of the inputs (%s is %s)",
            name, name_of_out(name, outs, num_outs, i, ins, num_ins), HC_SHOW(outs[i]), HC_SHOW(&shape),
            hc_tensor_name(name, 0), num_ins > 0 ? HC_SHOW(ins[0]) : "absent");
    }
    return 0;
}

/* Before the shapes are looked at: the checks of hc_plan come too late for that. The first tensor is argument
 * `first` of the operator's tensors. */
static aclnnStatus check_tensors(const char *name, int first, const aclTensor *const *tensors, int num) {
    for (int i = 0; i < num; i++) {
        HC_CHECK(tensors[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
                 hc_tensor_name(name, first + i));
        HC_CHECK(tensors[i]->item_size > 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s has element type %s, which is not supported", name, hc_tensor_name(name, first + i),
                 hc_dtype_name(tensors[i]->dtype));
        HC_CHECK(tensors[i]->base != NULL || tensors[i]->numel == 0, ACLNN_ERR_PARAM_NULLPTR,
                 "%s: %s is %s but has no memory", name, hc_tensor_name(name, first + i),
                 HC_SHOW(tensors[i]));
    }
    return 0;
}

static aclnnStatus run_typed(const struct hc_ew *op, const struct types *types, const aclTensor *const *outs,
                             int num_outs, const aclTensor *const *ins, int num_ins, const void *args);

/* Phase two: operands back into the order outputs, inputs. */
static aclnnStatus ew_call(const struct hc_call *call) {
    const struct planned *p = call->args;
    const aclTensor *operands[HC_EW_MAX_OPERANDS];
    for (int i = 0; i < p->num_outs + p->num_ins; i++) operands[i] = hc_arg(call, p->slot[i]);
    return run_typed(p->op, &p->types, operands, p->num_outs, operands + p->num_outs, p->num_ins, p->args);
}

/* Operands in the order of the operator's arguments, inputs first, because aclSetTensorAddr counts them so; a
 * tensor that is input and output is one operand. */
static size_t list_operands(struct hc_operand *operands, uint8_t *slot, const aclTensor *const *outs,
                            int num_outs, const aclTensor *const *ins, int num_ins) {
    size_t n = 0;
    for (int i = 0; i < num_ins; i++) {
        slot[num_outs + i] = (uint8_t)n;
        operands[n++] = (struct hc_operand){ins[i], NULL, HC_ROLE_IN, "input"};
    }
    for (int k = 0; k < num_outs; k++) {
        int same = 0;
        while (same < num_ins && ins[same] != outs[k]) same++;
        slot[k] = (uint8_t)(same < num_ins ? (size_t)same : n);
        if (same < num_ins) operands[same].role = HC_ROLE_INOUT;
        else operands[n++] = (struct hc_operand){outs[k], NULL, HC_ROLE_OUT, "output"};
    }
    return n;
}

aclnnStatus hc_ew_plan(const struct hc_ew *op, enum hc_dtype_class scalar, const aclTensor *const *outs,
                       int num_outs, const aclTensor *const *ins, int num_ins, const void *args,
                       size_t args_size, uint64_t *workspaceSize, aclOpExecutor **executor) {
    return hc_ew_plan_as(op->name, op, scalar, outs, num_outs, ins, num_ins, args, args_size, workspaceSize,
                         executor);
}

/* `args` is copied behind the header in one struct, 256 bytes at most: the largest arguments are a few
 * scalars in four types. */
aclnnStatus hc_ew_plan_as(const char *name, const struct hc_ew *op, enum hc_dtype_class scalar,
                          const aclTensor *const *outs, int num_outs, const aclTensor *const *ins,
                          int num_ins, const void *args, size_t args_size, uint64_t *workspaceSize,
                          aclOpExecutor **executor) {
    struct hc_operand operands[HC_EW_MAX_OPERANDS];
    HC_TRY(check_tensors(name, 0, ins, num_ins));
    HC_TRY(check_tensors(name, -num_outs, outs, num_outs));
    HC_TRY(check_shapes(name, outs, num_outs, ins, num_ins));
    const struct hc_result_rule rule = rule_of(op, scalar, num_outs);
    const struct types types = types_of(op, &rule, outs, num_outs, ins, num_ins);
    HC_TRY(check_types(name, op, &rule, &types, outs, num_outs, ins, num_ins));
    union {
        struct planned p;
        char bytes[sizeof(struct planned) + 256];
    } planned;
    HC_CHECK(args_size <= 256, ACLNN_ERR_INNER, "%s: %zu bytes of arguments", name, args_size);
    planned.p.op = op;
    planned.p.types = types;
    planned.p.num_outs = num_outs;
    planned.p.num_ins = num_ins;
    if (args_size > 0) memcpy(planned.p.args, args, args_size);
    const size_t num = list_operands(operands, planned.p.slot, outs, num_outs, ins, num_ins);
    return hc_plan(&(const struct hc_plan){.name = name,
                                           .run = ew_call,
                                           .args = &planned,
                                           .args_size = sizeof(struct planned) + args_size,
                                           .operands = operands,
                                           .num_operands = num,
                                           .flops = (uint64_t)outs[0]->numel},
                   workspaceSize, executor);
}

/* Dimensions of size 1 go; the rest is sorted so that the first output's smallest stride is innermost. */
static void order_dimensions(const aclTensor *const *views, int num, int *order, int *rank) {
    const aclTensor *lead = views[0];
    int n = 0;
    for (int32_t d = lead->rank - 1; d >= 0; d--) {
        if (lead->shape[d] == 1) continue;
        int at = n++;
        for (; at > 0; at--) {
            int64_t key = 0, other = 0;
            for (int k = 0; k < num && key == other; k++) {
                key = llabs(views[k]->stride[d]);
                other = llabs(views[k]->stride[order[at - 1]]);
                if (key == 0 || other == 0) key = other = 0; /* a repeated dimension says nothing */
            }
            if (key >= other) break;
            order[at] = order[at - 1];
        }
        order[at] = d;
    }
    *rank = n;
}

/* Whether a dimension continues the last one in every operand, so that both are one longer run. */
static bool can_merge(const struct loop *l, const int64_t strides[HC_EW_MAX_OPERANDS]) {
    for (int k = 0; k < l->num_operands; k++) {
        const int64_t *have = l->operand[k].stride;
        if (strides[k] != have[l->rank - 1] * l->shape[l->rank - 1]) return false;
    }
    return true;
}

/* A space without dimensions left (scalars) gets one of size 1, so that the loops need no special case. */
static void set_dimensions(struct loop *l, const aclTensor *const *views) {
    int order[HC_MAX_RANK], rank;
    order_dimensions(views, l->num_operands, order, &rank);
    l->rank = 0;
    for (int i = 0; i < rank; i++) {
        int64_t strides[HC_EW_MAX_OPERANDS];
        const int d = order[i];
        for (int k = 0; k < l->num_operands; k++) strides[k] = views[k]->stride[d] * views[k]->item_size;
        if (l->rank > 0 && can_merge(l, strides)) {
            l->shape[l->rank - 1] *= views[0]->shape[d];
            continue;
        }
        for (int k = 0; k < l->num_operands; k++) l->operand[k].stride[l->rank] = strides[k];
        l->shape[l->rank++] = views[0]->shape[d];
    }
    if (l->rank == 0) {
        l->rank = 1;
        l->shape[0] = 1;
        for (int k = 0; k < l->num_operands; k++) l->operand[k].stride[0] = views[k]->item_size;
    }
}

/* Truth values are read through a conversion even from bool memory, as a byte other than 0 and 1 may be
 * there; written they need none. */
static void set_operand(struct loop *l, int k, const aclTensor *view, enum hc_block block) {
    struct operand *o = &l->operand[k];
    o->data = hc_data(view);
    o->item_size = (size_t)view->item_size;
    o->block = block;
    o->inner = o->stride[0] / view->item_size;
    o->direct = o->inner == 1 && hc_block_of(view->dtype) == (int)block;
    if (view->dtype == ACL_BOOL && block == HC_B8 && (k < l->num_outs || l->any_byte))
        o->direct = o->inner == 1;
    o->dense = true;
    for (int d = 1; d < l->rank; d++)
        o->dense = o->dense && o->stride[d] == o->stride[d - 1] * l->shape[d - 1];
    o->load = hc_load_for(view->dtype, block);
    o->store = hc_store_for(view->dtype, block);
    if (l->narrow != NULL && k < l->num_outs && block != HC_B8) o->direct = false;
    l->all_direct = l->all_direct && o->direct;
}

/* Integers are computed in 64 bits: what an output wider than the result's type would show of them has to go.
 */
static void set_narrow(struct loop *l, aclDataType result, const aclTensor *out) {
    const bool fits = !hc_dtype_is_integral(result) || out->dtype == result || result == ACL_INT64 ||
                      (result != ACL_BOOL && hc_dtype_is_integral(out->dtype) &&
                       hc_dtype_size(out->dtype) <= hc_dtype_size(result));
    l->narrow = fits ? NULL : hc_store_for(result, HC_I64);
    l->widen = fits ? NULL : hc_load_for(result, HC_I64);
}

/* Where a piece is, as an index per dimension; [0] is the innermost. */
struct position {
    int64_t index[HC_MAX_RANK];
};

/* Once per piece: a division for each dimension. */
static void locate(const struct loop *l, size_t linear, struct position *at) {
    for (int d = 0; d < l->rank; d++) {
        at->index[d] = (int64_t)(linear % (size_t)l->shape[d]);
        linear /= (size_t)l->shape[d];
    }
}

/* Up to 16 multiplications, once a run. */
static char *address(const struct loop *l, const struct operand *o, const struct position *at) {
    char *p = o->data;
    for (int d = 0; d < l->rank; d++) p += at->index[d] * o->stride[d];
    return p;
}

/* n may span many short rows. */
static void advance(const struct loop *l, struct position *at, size_t n) {
    at->index[0] += (int64_t)n;
    for (int d = 0; d + 1 < l->rank && at->index[d] >= l->shape[d]; d++) {
        at->index[d + 1] += at->index[d] / l->shape[d];
        at->index[d] %= l->shape[d];
    }
}

/* From a position in a row to the beginning of the next row: additions only, as rows may be short. */
static char *next_row(const struct loop *l, const struct operand *o, struct position *at, char *p) {
    p -= at->index[0] * o->stride[0];
    at->index[0] = 0;
    for (int d = 1; d < l->rank; d++) {
        p += o->stride[d];
        if (++at->index[d] < l->shape[d]) break;
        p -= o->stride[d] * l->shape[d];
        at->index[d] = 0;
    }
    return p;
}

/* How many of the n elements from a position on lie in one run. */
static size_t run_length(const struct loop *l, const struct operand *o, const struct position *at, size_t n) {
    return o->dense ? n : hc_min_size(n, (size_t)(l->shape[0] - at->index[0]));
}

/* n elements from a position on, run by run, into a block. `at` is a copy and moves along. */
static void load_block(const struct loop *l, const struct operand *o, struct position at, size_t n,
                       char *block) {
    const size_t size = hc_block_size(o->block);
    char *p = address(l, o, &at);
    while (n > 0) {
        const size_t run = run_length(l, o, &at, n);
        o->load(run, block, p, o->inner);
        block += run * size;
        n -= run;
        if (n > 0) p = next_row(l, o, &at, p);
    }
}

/* A block may span several rows of a strided operand: stored run by run. `at` is a copy, advanced here. */
static void store_block(const struct loop *l, const struct operand *o, struct position at, size_t n,
                        char *block) {
    const size_t size = hc_block_size(o->block);
    if (l->narrow != NULL && o->block != HC_B8) {
        char narrowed[HC_EW_BLOCK * sizeof(int64_t)];
        l->narrow(n, narrowed, 1, block);
        l->widen(n, block, narrowed, 1);
    }
    char *p = address(l, o, &at);
    while (n > 0) {
        const size_t run = run_length(l, o, &at, n);
        o->store(run, p, o->inner, block);
        block += run * size;
        n -= run;
        if (n > 0) p = next_row(l, o, &at, p);
    }
}

/* Blocks of several operands at equal offsets of a page would alias in the store buffer: each starts a little
 * later. */
enum { STAGGER = 192, POOL = HC_EW_MAX_OPERANDS * (HC_EW_BLOCK * (int)sizeof(hc_c128) + STAGGER) };

/* Asks for the block after this one while this one is computed: conversion reads in bursts too short for the
 * hardware's prefetcher. */
static void prefetch_next(const struct operand *o, const char *p, size_t n) {
    const size_t bytes = n * o->item_size;
    for (size_t at = 0; at < bytes; at += HC_CACHE_LINE) __builtin_prefetch(p + bytes + at, 0, 2);
}

/* Load what is not direct, compute, store. `one_row`: the n elements lie in one row, so direct operands
 * need no copy. An output that is an input's memory is written after its block has been read. */
static void run_block(const struct loop *l, const struct position *at, size_t n, bool one_row) {
    _Alignas(64) char pool[POOL];
    bool buffered[HC_EW_MAX_OPERANDS];
    void *outs[HC_EW_MAX_OPERANDS];
    const void *ins[HC_EW_MAX_OPERANDS];
    char *next = pool;
    for (int k = 0; k < l->num_operands; k++) {
        const struct operand *o = &l->operand[k];
        const bool one_run = one_row || o->dense;
        char *p;
        buffered[k] = !(one_run && o->direct);
        if (buffered[k]) {
            p = next;
            next += HC_EW_BLOCK * hc_block_size(o->block) + STAGGER;
            if (one_run && o->inner == 1) prefetch_next(o, address(l, o, at), n);
            if (k >= l->num_outs) load_block(l, o, *at, n, p);
        } else {
            p = address(l, o, at);
        }
        if (k < l->num_outs) outs[k] = p;
        else ins[k - l->num_outs] = p;
    }
    l->kernel(n, outs, ins, l->args);
    for (int k = 0; k < l->num_outs; k++) {
        if (buffered[k]) store_block(l, &l->operand[k], *at, n, outs[k]);
    }
}

/* Long enough for a call of the kernel each. */
static bool has_long_rows(const struct loop *l) { return l->rank == 1 || l->shape[0] >= LONG_ROW; }

/* n elements of a row, where operands are direct or repeat one value. */
static void run_repeated(const struct loop *l, const struct position *at, size_t n) {
    _Alignas(64) char pool[HC_EW_MAX_OPERANDS * REPEATED * sizeof(hc_c128)];
    char *address_of[HC_EW_MAX_OPERANDS];
    size_t step[HC_EW_MAX_OPERANDS];
    void *outs[HC_EW_MAX_OPERANDS];
    const void *ins[HC_EW_MAX_OPERANDS];
    char *next = pool;
    for (int k = 0; k < l->num_operands; k++) {
        const struct operand *o = &l->operand[k];
        address_of[k] = address(l, o, at);
        step[k] = o->direct ? REPEATED * o->item_size : 0;
        if (o->direct) continue;
        o->load(hc_min_size(n, REPEATED), next, address_of[k], 0);
        address_of[k] = next;
        next += REPEATED * sizeof(hc_c128);
    }
    for (size_t done = 0; done < n; done += REPEATED) {
        for (int k = 0; k < l->num_operands; k++) {
            if (k < l->num_outs) outs[k] = address_of[k];
            else ins[k - l->num_outs] = address_of[k];
            address_of[k] += step[k];
        }
        l->kernel(hc_min_size(n - done, REPEATED), outs, ins, l->args);
    }
}

/* n elements of a flat run, through a block that is then written past the caches while the next ones come. */
static void run_past_caches(const struct loop *l, size_t at, size_t n) {
    _Alignas(HC_CACHE_LINE) char block[HC_PAST_CACHES_BLOCK * sizeof(hc_c128)];
    const struct operand *out = &l->operand[0];
    void *const outs[] = {block};
    const void *ins[HC_EW_MAX_OPERANDS];
    for (size_t done = 0; done < n; done += HC_PAST_CACHES_BLOCK) {
        const size_t count = hc_min_size(n - done, HC_PAST_CACHES_BLOCK);
        for (int k = 1; k < l->num_operands; k++)
            ins[k - 1] = l->operand[k].data + (at + done) * l->operand[k].item_size;
        l->kernel(count, outs, ins, l->args);
        for (int k = 1; k < l->num_operands; k++) prefetch_next(&l->operand[k], ins[k - 1], count);
        l->past_caches(out->data + (at + done) * out->item_size, block, count * out->item_size,
                       done + count == n);
    }
}

/* A piece of the pool's. Where everything is direct a row is one call, however long. */
static void run_range(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    struct position at;
    if (l->past_caches != NULL) {
        run_past_caches(l, begin, end - begin);
        return;
    }
    locate(l, begin, &at);
    const bool rows = has_long_rows(l);
    const size_t most = (l->all_direct || l->repeats) && rows ? (size_t)-1 : HC_EW_BLOCK;
    while (begin < end) {
        size_t n = hc_min_size(end - begin, most);
        if (rows) n = hc_min_size(n, (size_t)(l->shape[0] - at.index[0]));
        if (l->repeats) run_repeated(l, &at, n);
        else run_block(l, &at, n, rows);
        advance(l, &at, n);
        begin += n;
    }
}

/* Copies of inputs that an output overlaps without being the same view; NULL where none is needed. */
static aclnnStatus copy_overlapping(const char *name, const aclTensor *const *outs, int num_outs,
                                    aclTensor *view, char **copy) {
    *copy = NULL;
    bool partly = false;
    for (int k = 0; k < num_outs; k++) partly = partly || hc_overlaps_partly(outs[k], view);
    if (!partly) return 0;
    *copy = hc_block_take_array(hc_numel(view), (size_t)view->item_size);
    HC_CHECK(*copy != NULL, ACLNN_ERR_INNER, "%s: out of host memory: copy of an overlapping input %s", name,
             HC_SHOW(view));
    const aclTensor to = hc_tensor_view(view->dtype, view->shape, view->rank, *copy);
    HC_TRY(hc_copy(&to, view));
    *view = to;
    return 0;
}

/* One value n times, which is all that a kernel over bfloat16 has to load. */
static void load_one_bf16(size_t n, void *dst, const void *src, int64_t stride) {
    const hc_bf16 value = *(const hc_bf16 *)src;
    hc_bf16 *y = dst;
    (void)stride;
    for (size_t i = 0; i < n; i++) y[i] = value;
}

/* Whether the operator's bfloat16 kernel can run: long runs of it, or one value, in every operand. */
static bool all_bf16_runs(const struct loop *l, const aclTensor *const *views) {
    for (int k = 0; k < l->num_operands; k++) {
        const int64_t inner = l->operand[k].inner;
        if (views[k]->dtype != ACL_BF16 || !(inner == 1 || (inner == 0 && k >= l->num_outs))) return false;
    }
    return has_long_rows(l);
}

/* Then no operand is converted: the kernel reads and writes bfloat16 itself. */
static void use_bf16_kernel(struct loop *l, const struct hc_ew *op) {
    l->all_direct = true;
    for (int k = 0; k < l->num_operands; k++) {
        struct operand *o = &l->operand[k];
        o->direct = o->inner == 1;
        o->load = load_one_bf16;
        l->all_direct = l->all_direct && o->direct;
    }
    l->kernel = op->kernel[HC_EW_BF16][hc_isa()];
}

/* Once operands are set: whether run_repeated can run. */
static bool only_repeats(const struct loop *l) {
    if (l->all_direct || !has_long_rows(l)) return false;
    for (int k = 0; k < l->num_operands; k++) {
        const struct operand *o = &l->operand[k];
        if (!o->direct && (k < l->num_outs || o->inner != 0)) return false;
    }
    return true;
}

/* One run over everything: what nearly every call is, decided without copying descriptors. */
static void set_flat(struct loop *l, const aclTensor *const *views) {
    l->rank = 1;
    l->shape[0] = views[0]->numel;
    for (int k = 0; k < l->num_operands; k++) l->operand[k].stride[0] = views[k]->item_size;
}

/* The same elements, or no common byte; both are contiguous and of one shape. */
static bool same_or_apart(const aclTensor *a, const aclTensor *b) {
    const char *begin_a = hc_data(a), *begin_b = hc_data(b);
    if (begin_a == begin_b) return a->item_size == b->item_size;
    return begin_a + a->numel * a->item_size <= begin_b || begin_b + b->numel * b->item_size <= begin_a;
}

/* Contiguous, of one shape, and no output shares part of an input: then element i of each is at i. */
static bool is_flat(const aclTensor *const *outs, int num_outs, const aclTensor *const *ins, int num_ins) {
    if (!all_same_shape(outs, num_outs, ins, num_ins)) return false;
    for (int k = 0; k < num_outs; k++) {
        if (!hc_is_contiguous(outs[k])) return false;
    }
    for (int i = 0; i < num_ins; i++) {
        if (!hc_is_contiguous(ins[i])) return false;
        for (int k = 0; k < num_outs; k++) {
            if (!same_or_apart(outs[k], ins[i])) return false;
        }
    }
    return true;
}

/* Only where everything is one flat run, and no input is what is written, which the caches have then. */
static hc_copy_past_caches_fn *way_past_caches(const struct loop *l) {
    const struct operand *out = &l->operand[0];
    if (!hc_goes_past_caches(out->data, (size_t)l->shape[0] * out->item_size)) return NULL;
    if (l->num_outs != 1 || l->rank != 1 || !l->all_direct) return NULL;
    for (int k = 1; k < l->num_operands; k++) {
        if (l->operand[k].data == out->data) return NULL;
    }
    return hc_copy_past_caches_for();
}

/* `views` have the outputs' shape by now; views[0] is the first output. */
static void run_loop(const struct hc_ew *op, const struct types *types, const aclTensor *const *views,
                     int num_outs, int num, bool flat, const void *args) {
    struct loop l;
    const enum hc_block compute = types->compute;
    l.num_outs = num_outs;
    l.num_operands = num;
    l.all_direct = true;
    l.kernel = op->kernel[compute][hc_isa()];
    l.args = args;
    l.any_byte = (op->result & HC_EW_ANY_BYTE) != 0;
    set_narrow(&l, compute == HC_I64 ? types->result : ACL_INT64, views[0]);
    if (flat) set_flat(&l, views);
    else set_dimensions(&l, views);
    for (int k = 0; k < num; k++) set_operand(&l, k, views[k], op->truth >> k & 1 ? HC_B8 : compute);
    if (compute == HC_F32 && op->kernel[HC_EW_BF16] != NULL && all_bf16_runs(&l, views))
        use_bf16_kernel(&l, op);
    l.repeats = only_repeats(&l);
    l.past_caches = way_past_caches(&l);
    hc_parallel_for((size_t)views[0]->numel, GRAIN, run_range, &l);
}

/* Any strides: inputs are broadcast to the outputs, and copied where an output overlaps them partly. */
static aclnnStatus run_views(const struct hc_ew *op, const struct types *types, const aclTensor *const *outs,
                             int num_outs, const aclTensor *const *ins, int num_ins, const void *args) {
    aclTensor views[HC_EW_MAX_OPERANDS];
    const aclTensor *operands[HC_EW_MAX_OPERANDS];
    char *copies[HC_EW_MAX_OPERANDS] = {0};
    aclnnStatus status = 0;
    for (int i = 0; i < num_outs; i++) operands[i] = outs[i];
    for (int i = 0; i < num_ins && status == 0; i++) {
        aclTensor source = *ins[i];
        operands[num_outs + i] = &views[i];
        status = copy_overlapping(op->name, outs, num_outs, &source, &copies[i]);
        if (status == 0 && !hc_broadcast_to(&source, outs[0]->shape, outs[0]->rank, &views[i])) {
            status = hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: %s %s does not broadcast to %s", op->name,
                             hc_tensor_name(op->name, i), HC_SHOW(ins[i]), HC_SHOW(outs[0]));
        }
    }
    if (status == 0) run_loop(op, types, operands, num_outs, num_outs + num_ins, false, args);
    for (int i = 0; i < num_ins; i++) hc_block_give(copies[i]);
    return status;
}

static aclnnStatus run_typed(const struct hc_ew *op, const struct types *types, const aclTensor *const *outs,
                             int num_outs, const aclTensor *const *ins, int num_ins, const void *args) {
    if (outs[0]->numel == 0) return 0;
    if (!is_flat(outs, num_outs, ins, num_ins))
        return run_views(op, types, outs, num_outs, ins, num_ins, args);
    const aclTensor *operands[HC_EW_MAX_OPERANDS];
    for (int i = 0; i < num_outs; i++) operands[i] = outs[i];
    for (int i = 0; i < num_ins; i++) operands[num_outs + i] = ins[i];
    run_loop(op, types, operands, num_outs, num_outs + num_ins, true, args);
    return 0;
}

/* Checks again that there is a kernel, as composed operators call it without a plan. */
aclnnStatus hc_ew_run(const struct hc_ew *op, int compute, const aclTensor *const *outs, int num_outs,
                      const aclTensor *const *ins, int num_ins, const void *args) {
    const struct hc_result_rule rule = rule_of(op, HC_CLASS_BOOL, num_outs);
    struct types types = types_of(op, &rule, outs, num_outs, ins, num_ins);
    if (compute >= 0) types.compute = (enum hc_block)compute;
    HC_CHECK(op->kernel[types.compute] != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: not supported for %s, wanted %s tensors", op->name, HC_SHOW(outs[0]),
             HC_SUPPORTED(op->kernel));
    return run_typed(op, &types, outs, num_outs, ins, num_ins, args);
}
