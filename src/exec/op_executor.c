// SPDX-License-Identifier: Apache-2.0
/* An executor is one block of memory: header, slots, tensors, original pointers, arguments. One block
 * because its size is known before the first byte is written, and phase one runs for every operator (see
 * docs/benchmarks.md, launch cost). Small blocks are kept on a free list per thread. Phase two often runs
 * in another thread than phase one: blocks then drift from the first thread's list to the second's, which
 * frees them when it is full, and phase one pays a malloc. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_checked.h"
#include "hc_executor.h"
#include "hc_launch.h"
#include "hc_op_steps.h"

struct aclOpExecutor {
    struct hc_call call;
    hc_run_fn run;
    hc_launch_fn launch;
    uint64_t flops;
    size_t num_tensors, capacity;
    const aclTensor *
        *originals;         /* the caller's tensors: valid during phase one and, for sync plans, phase two */
    atomic_uint references; /* the caller, if repeatable, and each launch in flight */
    bool repeatable, sync;
};

/* 4 KB hold 12 operands. 16 blocks are 64 KB of each thread, freed by the destructor of a pthread key. */
enum { CACHED_BYTES = 4096, CACHED_BLOCKS = 16 };
/* Of one operator: some 7 GB of descriptors, and slots count in 32 bits. */
enum { MAX_TENSORS = 1 << 24 };
static _Thread_local void *g_free[CACHED_BLOCKS];
static _Thread_local int g_num_free;
static _Thread_local enum { UNWATCHED, WATCHED, ENDED } g_thread; /* the end of this one */
static pthread_key_t g_key;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;
static bool g_has_key;

/* What other destructors release later is not kept again. */
static void free_cached(void *unused) {
    (void)unused;
    g_thread = ENDED;
    while (g_num_free > 0) free(g_free[--g_num_free]);
}

static void make_key(void) { g_has_key = pthread_key_create(&g_key, free_cached) == 0; }

/* Whether this thread's blocks are freed when it ends; if that cannot be, none are kept. */
static bool is_watched(void) {
    if (g_thread != UNWATCHED) return g_thread == WATCHED;
    pthread_once(&g_once, make_key);
    if (g_has_key && pthread_setspecific(g_key, g_free) == 0) g_thread = WATCHED;
    return g_thread == WATCHED;
}

/* A block of at least `bytes`, contents undefined but for `capacity`; NULL without memory. */
static aclOpExecutor *allocate(size_t bytes) {
    if (bytes <= CACHED_BYTES && g_num_free > 0) return g_free[--g_num_free];
    const size_t capacity = bytes <= CACHED_BYTES ? CACHED_BYTES : bytes;
    aclOpExecutor *e = aligned_alloc(64, hc_align_up(capacity, 64));
    if (e != NULL) e->capacity = capacity;
    return e;
}

/* Give back one reference; the last one ends the executor. It may run in any thread. */
static void release(aclOpExecutor *e) {
    if (atomic_fetch_sub(&e->references, 1) != 1) return;
    if (e->capacity == CACHED_BYTES && g_num_free < CACHED_BLOCKS && is_watched()) g_free[g_num_free++] = e;
    else free(e);
}

/* Lists flattened; an operand that is missing has none. */
static size_t count_tensors(const struct hc_plan *plan) {
    size_t count = 0;
    for (size_t i = 0; i < plan->num_operands; i++) {
        const struct hc_operand *o = &plan->operands[i];
        count = hc_add_saturated(count, o->list ? o->list->size : o->tensor != NULL);
    }
    return count;
}

/* What holds for every operator: there is a tensor, its type has a size, and it has memory unless it is
 * empty. Shapes are the operator's own business. */
static aclnnStatus check_tensor(const struct hc_plan *plan, const struct hc_operand *o, const aclTensor *t) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", plan->name, o->name);
    HC_CHECK(t->item_size > 0, ACLNN_ERR_PARAM_INVALID, "%s: %s has element type %s, which is not supported",
             plan->name, o->name, hc_dtype_name(t->dtype));
    HC_CHECK(t->base != NULL || t->numel == 0, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is %s but has no memory",
             plan->name, o->name, HC_SHOW(t));
    return 0;
}

