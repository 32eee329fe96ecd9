// SPDX-License-Identifier: Apache-2.0
/* The loop of foreach.h, and the planning that its operators share. */
#include "foreach.h"

#include "messages.h"

#include <string.h>

/* A chunk of each of four float operands is 256 KiB: the per-chunk cost vanishes, and two threads share 1
 * MiB. */
enum { CHUNK = 16 * 1024 };

/* One tensor of the lists. */
struct member {
    char *data;
    size_t item_size;
    bool direct; /* memory is a block already */
    hc_load_fn *load;
    hc_store_fn *store;
};

/* One place of the lists: a tensor of each. Chunks are numbered through all items, from first_chunk on. */
struct item {
    struct member member[HC_FOREACH_MAX_LISTS]; /* outputs first */
    enum hc_block block;
    bool all_direct;
    hc_ew_kernel *kernel;
    const void *args;
    size_t numel, first_chunk;
};

/* A whole call; `count` leaves out empty and copied items. */
struct job {
    const struct hc_foreach *op;
    int num_outs, num;
    size_t count;
    struct item *items;
};

/* Looks for the dimension of stride 1, then for the one that continues it, and so on: O(rank^2), of a
 * rank of 2 in practice. */
bool hc_is_dense(const aclTensor *t) {
    int64_t expected = 1;
    unsigned used = 0;
    for (int32_t round = 0; round < t->rank; round++) {
        int32_t found = -1;
        for (int32_t d = t->rank - 1; d >= 0 && found < 0; d--) {
            if ((used >> d & 1) == 0 && (t->shape[d] == 1 || t->stride[d] == expected)) found = d;
        }
        if (found < 0) return false;
        used |= 1u << found;
        expected *= t->shape[found];
    }
    return true;
}

/* Whether element i in memory is the same element of both: then they can be walked as flat runs. */
static bool same_layout(const aclTensor *a, const aclTensor *b) {
    if (hc_is_contiguous(a) && hc_is_contiguous(b)) return true;
    for (int32_t d = 0; d < a->rank; d++) {
        if (a->shape[d] != 1 && a->stride[d] != b->stride[d]) return false;
    }
    return hc_is_dense(a);
}

/* Nearly always, as parameters and their state are made alike (zeros_like). */
static bool is_flat(const aclTensor *const *t, int num_outs, int num) {
    if (!hc_is_contiguous(t[0]) && !hc_is_dense(t[0])) return false;
    for (int k = 1; k < num; k++) {
        if (!same_layout(t[0], t[k])) return false;
    }
    for (int k = 0; k < num_outs; k++) {
        for (int other = num_outs; other < num; other++) {
            if (hc_overlaps_partly(t[k], t[other])) return false;
        }
    }
    return true;
}

/* Per item: a list may mix types. */
static enum hc_block block_of(const aclTensor *const *t, int num) {
    aclDataType type = t[0]->dtype;
    for (int k = 1; k < num; k++) type = hc_dtype_promote(type, t[k]->dtype);
    return hc_compute_block(type);
}

/* Elements [begin, end) of an item, through blocks in cache where a type is converted. */
static void run_blocks(const struct job *job, const struct item *item, size_t begin, size_t end) {
    _Alignas(64) char buffers[HC_FOREACH_MAX_LISTS][HC_EW_BLOCK * sizeof(hc_c128)];
    const size_t most = item->all_direct ? end - begin : HC_EW_BLOCK;
    void *outs[HC_FOREACH_MAX_LISTS];
    const void *ins[HC_FOREACH_MAX_LISTS];
    for (size_t at = begin; at < end; at += most) {
        const size_t n = hc_min_size(most, end - at);
        for (int k = 0; k < job->num; k++) {
            const struct member *m = &item->member[k];
            char *p = m->data + at * m->item_size;
            if (k < job->num_outs) outs[k] = m->direct ? p : buffers[k];
            else ins[k - job->num_outs] = m->direct ? p : buffers[k];
            if (k >= job->num_outs && !m->direct) m->load(n, buffers[k], p, 1);
        }
        item->kernel(n, outs, ins, item->args);
        for (int k = 0; k < job->num_outs; k++) {
            const struct member *m = &item->member[k];
            if (!m->direct) m->store(n, m->data + at * m->item_size, 1, buffers[k]);
        }
    }
}

/* The last item that starts at or before the chunk; empty items share their successor's first chunk. */
static size_t find_item(const struct job *job, size_t chunk) {
    size_t low = 0, high = job->count;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (job->items[middle].first_chunk <= chunk) low = middle;
        else high = middle;
    }
    return low;
}

