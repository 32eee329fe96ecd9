// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdatomic.h>

#include "hc_error.h"
#include "runtime_test.h"

static atomic_int g_order[64], g_count;
static _Atomic(pthread_t) g_ran_in;

static aclError note(void *arg) {
    g_ran_in = pthread_self();
    atomic_store(&g_order[atomic_fetch_add(&g_count, 1) % 64], (int)(intptr_t)arg);
    return ACL_SUCCESS;
}
static aclError slow(void *arg) {
    sleep_ms(30);
    return note(arg);
}
static aclError fail(void *arg) {
    (void)arg;
    return hc_fail(ACL_ERROR_RT_AICORE_EXCEPTION, "index 7 is out of range");
}
static aclError until_aborted(void *arg) {
    (void)arg;
    while (!hc_abort_requested()) sleep_ms(1);
    return hc_fail(ACL_ERROR_RT_STREAM_ABORT, "gave up");
}
static atomic_int g_released;
static void count_release(void *arg) {
    (void)arg;
    atomic_fetch_add(&g_released, 1);
}

static aclError put(aclrtStream s, aclError (*run)(void *), int value, bool may_block) {
    return hc_launch(s, &(struct hc_task){.name = "aclnnTest",
                                          .may_block = may_block,
                                          .arg = (void *)(intptr_t)value,
                                          .run = run,
                                          .release = count_release});
}

static aclrtStream fresh(void) {
    aclrtStream s = NULL;
    use_device(0);
    aclrtCreateStream(&s);
    atomic_store(&g_count, 0);
    atomic_store(&g_released, 0);
    return s;
}

TEST(inline_when_idle) {
    aclrtStream s = fresh();
    CHECK_OK(put(s, note, 1, false));
    CHECK(pthread_equal(g_ran_in, pthread_self()));
    CHECK_EQ(g_released, 1);
    CHECK_OK(aclrtDestroyStream(s));
}

TEST(blocking_task_and_what_follows_run_in_order_in_the_worker) {
    aclrtStream s = fresh();
    for (int i = 0; i < 8; i++) CHECK_OK(put(s, i % 2 ? note : slow, i, i == 0));
    aclrtStreamStatus status;
    CHECK_OK(aclrtStreamQuery(s, &status));
    CHECK_EQ(status, ACL_STREAM_STATUS_NOT_READY);
    while (atomic_load(&g_count) < 8) sleep_ms(1); /* nobody synchronises */
    CHECK_OK(aclrtSynchronizeStream(s));
    CHECK(!pthread_equal(g_ran_in, pthread_self()));
    for (int i = 0; i < 8; i++) CHECK_EQ(g_order[i], i);
    CHECK_OK(aclrtStreamQuery(s, &status));
    CHECK_EQ(status, ACL_STREAM_STATUS_COMPLETE);
    CHECK_EQ(g_released, 8);
    CHECK_OK(put(s, note, 9, false)); /* idle again: inline again */
    CHECK(pthread_equal(g_ran_in, pthread_self()));
    CHECK_OK(aclrtDestroyStream(s));
}

/* Tasks run once and in order, whether the worker or who synchronises runs them. */
TEST(synchronize_takes_over_queued_tasks) {
    aclrtStream s = fresh();
    int taken = 0;
    for (int round = 0; round < 200; round++) {
        atomic_store(&g_count, 0);
        for (int i = 0; i < 8; i++) CHECK_OK(put(s, note, i, true));
        CHECK_OK(aclrtSynchronizeStream(s));
        CHECK_EQ(g_count, 8);
        for (int i = 0; i < 8; i++) CHECK_EQ(g_order[i], i);
        taken += pthread_equal(g_ran_in, pthread_self()) != 0;
    }
    CHECK_EQ(g_released, 200 * 8);
    CHECK(taken > 0);
    CHECK_OK(aclrtDestroyStream(s));
}

/* Whoever synchronised has run the tasks so far, so the worker is not woken by a launch; it comes all the
 * same, from a doze (at once) and from sleep (after a pause). */
