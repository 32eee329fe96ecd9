// SPDX-License-Identifier: Apache-2.0
/* Capturing streams: nothing runs meanwhile, and all of it each time that the graph does. */
#include <pthread.h>
#include <stdatomic.h>

#include "runtime_test.h"

static atomic_int g_value, g_released;

static aclError add(void *arg) {
    atomic_fetch_add(&g_value, (int)(intptr_t)arg);
    return ACL_SUCCESS;
}
static aclError twice(void *arg) {
    (void)arg;
    atomic_store(&g_value, 2 * atomic_load(&g_value));
    return ACL_SUCCESS;
}
static aclError fail(void *arg) {
    (void)arg;
    return ACL_ERROR_RT_TASK_TIMEOUT;
}
static void released(void *arg) {
    (void)arg;
    atomic_fetch_add(&g_released, 1);
}
static aclError put(aclrtStream s, aclError (*run)(void *), intptr_t value) {
    return hc_launch(
        s, &(struct hc_task){.name = "task", .arg = (void *)value, .run = run, .release = released});
}

struct fixture {
    aclrtStream a, b;
    aclrtEvent event;
};
static struct fixture fresh(void) {
    struct fixture f = {0};
    use_device(0);
    atomic_store(&g_value, 0);
    atomic_store(&g_released, 0);
    aclrtCreateStream(&f.a);
    aclrtCreateStream(&f.b);
    aclrtCreateEventExWithFlag(&f.event, ACL_EVENT_SYNC);
    return f;
}
static void drop(struct fixture *f) {
    aclrtDestroyEvent(f->event);
    aclrtDestroyStream(f->a);
    aclrtDestroyStream(f->b);
}
static aclmdlRICaptureStatus status_of(aclrtStream s, aclmdlRI *model) {
    aclmdlRICaptureStatus status = (aclmdlRICaptureStatus)-1;
    return aclmdlRICaptureGetInfo(s, &status, model) == 0 ? status : (aclmdlRICaptureStatus)-2;
}
static void begin(aclrtStream s) { CHECK_OK(aclmdlRICaptureBegin(s, ACL_MODEL_RI_CAPTURE_MODE_GLOBAL)); }

TEST(tasks_run_each_time_the_graph_does) {
    struct fixture f = fresh();
    aclmdlRI model = NULL, again = NULL;
    CHECK_EQ(status_of(f.a, &model), ACL_MODEL_RI_CAPTURE_STATUS_NONE);
    CHECK(model == NULL);
    begin(f.a);
    CHECK_EQ(status_of(f.a, &model), ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE);
    CHECK_OK(put(f.a, add, 3));
    CHECK_OK(put(f.a, twice, 0));
    CHECK_EQ(g_value, 0);
    CHECK_OK(put(f.b, add, 100)); /* another stream runs as ever */
    CHECK_EQ(g_value, 100);
    CHECK_OK(aclmdlRICaptureEnd(f.a, &again));
    CHECK(again == model);
    CHECK_EQ(status_of(f.a, NULL), ACL_MODEL_RI_CAPTURE_STATUS_NONE);
    CHECK_EQ(g_value, 100);
    atomic_store(&g_value, 0);
    CHECK_OK(aclmdlRIExecuteAsync(model, f.b));
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 6);
    CHECK_OK(aclmdlRIExecuteAsync(model, f.a));
    CHECK_OK(aclrtSynchronizeStream(f.a));
    CHECK_EQ(g_value, 18);
    uint32_t id = 0;
    CHECK_OK(aclmdlRIGetId(model, &id));
    CHECK(id > 0);
    CHECK_EQ(g_released, 1);
    CHECK_OK(aclmdlRIDestroy(model));
    CHECK_EQ(g_released, 3);
    CHECK_FAILS(aclmdlRIExecuteAsync(model, f.a), ACL_ERROR_RT_INVALID_HANDLE, "no live captured graph");
    drop(&f);
}