/* Chunks [begin, end) of the whole list: an item is found once by bisection, then followed. */
static void run_chunks(void *ctx, size_t begin, size_t end) {
    const struct job *job = ctx;
    size_t at = find_item(job, begin);
    for (size_t chunk = begin; chunk < end; chunk++) {
        while (at + 1 < job->count && job->items[at + 1].first_chunk <= chunk) at++;
        const struct item *item = &job->items[at];
        const size_t first = (chunk - item->first_chunk) * CHUNK;
        run_blocks(job, item, first, hc_min_size(first + CHUNK, item->numel));
    }
}

/* Everything of an item that does not depend on the chunk. */
static void set_item(const struct job *job, struct item *item, const aclTensor *const *t) {
    item->block = block_of(t, job->num);
    item->kernel = job->op->kernel[item->block][hc_isa()];
    item->numel = hc_numel(t[0]);
    item->all_direct = true;
    for (int k = 0; k < job->num; k++) {
        item->member[k] = (struct member){.data = hc_data(t[k]),
                                          .item_size = (size_t)t[k]->item_size,
                                          .direct = hc_block_of(t[k]->dtype) == (int)item->block,
                                          .load = hc_load_for(t[k]->dtype, item->block),
                                          .store = hc_store_for(t[k]->dtype, item->block)};
        item->all_direct = item->all_direct && item->member[k].direct;
    }
}

/* One tensor of awkward layout: contiguous copies of all operands, computed, and the outputs copied back. */
static aclnnStatus run_copied(const struct job *job, const aclTensor *const *t, const void *args) {
    aclTensor views[HC_FOREACH_MAX_LISTS];
    char *memory[HC_FOREACH_MAX_LISTS] = {0};
    const aclTensor *pointers[HC_FOREACH_MAX_LISTS];
    aclnnStatus status = 0;
    for (int k = 0; k < job->num && status == 0; k++) {
        memory[k] = hc_block_take_array(hc_numel(t[k]), (size_t)t[k]->item_size);
        views[k] = hc_tensor_view(t[k]->dtype, t[k]->shape, t[k]->rank, memory[k]);
        pointers[k] = &views[k];
        if (memory[k] == NULL) {
            status =
                hc_fail(ACLNN_ERR_INNER, "%s: out of host memory: copy of %s", job->op->name, HC_SHOW(t[k]));
        } else if (k >= job->num_outs) {
            status = hc_copy(&views[k], t[k]);
        }
    }
    if (status == 0) {
        struct item item = {.args = args};
        struct job one = {job->op, job->num_outs, job->num, 1, &item};
        set_item(job, &item, pointers);
        hc_parallel_for(hc_ceil_div(item.numel, CHUNK), 1, run_chunks, &one);
    }
    for (int k = 0; k < job->num_outs && status == 0; k++) status = hc_copy(t[k], &views[k]);
    for (int k = 0; k < job->num; k++) hc_block_give(memory[k]);
    return status;
}

/* Tensors that are contiguous in all lists become items, whose chunks all threads share: a list of a few
 * large and many small ones keeps them equally busy. The others are run one by one through copies, in the
 * caller's thread. */
aclnnStatus hc_foreach_run(const struct hc_foreach *op, size_t count, const aclTensor *const *outs,
                           int num_outs, const aclTensor *const *ins, int num_ins, const void *args,
                           size_t args_stride) {
    if (count == 0) return 0;
    struct job job = {op, num_outs, num_outs + num_ins, 0, hc_block_take_array(count, sizeof(struct item))};
    HC_CHECK(job.items != NULL, ACLNN_ERR_INNER, "%s: out of host memory for a list of %zu tensors", op->name,
             count);
    size_t chunks = 0;
    aclnnStatus status = 0;
    for (size_t i = 0; i < count && status == 0; i++) {
        const aclTensor *t[HC_FOREACH_MAX_LISTS];
        for (int k = 0; k < job.num; k++) t[k] = (k < num_outs ? outs[k] : ins[k - num_outs]) + i;
        if (t[0]->numel == 0) continue;
        const void *own = args_stride > 0 ? (const char *)args + i * args_stride : args;
        if (!is_flat(t, num_outs, job.num)) {
            status = run_copied(&job, t, own);
            continue;
        }
        struct item *item = &job.items[job.count++];
        set_item(&job, item, t);
        item->args = own;
        item->first_chunk = chunks;
        chunks += hc_ceil_div(item->numel, CHUNK);
    }
    if (status == 0) hc_parallel_for(chunks, 1, run_chunks, &job);
    hc_block_give(job.items);
    return status;
}

