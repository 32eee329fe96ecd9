// SPDX-License-Identifier: Apache-2.0
/* Random operations from four threads on four streams against a sequential model.
 *
 * Thread t owns stream t and works on memory of its own, so the order of its operations is known and the
 * model is what they give when done one after the other; streams are tied together by events, callbacks and a
 * stream that is destroyed and made anew. At the end, and from time to time, the device's bytes must equal
 * the model's. */
#include <pthread.h>
#include <stdatomic.h>

#include "runtime_test.h"

enum { THREADS = 4, BYTES = 4096, PIECES = 8 };
#define HC_TRY_TEST(call)                                                                                    \
    do {                                                                                                     \
        if ((call) != ACL_SUCCESS) return -1;                                                                \
    } while (0)
static int g_operations = 25000; /* per thread */

struct worker {
    uint64_t random;
    aclrtStream stream, spare;
    aclrtEvent event;
    char *device[PIECES], *pinned;
    char model[PIECES][BYTES];
    atomic_int callbacks;
    int expected_callbacks, number;
    const char *failed;
};
static struct worker g_workers[THREADS];
static aclrtEvent g_shared[THREADS]; /* each recorded by its thread, waited for by all */

static uint32_t next(struct worker *w) {
    w->random = w->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->random >> 33);
}

static void count_call(void *arg) { atomic_fetch_add(&((struct worker *)arg)->callbacks, 1); }

static aclError copy_operation(struct worker *w) {
    const size_t from = next(w) % PIECES, to = next(w) % PIECES;
    const size_t count = next(w) % (BYTES / 2) + 1, a = next(w) % (BYTES / 2), b = next(w) % (BYTES / 2);
    memmove(w->model[to] + b, w->model[from] + a, count);
    return aclrtMemcpyAsync(w->device[to] + b, BYTES - b, w->device[from] + a, count,
                            ACL_MEMCPY_DEVICE_TO_DEVICE, w->stream);
}

static aclError fill_operation(struct worker *w) {
    const size_t to = next(w) % PIECES, at = next(w) % BYTES, count = next(w) % (BYTES - at) + 1;
    const int value = (int)(next(w) & 0xff);
    memset(w->model[to] + at, value, count);
    return aclrtMemsetAsync(w->device[to] + at, BYTES - at, value, count, w->stream);
}

static aclError check_all(struct worker *w) {
    for (int i = 0; i < PIECES; i++) {
        HC_TRY_TEST(
            aclrtMemcpyAsync(w->pinned, BYTES, w->device[i], BYTES, ACL_MEMCPY_DEVICE_TO_HOST, w->stream));
        HC_TRY_TEST(aclrtSynchronizeStream(w->stream));
        if (memcmp(w->pinned, w->model[i], BYTES) != 0) {
            w->failed = "device differs from the model";
            return -1;
        }
    }
    return ACL_SUCCESS;
}

/* Move to a new stream: the old one's work must come first. */
static aclError change_stream(struct worker *w) {
    aclrtStream fresh;
    HC_TRY_TEST(aclrtCreateStream(&fresh));
    HC_TRY_TEST(aclrtRecordEvent(w->event, w->stream));
    HC_TRY_TEST(aclrtStreamWaitEvent(fresh, w->event));
    if (w->spare != NULL) HC_TRY_TEST(aclrtDestroyStream(w->spare));
    w->spare = w->stream;
    w->stream = fresh;
    return ACL_SUCCESS;
}

static aclError operate(struct worker *w) {
    switch (next(w) % 32) {
    case 0: return aclrtRecordEvent(g_shared[w->number], w->stream);
    case 1: return aclrtStreamWaitEvent(w->stream, g_shared[next(w) % THREADS]);
    case 2: w->expected_callbacks++; return aclrtLaunchHostFunc(w->stream, count_call, w);
    case 3: return next(w) % 8 == 0 ? change_stream(w) : ACL_SUCCESS;
    case 4: return next(w) % 16 == 0 ? check_all(w) : ACL_SUCCESS;
    case 5: {
        aclrtEventRecordedStatus status;
        return aclrtQueryEventStatus(g_shared[next(w) % THREADS], &status);
    }
    case 6: {
        void *p;
        HC_TRY_TEST(aclrtMalloc(&p, next(w) % 10000 + 1, ACL_MEM_MALLOC_NORMAL_ONLY));
        return aclrtFree(p);
    }
    case 7: return next(w) % 8 == 0 ? aclrtSynchronizeStream(w->stream) : ACL_SUCCESS;
    default: return next(w) % 2 ? copy_operation(w) : fill_operation(w);
    }
}

