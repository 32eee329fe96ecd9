// SPDX-License-Identifier: Apache-2.0
/* Start and end, in children: each test wants a process of its own. */
#include <dirent.h>

#include "hc_ledger.h"
#include "runtime_test.h"

/* What this thread allocates from now on counts as no leak. */
#ifdef __SANITIZE_ADDRESS__
void __lsan_disable(void);
#else
#define __lsan_disable() ((void)0)
#endif

/* Threads of streams, which are named npu<device>-st<id>. */
static int count_threads(void) {
    int count = 0;
    DIR *d = opendir("/proc/self/task");
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        char path[300], name[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f == NULL) continue;
        count += fgets(name, sizeof name, f) != NULL && strncmp(name, "npu", 3) == 0;
        fclose(f);
    }
    if (d != NULL) closedir(d);
    return count;
}

static aclError wait_for_abort(void *arg) {
    (void)arg;
    while (!hc_abort_requested()) sleep_ms(1);
    return ACL_SUCCESS;
}

#define FAIL_UNLESS(cond)                                                                                    \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("%d: %s: %s\n", __LINE__, #cond, aclGetRecentErrMsg());                                   \
            fflush(stdout);                                                                                  \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

static int init_twice(void) {
    FAIL_UNLESS(aclFinalize() == ACL_ERROR_UNINITIALIZE);
    FAIL_UNLESS(aclInit(NULL) == ACL_SUCCESS);
    FAIL_UNLESS(aclInit(NULL) == ACL_ERROR_REPEAT_INITIALIZE);
    FAIL_UNLESS(aclFinalize() == ACL_SUCCESS);
    FAIL_UNLESS(aclInit("") == ACL_SUCCESS);
    FAIL_UNLESS(aclFinalize() == ACL_SUCCESS);
    return 0;
}
TEST(repeat) { CHECK_EQ(in_child(init_twice, 20), 0); }

static int with_config(const char *text) {
    char path[] = "/tmp/runtime_test_XXXXXX";
    const int file = mkstemp(path);
    if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text)) return -1;
    close(file);
    const int code = aclInit(path);
    unlink(path);
    return code;
}

static int configs(void) {
    static const char *const BAD[] = {"",     "[]",         "{",     "{\"a\":}",    "{\"a\" 1}",
                                      "{} x", "{\"a\":1,}", "hello", "{\"a\":[1,2}"};
    for (size_t i = 0; i < HC_ARRAY_SIZE(BAD); i++) FAIL_UNLESS(with_config(BAD[i]) == ACL_ERROR_PARSE_FILE);
    FAIL_UNLESS(aclInit("/nonexistent/acl.json") == ACL_ERROR_INVALID_FILE);
    FAIL_UNLESS(with_config("{\"defaultDevice\":{\"default_device\":\"99\"}}") ==
                ACL_ERROR_RT_INVALID_DEVICEID);
    int32_t id = -1;
    FAIL_UNLESS(with_config(" {\"dump\":{\"x\":[1,-2.5e3,true,null,\"a\\\"b\"]}, "
                            "\"defaultDevice\":{\"default_device\":\"3\"}}\n") == 0);
    FAIL_UNLESS(aclrtGetDevice(&id) == ACL_SUCCESS && id == 3); /* without aclrtSetDevice */
    FAIL_UNLESS(aclFinalize() == ACL_SUCCESS);
    FAIL_UNLESS(aclrtGetDevice(&id) == ACL_ERROR_RT_CONTEXT_NULL);
    return 0;
}
TEST(configuration_file) { CHECK_EQ(in_child(configs, 20), 0); }

