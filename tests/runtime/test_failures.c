// SPDX-License-Identifier: Apache-2.0
/* Whoever waits learns that what he waits for has failed: the rows of the table in docs/streams.md, within a
 * process. Between processes: test_failures_ipc.c. */
#include <pthread.h>
#include <stdatomic.h>

#include "hc_error.h"
#include "runtime_test.h"

static atomic_int g_gate, g_value, g_calls;

static aclError fail(void *arg) {
    return hc_fail(ACL_ERROR_RT_AICORE_EXCEPTION, "index %d is out", (int)(intptr_t)arg);
}
static aclError wait_gate(void *arg) {
    (void)arg;
    while (!atomic_load(&g_gate) && !hc_abort_requested()) sleep_ms(1);
    return ACL_SUCCESS;
}
static aclError set_value(void *arg) {
    atomic_store(&g_value, (int)(intptr_t)arg);
    return ACL_SUCCESS;
}
static void call(void *arg) { atomic_fetch_add(&g_calls, (int)(intptr_t)arg); }

static aclError put(aclrtStream s, aclError (*run)(void *), intptr_t value, bool may_block) {
    return hc_launch(
        s, &(struct hc_task){.name = "aclnnTest", .may_block = may_block, .arg = (void *)value, .run = run});
}
#define CHECK_TOLD(call) CHECK_FAILS(call, ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7 is out")

/* Stream a of device 0, b of device 1; both stop at a failure, as torch_npu's do. */
struct fixture {
    aclrtStream a, b;
    aclrtEvent event;
};
static aclrtStream stream_of(int32_t device) {
    aclrtStream s = NULL;
    use_device(device);
    aclrtCreateStream(&s);
    aclrtSetStreamFailureMode(s, ACL_STOP_ON_FAILURE);
    return s;
}
static struct fixture fresh(uint32_t flags) {
    struct fixture f = {.b = stream_of(1), .a = stream_of(0)};
    aclrtCreateEventExWithFlag(&f.event, flags);
    atomic_store(&g_gate, 0);
    atomic_store(&g_value, 0);
    atomic_store(&g_calls, 0);
    return f;
}
static void drop(struct fixture *f) {
    atomic_store(&g_gate, 1);
    aclrtDestroyEvent(f->event);
    aclrtDestroyStreamForce(f->a);
    aclrtDestroyStreamForce(f->b);
}

/* Every kind of event, in both failure modes: the wait captured before the failure and behind it, the failure
 * told or not; then the event is recorded anew and all is well. */
static void wait_across_devices(uint32_t flags, uint64_t mode) {
    struct fixture f = fresh(flags);
    CHECK_OK(aclrtSetStreamFailureMode(f.a, mode));
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(put(f.a, fail, 7, false));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event)); /* before it fails */
    CHECK_OK(put(f.b, set_value, 1, false));
    atomic_store(&g_gate, 1);
    CHECK_TOLD(aclrtSynchronizeStream(f.b));
    CHECK_OK(aclrtSynchronizeStream(f.b));        /* each stream tells once */
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event)); /* it has failed */
    CHECK_OK(put(f.b, set_value, 1, false));
    CHECK_TOLD(aclrtSynchronizeStream(f.b));
    CHECK_TOLD(aclrtSynchronizeStream(f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event)); /* and somebody has been told */
    CHECK_OK(put(f.b, set_value, 1, false));
    CHECK_TOLD(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 0);
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_OK(put(f.b, set_value, 2, false));
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 2);
    drop(&f);
}

TEST(wait_for_an_event_of_another_device) {
    static const uint32_t FLAGS[] = {ACL_EVENT_SYNC, ACL_EVENT_TIME_LINE, ACL_EVENT_CAPTURE_STREAM_PROGRESS,
                                     ACL_EVENT_DEVICE_USE_ONLY, ACL_EVENT_IPC};
    for (size_t i = 0; i < sizeof FLAGS / sizeof *FLAGS; i++) {
        wait_across_devices(FLAGS[i], ACL_STOP_ON_FAILURE);
        wait_across_devices(FLAGS[i], ACL_CONTINUE_ON_FAILURE);
    }
}

