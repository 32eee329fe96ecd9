// SPDX-License-Identifier: Apache-2.0
/* Device memory and the host's: processes that fill what they get are refused in time, and never killed. */
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "hc_ledger.h"
#include "runtime_test.h"

enum { MB = 1 << 20, RANKS = 8 };
#ifdef __SANITIZE_THREAD__
enum { FILLED_LEAST = 0 }; /* the tool's own memory counts */
#else
enum { FILLED_LEAST = 100 * MB };
#endif

/* What the children of a test share. */
static struct shared {
    atomic_int ready, go_on, counted;
    atomic_size_t held[RANKS];
} *g_shared;
static int g_rank;

#define FAIL_UNLESS(cond)                                                                                    \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("%d: rank %d: %s: %s\n", __LINE__, g_rank, #cond, aclGetRecentErrMsg());                  \
            fflush(stdout);                                                                                  \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

/* As src/runtime/ledger.c has it. */
static void set_name(char *name, size_t room) {
    struct stat s;
    const unsigned long long space = stat("/proc/self/ns/pid", &s) == 0 ? (unsigned long long)s.st_ino : 0;
    snprintf(name, room, "/mindspeed-devices-%zu-%u-%llu%s", offsetof(struct hc_account, devices),
             (unsigned)geteuid(), space, getenv("HC_LEDGER"));
}

/* Accounts of this test program alone: others run on the machine. */
static void fresh_ledger(void) {
    char name[NAME_MAX], own[32];
    snprintf(own, sizeof own, "-test%d", (int)getpid());
    setenv("HC_LEDGER", own, 1);
    set_name(name, sizeof name);
    shm_unlink(name);
    if (g_shared == NULL)
        g_shared = mmap(NULL, sizeof *g_shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    memset(g_shared, 0, sizeof *g_shared);
    unsetenv("MINDSPEED_DEVICE_MEMORY");
    setenv("MINDSPEED_HOST_MEMORY", "64M", 1);
}

__attribute__((destructor)) static void remove_ledger(void) {
    char name[NAME_MAX];
    if (getenv("HC_LEDGER") == NULL) return;
    set_name(name, sizeof name);
    shm_unlink(name);
}

static size_t free_bytes(void) {
    size_t free = 0, total = 0;
    aclrtGetMemInfo(ACL_HBM_MEM, &free, &total);
    return free;
}

/* How many chunks there are until one is refused, each filled at once. */
static int fill(void **chunks, int room, size_t bytes) {
    int count = 0;
    while (count < room && aclrtMalloc(&chunks[count], bytes, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS) {
        memset(chunks[count++], 1, bytes);
        atomic_fetch_add(&g_shared->held[g_rank], bytes);
    }
    return count;
}

static int fill_then_go_on(void) {
    void *chunks[64], *more;
    size_t free = 0, total = 0;
    use_device(0);
    FAIL_UNLESS(aclrtGetMemInfo(ACL_HBM_MEM, &free, &total) == ACL_SUCCESS);
    FAIL_UNLESS(free == 64 * MB && total >= 64 * MB);
    FAIL_UNLESS(fill(chunks, 64, 4 * MB) == 16);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "out of memory on device 0") != NULL);
    FAIL_UNLESS(free_bytes() == 0);
    FAIL_UNLESS(aclrtSetDevice(1) == ACL_SUCCESS && free_bytes() == 0); /* the memory is the same */
    FAIL_UNLESS(aclrtMalloc(&more, 4 * MB, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_ERROR_RT_MEMORY_ALLOCATION);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "out of memory on device 1") != NULL);
    FAIL_UNLESS(aclrtFree(chunks[3]) == ACL_SUCCESS && free_bytes() == 4 * MB);
    FAIL_UNLESS(aclrtMalloc(&more, 4 * MB, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS);
    memset(more, 1, 4 * MB);
    return 0;
}

TEST(one_process_fills_the_host) {
    fresh_ledger();
    CHECK_EQ(in_child(fill_then_go_on, 60), 0);
}

TEST(one_process_fills_the_host_with_a_larger_capacity) {
    fresh_ledger();
    setenv("MINDSPEED_DEVICE_MEMORY", "64G", 1);
    CHECK_EQ(in_child(fill_then_go_on, 60), 0);
}

