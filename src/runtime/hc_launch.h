// SPDX-License-Identifier: Apache-2.0
/* The launch point: every operator, copy and collective enters a stream here, and only here.
 *
 * Tracing, statistics and dry devices attach to it. A task is data plus three functions; the stream
 * decides whether it runs in the caller (stream idle and the task cannot block) or on its worker. */
#pragma once
#include "acl/acl.h"
#include "hc_util.h"

enum hc_task_kind {
    HC_TASK_OPERATOR,
    HC_TASK_COPY,
    HC_TASK_COLLECTIVE,
    HC_TASK_CALLBACK,
    HC_TASK_CONTROL,
    HC_TASK_KIND_COUNT
};

enum { HC_LAUNCH_TEXT_BYTES = 512, HC_LAUNCH_ROLES = 64 };

/* What the trace shows of a task; filled on demand only. */
struct hc_task_info {
    uint64_t bytes; /* read and written */
    uint64_t flops;
    char shapes[HC_LAUNCH_TEXT_BYTES]; /* "float32[4,8] bfloat16[8]" */
    char roles[HC_LAUNCH_ROLES];       /* of these, in order: i is read, o written, b both; "" if unknown */
};

/* Given a stretch of memory that a task uses. */
typedef void hc_visit_fn(void *ctx, const void *address, size_t bytes, bool written);

struct hc_task {
    const char *name; /* lives as long as the process */
    enum hc_task_kind kind;
    bool may_block; /* collective, wait, host callback, long transfer: not in the submitting thread */
    bool once;      /* run changes what is behind arg, so a graph cannot have it */
    void *arg;
    /* Do the work. A non-zero code (text by hc_fail) sticks to the stream. NULL: a marker with no work. */
    aclError (*run)(void *arg);
    /* Called exactly once, after run or when the task is dropped. May be NULL. */
    void (*release)(void *arg);
    /* May be NULL. Called before run, only while tracing. */
    void (*describe)(const void *arg, struct hc_task_info *info);
    /* May be NULL. Calls visit for the memory that run uses. Called before run, only while allocations
     * exceed what the host has. */
    void (*visit)(const void *arg, hc_visit_fn *visit, void *ctx);
    uint64_t queued_ns; /* when it had to wait for its turn, while tracing; 0: at once, or not traced */
};

/* Put a task into a stream; NULL is the current context's default stream. Thread-safe. Returns a code only if
 * the stream cannot take the task (unknown stream, out of memory). An error of the task itself comes back
 * from the next synchronise, wherever the task ran. In every case the task is consumed: release has been or
 * will be called. */
HC_SHARED aclError hc_launch(aclrtStream stream, const struct hc_task *task);

/* In a release: the error because of which the task never ran, with its text in hc_error_text; 0 if it ran.
 */
HC_SHARED aclError hc_dropped(void);

/* Write what MINDSPEED_TRACE has gathered, if there is such: for where the process may soon be ended. */
HC_SHARED void hc_trace_write(void);

/* Wait until what is in the stream has ended; its errors stay for the client's synchronise. */
HC_SHARED aclError hc_launch_wait(aclrtStream stream);

/* The device a stream belongs to, -1 if it is no stream. */
HC_SHARED int32_t hc_stream_device(aclrtStream stream);

/* For a task that waits for something outside (a peer, a flag in memory): true when it must give up, because
 * its stream is being aborted or destroyed. It then returns ACL_ERROR_RT_STREAM_ABORT. */
HC_SHARED bool hc_abort_requested(void);
/* Around a wait in the running task: the stream counts as paused meanwhile, so memory may be moved. The end
 * of it (false) may block until that is over. */
HC_SHARED void hc_stream_park(bool parked);

/* A synchronous copy: run now, in this thread, in no stream's order; traced and counted like the rest. */
HC_SHARED aclError hc_run_unordered(const struct hc_task *task);
