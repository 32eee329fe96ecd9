// SPDX-License-Identifier: Apache-2.0
/* Operators by name: finds the row of a type (hc_by_name.h), checks what holds for every operator, and
 * reports errors so that they reach who asked.
 *
 * That is the call itself: its code and text, from which torch_npu raises where the program stands. Only in
 * the queue that torch_npu launches from with TASK_QUEUE_ENABLE=1 or 2 a code would end the queue, and later
 * operators of the process would silently not run; there the error is that of a task and comes with the next
 * synchronise. */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_by_name.h"
#include "hc_desc.h"
#include "hc_error.h"
#include "hc_memory.h"
#include "hc_stream.h"

static struct hc_by_name_table *_Atomic g_tables;
static pthread_once_t g_loaded = PTHREAD_ONCE_INIT;
static char g_load_error[256];

void hc_by_name_register(struct hc_by_name_table *table) {
    table->next = atomic_load(&g_tables);
    while (!atomic_compare_exchange_weak(&g_tables, &table->next, table)) {
    }
}

/* A program may come here before any aclnn operator has brought libopapi. The text is not empty if it cannot
 * be loaded; there are no operators then. (With the call of dlopen last in the function it would be a jump,
 * and the search not begin where this library lies.) */
static void load_operators(void) {
    if (dlopen("libopapi.so", RTLD_NOW | RTLD_GLOBAL) == NULL)
        snprintf(g_load_error, sizeof g_load_error, " (%.200s)", dlerror());
}

static const struct hc_by_name *find(const char *type, const struct hc_by_name_table **table) {
    pthread_once(&g_loaded, load_operators);
    for (const struct hc_by_name_table *t = atomic_load(&g_tables); t != NULL; t = t->next) {
        for (size_t i = 0; i < t->count; i++) {
            if (strcmp(t->ops[i].type, type) != 0) continue;
            *table = t;
            return &t->ops[i];
        }
    }
    return NULL;
}

/* Appends "a, [b]" to what is in `text`. */
static void append_names(char *text, size_t size, const char *name, bool list, bool first) {
    const size_t used = strlen(text);
    snprintf(text + used, size - used, list ? "%s[%s]" : "%s%s", first ? "" : ", ", name);
}

static void describe(const char *family, const struct hc_by_name *op, char *text, size_t size) {
    snprintf(text, size, "%s\t%s\t", family, op->type);
    for (int i = 0; i < HC_BY_NAME_INPUTS && op->inputs[i].name != NULL; i++)
        append_names(text, size, op->inputs[i].name, op->inputs[i].list, i == 0);
    append_names(text, size, " -> ", false, true);
    for (int i = 0; i < HC_BY_NAME_OUTPUTS && op->outputs[i] != NULL; i++)
        append_names(text, size, op->outputs[i], false, i == 0);
    append_names(text, size, "\t", false, true);
    for (int i = 0; i < HC_BY_NAME_ATTRS && op->attrs[i] != NULL; i++)
        append_names(text, size, op->attrs[i], false, i == 0);
    append_names(text, size, "\t", false, true);
    append_names(text, size, op->meaning, false, true);
}

bool hc_by_name_describe(size_t index, char *text, size_t size) {
    pthread_once(&g_loaded, load_operators);
    for (const struct hc_by_name_table *t = atomic_load(&g_tables); t != NULL; t = t->next) {
        if (index < t->count) {
            describe(t->family, &t->ops[index], text, size);
            return true;
        }
        index -= t->count;
    }
    return false;
}

/* Number of operands of the row, and the name of operand i. */
static const char *input_name(const struct hc_by_name *op, int i) {
    return i < HC_BY_NAME_INPUTS ? op->inputs[i].name : NULL;
}
static const char *output_name(const struct hc_by_name *op, int i) {
    return i < HC_BY_NAME_OUTPUTS ? op->outputs[i] : NULL;
}

