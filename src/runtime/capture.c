// SPDX-License-Identifier: Apache-2.0
/* Graphs (hc_capture.h). A task is data and functions that only read it, so running it again does the same
 * work on what then is in its memory; those of which that is not true say so (hc_task.once). The order in
 * which captured streams were given their tasks is one that their waits for each other allow, so one thread
 * runs them in that order and no wait is left. */
#include "hc_capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_error.h"
#include "hc_stream.h"

struct hc_pool hc_graph_pool = HC_POOL("captured graph", 1024, 1 << 16);
_Static_assert(sizeof(struct hc_graph) <= 1024, "a slot");

struct hc_graph *hc_graph_create(void) {
    static atomic_uint last_id;
    struct hc_graph *g = hc_handle_new(&hc_graph_pool);
    if (g == NULL) return NULL;
    g->id = atomic_fetch_add(&last_id, 1) + 1;
    atomic_init(&g->references, 1);
    pthread_mutex_init(&g->lock, NULL);
    g->open = true;
    return g;
}

void hc_graph_retain(struct hc_graph *g) { atomic_fetch_add(&g->references, 1); }

void hc_graph_release(struct hc_graph *g) {
    if (g == NULL || atomic_fetch_sub(&g->references, 1) != 1) return;
    for (size_t i = 0; i < g->count; i++) hc_task_release(&g->tasks[i], 0);
    free(g->tasks);
    pthread_mutex_destroy(&g->lock);
    hc_handle_free(&hc_graph_pool, g);
}

bool hc_graph_is_open(struct hc_graph *g) {
    pthread_mutex_lock(&g->lock);
    const bool open = g->open;
    pthread_mutex_unlock(&g->lock);
    return open;
}

bool hc_graph_set_open(struct hc_graph *g, bool open) {
    pthread_mutex_lock(&g->lock);
    const bool changed = g->open != open;
    g->open = open;
    pthread_mutex_unlock(&g->lock);
    return changed;
}

/* Needs the lock. */
static void invalidate(struct hc_graph *g, aclError code) {
    if (g->invalid != 0) return;
    g->invalid = code;
    snprintf(g->text, sizeof g->text, "%s", hc_error_text());
}

void hc_graph_invalidate(struct hc_graph *g, aclError code) {
    pthread_mutex_lock(&g->lock);
    invalidate(g, code);
    pthread_mutex_unlock(&g->lock);
}

/* Needs the lock. */
static aclError append(struct hc_graph *g, const struct hc_task *task) {
    HC_CHECK(!task->once, ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED,
             "%s: cannot be captured: it cannot run a second time", task->name);
    if (g->count == g->capacity) {
        const size_t capacity = g->capacity > 0 ? 2 * g->capacity : 64;
        struct hc_task *tasks = realloc(g->tasks, capacity * sizeof *tasks);
        HC_CHECK(tasks != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL,
                 "%s: out of host memory for task %zu of a captured graph", task->name, g->count);
        g->tasks = tasks, g->capacity = capacity;
    }
    g->tasks[g->count++] = *task;
    return ACL_SUCCESS;
}

aclError hc_graph_append(struct hc_graph *g, const struct hc_task *task) {
    pthread_mutex_lock(&g->lock);
    const aclError code = append(g, task);
    if (code != 0) invalidate(g, code);
    pthread_mutex_unlock(&g->lock);
    return code;
}

aclError hc_graph_valid(struct hc_graph *g) {
    pthread_mutex_lock(&g->lock);
    const aclError code = g->invalid != 0 ? hc_fail(g->invalid, "%s", g->text) : ACL_SUCCESS;
    pthread_mutex_unlock(&g->lock);
    return code;
}

/* Closed: its tasks change no more, here and below. */
bool hc_graph_may_block(struct hc_graph *g) {
    for (size_t i = 0; i < g->count; i++) {
        if (g->tasks[i].may_block) return true;
    }
    return false;
}

aclError hc_graph_run(struct hc_graph *g, int32_t device, int32_t stream) {
    for (size_t i = 0; i < g->count; i++) {
        HC_CHECK(!hc_abort_requested(), ACL_ERROR_RT_STREAM_ABORT,
                 "captured graph %u: the stream was aborted in front of task %zu, %s", g->id, i,
                 g->tasks[i].name);
        const aclError code = hc_task_run(device, stream, &g->tasks[i]);
        HC_CHECK(code == 0, code, "captured graph %u, task %zu, %s: %s", g->id, i, g->tasks[i].name,
                 hc_error_text());
    }
    return ACL_SUCCESS;
}

void hc_graph_after_fork(void) { hc_pool_reset(&hc_graph_pool); }
