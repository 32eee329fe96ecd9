// SPDX-License-Identifier: Apache-2.0
/* Trace and statistics of the launch point. How the file is kept whole: test_trace_file.c. */
#include <sys/stat.h>

#include "hc_stats.h"
#include "json_check.h"
#include "runtime_test.h"

static aclError nothing(void *arg) {
    (void)arg;
    return ACL_SUCCESS;
}
static void describe(const void *arg, struct hc_task_info *info) {
    (void)arg;
    info->bytes = 100;
    info->flops = 7;
    strcpy(info->shapes, "float32[4,8] \"quoted\\\" \n\x7f\xc3\xff");
}

static char g_text[64 << 20];

/* Elements of the array in the file; -1 if it is none, -2 if there is no file. */
static int elements(const char *path) {
    FILE *f = fopen(path, "r");
    if (f == NULL) return -2;
    const size_t n = fread(g_text, 1, sizeof g_text - 1, f);
    g_text[n] = '\0';
    fclose(f);
    return json_array(g_text, n);
}

static void run_tasks(int count) {
    aclrtStream s;
    use_device(3);
    aclrtCreateStream(&s);
    for (int i = 0; i < count; i++) {
        hc_launch(s, &(struct hc_task){
                         .name = "aclnnTest", .may_block = i % 2, .run = nothing, .describe = describe});
    }
    aclrtSynchronizeStream(s);
}

static int traced_exit(void) {
    run_tasks(50);
    exit(3); /* the file is complete all the same */
}
static int traced_kill(void) {
    run_tasks(2000);
    kill(getpid(), SIGKILL);
    return 0;
}

static aclError fail(void *arg) {
    (void)arg;
    return ACL_ERROR_RT_AICORE_EXCEPTION;
}
/* The process of a rank that failed is often ended at once. */
static int traced_failure(void) {
    run_tasks(3);
    hc_launch(NULL, &(struct hc_task){.name = "aclnnFails", .run = fail});
    kill(getpid(), SIGKILL);
    return 0;
}

TEST(trace_holds_the_task_that_failed_before_the_process_was_killed) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/runtime_trace_failure_%d.json", (int)getpid());
    setenv("MINDSPEED_TRACE", path, 1);
    CHECK_EQ(in_child(traced_failure, 20), -SIGKILL);
    CHECK(elements(path) > 0);
    const char *slice = strstr(g_text, "\"aclnnFails\"");
    CHECK(slice != NULL && strstr(slice, "\"code\":507015") != NULL &&
          strstr(g_text, "\"aclnnTest\"") != NULL);
    unlink(path);
    unsetenv("MINDSPEED_TRACE");
}

TEST(trace_is_complete_json_with_rows_and_arguments) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/runtime_trace_%d.json", (int)getpid());
    setenv("MINDSPEED_TRACE", path, 1);
    CHECK_EQ(in_child(traced_exit, 20), 3);
    CHECK(elements(path) > 0);
    CHECK(strstr(g_text, "\"aclnnTest\"") != NULL && strstr(g_text, "\"NPU 3\"") != NULL);
    CHECK(strstr(g_text, "\"bytes\":100,\"flops\":7") != NULL && strstr(g_text, "float32[4,8]") != NULL);
    unlink(path);
    CHECK_EQ(in_child(traced_kill, 20), -SIGKILL);
    CHECK(elements(path) > 1 && strlen(g_text) > 10000);
    unlink(path);
    unsetenv("MINDSPEED_TRACE");
}

static int ranked(void) {
    setenv("RANK", "2", 1);
    setenv("WORLD_SIZE", "4", 1);
    run_tasks(1);
    return aclFinalize() != ACL_SUCCESS;
}

/* Writes without a pause, and a row more now and then, until it is killed or g_text is nearly full. */
static int traced_endlessly(void) {
    enum { RECORD_BYTES = 400 };
    static char name[160];
    memset(name, 'n', sizeof name - 1);
    use_device(0);
    for (size_t i = 0; i < sizeof g_text / RECORD_BYTES; i++) {
        if (i % 50000 == 0) aclrtSetDevice((int32_t)(i / 50000 % 8));
        hc_launch(NULL, &(struct hc_task){.name = name + i % 100, .run = nothing, .describe = describe});
    }
    return pause();
}

/* kill -9 at any moment, most of them within a write: of large buffers, as all time goes there. */
TEST(killed_at_any_moment) {
    const int times = getenv("HC_TEST_FULL") != NULL ? 2000 : 60;
    char path[64];
    unsigned long records = 0;
    snprintf(path, sizeof path, "/tmp/runtime_trace_kill_%d.json", (int)getpid());
    setenv("MINDSPEED_TRACE", path, 1);
    for (int i = 0; i < times; i++) {
        const pid_t pid = fork();
        if (pid == 0) _exit(traced_endlessly());
        for (int ms = 0; i % 4 != 0 && access(path, F_OK) != 0 && ms < 20000; ms++) sleep_ms(1);
        usleep((useconds_t)(i * 7919 % 40000)); /* each fourth time from the start on: the file is made */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        const int found = elements(path);
        CHECK_MSG(found > 0 || (found == -2 && i % 4 == 0), "turn %d: %s is no array", i, path);
        records += found > 0 ? (unsigned)found : 0;
        unlink(path);
    }
    unsetenv("MINDSPEED_TRACE");
    printf("%lu records in %d traces\n", records, times);
    CHECK(records > 2u * (unsigned)times); /* thousands each, but for a thread sanitizer */
}