/* As many operands as the operator has, each with a live descriptor and buffer. */
static aclError check_operands(const struct hc_by_name *op, const char *which, int given,
                               const char *(*name)(const struct hc_by_name *, int),
                               const aclTensorDesc *const *desc, const void *const *buffers) {
    int wanted = 0;
    while (name(op, wanted) != NULL) wanted++;
    HC_CHECK(given == wanted, ACL_ERROR_INVALID_PARAM, "%d %ss, it has %d", given, which, wanted);
    HC_CHECK(given == 0 || (desc != NULL && buffers != NULL), ACL_ERROR_INVALID_PARAM,
             "the list of %s %s is null", which, desc == NULL ? "descriptors" : "buffers");
    for (int i = 0; i < given; i++) {
        char label[64];
        snprintf(label, sizeof label, "%s %d (%s)", which, i, name(op, i));
        if (!hc_handle_ok(&hc_desc_pool, desc[i])) return hc_handle_fail(&hc_desc_pool, desc[i], label);
        if (!hc_handle_ok(&hc_buffer_pool, buffers[i]))
            return hc_handle_fail(&hc_buffer_pool, buffers[i], label);
    }
    return ACL_SUCCESS;
}

struct failed {
    const struct hc_device *device;
    aclError code;
};

static void find_failed(void *object, void *ctx) {
    struct failed *f = ctx;
    if (f->code == 0 && ((struct hc_stream *)object)->device == f->device) f->code = hc_stream_error(object);
}

/* Wait for what is queued on the devices of buffers that lie on another than the stream's. *waited: there is
 * such. An error there is this call's too: what it reads is not there. */
static aclError await_other_devices(const aclDataBuffer *const *buffers, int count, const struct hc_stream *s,
                                    bool *waited) {
    for (int i = 0; i < count; i++) {
        struct hc_region region;
        if (!hc_region_find(buffers[i]->data, &region) || region.device == NULL || region.device == s->device)
            continue;
        *waited = true;
        hc_streams_wait(region.device);
        struct failed f = {.device = region.device};
        hc_handle_each(&hc_stream_pool, find_failed, &f);
        if (f.code != 0) return f.code;
    }
    return ACL_SUCCESS;
}

/* Plans and launches. torch_npu orders copies between devices by events, but puts none around a Cast, which
 * runs in a stream of the destination's device: then the source's producers have run before, and the Cast
 * when the call returns, as the program may overwrite the source next. In torch_npu's queue that would help
 * nobody: the program is ahead of it. */
static aclError launch(const struct hc_by_name *op, const struct hc_by_name_table *table,
                       const struct hc_by_name_request *r, int num_inputs, int num_outputs) {
    if (!op->no_events || hc_client_queue_thread()) return table->launch(op, r);
    const struct hc_stream *s = hc_stream_find(r->stream, op->type);
    if (s == NULL) return hc_error_peek();
    bool across = false;
    HC_TRY(await_other_devices(r->inputs, num_inputs, s, &across));
    HC_TRY(await_other_devices((const aclDataBuffer *const *)r->outputs, num_outputs, s, &across));
    HC_TRY(table->launch(op, r));
    return across ? hc_launch_wait(r->stream) : ACL_SUCCESS;
}

/* What holds for every operator. */
static aclError check(const struct hc_by_name *op, const struct hc_by_name_request *r, int num_inputs,
                      int num_outputs) {
    HC_TRY(
        check_operands(op, "input", num_inputs, input_name, r->input_desc, (const void *const *)r->inputs));
    HC_TRY(check_operands(op, "output", num_outputs, output_name, r->output_desc,
                          (const void *const *)r->outputs));
    HC_CHECK(hc_attr_ok(r->attr), ACL_ERROR_INVALID_PARAM, "attr is %p, no live operator attributes",
             (const void *)r->attr);
    const char *unknown = hc_attr_unknown(r->attr, op->attrs, HC_BY_NAME_ATTRS);
    HC_CHECK(unknown == NULL, ACL_ERROR_INVALID_PARAM, "it has no attribute %s", unknown);
    return ACL_SUCCESS;
}