/* An empty or missing list is legal, a missing member only with _OPT. */
static aclnnStatus check_operand(const struct hc_plan *plan, const struct hc_operand *o) {
    const bool optional = (o->role & HC_ROLE_OPTIONAL) != 0;
    if (o->list != NULL) {
        for (size_t i = 0; i < o->list->size; i++) {
            if (o->list->data[i] != NULL || !optional) HC_TRY(check_tensor(plan, o, o->list->data[i]));
        }
        return 0;
    }
    if ((o->role & HC_ROLE_LIST) != 0 || (optional && o->tensor == NULL)) return 0;
    return check_tensor(plan, o, o->tensor);
}

/* Flatten an operand into the table at *used and note where it begins. A null member of a list keeps its
 * place, with rank -1, so that members of two lists still pair up. */
static void copy_operand(aclOpExecutor *e, aclTensor *tensors, const struct hc_operand *o,
                         struct hc_slot *slot, size_t *used) {
    const size_t count = o->list ? o->list->size : o->tensor != NULL;
    *slot = (struct hc_slot){(uint32_t)*used, (uint32_t)count, o->role};
    for (size_t i = 0; i < count; i++, (*used)++) {
        const aclTensor *t = o->list ? o->list->data[i] : o->tensor;
        e->originals[*used] = t;
        if (t != NULL) tensors[*used] = *t;
        else tensors[*used] = (aclTensor){.rank = -1};
    }
}

/* One block: executor, slots, descriptors, the caller's descriptors, arguments. A plan is on the path of
 * every operator, so it costs one allocation (mostly from the thread's free list) and one copy. */
aclnnStatus hc_plan(const struct hc_plan *plan, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(workspaceSize && executor, ACLNN_ERR_PARAM_NULLPTR, "%s: workspaceSize or executor is null",
             plan->name);
    for (size_t i = 0; i < plan->num_operands; i++) HC_TRY(check_operand(plan, &plan->operands[i]));
    const size_t num_tensors = count_tensors(plan);
    HC_CHECK(num_tensors <= MAX_TENSORS, ACLNN_ERR_PARAM_INVALID, "%s: %zu tensors, at most %d are supported",
             plan->name, num_tensors, MAX_TENSORS);
    const size_t slots_at = hc_align_up(sizeof(aclOpExecutor), 16);
    const size_t tensors_at = hc_align_up(slots_at + plan->num_operands * sizeof(struct hc_slot), 16);
    const size_t originals_at = tensors_at + num_tensors * sizeof(aclTensor);
    const size_t args_at = hc_align_up(originals_at + num_tensors * sizeof(aclTensor *), 16);
    aclOpExecutor *e = allocate(args_at + plan->args_size);
    HC_CHECK(e != NULL, ACLNN_ERR_INNER, "%s: out of host memory for an executor of %zu tensors", plan->name,
             num_tensors);
    char *block = (char *)e;
    struct hc_slot *slots = (struct hc_slot *)(block + slots_at);
    aclTensor *tensors = (aclTensor *)(block + tensors_at);
    e->call = (struct hc_call){.name = plan->name,
                               .args = block + args_at,
                               .tensors = tensors,
                               .slots = slots,
                               .num_slots = plan->num_operands,
                               .executor = e};
    e->run = plan->run;
    e->launch = NULL;
    e->flops = plan->flops;
    e->num_tensors = num_tensors;
    e->originals = (const aclTensor **)(block + originals_at);
    atomic_init(&e->references, 1);
    e->repeatable = false;
    e->sync = plan->sync;
    size_t used = 0;
    for (size_t i = 0; i < plan->num_operands; i++)
        copy_operand(e, tensors, &plan->operands[i], &slots[i], &used);
    memcpy(block + args_at, plan->args, plan->args_size);
    e->call.workspace_bytes = plan->workspace;
    *workspaceSize = plan->workspace;
    *executor = e;
    hc_error_forget_creation();
    return ACLNN_SUCCESS;
}

_Noreturn void hc_no_such_operand(const struct hc_call *call, int slot) {
    fprintf(stderr, "mindspeed: internal error: %s asks for operand %d of its %zu\n", call->name, slot,
            call->num_slots);
    abort();
}