/* Nothing is touched, so nothing is in the way: sizes that the host does not have can be planned with. */
static int plan(void) {
    void *p[4];
    use_device(0);
    for (int i = 0; i < 4; i++)
        FAIL_UNLESS(aclrtMalloc(&p[i], (size_t)1 << 30, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS);
    FAIL_UNLESS(aclrtMalloc(&p[0], (size_t)1 << 30, ACL_MEM_MALLOC_HUGE_FIRST) != ACL_SUCCESS);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "0 of 4294967296 are free (MINDSPEED_DEVICE_MEMORY)") != NULL);
    return 0;
}

TEST(planning_beyond_the_host) {
    fresh_ledger();
    setenv("MINDSPEED_DEVICE_MEMORY", "4G", 1);
    CHECK_EQ(in_child(plan, 60), 0);
}

/* What was planned beyond the host's memory is filled as far as that goes. */
static int fill_the_plan(void) {
    char *p;
    aclError code = ACL_SUCCESS;
    size_t done = 0;
    use_device(0);
    FAIL_UNLESS(aclrtMalloc((void **)&p, (size_t)1 << 30, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS);
    FAIL_UNLESS(aclrtMemset(p, (size_t)1 << 30, 1, (size_t)1 << 30) == ACL_ERROR_RT_MEMORY_ALLOCATION);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "would fill 1073741824 bytes for the first time") != NULL);
    while (code == ACL_SUCCESS && done < (size_t)1 << 30) {
        code = aclrtMemset(p + done, 4 * MB, 1, 4 * MB);
        if (code == ACL_SUCCESS) done += 4 * MB;
    }
    FAIL_UNLESS(code == ACL_ERROR_RT_MEMORY_ALLOCATION && done == 64 * MB);
    FAIL_UNLESS(aclrtMemset(p, done, 2, done) == ACL_SUCCESS); /* nothing new */
    FAIL_UNLESS(aclrtMemcpy(p, 4 * MB, p + 8 * MB, 4 * MB, ACL_MEMCPY_DEVICE_TO_DEVICE) == ACL_SUCCESS);
    FAIL_UNLESS(aclrtMemcpy(p, 4 * MB, p + 512 * MB, 4 * MB, ACL_MEMCPY_DEVICE_TO_DEVICE) == ACL_SUCCESS);
    FAIL_UNLESS(p[0] == 0 && p[4 * MB] == 2);
    FAIL_UNLESS(aclrtMemsetAsync(p + 512 * MB, 4 * MB, 1, 4 * MB, NULL) == ACL_SUCCESS);
    FAIL_UNLESS(aclrtSynchronizeStream(NULL) == ACL_ERROR_RT_MEMORY_ALLOCATION);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "out of memory on device 0") != NULL);
    FAIL_UNLESS(aclrtFree(p) == ACL_SUCCESS);
    FAIL_UNLESS(aclrtMalloc((void **)&p, 8 * MB, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS);
    FAIL_UNLESS(aclrtMemset(p, 8 * MB, 1, 8 * MB) == ACL_SUCCESS);
    return 0;
}

TEST(filling_what_was_planned) {
    fresh_ledger();
    setenv("MINDSPEED_DEVICE_MEMORY", "64G", 1);
    CHECK_EQ(in_child(fill_the_plan, 60), 0);
}

/* As many children as there are ranks; true if all return 0. */
static bool run_ranks(int (*fn)(void)) {
    pid_t pids[RANKS];
    bool good = true;
    fflush(stdout);
    for (g_rank = 0; g_rank < RANKS; g_rank++) {
        pids[g_rank] = fork();
        if (pids[g_rank] == 0) _exit(fn());
    }
    for (int r = 0; r < RANKS; r++) {
        int status = 1;
        waitpid(pids[r], &status, 0);
        if (status != 0) printf("rank %d: status %d\n", r, status);
        good = good && status == 0;
    }
    return good;
}

static void meet(atomic_int *counter) {
    atomic_fetch_add(counter, 1);
    while (atomic_load(counter) < RANKS) sleep_ms(1);
}