static aclError execute(const char *function, const char *type, const struct hc_by_name_request *r,
                        int num_inputs, int num_outputs) {
    HC_CHECK(type != NULL, ACL_ERROR_INVALID_PARAM, "%s: opType is null", function);
    const struct hc_by_name_table *table;
    const struct hc_by_name *op = find(type, &table);
    if (op == NULL) {
        const aclTensorDesc *first = num_inputs > 0 && r->input_desc != NULL ? r->input_desc[0] : NULL;
        return hc_fail(
            ACL_ERROR_OP_NOT_FOUND,
            "%s: operator type %s is not available on virtual NPUs (%d inputs, the first of element type "
            "%d)%s: docs/operators.md lists the operators by name that are. torch_npu asks for one where "
            "it has no aclnn operator, and with jit_compile on also where it has: "
            "torch.npu.set_compile_mode(jit_compile=False)",
            function, type, num_inputs,
            first != NULL ? (int)aclGetTensorDescType(first) : (int)ACL_DT_UNDEFINED, g_load_error);
    }
    aclError code = check(op, r, num_inputs, num_outputs);
    if (code == 0) code = launch(op, table, r, num_inputs, num_outputs);
    return code == 0 ? ACL_SUCCESS : hc_fail(code, "%s: operator %s: %s", function, type, hc_error_text());
}

struct failure {
    aclError code;
    char text[];
};

static aclError run_failure(void *arg) {
    const struct failure *f = arg;
    return hc_fail(f->code, "%s", f->text);
}

/* This thread's error becomes that of a task. */
static aclError fail_in_stream(const char *function, aclError code, aclrtStream stream) {
    static const char HINT[] =
        ". torch_npu called this from a queue of its own; with TASK_QUEUE_ENABLE=0 the line of "
        "the program that asked for it raises the error";
    hc_error_take(); /* else torch_npu's thread would find it with its next error */
    const size_t bytes = strlen(hc_error_text()) + sizeof HINT;
    struct failure *f = malloc(sizeof *f + bytes);
    HC_CHECK(f != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "%s: out of host memory", function);
    f->code = code;
    snprintf(f->text, bytes, "%s%s", hc_error_text(), HINT);
    return hc_launch(
        stream,
        &(struct hc_task){
            .name = function, .kind = HC_TASK_OPERATOR, .arg = f, .run = run_failure, .release = free});
}

aclError aclopCompileAndExecute(const char *opType, int numInputs, const aclTensorDesc *const inputDesc[],
                                const aclDataBuffer *const inputs[], int numOutputs,
                                const aclTensorDesc *const outputDesc[], aclDataBuffer *const outputs[],
                                const aclopAttr *attr, aclopEngineType engineType,
                                aclopCompileType compileFlag, const char *opPath, aclrtStream stream) {
    static const char FUNCTION[] = "aclopCompileAndExecute";
    (void)engineType, (void)compileFlag, (void)opPath; /* of the vendor's compiler */
    const struct hc_by_name_request r = {inputDesc, inputs, outputDesc, outputs, attr, stream};
    const aclError code = execute(FUNCTION, opType, &r, numInputs, numOutputs);
    return code != 0 && hc_client_queue_thread() ? fail_in_stream(FUNCTION, code, stream) : code;
}

/* Has run when it returns, since its outputs' shapes are then read from their descriptors. torch_npu does not
 * call it from its queue. */
aclError aclopCompileAndExecuteV2(const char *opType, int numInputs, aclTensorDesc *inputDesc[],
                                  aclDataBuffer *inputs[], int numOutputs, aclTensorDesc *outputDesc[],
                                  aclDataBuffer *outputs[], aclopAttr *attr, aclopEngineType engineType,
                                  aclopCompileType compileFlag, const char *opPath, aclrtStream stream) {
    (void)engineType, (void)compileFlag, (void)opPath;
    const struct hc_by_name_request r = {(const aclTensorDesc *const *)inputDesc,
                                         (const aclDataBuffer *const *)inputs,
                                         (const aclTensorDesc *const *)outputDesc,
                                         outputs,
                                         attr,
                                         stream};
    HC_TRY(execute("aclopCompileAndExecuteV2", opType, &r, numInputs, numOutputs));
    return aclrtSynchronizeStream(stream);
}