aclnnStatus hc_plan_steps(const struct hc_plan *plan, hc_launch_fn launch, uint64_t *workspaceSize,
                          aclOpExecutor **executor) {
    HC_TRY(hc_plan(plan, workspaceSize, executor));
    (*executor)->launch = launch;
    return ACLNN_SUCCESS;
}

static aclError run_task(void *arg) {
    const aclOpExecutor *e = arg;
    return e->run(&e->call);
}

static void release_task(void *arg) { release(arg); }

/* By operand, in the order of the shapes. */
static void describe_roles(const aclOpExecutor *e, size_t shown, char *roles) {
    size_t used = 0;
    for (size_t s = 0; s < e->call.num_slots; s++) {
        const struct hc_slot *slot = &e->call.slots[s];
        const int role = slot->role & HC_ROLE_INOUT;
        for (size_t i = slot->first; i < slot->first + slot->count && used < shown; i++)
            if (e->call.tensors[i].rank >= 0)
                roles[used++] = role == HC_ROLE_INOUT ? 'b' : role == HC_ROLE_OUT ? 'o' : 'i';
    }
    roles[used] = '\0';
}

/* For the trace, and called only while one is written: shapes as text (cut where the field is full) and the
 * bytes of all operands, each counted once. */
static void describe_task(const void *arg, struct hc_task_info *info) {
    const aclOpExecutor *e = arg;
    size_t used = 0, shown = 0;
    info->bytes = 0;
    info->flops = e->flops;
    info->shapes[0] = '\0';
    for (size_t i = 0; i < e->num_tensors; i++) {
        const aclTensor *t = &e->call.tensors[i];
        info->bytes += (uint64_t)t->numel * (uint64_t)t->item_size;
        if (t->rank < 0 || used + 1 >= sizeof info->shapes) continue;
        const int n =
            snprintf(info->shapes + used, sizeof info->shapes - used, used ? " %s" : "%s", HC_SHOW(t));
        used = hc_min_size(used + (size_t)n, sizeof info->shapes - 1);
        shown++;
    }
    describe_roles(e, hc_min_size(shown, HC_LAUNCH_ROLES - 1), info->roles);
}

static void visit_task(const void *arg, hc_visit_fn *visit, void *ctx) {
    const aclOpExecutor *e = arg;
    visit(ctx, e->call.workspace, e->call.workspace_bytes, true);
    for (size_t s = 0; s < e->call.num_slots; s++) {
        const struct hc_slot *slot = &e->call.slots[s];
        for (size_t i = slot->first; i < slot->first + slot->count; i++) {
            const char *begin, *end;
            if (e->call.tensors[i].rank >= 0 && hc_byte_range(&e->call.tensors[i], &begin, &end))
                visit(ctx, begin, (size_t)(end - begin), (slot->role & HC_ROLE_OUT) != 0);
        }
    }
}

/* One task of an operator that has several; it keeps the executor. */
struct step {
    aclOpExecutor *executor;
    hc_step_fn run;
    size_t part;
    uint64_t flops;
};

static aclError run_step(void *arg) {
    const struct step *step = arg;
    return step->run(&step->executor->call, step->part);
}

static void release_step(void *arg) {
    struct step *step = arg;
    release(step->executor);
    free(step);
}

static void describe_step(const void *arg, struct hc_task_info *info) {
    const struct step *step = arg;
    describe_task(step->executor, info);
    info->flops = step->flops;
}

static void visit_step(const void *arg, hc_visit_fn *visit, void *ctx) {
    visit_task(((const struct step *)arg)->executor, visit, ctx);
}

aclnnStatus hc_op_step(const struct hc_call *call, hc_step_fn run, size_t part, uint64_t flops,
                       aclrtStream stream) {
    struct step *step = malloc(sizeof *step);
    HC_CHECK(step != NULL, ACLNN_ERR_INNER, "%s: out of host memory for a step", call->name);
    *step = (struct step){call->executor, run, part, flops};
    atomic_fetch_add(&step->executor->references, 1);
    const struct hc_task task = {.name = call->name,
                                 .kind = HC_TASK_OPERATOR,
                                 .arg = step,
                                 .run = run_step,
                                 .release = release_step,
                                 .describe = describe_step,
                                 .visit = visit_step};
    return hc_launch(stream, &task);
}

