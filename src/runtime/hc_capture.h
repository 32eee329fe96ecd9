// SPDX-License-Identifier: Apache-2.0
/* A graph: tasks that streams were given while they were captured, in that order, to be run again as often as
 * a client asks. */
#pragma once
#include "hc_handle.h"
#include "hc_launch.h"

enum { HC_GRAPH_TEXT_BYTES = 512 };

struct hc_graph {
    struct hc_handle handle;
    uint32_t id;            /* from 1 on, once in a process */
    int32_t origin;         /* number of the stream that the capture began with */
    atomic_uint references; /* the client's, and of streams, events and executions */
    pthread_mutex_t lock;   /* of what follows */
    bool open;
    struct hc_task *tasks;
    size_t count, capacity;
    aclError invalid; /* why it cannot be run; the first reason */
    char text[HC_GRAPH_TEXT_BYTES];
};

extern struct hc_pool hc_graph_pool;

/* Open, with one reference, not published; NULL with a text. */
struct hc_graph *hc_graph_create(void);
void hc_graph_retain(struct hc_graph *graph);
/* The last one releases the tasks. */
void hc_graph_release(struct hc_graph *graph);
/* Whether tasks may come; who closes it ends the capture. False if it is so already. */
bool hc_graph_is_open(struct hc_graph *graph);
bool hc_graph_set_open(struct hc_graph *graph, bool open);
/* Consumes the task unless a code is returned, with a text: then the graph is invalid. */
aclError hc_graph_append(struct hc_graph *graph, const struct hc_task *task);
/* With this thread's text. */
void hc_graph_invalidate(struct hc_graph *graph, aclError code);
/* 0, or why it cannot be run, with a text. */
aclError hc_graph_valid(struct hc_graph *graph);
/* Whether a task of it may block. */
bool hc_graph_may_block(struct hc_graph *graph);
/* Its tasks one after the other, in this thread, up to the first that fails. */
aclError hc_graph_run(struct hc_graph *graph, int32_t device, int32_t stream);
void hc_graph_after_fork(void);
