// SPDX-License-Identifier: Apache-2.0
/* Trace and statistics of the launch point. The file is read back by a JSON check of brackets and strings. */
#include "hc_stats.h"
#include "runtime_test.h"

static aclError nothing(void *arg) {
    (void)arg;
    return ACL_SUCCESS;
}
static void describe(const void *arg, struct hc_task_info *info) {
    (void)arg;
    info->bytes = 100;
    info->flops = 7;
    strcpy(info->shapes, "float32[4,8] \"quoted\\\"");
}

static char g_text[1 << 20];

/* Brackets match outside of strings and nothing follows. */
static bool well_formed(const char *text) {
    int depth = 0;
    bool quoted = false;
    for (const char *c = text; *c != '\0'; c++) {
        if (quoted && *c == '\\') c++;
        else if (*c == '"') quoted = !quoted;
        else if (!quoted && strchr("[{", *c) != NULL) depth++;
        else if (!quoted && strchr("]}", *c) != NULL && --depth < 0) return false;
    }
    return depth == 0 && !quoted;
}

static bool read_file(const char *path) {
    FILE *f = fopen(path, "r");
    if (f == NULL) return false;
    const size_t n = fread(g_text, 1, sizeof g_text - 1, f);
    g_text[n] = '\0';
    fclose(f);
    return true;
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
    CHECK(read_file(path) && well_formed(g_text));
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
    CHECK(read_file(path) && well_formed(g_text));
    CHECK(g_text[0] == '[' && strstr(g_text, "\"aclnnTest\"") != NULL && strstr(g_text, "\"NPU 3\"") != NULL);
    CHECK(strstr(g_text, "\"bytes\":100,\"flops\":7") != NULL && strstr(g_text, "float32[4,8]") != NULL);
    CHECK_EQ(in_child(traced_kill, 20), -SIGKILL);
    CHECK(read_file(path) && well_formed(g_text) && strlen(g_text) > 10000);
    unlink(path);
    unsetenv("MINDSPEED_TRACE");
}

static int ranked(void) {
    setenv("RANK", "2", 1);
    setenv("WORLD_SIZE", "4", 1);
    run_tasks(1);
    return aclFinalize() != ACL_SUCCESS;
}

TEST(ranks_write_files_of_their_own) {
    char pattern[64], path[80];
    snprintf(pattern, sizeof pattern, "/tmp/runtime_ranks_%d.json", (int)getpid());
    snprintf(path, sizeof path, "/tmp/runtime_ranks_%d.rank2.json", (int)getpid());
    setenv("MINDSPEED_TRACE", pattern, 1);
    CHECK_EQ(in_child(ranked, 20), 0);
    CHECK(read_file(path) && well_formed(g_text));
    unlink(path);
    snprintf(pattern, sizeof pattern, "/tmp/runtime_%d_%%r.json", (int)getpid());
    snprintf(path, sizeof path, "/tmp/runtime_%d_2.json", (int)getpid());
    setenv("MINDSPEED_TRACE", pattern, 1);
    CHECK_EQ(in_child(ranked, 20), 0);
    CHECK(read_file(path));
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