/* Without names, the first list is the output and the others are the inputs, in the interface's words. */
static const char *list_name(const char *op_name, const char *const *names, int k) {
    return names != NULL ? names[k] : hc_tensor_name(op_name, k - 1);
}

/* Lists are of equal length, and member i has the shape of the first list's member i. */
aclnnStatus hc_foreach_check(const char *op_name, const aclTensorList *const *lists, const char *const *names,
                             int num) {
    for (int k = 0; k < num; k++) {
        HC_CHECK(lists[k] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: list %s is null", op_name,
                 list_name(op_name, names, k));
        HC_CHECK(lists[k]->size == lists[0]->size, ACLNN_ERR_PARAM_INVALID,
                 "%s: list %s has %zu tensors, %s has %zu", op_name, list_name(op_name, names, k),
                 lists[k]->size, list_name(op_name, names, 0), lists[0]->size);
        for (size_t i = 0; i < lists[k]->size; i++) {
            const aclTensor *t = lists[k]->data[i], *first = lists[0]->data[i];
            HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: tensor %zu of list %s is null", op_name, i,
                     list_name(op_name, names, k));
            HC_CHECK(t->item_size > 0, ACLNN_ERR_PARAM_INVALID,
                     "%s: tensor %zu of list %s has element type %s, which is "
                     "not supported",
                     op_name, i, list_name(op_name, names, k), hc_dtype_name(t->dtype));
            HC_CHECK(hc_same_shape(t, first), ACLNN_ERR_PARAM_INVALID,
                     "%s: tensor %zu is %s in list %s and %s in list %s", op_name, i, HC_SHOW(t),
                     list_name(op_name, names, k), HC_SHOW(first), list_name(op_name, names, 0));
        }
    }
    return 0;
}

aclnnStatus hc_foreach_check_dtypes(const struct hc_foreach *op, const aclTensorList *const *lists, int num) {
    for (size_t i = 0; i < lists[0]->size; i++) {
        const aclTensor *t[HC_FOREACH_MAX_LISTS] = {lists[0]->data[i]};
        for (int k = 1; k < num; k++) t[k] = lists[k]->data[i];
        HC_CHECK(op->kernel[block_of(t, num)] != NULL, ACLNN_ERR_PARAM_INVALID,
                 "%s: not supported for %s (tensor %zu of list %s), wanted %s tensors", op->name,
                 HC_SHOW(t[num - 1]), i, hc_tensor_name(op->name, num - 2), HC_SUPPORTED(op->kernel));
    }
    return 0;
}

/* In all types at once: which one is needed depends on each tensor of the list. */
struct hc_ew_scalar hc_foreach_read(const aclTensor *t, int64_t index) {
    struct hc_ew_scalar s;
    const char *p = hc_data(t) + (t->rank > 0 ? index * t->stride[0] : 0) * t->item_size;
    hc_load_for(t->dtype, HC_F32)(1, &s.F32, p, 1);
    hc_load_for(t->dtype, HC_F64)(1, &s.F64, p, 1);
    hc_load_for(t->dtype, HC_I64)(1, &s.I64, p, 1);
    hc_load_for(t->dtype, HC_C128)(1, &s.C128, p, 1);
    return s;
}

/* The planned arguments: a scalar, or as many as the list has tensors, unless they are device memory. */
struct planned {
    const struct hc_foreach *op;
    int num_ins;
    enum hc_foreach_scalars mode;
    bool device;
    struct hc_ew_scalar scalars[];
};
enum { SLOT_SCALAR = 3, SLOT_OUT = 4 };