/* The launch has a reference of its own while the steps come and go. */
static aclnnStatus launch_steps(aclOpExecutor *e, aclrtStream stream) {
    const aclnnStatus status = e->launch(&e->call, stream);
    release(e);
    return status;
}

/* After this call the executor is the stream's unless it is repeatable: every path, the refused workspace
 * included, gives back the reference. A sync plan waits, because its caller reads the output's shape next. */
aclnnStatus hc_op_launch(aclOpExecutor *executor, void *workspace, uint64_t workspaceSize,
                         aclrtStream stream) {
    HC_CHECK(executor != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnn launch: executor is null");
    if (workspaceSize < executor->call.workspace_bytes ||
        (executor->call.workspace_bytes > 0 && workspace == NULL)) {
        const size_t wanted = executor->call.workspace_bytes;
        const char *name = executor->call.name;
        if (!executor->repeatable) release(executor);
        return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: workspace of %llu bytes at %p, needs %zu", name,
                       (unsigned long long)workspaceSize, workspace, wanted);
    }
    executor->call.workspace = workspace;
    if (executor->repeatable) atomic_fetch_add(&executor->references, 1);
    if (executor->launch != NULL) return launch_steps(executor, stream);
    const bool sync = executor->sync;
    const struct hc_task task = {.name = executor->call.name,
                                 .kind = HC_TASK_OPERATOR,
                                 .arg = executor,
                                 .run = run_task,
                                 .release = release_task,
                                 .describe = describe_task,
                                 .visit = visit_task};
    HC_TRY(hc_launch(stream, &task));
    return sync ? hc_launch_wait(stream) : ACLNN_SUCCESS;
}

/* Writes to the caller's tensor, not to our copy: aclGetViewShape asks that one after phase two. */
void hc_set_view_shape(const struct hc_call *call, int slot, const int64_t *shape, int32_t rank) {
    aclTensor *t = (aclTensor *)call->executor->originals[hc_slot(call, slot)->first];
    t->rank = rank;
    t->numel = 1;
    for (int32_t i = rank - 1; i >= 0; i--) {
        t->shape[i] = shape[i];
        t->stride[i] = t->numel;
        t->numel *= shape[i];
    }
}

aclnnStatus aclSetAclOpExecutorRepeatable(aclOpExecutor *executor) {
    HC_CHECK(executor != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclSetAclOpExecutorRepeatable: executor is null");
    executor->repeatable = true;
    return ACLNN_SUCCESS;
}

aclnnStatus aclDestroyAclOpExecutor(aclOpExecutor *executor) {
    if (executor != NULL) release(executor);
    return ACLNN_SUCCESS;
}

/* `index` counts the operands of the operator in the order of its arguments, null optional ones left out. */
aclnnStatus aclSetTensorAddr(aclOpExecutor *executor, const size_t index, aclTensor *tensor, void *addr) {
    HC_CHECK(executor && tensor, ACLNN_ERR_PARAM_NULLPTR, "aclSetTensorAddr: null argument");
    HC_CHECK(index < executor->num_tensors, ACLNN_ERR_PARAM_INVALID,
             "aclSetTensorAddr: index %zu, %s has %zu tensors", index, executor->call.name,
             executor->num_tensors);
    aclTensor *own = (aclTensor *)&executor->call.tensors[index];
    HC_CHECK(addr != NULL || own->numel == 0, ACLNN_ERR_PARAM_NULLPTR,
             "aclSetTensorAddr: addr is null, tensor %zu of %s is %s", index, executor->call.name,
             HC_SHOW(own));
    HC_CHECK(hc_memory_possible(addr, (size_t)own->storage_numel * (size_t)own->item_size),
             ACLNN_ERR_PARAM_INVALID, "aclSetTensorAddr: %lld elements at %p end behind the address space",
             (long long)own->storage_numel, addr);
    own->base = addr;
    tensor->base = addr;
    return ACLNN_SUCCESS;
}
