// SPDX-License-Identifier: Apache-2.0
/* Memory limits, of systems that are made up. */
#include <sys/stat.h>

#include "runtime_test.h"
/* Part of the library, but not of its interface. */
#include "../../src/runtime/host_limit.c"

/* Files of a made-up system below g_root. */
static char g_root[] = "/tmp/test_budget_XXXXXX";

static void put(const char *path, const char *text) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", g_root, path);
    for (char *c = full + strlen(g_root) + 1; *c != '\0'; c++) {
        if (*c != '/') continue;
        *c = '\0';
        mkdir(full, 0700);
        *c = '/';
    }
    FILE *file = fopen(full, "w");
    if (file == NULL) return;
    fputs(text, file);
    fclose(file);
}

static void new_root(const char *cgroup, const char *mountinfo) {
    char command[128];
    if (strstr(g_root, "XXXXXX") == NULL) {
        snprintf(command, sizeof command, "rm -rf %s", g_root);
        if (system(command) != 0) abort();
        memcpy(g_root + sizeof g_root - 7, "XXXXXX", 6);
    }
    if (mkdtemp(g_root) == NULL) abort();
    put("/proc/meminfo", "MemTotal:       10000 kB\nMemFree: 10 kB\nMemAvailable:    8000 kB\n");
    put("/proc/self/cgroup", cgroup);
    put("/proc/self/mountinfo", mountinfo);
}

#define CHECK_LIMIT(wanted_total, wanted_available)                                                          \
    do {                                                                                                     \
        const struct hc_host_limit found = hc_host_limit_read(g_root);                                       \
        CHECK_EQ(found.total, wanted_total);                                                                 \
        CHECK_EQ(found.available, wanted_available);                                                         \
    } while (0)

TEST(limits_of_control_groups) {
    static const char V2[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";
    static const char V1[] = "35 31 0:29 / /c/cpu rw - cgroup cgroup rw,cpu\n"
                             "36 31 0:30 / /c/memory rw - cgroup cgroup rw,memory\n";
    new_root("0::/\n", V2);
    CHECK_LIMIT(10000 << 10, 8000 << 10);

    new_root("0::/a/b\n", V2); /* the parent is the narrower one, for what others use of it */
    put("/sys/fs/cgroup/a/b/memory.max", "5000000\n");
    put("/sys/fs/cgroup/a/b/memory.current", "1000000\n");
    put("/sys/fs/cgroup/a/memory.max", "6000000\n");
    put("/sys/fs/cgroup/a/memory.current", "4000000\n");
    put("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 500000\nactive_file 200000\n");
    CHECK_LIMIT(5000000, 2600000);
    put("/sys/fs/cgroup/a/memory.max", "max\n");
    CHECK_LIMIT(5000000, 4000000);
    put("/sys/fs/cgroup/a/b/memory.current", "5100000\n");
    CHECK_LIMIT(5000000, 0);

    new_root("4:memory:/job/one\n1:cpu:/other\n0::/\n", V1);
    put("/c/memory/job/one/memory.limit_in_bytes", "9223372036854771712\n");
    put("/c/memory/job/one/memory.usage_in_bytes", "1000000\n");
    put("/c/memory/job/memory.limit_in_bytes", "3000000\n");
    put("/c/memory/job/memory.usage_in_bytes", "2000000\n");
    put("/c/memory/job/memory.stat", "inactive_file 7\ntotal_inactive_file 100000\ntotal_active_file 0\n");
    CHECK_LIMIT(3000000, 1100000);

    /* A container that sees its own part of the hierarchy, under the name the host knows it by. */
    new_root("0::/docker/abc\n", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/memory.max", "2000000\n");
    put("/sys/fs/cgroup/memory.current", "500000\n");
    CHECK_LIMIT(2000000, 1500000);
    new_root("0::/../elsewhere\n", "30 23 0:26 /docker/abc /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put("/sys/fs/cgroup/memory.max", "2000000\n");
    put("/sys/fs/cgroup/memory.current", "500000\n");
    CHECK_LIMIT(2000000, 1500000);

    new_root("nonsense\n\n:::\n", "nonsense\n - \n");
    CHECK_LIMIT(10000 << 10, 8000 << 10);
    put("/proc/meminfo", "");
    CHECK(hc_host_limit_read(g_root).total > 0);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", g_root);
    CHECK_EQ(system(command), 0);
}
