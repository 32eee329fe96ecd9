// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdatomic.h>

#include "runtime_test.h"

static atomic_int g_gate, g_value;

static aclError wait_gate(void *arg) {
    (void)arg;
    while (!atomic_load(&g_gate) && !hc_abort_requested()) sleep_ms(1);
    return ACL_SUCCESS;
}
static aclError set_value(void *arg) {
    atomic_store(&g_value, (int)(intptr_t)arg);
    return ACL_SUCCESS;
}
static aclError put(aclrtStream s, aclError (*run)(void *), intptr_t value, bool may_block) {
    return hc_launch(
        s, &(struct hc_task){.name = "task", .may_block = may_block, .arg = (void *)value, .run = run});
}

struct fixture {
    aclrtStream a, b;
    aclrtEvent event, timed;
};
static struct fixture fresh(void) {
    struct fixture f = {0};
    use_device(0);
    atomic_store(&g_gate, 0);
    atomic_store(&g_value, 0);
    aclrtCreateStream(&f.a);
    aclrtCreateStream(&f.b);
    aclrtCreateEventExWithFlag(&f.event, ACL_EVENT_SYNC);
    aclrtCreateEventWithFlag(&f.timed, ACL_EVENT_TIME_LINE);
    return f;
}
static void drop(struct fixture *f) {
    atomic_store(&g_gate, 1);
    aclrtDestroyEvent(f->event);
    aclrtDestroyEvent(f->timed);
    aclrtDestroyStream(f->a);
    aclrtDestroyStream(f->b);
}

TEST(wait_makes_the_other_stream_queue) {
    struct fixture f = fresh();
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    aclrtEventRecordedStatus status;
    CHECK_OK(aclrtQueryEventStatus(f.event, &status));
    CHECK_EQ(status, ACL_EVENT_RECORDED_STATUS_NOT_READY);
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    aclrtEventWaitStatus wait;
    CHECK_OK(aclrtQueryEventWaitStatus(f.event, &wait));
    CHECK_EQ(wait, ACL_EVENT_WAIT_STATUS_NOT_READY);
    CHECK_OK(put(f.b, set_value, 42, false));
    sleep_ms(20);
    CHECK_EQ(g_value, 0);
    atomic_store(&g_gate, 1);
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 42);
    CHECK_OK(aclrtQueryEventStatus(f.event, &status));
    CHECK_EQ(status, ACL_EVENT_RECORDED_STATUS_COMPLETE);
    CHECK_OK(aclrtQueryEventWaitStatus(f.event, &wait));
    CHECK_EQ(wait, ACL_EVENT_WAIT_STATUS_COMPLETE);
    drop(&f);
}

TEST(wait_captures_the_record_of_that_moment) {
    struct fixture f = fresh();
    CHECK_OK(aclrtRecordEvent(f.event, f.a)); /* done */
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(aclrtRecordEvent(f.event, f.a)); /* again, not done */
    CHECK_OK(put(f.b, set_value, 1, false));
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 1);
    drop(&f);
}

TEST(destroyed_event_still_releases_its_waiters) {
    struct fixture f = fresh();
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_OK(put(f.b, set_value, 9, false));
    CHECK_OK(aclrtDestroyEvent(f.event));
    CHECK_FAILS(aclrtDestroyEvent(f.event), ACL_ERROR_RT_INVALID_HANDLE, "no live event");
    atomic_store(&g_gate, 1);
    CHECK_OK(aclrtSynchronizeStream(f.b));
    CHECK_EQ(g_value, 9);
    drop(&f);
}

TEST(elapsed_time) {
    struct fixture f = fresh();
    aclrtEvent end;
    float ms = -1;
    uint64_t first = 0, last = 0;
    CHECK_OK(aclrtCreateEventExWithFlag(&end, ACL_EVENT_TIME_LINE));
    CHECK_FAILS(aclrtEventElapsedTime(&ms, f.timed, end), ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
                "startEvent is not recorded");
    CHECK_OK(aclrtRecordEvent(f.timed, f.a));
    sleep_ms(20);
    CHECK_OK(aclrtRecordEvent(end, f.a));
    CHECK_OK(aclrtSynchronizeEvent(end));
    CHECK_OK(aclrtEventElapsedTime(&ms, f.timed, end));
    CHECK_MSG(ms >= 19 && ms < 10000, "%f ms", ms);
    CHECK_OK(aclrtEventGetTimestamp(f.timed, &first));
    CHECK_OK(aclrtEventGetTimestamp(end, &last));
    CHECK(last - first >= 19000 && last - first < 10000000);
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_FAILS(aclrtEventElapsedTime(&ms, f.timed, f.event), ACL_ERROR_RT_EVENT_TIMESTAMP_INVALID,
                "endEvent keeps no time");
    CHECK_OK(aclrtDestroyEvent(end));
    drop(&f);
}

TEST(reset_forgets_the_record) {
    struct fixture f = fresh();
    aclrtEventRecordedStatus status;
    CHECK_OK(aclrtQueryEventStatus(f.event, &status));
    CHECK_EQ(status, ACL_EVENT_RECORDED_STATUS_NOT_READY);
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtResetEvent(f.event, f.a));
    CHECK_OK(aclrtQueryEventStatus(f.event, &status));
    CHECK_EQ(status, ACL_EVENT_RECORDED_STATUS_NOT_READY);
    CHECK_OK(aclrtSynchronizeEvent(f.event)); /* nothing to wait for */
    drop(&f);
}

TEST(abort_wakes_a_waiting_stream) {
    struct fixture f = fresh();
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    sleep_ms(10);
    CHECK_OK(aclrtDestroyStreamForce(f.b));
    atomic_store(&g_gate, 1);
    CHECK_OK(aclrtCreateStream(&f.b));
    drop(&f);
}

TEST(wait_timeout_is_an_error_of_the_stream) {
    struct fixture f = fresh();
    CHECK_OK(aclrtSetOpWaitTimeout(1));
    CHECK_OK(put(f.a, wait_gate, 0, true));
    CHECK_OK(aclrtRecordEvent(f.event, f.a));
    CHECK_OK(aclrtStreamWaitEvent(f.b, f.event));
    CHECK_FAILS(aclrtSynchronizeStream(f.b), ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, "after 1 s");
    CHECK_OK(aclrtSetOpWaitTimeout(0));
    drop(&f);
}

TEST(bad_arguments) {
    struct fixture f = fresh();
    float ms;
    CHECK_FAILS(aclrtRecordEvent(NULL, f.a), ACL_ERROR_RT_PARAM_INVALID, "event is null");
    CHECK_FAILS(aclrtRecordEvent(f.a, f.a), ACL_ERROR_RT_INVALID_HANDLE, "no live event");
    CHECK_FAILS(aclrtStreamWaitEvent((void *)64, f.event), ACL_ERROR_RT_INVALID_HANDLE, "no live stream");
    CHECK_FAILS(aclrtEventElapsedTime(&ms, NULL, f.event), ACL_ERROR_RT_PARAM_INVALID, "null");
    CHECK_FAILS(aclrtCreateEventWithFlag(&f.event, 0x1000), ACL_ERROR_RT_PARAM_INVALID, "0x1000");
    drop(&f);
}