static int forks(void) {
    run_tasks(10);
    sleep_ms(200); /* threads fall asleep: an allocator that another thread is in, as AddressSanitizer's, is
                      lost to the child */
    const pid_t pid = fork();
    if (pid == 0) { /* a process that starts the runtime anew has a trace of its own */
        if (aclInit(NULL) != ACL_SUCCESS) _exit(1);
        run_tasks(20);
        exit(0);
    }
    int status;
    waitpid(pid, &status, 0);
    run_tasks(10);
    if (aclFinalize() != ACL_SUCCESS || aclInit(NULL) != ACL_SUCCESS) return 1; /* a trace more */
    run_tasks(5);
    return status != 0 || aclFinalize() != ACL_SUCCESS;
}

/* How many traces there are that begin with this, and how many slices of "aclnnTest" in all. */
static int count_traces(const char *begin, int *slices) {
    char command[200];
    snprintf(command, sizeof command, "cat %s*.json | grep -o '\"aclnnTest\"' | wc -l; ls %s*.json | wc -l",
             begin, begin);
    FILE *f = popen(command, "r");
    int files = 0;
    if (f == NULL || fscanf(f, "%d %d", slices, &files) != 2) files = -1;
    if (f != NULL) pclose(f);
    return files;
}

TEST(a_process_that_forks_and_starts_anew_overwrites_nothing) {
    if (getenv("HC_EMULATED")) SKIP("qemu's user emulation cannot fork a process with threads");
    char begin[64], path[80], command[100];
    int slices = 0;
    snprintf(begin, sizeof begin, "/tmp/runtime_forks_%d", (int)getpid());
    snprintf(path, sizeof path, "%s.json", begin);
    setenv("MINDSPEED_TRACE", path, 1);
    CHECK_EQ(in_child(forks, 20), 0);
    CHECK_EQ(count_traces(begin, &slices), 3);
    CHECK_EQ(slices, 10 + 20 + 10 + 5);
    snprintf(command, sizeof command, "rm %s*.json", begin);
    CHECK_EQ(system(command), 0);
    unsetenv("MINDSPEED_TRACE");
}

aclError aclprofInit(const char *path, size_t length);
aclprofConfig *aclprofCreateConfig(uint32_t *devices, uint32_t count, aclprofAicoreMetrics metrics,
                                   const aclprofAicoreEvents *events, uint64_t types);
aclError aclprofStart(const aclprofConfig *config);
aclError aclprofStop(const aclprofConfig *config);

static int profiled(void) {
    static const char *const folder = "/tmp/runtime_prof_%d %p";
    aclprofConfig *config = aclprofCreateConfig(NULL, 0, 0, NULL, 0);
    int slices;
    use_device(0);
    mkdir(folder, 0700);
    if (aclprofInit(folder, strlen(folder)) != ACL_SUCCESS) return 1;
    for (int i = 0; i < 3; i++) {
        if (aclprofStart(config) != ACL_SUCCESS) return 2;
        run_tasks(4);
        if (aclprofStop(config) != ACL_SUCCESS) return 3;
    }
    char begin[100], command[200];
    snprintf(begin, sizeof begin, "'%s'/PROF_*/host/data/npu_trace_%d", folder, (int)getpid());
    const int files = count_traces(begin, &slices);
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    if (system(command) != 0) return 4;
    return files != 3 || slices != 12 ? 5 : 0;
}
TEST(each_profile_has_a_file_of_its_own) { CHECK_EQ(in_child(profiled, 20), 0); }

TEST(ranks_write_files_of_their_own) {
    char pattern[64], path[80];
    snprintf(pattern, sizeof pattern, "/tmp/runtime_ranks_%d.json", (int)getpid());
    snprintf(path, sizeof path, "/tmp/runtime_ranks_%d.rank2.json", (int)getpid());
    setenv("MINDSPEED_TRACE", pattern, 1);
    CHECK_EQ(in_child(ranked, 20), 0);
    CHECK(elements(path) > 0);
    unlink(path);
    snprintf(pattern, sizeof pattern, "/tmp/runtime_%d_%%r.json", (int)getpid());
    snprintf(path, sizeof path, "/tmp/runtime_%d_2.json", (int)getpid());
    setenv("MINDSPEED_TRACE", pattern, 1);
    CHECK_EQ(in_child(ranked, 20), 0);
    CHECK(elements(path) > 0 && strstr(g_text, "\"rank\":2") != NULL);
    unlink(path);
    setenv("MINDSPEED_TRACE", "/nonexistent/x.json", 1);
    CHECK_FAILS(aclInit(NULL), ACL_ERROR_WRITE_FILE, "/nonexistent/x.json");
    unsetenv("MINDSPEED_TRACE");
}

TEST(statistics_per_name) {
    struct hc_stat stats[8];
    use_device(0);
    hc_stats_enable(true);
    hc_stats_reset();
    for (int i = 0; i < 10; i++) {
        CHECK_OK(
            hc_launch(NULL, &(struct hc_task){.name = "aclnnStat", .run = nothing, .describe = describe}));
    }
    hc_stats_enable(false);
    CHECK_OK(hc_launch(NULL, &(struct hc_task){.name = "aclnnStat", .run = nothing, .describe = describe}));
    CHECK_EQ(hc_stats_read(stats, 8), 1);
    CHECK(strcmp(stats[0].name, "aclnnStat") == 0 && stats[0].count == 10 && stats[0].bytes == 1000 &&
          stats[0].flops == 70);
    hc_stats_reset();
}