static int fill_together(void) {
    static void *chunks[256];
    use_device(g_rank);
    meet(&g_shared->ready);
    const int count = fill(chunks, 256, MB);
    meet(&g_shared->go_on);
    size_t all = 0;
    int holder = RANKS; /* on few processors, one rank may take all before another runs */
    for (int r = RANKS - 1; r >= 0; r--) {
        const size_t held = atomic_load(&g_shared->held[r]);
        all += held;
        if (held > 0) holder = r;
    }
    meet(&g_shared->counted);
    FAIL_UNLESS(all <= 64 * MB && all > 64 * MB - RANKS * MB); /* two may refuse each other the last ones */
    if (g_rank == holder) {
        for (int i = 0; i < count; i++) FAIL_UNLESS(aclrtFree(chunks[i]) == ACL_SUCCESS);
        FAIL_UNLESS(fill(chunks, count, MB) == count);
    }
    return 0;
}

TEST(eight_processes_fill_the_host_together) {
    fresh_ledger();
    setenv("MINDSPEED_NUM_DEVICES", "8", 1);
    CHECK(run_ranks(fill_together));
}

static _Noreturn void hold_and_wait(void) {
    void *chunks[64];
    setenv("ASCEND_RT_VISIBLE_DEVICES", "5", 1);
    use_device(0);
    fill(chunks, 10, 4 * MB);
    atomic_store(&g_shared->ready, 1);
    for (;;) sleep_ms(1000);
}

TEST(a_killed_process_holds_nothing) {
    fresh_ledger();
    const pid_t pid = fork();
    if (pid == 0) hold_and_wait();
    while (atomic_load(&g_shared->ready) == 0) sleep_ms(1);
    CHECK(in_child(fill_then_go_on, 60) != 0); /* 40 MiB of it are the other's */
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    CHECK_EQ(in_child(fill_then_go_on, 60), 0);
}

static pid_t g_other;

static int look_at_both(void) {
    void *p;
    struct hc_ledger_row rows[8];
    setenv("ASCEND_RT_VISIBLE_DEVICES", "6,2", 1);
    use_device(1);
    FAIL_UNLESS(aclrtMalloc(&p, 6 * MB, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS);
    FAIL_UNLESS(hc_ledger_rows(rows, 8) == 2);
    FAIL_UNLESS(rows[0].pid == g_other && rows[0].physical == 5 && rows[0].bytes == 40 * MB);
    FAIL_UNLESS(rows[1].pid == getpid() && rows[1].physical == 2 && rows[1].bytes == 6 * MB);
    FAIL_UNLESS(strlen(rows[0].name) > 4 && strcmp(rows[0].name, rows[1].name) == 0); /* the same program */
    return 0;
}

TEST(who_holds_what_by_physical_device) {
    fresh_ledger();
    setenv("MINDSPEED_NUM_DEVICES", "8", 1);
    g_other = fork();
    if (g_other == 0) hold_and_wait();
    while (atomic_load(&g_shared->ready) == 0) sleep_ms(1);
    const int code = in_child(look_at_both, 20);
    kill(g_other, SIGKILL);
    waitpid(g_other, NULL, 0);
    CHECK_EQ(code, 0);
}

/* A control group that ends its processes when they take more than 256 MiB. */
static char g_group[256];

static bool make_group(void) {
    static const char *const PLACES[][2] = {{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
                                            {"/sys/fs/cgroup", "memory.max"}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(PLACES); i++) {
        char path[300];
        snprintf(g_group, sizeof g_group, "%s/mindspeed_test_%d", PLACES[i][0], (int)getpid());
        snprintf(path, sizeof path, "%s/%s", g_group, PLACES[i][1]);
        if (mkdir(g_group, 0755) != 0) continue;
        const int file = open(path, O_WRONLY | O_CLOEXEC);
        const bool good = file >= 0 && write(file, "268435456", 9) == 9;
        if (file >= 0) close(file);
        if (good) return true;
        rmdir(g_group);
    }
    return false;
}

static int enter_group(void) {
    char path[300], pid[16];
    snprintf(path, sizeof path, "%s/cgroup.procs", g_group);
    const int file = open(path, O_WRONLY | O_CLOEXEC),
              length = snprintf(pid, sizeof pid, "%d", (int)getpid());
    FAIL_UNLESS(file >= 0 && write(file, pid, (size_t)length) == length);
    close(file);
    return 0;
}

static int fill_a_group(void) {
    static void *chunks[256];
    size_t free = 0, total = 0;
    FAIL_UNLESS(enter_group() == 0);
    use_device(g_rank);
    FAIL_UNLESS(aclrtGetMemInfo(ACL_HBM_MEM, &free, &total) == ACL_SUCCESS && free < 256 * MB);
    FAIL_UNLESS(getenv("MINDSPEED_DEVICE_MEMORY") != NULL ? total == (size_t)64 << 30 : total < 256 * MB);
    meet(&g_shared->ready);
    const int count = fill(chunks, 256, 2 * MB);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "out of memory") != NULL);
    meet(&g_shared->go_on);
    size_t all = 0;
    for (int r = 0; r < RANKS; r++) all += atomic_load(&g_shared->held[r]);
    FAIL_UNLESS(all > FILLED_LEAST && all < 256 * MB);
    for (int i = 0; i < count; i++) FAIL_UNLESS(aclrtFree(chunks[i]) == ACL_SUCCESS);
    return 0;
}