/* The wait is for the record of its moment, failed or not, whatever is recorded afterwards. */
static void wait_keeps_its_record(uint32_t flags) {
    struct fixture f = fresh(flags);
    for (int failing = 0; failing < 2; failing++) {
        atomic_store(&g_gate, 0);
        CHECK_OK(put(f.b, wait_gate, 0, true)); /* so that the waiting comes late */
        if (failing) CHECK_OK(put(f.a, fail, 7, true));
        CHECK_OK(aclrtRecordEvent(f.event, f.a));
        CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
        CHECK_EQ(aclrtSynchronizeStream(f.a), failing ? ACL_ERROR_RT_AICORE_EXCEPTION : ACL_SUCCESS);
        if (!failing) CHECK_OK(put(f.a, fail, 8, true));
        CHECK_OK(aclrtRecordEvent(f.event, f.a)); /* again: the other way round */
        aclrtSynchronizeStream(f.a);
        atomic_store(&g_gate, 1);
        if (failing) CHECK_TOLD(aclrtSynchronizeStream(f.b));
        else CHECK_OK(aclrtSynchronizeStream(f.b));
    }
    drop(&f);
}

TEST(later_records_do_not_change_what_a_wait_learns) {
    wait_keeps_its_record(ACL_EVENT_SYNC);
    wait_keeps_its_record(ACL_EVENT_IPC);
}

/* Another stream is faster: its record is not the one that is waited for. */
static void faster_record(uint32_t flags) {
    struct fixture f = fresh(flags);
    aclrtStream fast = stream_of(0);
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(put(f.a, set_value, 5, false));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_OK(aclrtRecordEvent(f.event, fast));
    CHECK_FAILS(aclrtSynchronizeStreamWithTimeout(f.b, 60), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "60 ms");
    atomic_store(&g_gate, 1);
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 5);
    CHECK_OK(aclrtDestroyStream(fast));
    drop(&f);
}

TEST(record_of_a_faster_stream_lets_no_earlier_wait_go) {
    faster_record(ACL_EVENT_SYNC);
    faster_record(ACL_EVENT_IPC);
}

/* Somebody is told of the failure while the record behind it is still queued. */
TEST(record_behind_a_failure_that_was_told_meanwhile) {
    for (int kind = 0; kind < 2; kind++) {
        struct fixture f = fresh(kind ? ACL_EVENT_IPC : ACL_EVENT_SYNC);
        CHECK_OK(aclrtSetStreamFailureMode(f.a, ACL_CONTINUE_ON_FAILURE));
        CHECK_OK(put(f.a, fail, 7, true));
        CHECK_OK(put(f.a, wait_gate, 0, true));
        CHECK_OK(aclrtRecordEvent(f.event, f.a));
        CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
        sleep_ms(20);
        CHECK_TOLD(aclrtSynchronizeStreamWithTimeout(f.a, 20));
        atomic_store(&g_gate, 1);
        CHECK_OK(aclrtSynchronizeStream(f.a));
        CHECK_TOLD(aclrtSynchronizeStream(f.b));
        CHECK_OK(aclrtRecordEvent(f.event, f.a)); /* this one is not behind it */
        CHECK_OK(aclrtSynchronizeEvent(f.event));
        drop(&f);
    }
}

/* The stream is gone, and its slot in the pool may be another's. */
TEST(record_outlives_its_stream) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    CHECK_OK(put(f.a, fail, 7, false));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_TOLD(aclrtDestroyStream(f.a));
    CHECK_TOLD(aclrtSynchronizeEvent(f.event));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_TOLD(aclrtSynchronizeStream(f.b));
    f.a = stream_of(0);
    drop(&f);
}

