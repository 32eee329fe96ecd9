// SPDX-License-Identifier: Apache-2.0
/* Capturing streams into a graph, and running that (docs/streams.md). While a stream is captured nothing that
 * it is given runs: it becomes a task of the graph. A stream that waits for an event of a captured one is
 * captured too. Who captures whom does not matter here (mode): no call of another thread disturbs.
 *
 * Groups of tasks that are updated later are refused, with 200006 and not 207000 (ACL_ERROR_RT_...):
 * torch_npu takes the latter for a missing driver feature, warns and goes on. */
#include "hc_capture.h"
#include "hc_error.h"
#include "hc_stream.h"

static aclError check_mode(const char *function, aclmdlRICaptureMode mode) {
    HC_CHECK((unsigned)mode <= ACL_MODEL_RI_CAPTURE_MODE_RELAXED, ACL_ERROR_RT_PARAM_INVALID,
             "%s: there is no mode %d", function, (int)mode);
    return ACL_SUCCESS;
}

/* A live graph; NULL with a text. */
static struct hc_graph *find(aclmdlRI model, const char *function) {
    if (hc_handle_ok(&hc_graph_pool, model)) return model;
    hc_handle_fail(&hc_graph_pool, model, function);
    return NULL;
}

/* Clients ask before each allocation. */
aclError aclmdlRICaptureGetInfo(aclrtStream stream, aclmdlRICaptureStatus *status, aclmdlRI *modelRI) {
    HC_CHECK(status != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclmdlRICaptureGetInfo: status is null");
    struct hc_stream *s = hc_stream_find(stream, "aclmdlRICaptureGetInfo");
    if (s == NULL) return hc_error_peek();
    *status = ACL_MODEL_RI_CAPTURE_STATUS_NONE;
    if (modelRI != NULL) *modelRI = NULL;
    struct hc_graph *g = hc_stream_graph(s);
    if (g == NULL) return ACL_SUCCESS;
    *status =
        hc_graph_valid(g) == 0 ? ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE : ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED;
    if (modelRI != NULL) *modelRI = g;
    hc_graph_release(g);
    hc_error_take(); /* that a graph is invalid is no error of who asks */
    return ACL_SUCCESS;
}

/* The mode of a thread is exchanged, as the interface says. */
aclError aclmdlRICaptureThreadExchangeMode(aclmdlRICaptureMode *mode) {
    static _Thread_local aclmdlRICaptureMode current = ACL_MODEL_RI_CAPTURE_MODE_GLOBAL;
    HC_CHECK(mode != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclmdlRICaptureThreadExchangeMode: mode is null");
    HC_TRY(check_mode("aclmdlRICaptureThreadExchangeMode", *mode));
    const aclmdlRICaptureMode before = current;
    current = *mode;
    *mode = before;
    return ACL_SUCCESS;
}

/* Into `g`, which is open, or a new one. */
static aclError begin(const char *function, struct hc_stream *s, struct hc_graph *g) {
    g->origin = s->id;
    return hc_stream_capture(s, g, function);
}

aclError aclmdlRICaptureBegin(aclrtStream stream, aclmdlRICaptureMode mode) {
    static const char FUNCTION[] = "aclmdlRICaptureBegin";
    HC_TRY(check_mode(FUNCTION, mode));
    struct hc_stream *s = hc_stream_find(stream, FUNCTION);
    if (s == NULL) return hc_error_peek();
    struct hc_graph *g = hc_graph_create();
    if (g == NULL) return hc_error_peek();
    const aclError code = begin(FUNCTION, s, g);
    if (code == 0) hc_handle_publish(&g->handle);
    else hc_graph_release(g);
    return code;
}

/* Behind what the graph has already. */
aclError aclmdlRICaptureToModelRIBegin(aclrtStream stream, aclmdlRI modelRI, aclmdlRICaptureMode mode) {
    static const char FUNCTION[] = "aclmdlRICaptureToModelRIBegin";
    HC_TRY(check_mode(FUNCTION, mode));
    struct hc_stream *s = hc_stream_find(stream, FUNCTION);
    struct hc_graph *g = s != NULL ? find(modelRI, FUNCTION) : NULL;
    if (g == NULL) return hc_error_peek();
    HC_CHECK(hc_graph_set_open(g, true), ACL_ERROR_RT_MODEL_CAPTURED, "%s: graph %u is being captured",
             FUNCTION, g->id);
    const aclError code = begin(FUNCTION, s, g);
    if (code != 0) hc_graph_set_open(g, false);
    return code;
}

static void leave(void *stream, void *graph) { hc_stream_end_capture(stream, graph); }

/* A graph that became invalid is gone, as the interface has it: the client gets none. */
aclError aclmdlRICaptureEnd(aclrtStream stream, aclmdlRI *modelRI) {
    static const char FUNCTION[] = "aclmdlRICaptureEnd";
    HC_CHECK(modelRI != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: modelRI is null", FUNCTION);
    struct hc_stream *s = hc_stream_find(stream, FUNCTION);
    if (s == NULL) return hc_error_peek();
    struct hc_graph *g = hc_stream_graph(s);
    HC_CHECK(g != NULL, ACL_ERROR_RT_STREAM_NOT_CAPTURED, "%s: stream %d is not captured", FUNCTION, s->id);
    aclError code = ACL_SUCCESS;
    if (g->origin != s->id)
        code = hc_fail(ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, "%s: the capture began with stream %d, not %d",
                       FUNCTION, g->origin, s->id);
    if (code == 0 && hc_graph_set_open(g, false)) {
        hc_handle_each(&hc_stream_pool, leave, g);
        code = hc_graph_valid(g);
        if (code == 0) *modelRI = g;
        else if (hc_handle_retire(&g->handle)) hc_graph_release(g);
    }
    hc_graph_release(g);
    return code;
}

static void release_graph(void *arg) { hc_graph_release(arg); }

static aclError run_tasks(void *arg) {
    const struct hc_stream *s = hc_stream_running();
    return hc_graph_run(arg, s->device->id, s->id);
}

/* Into a stream that is itself captured it becomes a task of that graph. */
aclError aclmdlRIExecuteAsync(aclmdlRI modelRI, aclrtStream stream) {
    static const char FUNCTION[] = "aclmdlRIExecuteAsync";
    struct hc_stream *s = hc_stream_find(stream, FUNCTION);
    struct hc_graph *g = s != NULL ? find(modelRI, FUNCTION) : NULL;
    if (g == NULL) return hc_error_peek();
    HC_CHECK(!hc_graph_is_open(g), ACL_ERROR_RT_MODEL_CAPTURED, "%s: graph %u is being captured", FUNCTION,
             g->id);
    hc_graph_retain(g);
    return hc_launch(s, &(struct hc_task){.name = "captured graph",
                                          .kind = HC_TASK_CONTROL,
                                          .may_block = hc_graph_may_block(g),
                                          .arg = g,
                                          .run = run_tasks,
                                          .release = release_graph});
}

/* Executions under way go on. */
aclError aclmdlRIDestroy(aclmdlRI modelRI) {
    static const char FUNCTION[] = "aclmdlRIDestroy";
    struct hc_graph *g = find(modelRI, FUNCTION);
    if (g == NULL) return hc_error_peek();
    HC_CHECK(!hc_graph_is_open(g), ACL_ERROR_RT_MODEL_CAPTURED, "%s: graph %u is being captured", FUNCTION,
             g->id);
    if (!hc_handle_retire(&g->handle)) return hc_handle_fail(&hc_graph_pool, g, FUNCTION);
    hc_graph_release(g);
    return ACL_SUCCESS;
}

aclError aclmdlRIGetId(aclmdlRI modelRI, uint32_t *modelRIId) {
    HC_CHECK(modelRIId != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclmdlRIGetId: modelRIId is null");
    const struct hc_graph *g = find(modelRI, "aclmdlRIGetId");
    if (g == NULL) return hc_error_peek();
    *modelRIId = g->id;
    return ACL_SUCCESS;
}

/* The one text of all of them. */
#define REFUSE(function)                                                                                     \
    return hc_fail(ACL_ERROR_FEATURE_UNSUPPORTED, "%s is not supported on virtual NPUs", #function)

aclError aclmdlRICaptureTaskGrpBegin(aclrtStream stream) {
    (void)stream;
    REFUSE(aclmdlRICaptureTaskGrpBegin);
}
aclError aclmdlRICaptureTaskGrpEnd(aclrtStream stream, aclrtTaskGrp *handle) {
    (void)stream, (void)handle;
    REFUSE(aclmdlRICaptureTaskGrpEnd);
}
aclError aclmdlRICaptureTaskUpdateBegin(aclrtStream stream, aclrtTaskGrp handle) {
    (void)stream, (void)handle;
    REFUSE(aclmdlRICaptureTaskUpdateBegin);
}
aclError aclmdlRICaptureTaskUpdateEnd(aclrtStream stream) {
    (void)stream;
    REFUSE(aclmdlRICaptureTaskUpdateEnd);
}
aclError aclmdlRIDebugJsonPrint(aclmdlRI modelRI, const char *path, uint32_t flags) {
    (void)modelRI, (void)path, (void)flags;
    REFUSE(aclmdlRIDebugJsonPrint);
}