TEST(copies_read_what_is_there_when_the_graph_runs) {
    struct fixture f = fresh();
    char *from, *to;
    CHECK_OK(aclrtMalloc((void **)&from, 64, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK_OK(aclrtMalloc((void **)&to, 64, ACL_MEM_MALLOC_NORMAL_ONLY));
    memset(from, 1, 64);
    memset(to, 0, 64);
    aclmdlRI model;
    begin(f.a);
    CHECK_OK(aclrtMemcpyAsync(to, 64, from, 64, ACL_MEMCPY_DEVICE_TO_DEVICE, f.a));
    CHECK_OK(aclrtMemsetAsync(to, 64, 9, 8, f.a));
    CHECK_OK(aclmdlRICaptureEnd(f.a, &model));
    CHECK_EQ(to[0] + to[63], 0);
    for (char value = 1; value < 4; value++) {
        memset(from, value, 64);
        CHECK_OK(aclmdlRIExecuteAsync(model, f.b));
        CHECK_OK(aclrtSynchronizeStream(f.b));
        CHECK_EQ(to[0], 9);
        CHECK_EQ(to[63], value);
    }
    CHECK_OK(aclmdlRIDestroy(model));
    aclrtFree(from);
    aclrtFree(to);
    drop(&f);
}

TEST(a_stream_that_waits_for_a_captured_one_is_captured_too) {
    struct fixture f = fresh();
    aclmdlRI model, of_b;
    begin(f.a);
    CHECK_OK(put(f.a, add, 1));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_EQ(status_of(f.b, NULL), ACL_MODEL_RI_CAPTURE_STATUS_NONE);
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event)); /* as often as a client likes */
    CHECK_EQ(status_of(f.b, &of_b), ACL_MODEL_RI_CAPTURE_STATUS_ACTIVE);
    CHECK_OK(put(f.b, twice, 0));
    CHECK_OK(aclrtRecordEvent(f.event, f.b));
    CHECK_OK(aclrtStreamWaitEvent(f.a, f.event));
    CHECK_OK(put(f.a, add, 5));
    CHECK_FAILS(aclmdlRICaptureEnd(f.b, &model), ACL_ERROR_RT_STREAM_CAPTURE_UNMATCHED, "began with stream");
    CHECK_OK(aclmdlRICaptureEnd(f.a, &model));
    CHECK(model == of_b);
    CHECK_EQ(status_of(f.b, NULL), ACL_MODEL_RI_CAPTURE_STATUS_NONE);
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event)); /* nothing is left to wait for */
    CHECK_OK(aclrtSynchronizeEvent(f.event));
    CHECK_EQ(g_value, 0);
    CHECK_OK(aclmdlRIExecuteAsync(model, f.b));
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 7);
    CHECK_OK(aclmdlRIDestroy(model));
    drop(&f);
}

static atomic_int g_gate;
static aclError wait_gate(void *arg) {
    (void)arg;
    while (!atomic_load(&g_gate)) sleep_ms(1);
    atomic_fetch_add(&g_value, 10);
    return ACL_SUCCESS;
}
static void *open_gate(void *arg) {
    sleep_ms(30);
    atomic_store(&g_gate, 1);
    return arg;
}

TEST(what_is_in_front_of_a_capture_has_ended_before_it_goes_on) {
    struct fixture f = fresh();
    aclmdlRI model;
    pthread_t thread;
    atomic_store(&g_gate, 0);
    CHECK_OK(hc_launch(f.b, &(struct hc_task){.name = "gate", .may_block = true, .run = wait_gate}));
    CHECK_OK(aclrtRecordEvent(f.event, f.b));
    begin(f.a);
    pthread_create(&thread, NULL, open_gate, NULL);
    CHECK_OK(aclrtStreamWaitEvent(f.a, f.event));
    CHECK_EQ(g_value, 10);
    pthread_join(thread, NULL);
    CHECK_EQ(status_of(f.b, NULL), ACL_MODEL_RI_CAPTURE_STATUS_NONE);
    CHECK_OK(aclmdlRICaptureEnd(f.a, &model));
    CHECK_OK(aclmdlRIDestroy(model));
    drop(&f);
}

static void on_host(void *arg) { (void)arg; }

TEST(what_cannot_run_again_makes_the_graph_invalid) {
    struct fixture f = fresh();
    aclmdlRI model = NULL;
    begin(f.a);
    CHECK_OK(put(f.a, add, 1));
    CHECK_OK(aclrtLaunchHostFunc(f.a, on_host, NULL));
    CHECK_OK(put(f.a, add, 1));
    CHECK_EQ(status_of(f.a, NULL), ACL_MODEL_RI_CAPTURE_STATUS_INVALIDATED);
    CHECK_FAILS(aclmdlRICaptureEnd(f.a, &model), ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED,
                "host function: cannot be captured");
    CHECK(model == NULL);
    CHECK_EQ(g_released, 2);
    CHECK_OK(put(f.a, add, 1)); /* the stream is usable */
    CHECK_EQ(g_value, 1);
    drop(&f);
}

TEST(a_captured_stream_is_not_waited_for) {
    struct fixture f = fresh();
    aclmdlRI model;
    begin(f.a);
    CHECK_FAILS(aclrtSynchronizeStream(f.a), ACL_ERROR_RT_STREAM_CAPTURED, "is being captured");
    CHECK_FAILS(hc_launch_wait(f.a), ACL_ERROR_RT_STREAM_CAPTURED, "is being captured");
    CHECK_FAILS(aclmdlRICaptureBegin(f.a, ACL_MODEL_RI_CAPTURE_MODE_RELAXED), ACL_ERROR_RT_STREAM_CAPTURED,
                "being captured already");
    CHECK_OK(aclmdlRICaptureEnd(f.a, &model));
    CHECK_OK(aclrtSynchronizeStream(f.a));
    CHECK_FAILS(aclmdlRICaptureEnd(f.a, &model), ACL_ERROR_RT_STREAM_NOT_CAPTURED, "is not captured");
    CHECK_OK(aclmdlRIDestroy(model));
    drop(&f);
}

