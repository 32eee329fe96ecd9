// SPDX-License-Identifier: Apache-2.0
#include <pthread.h>
#include <stdatomic.h>

#include "runtime_test.h"

static atomic_int g_calls, g_stop;
static pthread_t g_where;

static void call(void *data) {
    g_where = pthread_self();
    atomic_fetch_add(&g_calls, (int)(intptr_t)data);
}

static void *reporter(void *arg) {
    (void)arg;
    while (!atomic_load(&g_stop)) aclrtProcessReport(20);
    return NULL;
}

TEST(host_function_runs_in_order) {
    use_device(0);
    aclrtStream s;
    atomic_store(&g_calls, 0);
    CHECK_OK(aclrtCreateStream(&s));
    for (int i = 0; i < 10; i++) CHECK_OK(aclrtLaunchHostFunc(s, call, (void *)1));
    CHECK_OK(aclrtSynchronizeStream(s));
    CHECK_EQ(g_calls, 10);
    CHECK_FAILS(aclrtLaunchHostFunc(s, NULL, NULL), ACL_ERROR_RT_PARAM_INVALID, "fn is null");
    CHECK_OK(aclrtDestroyStream(s));
}

TEST(callback_runs_in_the_subscribed_thread) {
    use_device(0);
    aclrtStream s;
    pthread_t thread;
    atomic_store(&g_calls, 0);
    atomic_store(&g_stop, 0);
    CHECK_OK(aclrtCreateStream(&s));
    CHECK_FAILS(aclrtLaunchCallback(call, NULL, ACL_CALLBACK_BLOCK, s), ACL_ERROR_RT_STREAM_NO_CB_REG,
                "aclrtSubscribeReport");
    CHECK_EQ(pthread_create(&thread, NULL, reporter, NULL), 0);
    CHECK_OK(aclrtSubscribeReport((uint64_t)thread, s));
    CHECK_FAILS(aclrtSubscribeReport(1, s), ACL_ERROR_RT_STREAM_SUBSCRIBE, "already");
    for (int i = 0; i < 5; i++) CHECK_OK(aclrtLaunchCallback(call, (void *)1, ACL_CALLBACK_BLOCK, s));
    CHECK_OK(aclrtSynchronizeStream(s));
    CHECK_EQ(g_calls, 5); /* blocking: done when the stream is */
    CHECK(pthread_equal(g_where, thread));
    CHECK_OK(aclrtLaunchCallback(call, (void *)1, ACL_CALLBACK_NO_BLOCK, s));
    CHECK_OK(aclrtSynchronizeStream(s));
    for (int i = 0; i < 200 && g_calls < 6; i++) sleep_ms(5);
    CHECK_EQ(g_calls, 6);
    CHECK_OK(aclrtUnSubscribeReport((uint64_t)thread, s));
    CHECK_FAILS(aclrtUnSubscribeReport((uint64_t)thread, s), ACL_ERROR_RT_THREAD_SUBSCRIBE,
                "has not subscribed");
    atomic_store(&g_stop, 1);
    pthread_join(thread, NULL);
    CHECK_FAILS(aclrtProcessReport(1), ACL_ERROR_RT_REPORT_TIMEOUT, "within 1 ms");
    CHECK_OK(aclrtDestroyStream(s));
}

TEST(abort_ends_a_callback_nobody_processes) {
    use_device(0);
    aclrtStream s;
    CHECK_OK(aclrtCreateStream(&s));
    CHECK_OK(aclrtSubscribeReport(12345, s));
    CHECK_OK(aclrtLaunchCallback(call, NULL, ACL_CALLBACK_BLOCK, s));
    CHECK_OK(aclrtDestroyStreamForce(s));
}

static atomic_int g_exceptions;
static void on_exception(aclrtExceptionInfo *info) {
    atomic_store(&g_exceptions, (int)aclrtGetErrorCodeFromExceptionInfo(info));
}
static aclError fail(void *arg) {
    (void)arg;
    return ACL_ERROR_RT_AICORE_EXCEPTION;
}

TEST(exception_callback) {
    use_device(0);
    CHECK_OK(aclrtSetExceptionInfoCallback(on_exception));
    CHECK_OK(hc_launch(NULL, &(struct hc_task){.name = "bad", .may_block = true, .run = fail}));
    CHECK_EQ(aclrtSynchronizeStream(NULL), ACL_ERROR_RT_AICORE_EXCEPTION);
    CHECK_EQ(g_exceptions, ACL_ERROR_RT_AICORE_EXCEPTION);
    CHECK_OK(aclrtSetExceptionInfoCallback(NULL));
    CHECK_EQ(aclrtGetErrorCodeFromExceptionInfo(NULL), UINT32_MAX);
}