TEST(worker_comes_though_others_did_its_work) {
    aclrtStream s = fresh();
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 10; i++) {
            CHECK_OK(put(s, note, i, true));
            CHECK_OK(aclrtSynchronizeStream(s));
        }
        if (round % 4 == 0) sleep_ms(2);
        atomic_store(&g_count, 0);
        CHECK_OK(put(s, note, 0, true));
        while (atomic_load(&g_count) == 0) sleep_ms(1); /* nobody synchronises */
        CHECK_OK(aclrtSynchronizeStream(s));
        CHECK(!pthread_equal(g_ran_in, pthread_self()));
    }
    CHECK_EQ(g_released, 100 * 11);
    CHECK_OK(aclrtDestroyStream(s));
}

static atomic_int g_met[2];

/* Ends only when the task of the other stream runs at the same time. */
static aclError meet(void *arg) {
    const int me = (int)(intptr_t)arg;
    atomic_store(&g_met[me], 1);
    for (int i = 0; i < 20000 && !atomic_load(&g_met[1 - me]); i++) sleep_ms(1);
    return atomic_load(&g_met[1 - me]) ? ACL_SUCCESS : hc_fail(-1, "nobody came");
}

TEST(two_streams_overlap) {
    aclrtStream a = fresh(), b = NULL;
    CHECK_OK(aclrtCreateStreamWithConfig(&b, 3, ACL_STREAM_FAST_SYNC));
    CHECK_OK(put(a, meet, 0, true));
    CHECK_OK(put(b, meet, 1, true));
    CHECK_OK(aclrtSynchronizeDevice());
    CHECK_OK(aclrtDestroyStream(a));
    CHECK_OK(aclrtDestroyStream(b));
}

TEST(synchronize_with_timeout) {
    aclrtStream s = fresh();
    CHECK_OK(put(s, until_aborted, 0, true));
    CHECK_FAILS(aclrtSynchronizeStreamWithTimeout(s, 20), ACL_ERROR_RT_STREAM_SYNC_TIMEOUT, "20 ms");
    CHECK_FAILS(aclrtSynchronizeStreamWithTimeout(s, -5), ACL_ERROR_RT_PARAM_INVALID, "-5");
    CHECK_OK(aclrtDestroyStreamForce(s));
    CHECK_EQ(g_released, 1);
}

