// SPDX-License-Identifier: Apache-2.0
/* What every collective of one rank comes down to: buffers copied onto others in stream order.
 *
 * The copies enter the stream through the launch point like any operator, so tracing sees them and an error
 * of an earlier task keeps them from running. With one rank nothing waits for a peer: the task cannot block.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_comm.h"
#include "hc_launch.h"

struct job {
    size_t count;
    struct hc_transfer transfers[];
};

static aclError run_job(void *arg) {
    const struct job *job = arg;
    for (size_t i = 0; i < job->count; i++) {
        const struct hc_transfer *t = &job->transfers[i];
        /* In place (equal addresses) is usual; a partial overlap is defined by memmove rather than left to
         * chance. */
        if (t->dst != t->src && t->bytes > 0) memmove(t->dst, t->src, t->bytes);
    }
    return 0;
}

static void describe_job(const void *arg, struct hc_task_info *info) {
    const struct job *job = arg;
    info->bytes = 0;
    info->flops = 0;
    for (size_t i = 0; i < job->count; i++) info->bytes += 2 * job->transfers[i].bytes;
    snprintf(info->shapes, sizeof info->shapes, "%zu transfers of 1 rank", job->count);
}

static HcclResult check_stream(const char *name, struct hc_comm *comm, aclrtStream stream) {
    hc_comm_lock();
    const bool suspended = comm->suspended;
    hc_comm_unlock();
    HC_CHECK(!suspended, HCCL_E_SUSPENDING, "%s: communicator %s is suspended", name, comm->name);
    if (stream == NULL) return HCCL_SUCCESS;
    const int32_t device = hc_stream_device(stream);
    HC_CHECK(device >= 0, HCCL_E_PARA, "%s: %p is no stream", name, stream);
    HC_CHECK(device == comm->device, HCCL_E_PARA,
             "%s: the stream is of device %d, communicator %s of device %d", name, device, comm->name,
             comm->device);
    return HCCL_SUCCESS;
}

HcclResult hc_comm_transfer(const char *name, struct hc_comm *comm, aclrtStream stream,
                            const struct hc_transfer *transfers, size_t count) {
    HC_TRY(check_stream(name, comm, stream));
    for (size_t i = 0; i < count; i++) {
        HC_CHECK(transfers[i].bytes == 0 || (transfers[i].src != NULL && transfers[i].dst != NULL),
                 HCCL_E_PTR, "%s: a buffer of %zu bytes is null", name, transfers[i].bytes);
    }
    struct job *job = malloc(sizeof *job + count * sizeof job->transfers[0]);
    HC_CHECK(job != NULL, HCCL_E_MEMORY, "%s: out of host memory", name);
    job->count = count;
    if (count > 0) memcpy(job->transfers, transfers, count * sizeof transfers[0]);
    const struct hc_task task = {.name = name,
                                 .kind = HC_TASK_COLLECTIVE,
                                 .arg = job,
                                 .run = run_job,
                                 .release = free,
                                 .describe = describe_job};
    return hc_launch(stream, &task) == 0 ? HCCL_SUCCESS : HCCL_E_RUNTIME; /* its text is set */
}