TEST(a_failure_names_the_task_and_comes_from_the_synchronise) {
    struct fixture f = fresh();
    aclmdlRI model;
    begin(f.a);
    CHECK_OK(put(f.a, add, 1));
    CHECK_OK(put(f.a, fail, 0));
    CHECK_OK(put(f.a, add, 1));
    CHECK_OK(aclmdlRICaptureEnd(f.a, &model));
    CHECK_OK(aclmdlRIExecuteAsync(model, f.a));
    CHECK_FAILS(aclrtSynchronizeStream(f.a), ACL_ERROR_RT_TASK_TIMEOUT, "task 1, task");
    CHECK_EQ(g_value, 1);
    CHECK_OK(aclmdlRIDestroy(model));
    drop(&f);
}

TEST(a_graph_can_be_captured_on_and_into_another) {
    struct fixture f = fresh();
    aclmdlRI model, outer;
    begin(f.a);
    CHECK_OK(put(f.a, add, 1));
    CHECK_OK(aclmdlRICaptureEnd(f.a, &model));
    CHECK_OK(aclmdlRICaptureToModelRIBegin(f.b, model, ACL_MODEL_RI_CAPTURE_MODE_RELAXED));
    CHECK_FAILS(aclmdlRIExecuteAsync(model, f.a), ACL_ERROR_RT_MODEL_CAPTURED, "being captured");
    CHECK_FAILS(aclmdlRIDestroy(model), ACL_ERROR_RT_MODEL_CAPTURED, "being captured");
    CHECK_OK(put(f.b, twice, 0));
    CHECK_OK(aclmdlRICaptureEnd(f.b, &model));
    begin(f.a);
    CHECK_OK(aclmdlRIExecuteAsync(model, f.a));
    CHECK_OK(aclmdlRIExecuteAsync(model, f.a));
    CHECK_OK(aclmdlRICaptureEnd(f.a, &outer));
    CHECK_OK(aclmdlRIDestroy(model));
    CHECK_EQ(g_value, 0);
    CHECK_OK(aclmdlRIExecuteAsync(outer, f.a));
    CHECK_OK(aclrtSynchronizeStream(f.a));
    CHECK_EQ(g_value, 6); /* ((0 + 1) * 2 + 1) * 2 */
    CHECK_EQ(g_released, 0);
    CHECK_OK(aclmdlRIDestroy(outer));
    CHECK_EQ(g_released, 2);
    drop(&f);
}

TEST(a_stream_that_is_destroyed_leaves_no_graph) {
    struct fixture f = fresh();
    aclrtStream other;
    aclmdlRI model = NULL;
    CHECK_OK(aclrtCreateStream(&other));
    begin(f.a);
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(other, f.event));
    CHECK_OK(put(other, add, 1));
    CHECK_OK(aclrtDestroyStream(other));
    CHECK_FAILS(aclmdlRICaptureEnd(f.a, &model), ACL_ERROR_RT_STREAM_CAPTURE_INVALIDATED, "was destroyed");
    CHECK_OK(aclrtRecordEvent(f.event, f.a)); /* until then it keeps the graph that it was recorded in */
    CHECK_EQ(g_released, 1);
    drop(&f);
}

TEST(what_is_no_graph_is_named) {
    struct fixture f = fresh();
    uint32_t id;
    CHECK_FAILS(aclmdlRIExecuteAsync(NULL, f.a), ACL_ERROR_RT_PARAM_INVALID, "captured graph is null");
    CHECK_FAILS(aclmdlRIGetId(&id, &id), ACL_ERROR_RT_INVALID_HANDLE, "no live captured graph");
    CHECK_FAILS(aclmdlRIDestroy(NULL), ACL_ERROR_RT_PARAM_INVALID, "captured graph is null");
    CHECK_FAILS(aclmdlRICaptureBegin(f.a, (aclmdlRICaptureMode)7), ACL_ERROR_RT_PARAM_INVALID, "no mode 7");
    CHECK_FAILS(aclmdlRICaptureEnd(f.a, NULL), ACL_ERROR_RT_PARAM_INVALID, "modelRI is null");
    CHECK_FAILS(aclmdlRICaptureTaskGrpBegin(f.a), ACL_ERROR_FEATURE_UNSUPPORTED,
                "aclmdlRICaptureTaskGrpBegin");
    drop(&f);
}

static void *launch_many(void *stream) {
    for (int i = 0; i < 1000; i++) put(stream, add, 1);
    return NULL;
}

TEST(threads_launch_while_a_capture_begins_and_ends) {
    struct fixture f = fresh();
    pthread_t threads[3];
    aclmdlRI models[8];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, launch_many, f.a);
    for (int i = 0; i < 8; i++) {
        begin(f.a);
        CHECK_OK(aclmdlRICaptureEnd(f.a, &models[i]));
    }
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    CHECK_OK(aclrtSynchronizeStream(f.a));
    for (int i = 0; i < 8; i++) { /* what did not run at once runs here */
        CHECK_OK(aclmdlRIExecuteAsync(models[i], f.a));
        CHECK_OK(aclrtSynchronizeStream(f.a));
        CHECK_OK(aclmdlRIDestroy(models[i]));
    }
    CHECK_EQ(g_value, 3000);
    CHECK_EQ(g_released, 3000);
    drop(&f);
}