TEST(synchronize_event_tells_everyone_and_the_stream_no_more) {
    for (int kind = 0; kind < 2; kind++) {
        struct fixture f = fresh(kind ? ACL_EVENT_IPC : ACL_EVENT_SYNC);
        char byte = 1;
        CHECK_OK(put(f.a, fail, 7, true));
        CHECK_OK(aclrtRecordEvent(f.event, f.a));
        CHECK_TOLD(aclrtSynchronizeEvent(f.event));
        CHECK_TOLD(aclrtMemcpy(&byte, 1, &byte, 1, ACL_MEMCPY_HOST_TO_HOST)); /* as behind a stream's */
        CHECK_TOLD(aclrtSynchronizeEvent(f.event));
        CHECK_OK(aclrtSynchronizeStream(f.a));
        CHECK_OK(put(f.a, fail, 8, true)); /* another failure, of which nobody has been told */
        CHECK_TOLD(aclrtSynchronizeEvent(f.event));
        CHECK_FAILS(aclrtSynchronizeStream(f.a), ACL_ERROR_RT_AICORE_EXCEPTION, "index 8");
        drop(&f);
    }
}

TEST(query_of_an_event_tells) {
    for (int kind = 0; kind < 2; kind++) {
        struct fixture f = fresh(kind ? ACL_EVENT_IPC : ACL_EVENT_SYNC);
        aclrtEventRecordedStatus status;
        CHECK_OK(put(f.a, wait_gate, 0, true));
        CHECK_OK(put(f.a, fail, 7, false));
        CHECK_OK(aclrtRecordEvent(f.event, f.a));
        CHECK_OK(aclrtQueryEventStatus(f.event, &status));
        CHECK_EQ(status, ACL_EVENT_RECORDED_STATUS_NOT_READY);
        atomic_store(&g_gate, 1);
        aclError code = ACL_SUCCESS;
        for (int i = 0; i < 2000 && (code = aclrtQueryEventStatus(f.event, &status)) == 0; i++) sleep_ms(1);
        CHECK_TOLD(code);
        CHECK_EQ(status, ACL_EVENT_RECORDED_STATUS_COMPLETE);
        CHECK_TOLD(aclrtSynchronizeStream(f.a)); /* a query takes nothing away */
        drop(&f);
    }
}

TEST(query_of_a_stream_tells) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    aclrtStreamStatus status;
    CHECK_OK(put(f.a, fail, 7, false));
    CHECK_TOLD(aclrtStreamQuery(f.a, &status));
    CHECK_EQ(status, ACL_STREAM_STATUS_COMPLETE);
    CHECK_TOLD(aclrtSynchronizeStream(f.a));
    CHECK_OK(aclrtStreamQuery(f.a, &status));
    drop(&f);
}

/* How far the stream has come, not what became of the work. */
TEST(event_of_progress_tells_progress_alone) {
    struct fixture f = fresh(ACL_EVENT_CAPTURE_STREAM_PROGRESS);
    aclrtEventRecordedStatus status;
    CHECK_OK(put(f.a, fail, 7, false));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtQueryEventStatus(f.event, &status));
    CHECK_EQ(status, ACL_EVENT_RECORDED_STATUS_COMPLETE);
    CHECK_OK(aclrtSynchronizeEvent(f.event));
    CHECK_TOLD(aclrtSynchronizeStream(f.a)); /* the error is still there for who asks */
    drop(&f);
}

static void *synchronize(void *stream) { return (void *)(intptr_t)aclrtSynchronizeStream(stream); }

/* Several threads wait for the same work: to each of them it is missing. */
TEST(every_thread_that_synchronizes_is_told) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    pthread_t threads[4];
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(put(f.a, fail, 7, false));
    for (int i = 0; i < 4; i++) CHECK_EQ(pthread_create(&threads[i], NULL, synchronize, f.a), 0);
    sleep_ms(30);
    atomic_store(&g_gate, 1);
    for (int i = 0; i < 4; i++) {
        void *code;
        CHECK_EQ(pthread_join(threads[i], &code), 0);
        CHECK_EQ((intptr_t)code, ACL_ERROR_RT_AICORE_EXCEPTION);
    }
    CHECK_OK(aclrtSynchronizeStream(f.a)); /* who comes afterwards is not */
    drop(&f);
}

