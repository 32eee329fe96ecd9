// SPDX-License-Identifier: Apache-2.0
/* torch_npu launches operators from a thread of its own. When a launch fails there the thread ends; torch_npu
 * raises once and from then on drops every operator of the process without a word, so that a program which
 * goes on computes with stale memory. Errors of the work itself are kept away from that thread
 * (docs/streams.md), but with TASK_QUEUE_ENABLE=2 the check of the arguments runs in it too. Then the device
 * must not answer any more as if all was well. */
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "hc_error.h"
#include "hc_stream.h"

/* The names are torch_npu's. */
static bool in_thread(const char *wanted) {
    char name[16] = "";
    return prctl(PR_GET_NAME, name) == 0 && strcmp(name, wanted) == 0;
}

bool hc_client_queue_thread(void) { return in_thread("acl_thread"); }

bool hc_client_watches(void) { return in_thread("hccl_watchdog_t"); }

static bool is_operator_error(int code) {
    return code / 1000 == ACLNN_ERR_PARAM_INVALID / 1000 || code / 1000 == ACLNN_ERR_INNER / 1000 ||
           code / 1000 == ACLNN_ERR_RUNTIME_ERROR / 1000;
}

/* Before it ends, the thread asks for the text of the operator's error: the last call in which it can be
 * seen. */
void hc_client_queue_failed(void) {
    const int code = hc_error_peek();
    if (HC_LIKELY(code == 0) || !is_operator_error(code) || !hc_client_queue_thread()) return;
    struct hc_context *context = hc_context_peek();
    if (context == NULL || atomic_load(&context->device->abandoned) != 0) return;
    snprintf(context->device->abandoned_text, sizeof context->device->abandoned_text,
             "torch_npu runs no operator on NPU %d any more, since one failed in its queue (%.300s). Without "
             "TASK_QUEUE_ENABLE=2 such an error is raised by the call, and the program can go on",
             context->device->id, hc_error_text());
    hc_streams_abandon(context->device, code);
}