static int fill_a_plan_in_a_group(void) {
    char *p;
    size_t done = 0;
    FAIL_UNLESS(enter_group() == 0);
    use_device(g_rank);
    FAIL_UNLESS(aclrtMalloc((void **)&p, (size_t)1 << 30, ACL_MEM_MALLOC_HUGE_FIRST) == ACL_SUCCESS);
    meet(&g_shared->ready);
    while (aclrtMemset(p + done, 2 * MB, 1, 2 * MB) == ACL_SUCCESS) done += 2 * MB;
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "would fill") != NULL);
    FAIL_UNLESS(aclrtMemset(p, done, 2, done) == ACL_SUCCESS);
    meet(&g_shared->go_on);
    return 0;
}

static void fill_the_group(const char *capacity, int (*fn)(void)) {
    fresh_ledger();
    unsetenv("MINDSPEED_HOST_MEMORY");
    setenv("MINDSPEED_NUM_DEVICES", "8", 1);
    if (capacity != NULL) setenv("MINDSPEED_DEVICE_MEMORY", capacity, 1);
    if (!make_group()) SKIP("no memory control group can be made here");
    const bool good = run_ranks(fn);
    for (int i = 0; i < 100 && rmdir(g_group) != 0; i++) sleep_ms(10);
    CHECK(good);
}

TEST(no_process_of_a_control_group_is_killed) { fill_the_group(NULL, fill_a_group); }
TEST(nor_with_a_larger_capacity) { fill_the_group("64G", fill_a_group); }
TEST(nor_with_planned_memory) { fill_the_group("64G", fill_a_plan_in_a_group); }

/* Anyone may put a file under the name that the ledger has: it is left alone, and nothing in it counts. */
static int alone_with_a_foreign_file(void) {
    char name[NAME_MAX], path[NAME_MAX + 16];
    struct stat s;
    set_name(name, sizeof name);
    snprintf(path, sizeof path, "/dev/shm%s", name);
    FAIL_UNLESS(fill_then_go_on() == 0);
    FAIL_UNLESS(stat(path, &s) == 0 && s.st_size == 3);
    return 0;
}

TEST(files_that_are_not_trusted) {
    char name[NAME_MAX];
    fresh_ledger();
    set_name(name, sizeof name);
    const int file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && write(file, "abc", 3) == 3); /* another size */
    CHECK_EQ(in_child(alone_with_a_foreign_file, 60), 0);
    CHECK_EQ(fchmod(file, 0644), 0);
    CHECK_EQ(in_child(alone_with_a_foreign_file, 60), 0);
    if (geteuid() == 0) CHECK(fchown(file, 1234, 1234) == 0 && fchmod(file, 0600) == 0);
    CHECK_EQ(in_child(alone_with_a_foreign_file, 60), 0);
    close(file);
}