TEST(synchronize_device_tells_the_failures_of_all_streams) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    aclrtStream other = stream_of(0);
    char byte = 1;
    CHECK_OK(put(f.a, fail, 7, false));
    CHECK_OK(put(other, fail, 8, false));
    CHECK_TOLD(aclrtSynchronizeDevice());
    CHECK(strstr(aclGetRecentErrMsg(), "index 8") != NULL);
    CHECK_TOLD(aclrtMemcpy(&byte, 1, &byte, 1, ACL_MEMCPY_HOST_TO_HOST));
    CHECK_OK(aclrtSynchronizeDevice());
    CHECK_OK(put(f.a, fail, 7, true));
    CHECK_TOLD(aclrtSynchronizeDeviceWithTimeout(1000));
    CHECK_OK(aclrtDestroyStream(other));
    drop(&f);
}

/* What an abort drops has failed too, but not what is launched afterwards. */
TEST(abort_fails_who_waits_for_the_dropped_record) {
    for (int kind = 0; kind < 2; kind++) {
        struct fixture f = fresh(kind ? ACL_EVENT_IPC : ACL_EVENT_SYNC);
        CHECK_OK(put(f.a, wait_gate, 0, true));
        CHECK_OK(aclrtRecordEvent(f.event, f.a));
        CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
        CHECK_OK(aclrtDeviceTaskAbort(0, 1000));
        CHECK_FAILS(aclrtSynchronizeStream(f.b), ACL_ERROR_RT_DEVICE_TASK_ABORT, "were dropped");
        CHECK_OK(aclrtRecordEvent(f.event, f.a));
        CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
        CHECK_OK(aclrtSynchronizeStream(f.b));
        drop(&f);
    }
}

/* A flag that will never be written, or is written behind a failure; the wait is launched before or
 * afterwards. */
static void wait_for_value(uint64_t mode, bool before) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    uint64_t *flag;
    CHECK_OK(aclrtSetStreamFailureMode(f.a, mode));
    CHECK_OK(aclrtMalloc((void **)&flag, 8, ACL_MEM_MALLOC_NORMAL_ONLY));
    *flag = 0;
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(put(f.a, fail, 7, false));
    CHECK_OK(aclrtValueWrite(flag, 1, 0, f.a));
    if (before) CHECK_OK(aclrtValueWait(flag, 1, ACL_STREAM_WAIT_VALUE_GEQ, f.b));
    atomic_store(&g_gate, 1);
    CHECK_TOLD(aclrtSynchronizeStream(f.a));
    if (!before) CHECK_OK(aclrtValueWait(flag, 1, ACL_STREAM_WAIT_VALUE_EQ, f.b));
    CHECK_TOLD(aclrtSynchronizeStreamWithTimeout(f.b, 5000));
    CHECK_EQ(*flag, mode == ACL_CONTINUE_ON_FAILURE ? 1 : 0);
    CHECK_OK(aclrtValueWrite(flag, 2, 0, f.a)); /* another one: its waits have nothing to do with the first */
    CHECK_OK(aclrtValueWait(flag, 1, ACL_STREAM_WAIT_VALUE_GEQ, f.b));
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_OK(aclrtFree(flag));
    drop(&f);
}

TEST(wait_for_a_value_behind_a_failure) {
    for (int before = 0; before < 2; before++) {
        wait_for_value(ACL_STOP_ON_FAILURE, before);
        wait_for_value(ACL_CONTINUE_ON_FAILURE, before);
    }
}