static int bad_option(void) {
    setenv("MINDSPEED_NUM_DEVICES", "many", 1);
    FAIL_UNLESS(aclInit(NULL) == ACL_ERROR_INVALID_PARAM &&
                strstr(aclGetRecentErrMsg(), "MINDSPEED_NUM_DEVICES=many"));
    setenv("MINDSPEED_NUM_DEVICES", "2", 1);
    setenv("HC_ISA", "mmx", 1);
    FAIL_UNLESS(aclInit(NULL) != ACL_SUCCESS && strstr(aclGetRecentErrMsg(), "mmx"));
    unsetenv("HC_ISA");
    FAIL_UNLESS(aclInit(NULL) == ACL_SUCCESS);
    uint32_t count = 0;
    FAIL_UNLESS(aclrtGetDeviceCount(&count) == ACL_SUCCESS && count == 2);
    FAIL_UNLESS(aclrtSetDevice(2) == ACL_ERROR_RT_INVALID_DEVICEID &&
                strstr(aclGetRecentErrMsg(), "MINDSPEED_NUM_DEVICES is 2"));
    return 0;
}
TEST(options_are_checked) { CHECK_EQ(in_child(bad_option, 20), 0); }

/* Of devices, by this process alone: what is free of one changes with what others do. */
static uint64_t bytes_held(void) {
    enum { ROOM = 1024 };
    static struct hc_ledger_row rows[ROOM];
    const int there = hc_ledger_rows(rows, ROOM);
    uint64_t bytes = 0;
    for (int i = 0; i < there && i < ROOM; i++) bytes += rows[i].pid == getpid() ? rows[i].bytes : 0;
    return bytes;
}

static int finalize_returns_everything(void) {
    aclrtStream s[4];
    void *p;
    use_device(0);
    const int threads = count_threads();
    const uint64_t held = bytes_held();
    for (int i = 0; i < 4; i++) {
        FAIL_UNLESS(aclrtCreateStream(&s[i]) == 0);
        FAIL_UNLESS(hc_launch(s[i], &(struct hc_task){
                                        .name = "wait", .may_block = true, .run = wait_for_abort}) == 0);
    }
    FAIL_UNLESS(aclrtMalloc(&p, 1 << 22, ACL_MEM_MALLOC_HUGE_FIRST) == 0 && aclrtMallocHost(&p, 100) == 0);
    FAIL_UNLESS(count_threads() == threads + 4 && bytes_held() >= held + (1 << 22));
    FAIL_UNLESS(aclFinalize() == ACL_SUCCESS); /* work in flight that would never end */
    sleep_ms(20);
    FAIL_UNLESS(count_threads() == threads);
    FAIL_UNLESS(aclrtSynchronizeStream(s[0]) == ACL_ERROR_RT_INVALID_HANDLE);
    use_device(0);
    FAIL_UNLESS(bytes_held() == held);
    return 0;
}
TEST(finalize_gives_back_threads_and_memory) { CHECK_EQ(in_child(finalize_returns_everything, 30), 0); }

static int exit_in_flight(void) {
    aclrtStream s;
    use_device(0);
    __lsan_disable(); /* what waits in a stream at exit is not freed, on purpose */
    aclrtCreateStream(&s);
    hc_launch(s, &(struct hc_task){.name = "wait", .may_block = true, .run = wait_for_abort});
    exit(7); /* without aclFinalize */
}
TEST(exit_with_work_in_flight) { CHECK_EQ(in_child(exit_in_flight, 20), 7); }

TEST(settings_are_kept) {
    use_device(0);
    int64_t value = 9;
    CHECK_OK(aclrtSetSysParamOpt(ACL_OPT_DETERMINISTIC, 1));
    CHECK_OK(aclrtGetSysParamOpt(ACL_OPT_DETERMINISTIC, &value));
    CHECK_EQ(value, 1);
    CHECK_OK(aclrtCtxSetSysParamOpt(ACL_OPT_DETERMINISTIC, 0));
    CHECK_FAILS(aclrtSetSysParamOpt(17, 1), ACL_ERROR_RT_PARAM_INVALID, "option 17");
    uint64_t actual = 0;
    CHECK_OK(aclrtSetOpExecuteTimeOutV2(1234, &actual));
    CHECK_EQ(actual, 1234);
    CHECK_OK(aclrtSetOpExecuteTimeOut(547));
    CHECK_OK(aclrtSetDeviceSatMode(ACL_RT_OVERFLOW_MODE_INFNAN));
    char version[128];
    CHECK_OK(aclsysGetVersionStr((char *)"runtime", version));
    CHECK(strlen(version) >= 5);
    CHECK_FAILS(aclsysGetVersionStr((char *)"nothing", version), ACL_ERROR_INVALID_PARAM, "nothing");
}
