// SPDX-License-Identifier: Apache-2.0
#include "hc_lifeline.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_util.h"
#include "hccl/hccl.h"

struct hc_lifeline {
    struct hc_lifeline *next;
    int32_t pid;
    int file;
    uint32_t references;
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hc_lifeline *g_lifelines;

bool hc_lifeline_ended(const struct hc_lifeline *l) {
    if (l == NULL) return false;
    struct pollfd p = {l->file, POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

/* Needs the lock. */
static int open_new(const char *caller, int32_t pid, struct hc_lifeline **out) {
    struct hc_lifeline *l = malloc(sizeof *l);
    HC_CHECK(l != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
    *l = (struct hc_lifeline){g_lifelines, pid, (int)syscall(SYS_pidfd_open, pid, 0), 1};
    if (l->file < 0) {
        const int why = errno;
        free(l);
        HC_CHECK(why == ENOSYS || why == EPERM, HCCL_E_REMOTE, "%s: process %d cannot be watched: %s", caller,
                 pid, strerror(why));
        return HCCL_SUCCESS;
    }
    g_lifelines = l;
    *out = l;
    return HCCL_SUCCESS;
}

/* The system gives the number of an ended process to a new one, which is not the one that the entry watches.
 */
int hc_lifeline_open(const char *caller, int32_t pid, struct hc_lifeline **out) {
    int status = HCCL_SUCCESS;
    *out = NULL;
    pthread_mutex_lock(&g_lock);
    struct hc_lifeline *l = g_lifelines;
    while (l != NULL && (l->pid != pid || hc_lifeline_ended(l))) l = l->next;
    if (l != NULL) {
        l->references++;
        *out = l;
    } else {
        status = open_new(caller, pid, out);
    }
    pthread_mutex_unlock(&g_lock);
    return status;
}

void hc_lifeline_close(struct hc_lifeline *l) {
    if (l == NULL) return;
    pthread_mutex_lock(&g_lock);
    if (--l->references == 0) {
        struct hc_lifeline **at = &g_lifelines;
        while (*at != l) at = &(*at)->next;
        *at = l->next;
        close(l->file);
        free(l);
    }
    pthread_mutex_unlock(&g_lock);
}