TEST(wait_for_a_value_that_is_there_or_comes_from_elsewhere) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    uint64_t *flag;
    CHECK_OK(aclrtMalloc((void **)&flag, 8, ACL_MEM_MALLOC_NORMAL_ONLY));
    *flag = 3;
    CHECK_OK(put(f.a, fail, 7, false));
    CHECK_OK(aclrtValueWrite(flag, 5, 0, f.a)); /* dropped */
    CHECK_OK(aclrtValueWait(flag, 3, ACL_STREAM_WAIT_VALUE_GEQ, f.b));
    CHECK_OK(aclrtSynchronizeStream(f.b)); /* 3 was there */
    CHECK_OK(aclrtValueWait(flag, 9, ACL_STREAM_WAIT_VALUE_EQ, f.b));
    __atomic_store_n(flag, 9, __ATOMIC_SEQ_CST); /* 5 would not have done */
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_TOLD(aclrtSynchronizeStream(f.a));
    CHECK_OK(aclrtFree(flag));
    drop(&f);
}

/* A function that the client waits for is not called; the thread that was to call it hears why. */
TEST(callback_behind_a_failure) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    CHECK_OK(aclrtSubscribeReport((uint64_t)pthread_self(), f.a));
    CHECK_OK(put(f.a, fail, 7, true));
    CHECK_OK(aclrtLaunchCallback(call, (void *)1, ACL_CALLBACK_BLOCK, f.a));
    CHECK_OK(aclrtLaunchCallback(call, (void *)1, ACL_CALLBACK_NO_BLOCK, f.a));
    CHECK_TOLD(aclrtProcessReport(5000));
    CHECK_TOLD(aclrtProcessReport(5000));
    CHECK_FAILS(aclrtProcessReport(1), ACL_ERROR_RT_REPORT_TIMEOUT, "within 1 ms");
    CHECK_EQ(g_calls, 0);
    CHECK_TOLD(aclrtSynchronizeStream(f.a));
    CHECK_OK(aclrtLaunchCallback(call, (void *)1, ACL_CALLBACK_NO_BLOCK, f.a));
    CHECK_OK(aclrtProcessReport(5000));
    CHECK_EQ(g_calls, 1);
    drop(&f);
}

/* A host function has no way to say anything: it is not called, and the stream tells. */
TEST(host_function_behind_a_failure) {
    struct fixture f = fresh(ACL_EVENT_SYNC);
    CHECK_OK(put(f.a, fail, 7, true));
    CHECK_OK(aclrtLaunchHostFunc(f.a, call, (void *)1));
    CHECK_TOLD(aclrtSynchronizeStream(f.a));
    CHECK_EQ(g_calls, 0);
    CHECK_OK(aclrtLaunchHostFunc(f.a, call, (void *)1));
    CHECK_OK(aclrtSynchronizeStream(f.a));
    CHECK_EQ(g_calls, 1);
    drop(&f);
}

/* A copy between devices takes its place in the streams of both: it does not happen, and the destination
 * tells. */
TEST(copy_from_another_device_behind_a_failure) {
    struct fixture f = fresh(ACL_EVENT_IPC);
    char *from, *to;
    CHECK_OK(aclrtMalloc((void **)&from, 8, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK_OK(aclrtSetDevice(1));
    CHECK_OK(aclrtMalloc((void **)&to, 8, ACL_MEM_MALLOC_NORMAL_ONLY));
    from[0] = 1;
    to[0] = 2;
    CHECK_OK(put(f.a, fail, 7, true));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_OK(aclrtMemcpyAsync(to, 8, from, 8, ACL_MEMCPY_DEVICE_TO_DEVICE, f.b));
    CHECK_TOLD(aclrtSynchronizeStream(f.b));
    CHECK_EQ(to[0], 2);
    CHECK_OK(aclrtFree(from));
    CHECK_OK(aclrtFree(to));
    CHECK_OK(aclrtSetDevice(0));
    drop(&f);
}