static void *work(void *arg) {
    struct worker *w = arg;
    if (aclrtSetDevice(0) != ACL_SUCCESS) w->failed = "set device";
    for (int i = 0; i < g_operations && w->failed == NULL; i++) {
        if (operate(w) != ACL_SUCCESS && w->failed == NULL) w->failed = aclGetRecentErrMsg();
    }
    if (w->failed == NULL && check_all(w) != ACL_SUCCESS && w->failed == NULL)
        w->failed = aclGetRecentErrMsg();
    if (w->failed != NULL) printf("thread %d: %s\n", w->number, w->failed);
    return w->failed != NULL ? w : NULL;
}

TEST(four_threads_four_streams) {
    pthread_t threads[THREADS];
    const char *scale = getenv("HC_TEST_OPERATIONS");
    use_device(0);
    if (scale != NULL) g_operations = atoi(scale) / THREADS;
    for (int t = 0; t < THREADS; t++) {
        struct worker *w = &g_workers[t];
        w->random = 88172645463325252u + (uint64_t)t;
        w->number = t;
        CHECK_OK(aclrtCreateStream(&w->stream));
        CHECK_OK(aclrtCreateEventExWithFlag(&w->event, ACL_EVENT_SYNC));
        CHECK_OK(aclrtCreateEventExWithFlag(&g_shared[t], ACL_EVENT_SYNC));
        CHECK_OK(aclrtMallocHost((void **)&w->pinned, BYTES));
        for (int i = 0; i < PIECES; i++)
            CHECK_OK(aclrtMalloc((void **)&w->device[i], BYTES, ACL_MEM_MALLOC_NORMAL_ONLY));
    }
    for (int t = 0; t < THREADS; t++) CHECK_EQ(pthread_create(&threads[t], NULL, work, &g_workers[t]), 0);
    bool good = true;
    for (int t = 0; t < THREADS; t++) {
        void *failed;
        pthread_join(threads[t], &failed);
        good = good && failed == NULL;
    }
    CHECK(good);
    CHECK_OK(aclrtSynchronizeDevice());
    for (int t = 0; t < THREADS; t++) CHECK_EQ(g_workers[t].callbacks, g_workers[t].expected_callbacks);
    CHECK_OK(aclFinalize());
}

enum { FAILING_THREADS = 3, FAILING_TASKS = 2000 };
static atomic_int g_ran, g_freed, g_told, g_refused;

static aclError run_or_fail(void *arg) {
    atomic_fetch_add(&g_ran, 1);
    return (intptr_t)arg % 7 == 0 ? ACL_ERROR_RT_AICORE_EXCEPTION : ACL_SUCCESS;
}
static void count_freed(void *arg) {
    (void)arg;
    atomic_fetch_add(&g_freed, 1);
}

static void *launch_failing(void *arg) {
    use_device(0);
    for (int i = 0; i < FAILING_TASKS; i++) {
        const struct hc_task task = {.name = "task",
                                     .may_block = i % 5 == 0,
                                     .arg = (void *)(intptr_t)i,
                                     .run = run_or_fail,
                                     .release = count_freed};
        if (hc_launch(arg, &task) != ACL_SUCCESS) atomic_fetch_add(&g_refused, 1);
        if (i % 11 == 0 && aclrtSynchronizeStream(arg) != ACL_SUCCESS) atomic_fetch_add(&g_told, 1);
    }
    return NULL;
}

/* Every task runs or is dropped, and is released; a stream that nobody has been told of stays failed. */
TEST(tasks_of_several_threads_fail_in_one_stream) {
    use_device(0);
    for (uint64_t mode = ACL_CONTINUE_ON_FAILURE; mode <= ACL_STOP_ON_FAILURE; mode++) {
        aclrtStream stream;
        pthread_t threads[FAILING_THREADS];
        atomic_store(&g_ran, 0);
        atomic_store(&g_freed, 0);
        atomic_store(&g_told, 0);
        CHECK_OK(aclrtCreateStream(&stream));
        CHECK_OK(aclrtSetStreamFailureMode(stream, mode));
        for (int i = 0; i < FAILING_THREADS; i++) pthread_create(&threads[i], NULL, launch_failing, stream);
        for (int i = 0; i < FAILING_THREADS; i++) pthread_join(threads[i], NULL);
        aclrtSynchronizeStream(stream);
        CHECK_OK(aclrtSynchronizeStream(stream));
        CHECK_EQ(g_refused, 0);
        CHECK_EQ(g_freed, FAILING_THREADS * FAILING_TASKS);
        if (mode == ACL_CONTINUE_ON_FAILURE) CHECK_EQ(g_ran, FAILING_THREADS * FAILING_TASKS);
        else CHECK(g_ran < FAILING_THREADS * FAILING_TASKS);
        CHECK(g_told > 0);
        CHECK_OK(aclrtDestroyStream(stream));
    }
}