TEST(asynchronous_error_sticks_and_names_the_operator) {
    aclrtStream s = fresh(), other = NULL;
    CHECK_OK(aclrtCreateStream(&other));
    for (int queued = 0; queued < 2; queued++) { /* a task in the caller, then one in the worker */
        CHECK_OK(put(s, fail, 0, queued != 0));
        CHECK_EQ(aclrtPeekAtLastError(ACL_RT_THREAD_LEVEL), ACL_SUCCESS);
        CHECK_OK(put(s, note, 1, false)); /* tasks go on, and the error is not lost by them */
        CHECK_OK(put(s, note, 2, true));
        CHECK_OK(aclrtSynchronizeStream(other)); /* it sticks to its own stream only */
        hc_error_set_text("");
        CHECK_FAILS(aclrtSynchronizeStream(s), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7");
        CHECK_EQ(aclrtGetLastError(ACL_RT_THREAD_LEVEL), ACL_ERROR_RT_AICORE_EXCEPTION);
        CHECK_OK(aclrtSynchronizeStream(s)); /* told once */
        CHECK_EQ(g_count, 3 * queued + 2);
        CHECK_OK(put(s, note, 3, false));
        CHECK(pthread_equal(g_ran_in, pthread_self())); /* inline again */
    }
    CHECK_EQ(g_released, 8);
    CHECK_OK(aclrtDestroyStream(s));
    CHECK_OK(aclrtDestroyStream(other));
}

TEST(first_error_is_the_one_told) {
    aclrtStream s = fresh();
    CHECK_OK(hc_launch(s, &(struct hc_task){.name = "aclnnFirst", .run = fail}));
    CHECK_OK(hc_launch(s, &(struct hc_task){.name = "aclnnSecond", .run = fail}));
    CHECK_FAILS(aclrtSynchronizeDevice(), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnFirst");
    CHECK_OK(aclrtSynchronizeDevice());
    CHECK_OK(aclrtDestroyStream(s));
}

static void fail_then_record(aclrtStream s, aclrtEvent event, bool queued) {
    CHECK_OK(put(s, fail, 0, queued));
    CHECK_OK(aclrtRecordEvent(event, s));
}

TEST(event_behind_an_error_passes_it_on) {
    aclrtStream s = fresh(), other = NULL;
    aclrtEvent event = NULL;
    CHECK_OK(aclrtCreateStream(&other));
    CHECK_OK(aclrtCreateEventWithFlag(&event, ACL_EVENT_SYNC));
    for (int mode = 0; mode < 4; mode++) {
        CHECK_OK(aclrtSetStreamFailureMode(s, mode / 2 ? ACL_STOP_ON_FAILURE : ACL_CONTINUE_ON_FAILURE));
        fail_then_record(s, event, mode % 2 != 0);
        CHECK_FAILS(aclrtSynchronizeEvent(event), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7");
        CHECK_OK(aclrtSynchronizeStream(s)); /* it has been told */
        fail_then_record(s, event, mode % 2 != 0);
        CHECK_OK(aclrtStreamWaitEvent(other, event));
        CHECK_FAILS(aclrtSynchronizeStream(other), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7");
        CHECK_FAILS(aclrtSynchronizeStream(s), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7");
        CHECK_OK(aclrtStreamWaitEvent(other, event)); /* what is waited for is missing still */
        CHECK_FAILS(aclrtSynchronizeStream(other), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7");
        CHECK_OK(aclrtRecordEvent(event, s));
        CHECK_OK(aclrtStreamWaitEvent(other, event));
        CHECK_OK(aclrtSynchronizeDevice());
    }
    CHECK_OK(aclrtDestroyEvent(event));
    CHECK_OK(aclrtDestroyStream(s));
    CHECK_OK(aclrtDestroyStream(other));
}

/* Of a task that is dropped its release is told why, also where the release launches: that ran. */
static aclError g_why[2];
static char g_why_text[256];
static void release_inner(void *arg) {
    (void)arg;
    g_why[1] = hc_dropped();
}
static void release_outer(void *other) {
    g_why[0] = hc_dropped();
    snprintf(g_why_text, sizeof g_why_text, "%s", hc_error_text());
    hc_launch(other, &(struct hc_task){.name = "inner", .release = release_inner});
    if (g_why[0] != hc_dropped()) g_why[0] = -1;
}

TEST(release_knows_why_a_task_was_dropped) {
    aclrtStream s = fresh(), other = NULL;
    CHECK_OK(aclrtCreateStream(&other));
    CHECK_OK(aclrtSetStreamFailureMode(s, ACL_STOP_ON_FAILURE));
    const struct hc_task outer = {.name = "outer", .arg = other, .release = release_outer};
    for (int queued = 0; queued < 2; queued++) {
        g_why[0] = 0;
        g_why[1] = -1;
        if (queued) CHECK_OK(put(s, slow, 0, true));
        CHECK_OK(put(s, fail, 0, queued));
        CHECK_OK(hc_launch(s, &outer));
        CHECK_FAILS(aclrtSynchronizeStream(s), ACL_ERROR_RT_AICORE_EXCEPTION, "aclnnTest: index 7");
        CHECK_EQ(g_why[0], ACL_ERROR_RT_AICORE_EXCEPTION);
        CHECK_MSG(strstr(g_why_text, "aclnnTest: index 7") != NULL, "%s", g_why_text);
        CHECK_EQ(g_why[1], 0);
        CHECK_OK(hc_launch(s, &outer));
        CHECK_EQ(g_why[0], 0);
    }
    CHECK_OK(aclrtDestroyStream(s));
    CHECK_OK(aclrtDestroyStream(other));
}

TEST(failure_mode_stop_drops_the_rest) {
    aclrtStream s = fresh();
    CHECK_OK(aclrtSetStreamFailureMode(s, ACL_STOP_ON_FAILURE));
    CHECK_FAILS(aclrtSetStreamFailureMode(s, 2), ACL_ERROR_RT_PARAM_INVALID, "mode is 2");
    CHECK_OK(put(s, slow, 0, true));
    CHECK_OK(put(s, fail, 1, false));
    for (int i = 2; i < 6; i++) CHECK_OK(put(s, note, i, false));
    CHECK_EQ(aclrtSynchronizeStream(s), ACL_ERROR_RT_AICORE_EXCEPTION);
    CHECK_EQ(g_count, 1);
    CHECK_EQ(g_released, 6);
    CHECK_OK(put(s, fail, 7, false));
    CHECK_OK(put(s, note, 8, false)); /* dropped too, until someone has been told */
    CHECK_EQ(aclrtSynchronizeStream(s), ACL_ERROR_RT_AICORE_EXCEPTION);
    CHECK_OK(put(s, note, 9, false));
    CHECK_EQ(g_count, 2);
    CHECK_EQ(g_released, 9);
    CHECK_OK(aclrtDestroyStream(s));
}

TEST(device_abort_drops_and_unblocks) {
    aclrtStream s = fresh();
    CHECK_OK(put(s, until_aborted, 0, true));
    for (int i = 0; i < 5; i++) CHECK_OK(put(s, note, i, false));
    CHECK_OK(aclrtDeviceTaskAbort(0, 1000));
    CHECK_EQ(g_count, 0);
    CHECK_EQ(g_released, 6);
    CHECK_FAILS(aclrtSynchronizeStream(s), ACL_ERROR_RT_DEVICE_TASK_ABORT, "abort");
    CHECK_OK(put(s, note, 1, true));
    CHECK_OK(aclrtSynchronizeStream(s));
    CHECK_EQ(g_count, 1);
    CHECK_OK(aclrtDestroyStream(s));
}

/* A client that aborts goes on without a synchronise: what it launches then is not behind the error. */
TEST(launch_after_abort_begins_anew) {
    aclrtStream s = fresh(), failed = fresh();
    aclrtEvent e;
    CHECK_OK(aclrtCreateEventExWithFlag(&e, ACL_EVENT_SYNC));
    CHECK_OK(aclrtSetStreamFailureMode(s, ACL_STOP_ON_FAILURE));
    CHECK_OK(aclrtSetStreamFailureMode(failed, ACL_STOP_ON_FAILURE));
    CHECK_OK(put(failed, fail, 0, true));
    CHECK_OK(put(s, until_aborted, 0, true));
    for (int i = 0; i < 5; i++) CHECK_OK(put(s, note, i, false));
    CHECK_OK(aclrtDeviceTaskAbort(0, 1000));
    g_count = 0;
    CHECK_OK(put(s, note, 1, true));
    CHECK_OK(aclrtRecordEvent(e, s));
    CHECK_OK(aclrtStreamWaitEvent(failed, e));
    CHECK_OK(put(failed, note, 2, true));
    CHECK_OK(aclrtSynchronizeStream(failed));
    CHECK_OK(aclrtSynchronizeStream(s));
    CHECK_EQ(g_count, 2);
    CHECK_OK(aclrtDestroyEvent(e));
    CHECK_OK(aclrtDestroyStream(s));
    CHECK_OK(aclrtDestroyStream(failed));
}

TEST(destroy_waits) {
    aclrtStream s = fresh();
    for (int i = 0; i < 3; i++) CHECK_OK(put(s, slow, i, true));
    CHECK_OK(aclrtDestroyStream(s));
    CHECK_EQ(g_count, 3);
}

TEST(bad_handles) {
    aclrtStream s = fresh();
    int on_stack;
    CHECK_OK(aclrtDestroyStream(s));
    CHECK_FAILS(aclrtDestroyStream(s), ACL_ERROR_RT_INVALID_HANDLE, "no live stream");
    CHECK_FAILS(aclrtDestroyStream(NULL), ACL_ERROR_RT_PARAM_INVALID, "null");
    CHECK_FAILS(aclrtSynchronizeStream(&on_stack), ACL_ERROR_RT_INVALID_HANDLE, "aclrtSynchronizeStream");
    CHECK_FAILS(aclrtSynchronizeStream((char *)s + 8), ACL_ERROR_RT_INVALID_HANDLE, "no live stream");
    CHECK_EQ(put(s, note, 0, false), ACL_ERROR_RT_INVALID_HANDLE);
    CHECK_EQ(put((void *)16, note, 0, true), ACL_ERROR_RT_INVALID_HANDLE);
    CHECK_EQ(g_released, 2); /* consumed all the same */
    CHECK_EQ(hc_stream_device(s), -1);
    CHECK_FAILS(aclrtCreateStream(NULL), ACL_ERROR_RT_PARAM_INVALID, "null");
    CHECK_FAILS(aclrtCreateStreamWithConfig(&s, 8, 0), ACL_ERROR_RT_PARAM_INVALID, "priority is 8");
}

static aclError synchronize_itself(void *arg) { return aclrtSynchronizeStream(arg); }

TEST(waiting_for_itself_is_an_error_not_a_hang) {
    aclrtStream s = fresh();
    CHECK_OK(hc_launch(
        s, &(struct hc_task){.name = "self", .may_block = true, .arg = s, .run = synchronize_itself}));
    CHECK_FAILS(aclrtSynchronizeStream(s), ACL_ERROR_RT_PARAM_INVALID, "waits for itself");
    CHECK_OK(aclrtDestroyStream(s));
}

static aclError launch_inside(void *arg) { return put(arg, note, 5, false); }

TEST(task_may_launch_into_its_own_stream) {
    aclrtStream s = fresh();
    CHECK_OK(hc_launch(s, &(struct hc_task){.name = "outer", .arg = s, .run = launch_inside}));
    CHECK_OK(aclrtSynchronizeStream(s));
    CHECK_EQ(g_count, 1);
    CHECK_OK(aclrtDestroyStream(s));
}

TEST(attributes_and_limits) {
    aclrtStream s = fresh();
    uint32_t value = 0;
    int32_t id = -1, least = -1, greatest = -1;
    CHECK_OK(aclrtStreamGetId(s, &id));
    CHECK(id >= 0);
    CHECK_OK(aclrtDeviceGetStreamPriorityRange(&least, &greatest));
    CHECK(least >= greatest);
    CHECK_OK(aclrtSetStreamAttribute(s, ACL_STREAM_ATTR_FLOAT_OVERFLOW_CHECK,
                                     &(aclrtStreamAttrValue){.overflowSwitch = 1}));
    CHECK_OK(aclrtGetStreamOverflowSwitch(s, &value));
    CHECK_EQ(value, 1);
    CHECK_FAILS(aclrtSetStreamAttribute(s, 99, &(aclrtStreamAttrValue){0}), ACL_ERROR_RT_PARAM_INVALID, "99");
    CHECK_OK(aclrtSetStreamResLimit(s, ACL_RT_DEV_RES_CUBE_CORE, 4));
    CHECK_OK(aclrtGetStreamResLimit(s, ACL_RT_DEV_RES_CUBE_CORE, &value));
    CHECK_EQ(value, 4);
    CHECK_OK(aclrtUseStreamResInCurrentThread(s));
    CHECK_OK(aclrtGetResInCurrentThread(ACL_RT_DEV_RES_CUBE_CORE, &value));
    CHECK_EQ(value, 4);
    CHECK_OK(aclrtUnuseStreamResInCurrentThread(s));
    CHECK_OK(aclrtResetStreamResLimit(s));
    CHECK_OK(aclrtGetStreamResLimit(s, ACL_RT_DEV_RES_CUBE_CORE, &value));
    CHECK_EQ(value, 24);
    CHECK_FAILS(aclrtSetStreamResLimit(s, ACL_RT_DEV_RES_VECTOR_CORE, 1000), ACL_ERROR_RT_PARAM_INVALID,
                "1000");
    CHECK_OK(aclrtDestroyStream(s));
}

TEST(default_stream_of_the_context) {
    use_device(1);
    atomic_store(&g_count, 0);
    CHECK_OK(put(NULL, note, 3, true));
    CHECK_OK(aclrtSynchronizeStream(NULL));
    CHECK_EQ(g_count, 1);
    CHECK_EQ(hc_stream_device(NULL), 1);
    CHECK_OK(aclrtSetDevice(0));
}