/* Scalars in device memory are read now, as the operator that computes them may have run just before. */
static aclnnStatus run_planned(const struct hc_call *call) {
    const struct planned *p = call->args;
    const size_t count = hc_arg_count(call, SLOT_OUT);
    const aclTensor *outs[] = {hc_arg(call, SLOT_OUT)}, *ins[3];
    for (int k = 0; k < p->num_ins; k++) ins[k] = hc_arg(call, k);
    const size_t stride = p->mode == HC_FOREACH_EACH ? sizeof(struct hc_ew_scalar) : 0;
    if (!p->device) return hc_foreach_run(p->op, count, outs, 1, ins, p->num_ins, p->scalars, stride);
    const size_t num = p->mode == HC_FOREACH_EACH ? count : 1;
    struct hc_ew_scalar *scalars = hc_block_take_array(num + 1, sizeof *scalars);
    HC_CHECK(scalars != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu scalars", p->op->name, num);
    for (size_t i = 0; i < num; i++) scalars[i] = hc_foreach_read(hc_arg(call, SLOT_SCALAR), (int64_t)i);
    const aclnnStatus status = hc_foreach_run(p->op, count, outs, 1, ins, p->num_ins, scalars, stride);
    hc_block_give(scalars);
    return status;
}

/* A scalar in device memory is a tensor beside the lists. */
static const char *scalar_name(const struct hc_foreach *op, int num_ins) {
    const char *next = hc_tensor_name(op->name, num_ins);
    return next != hc_tensor_name(op->name, -1) ? next : hc_scalar_name(op->name, 0);
}

/* One of the three forms is given: a number, an array of numbers, a tensor in device memory. */
static aclnnStatus check_scalars(const struct hc_foreach *op, const struct hc_foreach_args *args) {
    if (args->mode == HC_FOREACH_NO_SCALAR) return 0;
    HC_CHECK(args->scalar || args->scalars || args->device_scalar, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null",
             op->name, scalar_name(op, args->num_ins));
    const size_t want = args->mode == HC_FOREACH_EACH ? args->out->size : 1;
    const size_t have = args->device_scalar ? hc_numel(args->device_scalar)
                        : args->scalars     ? args->scalars->size
                                            : 1;
    const bool enough = args->mode == HC_FOREACH_EACH ? have == want : have >= 1;
    HC_CHECK(enough, ACLNN_ERR_PARAM_INVALID, "%s: %zu scalars, wanted %zu%s", op->name, have, want,
             args->mode == HC_FOREACH_EACH ? ", one for each tensor of out" : "");
    return 0;
}

/* Each tensor of out must hold the result of its inputs and its scalar (result_type.h). A scalar in device
 * memory has been converted to the tensors' type by the client. */
static aclnnStatus check_results(const struct hc_foreach *op, const struct hc_foreach_args *args) {
    if (op->casts || args->num_ins == 0) return 0;
    for (size_t i = 0; i < args->out->size; i++) {
        const aclTensor *ins[3] = {0}, *out = args->out->data[i];
        const aclScalar *scalar = args->scalars ? args->scalars->data[i] : args->scalar;
        for (int k = 0; k < args->num_ins; k++) ins[k] = args->ins[k]->data[i];
        const struct hc_result_rule rule = {.scalar = scalar ? hc_dtype_class(scalar->dtype) : HC_CLASS_BOOL};
        const aclDataType result = hc_result_type(ins, args->num_ins, &rule);
        HC_TRY(hc_check_result(op->name, result, out, ins, args->num_ins, &rule));
    }
    return 0;
}

/* The operand slots are fixed (three inputs, the scalar's tensor, out), absent ones empty. */
aclnnStatus hc_foreach_plan(const struct hc_foreach *op, const struct hc_foreach_args *args,
                            uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensorList *lists[4] = {args->out};
    const int num = args->num_ins + 1;
    for (int k = 0; k < args->num_ins; k++) lists[k + 1] = args->ins[k];
    HC_TRY(hc_foreach_check(op->name, lists, NULL, num));
    HC_TRY(hc_foreach_check_dtypes(op, lists, num));
    HC_TRY(check_scalars(op, args));
    HC_TRY(check_results(op, args));
    const bool device = args->device_scalar != NULL;
    const size_t scalars = device || args->mode == HC_FOREACH_NO_SCALAR ? 0
                           : args->scalars                              ? args->scalars->size
                                                                        : 1;
    const size_t bytes = sizeof(struct planned) + scalars * sizeof(struct hc_ew_scalar);
    struct planned *p = hc_block_take(bytes);
    HC_CHECK(p != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu scalars", op->name, scalars);
    *p = (struct planned){op, args->num_ins, args->mode, device};
    for (size_t i = 0; i < scalars; i++)
        p->scalars[i] = hc_ew_scalar(args->scalars ? args->scalars->data[i] : args->scalar);
    const struct hc_operand operands[] = {HC_IN_LIST(args->ins[0]), HC_IN_LIST(args->ins[1]),
                                          HC_IN_LIST(args->ins[2]), HC_IN_OPT(args->device_scalar),
                                          HC_OUT_LIST(args->out)};
    const aclnnStatus status = hc_plan(&(const struct hc_plan){.name = op->name,
                                                               .run = run_planned,
                                                               .args = p,
                                                               .args_size = bytes,
                                                               .operands = operands,
                                                               .num_operands = HC_ARRAY_SIZE(operands)},
                                       workspaceSize, executor);
    hc_block_give(p);
    return status;
}
