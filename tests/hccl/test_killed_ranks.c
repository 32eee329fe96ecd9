// SPDX-License-Identifier: Apache-2.0
/* A rank is killed at a random moment of a loop of collectives: the others get an error that names it, soon,
 * and end; and nothing of the job is left in the system. HC_TEST_FULL=1: 200 times instead of 12. */
#include <dirent.h>
#include <errno.h>

#include "harness.h"
#include "hccl_ranks.h"

enum { SMALL = 64, LARGE = 40000, MAX_RANKS = 8 };
/* Ranks look for the dead every 50 ms; the rest is for a busy machine. Else they would wait half an hour. */
static const double SOON = 15;

/* Words of the shared page. */
enum { READY, KILLED_RANK, ROUNDS };

/* One round of everything that can be under way when a rank dies. */
static int round_of_calls(struct rank *self, float *a, float *b, float *c, aclrtStream second,
                          HcclComm part) {
    const uint32_t n = self->num_ranks, next = (self->rank + 1) % n, last = (self->rank + n - 1) % n;
    HcclSendRecvItem items[] = {{HCCL_SEND, a, LARGE, HCCL_DATA_TYPE_FP32, next},
                                {HCCL_RECV, b, LARGE, HCCL_DATA_TYPE_FP32, last}};
    const int codes[] = {
        HcclAllReduce(a, b, SMALL, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_MAX, self->comm, self->stream),
        HcclAllReduce(a, b, LARGE, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_MAX, self->comm, self->stream),
        HcclBatchSendRecv(items, 2, self->comm, self->stream),
        HcclAllGather(c + self->rank * (LARGE / n), c, LARGE / n, HCCL_DATA_TYPE_FP32, part, second),
        HcclBroadcast(a, LARGE, HCCL_DATA_TYPE_FP32, 0, self->comm, self->stream),
        aclrtSynchronizeStream(self->stream),
        aclrtSynchronizeStream(second),
    };
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (codes[i] != 0) return codes[i];
    return 0;
}

static int loop(struct rank *self) {
    void *a, *b, *c;
    aclrtStream second;
    HcclComm part;
    uint32_t all[MAX_RANKS] = {0, 1, 2, 3, 4, 5, 6, 7};
    EXPECT_OK(aclrtMalloc(&a, LARGE * sizeof(float), 0));
    EXPECT_OK(aclrtMalloc(&b, LARGE * sizeof(float), 0));
    EXPECT_OK(aclrtMalloc(&c, LARGE * sizeof(float), 0));
    EXPECT_OK(aclrtCreateStream(&second));
    EXPECT_OK(HcclCreateSubCommConfig(&self->comm, self->num_ranks, all, 1, self->rank, NULL, &part));
    atomic_fetch_add(&self->shared->word[READY], 1);
    int code = 0;
    for (;;) {
        code = round_of_calls(self, a, b, c, second, part);
        if (code != 0) break;
        if (self->rank == 0) atomic_fetch_add(&self->shared->word[ROUNDS], 1);
    }
    char text[1024], who[32];
    snprintf(text, sizeof text, "%s", aclGetRecentErrMsg());
    snprintf(who, sizeof who, "rank %lld ", atomic_load(&self->shared->word[KILLED_RANK]));
    EXPECT(strstr(text, who) != NULL && strstr(text, "has ended") != NULL, "text is '%s', not of %s", text,
           who);
    HcclCommDestroy(part);
    aclrtDestroyStreamForce(second);
    aclrtDestroyStreamForce(self->stream);
    self->stream = NULL;
    aclrtFree(a);
    aclrtFree(b);
    aclrtFree(c);
    return 0;
}

/* Kill `victim` after `us` of its loop. Returns the longest time that another rank took to end, negative if
 * something went wrong. */
