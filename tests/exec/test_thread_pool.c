// SPDX-License-Identifier: Apache-2.0
/* hc_parallel_for: every index once, any number of callers, after fork, nested. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "hc_finalize.h"
#include "hc_parallel.h"

enum { N = 100003 };

struct counts {
    atomic_uint hits[N];
    atomic_uint pieces;
    size_t grain;
    atomic_bool uneven;
};

static void count(void *ctx, size_t begin, size_t end) {
    struct counts *c = ctx;
    atomic_fetch_add(&c->pieces, 1);
    if (begin % c->grain != 0 || (end != N && end - begin != c->grain)) atomic_store(&c->uneven, true);
    for (size_t i = begin; i < end; i++) atomic_fetch_add(&c->hits[i], 1);
}

static bool counts_once(size_t grain) {
    static _Thread_local struct counts c;
    memset(&c, 0, sizeof c);
    c.grain = grain;
    hc_parallel_for(N, grain, count, &c);
    for (size_t i = 0; i < N; i++) {
        if (atomic_load(&c.hits[i]) != 1) return false;
    }
    return !atomic_load(&c.uneven) && atomic_load(&c.pieces) == (N + grain - 1) / grain;
}

TEST(every_index_once_in_fixed_pieces) {
    for (size_t grain = 1; grain < 2 * N; grain = grain * 3 + 1)
        CHECK_MSG(counts_once(grain), "grain %zu", grain);
}

TEST(empty_and_zero_grain) {
    struct counts c = {.grain = 1};
    hc_parallel_for(0, 16, count, &c);
    CHECK_EQ(atomic_load(&c.pieces), 0);
}

static void *many_loops(void *arg) {
    bool *ok = arg;
    for (int i = 0; i < 200 && *ok; i++) *ok = counts_once(1000);
    return NULL;
}

TEST(several_callers_at_once) {
    pthread_t threads[4];
    bool ok[4] = {true, true, true, true};
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, many_loops, &ok[i]);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 4; i++) CHECK(ok[i]);
}

static void nest(void *ctx, size_t begin, size_t end) {
    (void)begin;
    (void)end;
    atomic_uint *bad = ctx;
    if (!counts_once(5000)) atomic_fetch_add(bad, 1);
}

TEST(nested_calls_run_in_the_caller) {
    atomic_uint bad = 0;
    hc_parallel_for(8, 1, nest, &bad);
    CHECK_EQ(atomic_load(&bad), 0);
}

TEST(works_in_the_child_of_a_fork) {
    if (getenv("HC_EMULATED"))
        SKIP("qemu-user 7.2 fails an assertion of its own when a process with threads forks");
    CHECK(counts_once(1000));
    const pid_t child = fork();
    if (child == 0) _exit(counts_once(1000) ? 0 : 1);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
}

TEST(threads_end_and_start_again) {
    CHECK(counts_once(1000));
    hc_run_finalizers();
    CHECK(counts_once(1000));
    hc_run_finalizers();
}

TEST(scratch_keeps_slots_apart) {
    char *a = hc_scratch(HC_SCRATCH_A, 100), *b = hc_scratch(HC_SCRATCH_B, 100);
    CHECK(a && b && a != b);
    CHECK_EQ((uintptr_t)a % 64, 0);
    memset(a, 1, 100);
    memset(b, 2, 100);
    CHECK(hc_scratch(HC_SCRATCH_A, 50) == a && a[99] == 1);
    CHECK(hc_scratch(HC_SCRATCH_C, (size_t)1 << 60) == NULL);
}
