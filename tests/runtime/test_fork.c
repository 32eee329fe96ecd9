// SPDX-License-Identifier: Apache-2.0
/* The child of a process that uses NPUs: must not hang, must not touch the parent's devices, may start anew.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "runtime_test.h"

static aclrtStream g_stream;
static aclrtEvent g_event;
static char *g_memory, *g_pinned;

static int child_uses_old_handles(void) {
    int32_t id;
    if (aclrtSynchronizeStream(g_stream) != ACL_ERROR_RT_INVALID_HANDLE) return 1;
    if (strstr(aclGetRecentErrMsg(), "forked") == NULL) return 2;
    if (aclrtRecordEvent(g_event, NULL) == ACL_SUCCESS) return 3;
    if (aclrtGetDevice(&id) != ACL_ERROR_RT_CONTEXT_NULL) return 4;
    if (aclrtFree(g_memory) != ACL_ERROR_RT_PARAM_INVALID) return 5;
    if (aclFinalize() != ACL_ERROR_UNINITIALIZE) return 6;
    g_pinned[0] = 5; /* the child's own copy */
    return 0;
}

static int child_starts_anew(void) {
    aclrtStream s;
    char *p, back = 0;
    use_device(1);
    if (aclrtCreateStream(&s) || aclrtMalloc((void **)&p, 100, ACL_MEM_MALLOC_NORMAL_ONLY)) return 1;
    if (aclrtMemsetAsync(p, 100, 42, 100, s) ||
        aclrtMemcpyAsync(&back, 1, p, 1, ACL_MEMCPY_DEVICE_TO_HOST, s))
        return 2;
    if (aclrtSynchronizeStream(s) || back != 42) return 3;
    return aclFinalize() != ACL_SUCCESS ? 4 : 0;
}

static atomic_bool g_stop;
static aclError spin(void *arg) {
    (void)arg;
    sleep_ms(1);
    return ACL_SUCCESS;
}
/* Keeps locks of the runtime busy while the process forks. */
static void *noise(void *arg) {
    (void)arg;
    aclrtSetDevice(0);
    while (!atomic_load(&g_stop)) {
        void *p;
        aclrtEvent e;
        hc_launch(g_stream, &(struct hc_task){.name = "spin", .may_block = true, .run = spin});
        if (aclrtMalloc(&p, 5000, ACL_MEM_MALLOC_NORMAL_ONLY) == ACL_SUCCESS) aclrtFree(p);
        if (aclrtCreateEventExWithFlag(&e, ACL_EVENT_SYNC) == ACL_SUCCESS) aclrtDestroyEvent(e);
    }
    return NULL;
}

TEST(children_of_a_busy_process) {
    pthread_t threads[2];
    use_device(0);
    CHECK_OK(aclrtCreateStream(&g_stream));
    CHECK_OK(aclrtCreateEventExWithFlag(&g_event, ACL_EVENT_SYNC));
    CHECK_OK(aclrtMalloc((void **)&g_memory, 1 << 20, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_OK(aclrtMallocHost((void **)&g_pinned, 100));
    for (int i = 0; i < 2; i++) CHECK_EQ(pthread_create(&threads[i], NULL, noise, NULL), 0);
    for (int i = 0; i < 10; i++) {
        CHECK_EQ(in_child(child_uses_old_handles, 20), 0);
        CHECK_EQ(in_child(child_starts_anew, 20), 0);
    }
    atomic_store(&g_stop, true);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    CHECK_EQ(g_pinned[0], 0);
    CHECK_OK(aclrtSynchronizeStream(g_stream)); /* the parent goes on */
    g_memory[0] = 1;
    CHECK_OK(aclrtFree(g_memory));
    CHECK_OK(aclrtFreeHost(g_pinned));
    CHECK_OK(aclrtDestroyStream(g_stream));
}