static double kill_one(uint32_t num_ranks, uint32_t victim, unsigned us) {
    struct rank_board *board =
        mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[MAX_RANKS];
    fflush(stdout);
    atomic_store(&board->word[KILLED_RANK], victim);
    for (uint32_t r = 0; r < num_ranks; r++) {
        pids[r] = fork();
        if (pids[r] == 0) _exit(rank_main(board, r, num_ranks, loop));
    }
    for (int i = 0; i < 60000 && atomic_load(&board->word[READY]) < (long long)num_ranks; i++) usleep(1000);
    const bool started = atomic_load(&board->word[READY]) == (long long)num_ranks;
    usleep(us);
    kill(pids[victim], SIGKILL);
    const double begin = seconds_now();
    bool good = started;
    for (uint32_t r = 0; r < num_ranks; r++) {
        int status = 0, have = 0;
        while ((have = waitpid(pids[r], &status, WNOHANG)) == 0 && seconds_now() - begin < 30) usleep(1000);
        if (have == 0) {
            printf("rank %u of %u still runs 30 s after rank %u was killed\n", r, num_ranks, victim);
            kill(pids[r], SIGKILL);
            waitpid(pids[r], NULL, 0);
            good = false;
        } else if (r != victim && status != 0) {
            printf("rank %u of %u ended with status 0x%x after rank %u was killed\n", r, num_ranks,
                   (unsigned)status, victim);
            good = false;
        }
    }
    const double took = seconds_now() - begin;
    munmap(board, sizeof *board);
    return good ? took : -1;
}

/* Entries of a folder with `part` in their names: other programs have theirs in /tmp and /dev/shm too. */
static long count_entries(const char *folder, const char *part) {
    DIR *dir = opendir(folder);
    long count = 0;
    if (dir == NULL) return -1;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir))
        count += part == NULL || strstr(e->d_name, part) != NULL;
    closedir(dir);
    return count;
}
static long count_children(void) {
    char path[64], line[4096] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "r");
    if (file == NULL) return 0; /* the kernel does not list them; waitpid below does */
    if (fgets(line, sizeof line, file) == NULL) line[0] = '\0';
    fclose(file);
    long count = 0;
    for (const char *at = line; *at != '\0'; at++) count += *at == ' ';
    return count;
}

TEST(a_rank_is_killed) {
    const int times = getenv("HC_TEST_FULL") != NULL ? 200 : 12;
    const long files = count_entries("/proc/self/fd", NULL), shared = count_entries("/dev/shm", "hccl");
    const long temporary = count_entries("/tmp", "hccl"), children = count_children();
    unsigned random = 12345;
    double worst = 0;
    for (int i = 0; i < times; i++) {
        const uint32_t num_ranks = 2 + (uint32_t)i % 3, victim = (uint32_t)i / 3 % num_ranks;
        random = random * 1103515245u + 12345u;
        const double took = kill_one(num_ranks, victim, random / 65536 % 30000);
        CHECK_MSG(took >= 0, "time %d: rank %u of %u", i, victim, num_ranks);
        CHECK_MSG(took < SOON, "time %d: rank %u of %u: the others took %.2f s", i, victim, num_ranks, took);
        if (took > worst) worst = took;
    }
    printf("%d ranks were killed, the others ended within %.2f s\n", times, worst);
    CHECK_EQ(count_entries("/proc/self/fd", NULL), files);
    CHECK_EQ(count_entries("/dev/shm", "hccl"), shared);
    CHECK_EQ(count_entries("/tmp", "hccl"), temporary);
    CHECK_EQ(count_children(), children);
    CHECK(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static void leave(int number) {
    (void)number;
    _exit(0);
}

/* A rank dies while communicators are being made: the others hear of it, not only of the time being over. */
static int dies_early(struct rank *self) {
    uint32_t all[] = {0, 1, 2};
    HcclComm part = NULL;
    host_barrier(self);
    if (self->rank == 1) {
        usleep(200000); /* the others wait for it by now */
        signal(SIGALRM, leave);
        ualarm(100000, 0); /* while it waits: its 2 is not there */
    }
    if (self->rank == 2) usleep(600000);
    const double begin = seconds_now();
    const HcclResult code = HcclCreateSubCommConfig(&self->comm, 3, all, 3, self->rank, NULL, &part);
    EXPECT(code == HCCL_E_REMOTE || (self->rank == 2 && code != 0), "code %d", (int)code);
    if (self->rank == 0)
        EXPECT(strstr(aclGetRecentErrMsg(), "rank 1 (process") && seconds_now() - begin < 5, "after %.2f s",
               seconds_now() - begin);
    return 0;
}
TEST(a_rank_ends_while_the_others_join) {
    setenv("HCCL_CONNECT_TIMEOUT", "8", 1);
    const bool good = run_ranks(3, 60, dies_early);
    unsetenv("HCCL_CONNECT_TIMEOUT");
    CHECK(good);
}
