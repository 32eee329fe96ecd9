// SPDX-License-Identifier: Apache-2.0
/* A pool of threads that share the pieces of one loop at a time.
 *
 * Every thread has a stretch of its own, the same one in loops of the same length, so that what one operator
 * wrote is in the cache of the core that reads it in the next. Pieces of a stretch are handed out by an
 * atomic counter; who has none left helps the others, so a slow core takes fewer. Workers spin briefly for
 * the next loop and then sleep on a futex: operators follow each other within microseconds, but an idle pool
 * must cost nothing. The owner waits only for workers that joined its loop: one that wakes late finds the
 * gate closed. A second stream that finds the pool busy runs its loop alone instead of waiting. */
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hc_finalize.h"
#include "hc_log.h"
#include "hc_option.h"
#include "hc_parallel.h"

enum { MAX_THREADS = 1024, SPINS = 400 }; /* 400 pauses are 5 to 20 us */
/* In `gate`: no worker may join the loop any more. The other bits count those that did. */
#define CLOSED 0x80000000u

/* What the owner publishes before it opens the gate; workers read it only after they have joined. */
struct loop {
    void (*fn)(void *ctx, size_t begin, size_t end);
    void *ctx;
    size_t n, grain, num_stretches;
};

/* Pieces of one thread. */
struct stretch {
    _Alignas(64) atomic_size_t next; /* first piece not handed out yet */
    size_t end;
};

static struct {
    pthread_mutex_t owner; /* held by the thread whose loop is running */
    pthread_t threads[MAX_THREADS];
    size_t num_workers;
    struct loop loop;
    struct stretch stretches[MAX_THREADS];
    atomic_uint epoch;    /* bumped for each loop and at the end; workers sleep on it */
    unsigned first_epoch; /* when the workers were started */
    atomic_uint sleepers;
    atomic_uint gate; /* workers inside the loop, and CLOSED; the owner sleeps on it */
    atomic_bool stop;
    bool started;
} g_pool = {.owner = PTHREAD_MUTEX_INITIALIZER, .gate = CLOSED};
static _Thread_local bool g_inside;

static void futex_wait(atomic_uint *word, unsigned value) {
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}
static void futex_wake(atomic_uint *word, int count) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

/* Gives the other hyperthread the core while spinning. */
static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#else
    __asm__ volatile("yield");
#endif
}

/* A counter runs past the end by one for each thread; far from wrapping. */
static void run_stretch(const struct loop *loop, struct stretch *s) {
    if (atomic_load_explicit(&s->next, memory_order_relaxed) >= s->end) return;
    for (;;) {
        const size_t piece = atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
        if (piece >= s->end) break;
        const size_t begin = piece * loop->grain;
        loop->fn(loop->ctx, begin, begin + hc_min_size(loop->grain, loop->n - begin));
    }
}

/* Take pieces until none is left, from the stretch of thread `self` on. Who takes a piece varies, where it
 * starts does not. */
static void run_pieces(const struct loop *loop, size_t self) {
    g_inside = true;
    for (size_t i = 0; i < loop->num_stretches; i++)
        run_stretch(loop, &g_pool.stretches[(self + i) % loop->num_stretches]);
    g_inside = false;
}

/* Before the gate opens. With fewer pieces than threads some stretches stay empty. */
static void deal_out(const struct loop *loop) {
    const size_t pieces = (loop->n - 1) / loop->grain + 1, each = pieces / loop->num_stretches;
    const size_t more = pieces % loop->num_stretches;
    size_t at = 0;
    for (size_t t = 0; t < loop->num_stretches; t++) {
        struct stretch *s = &g_pool.stretches[t];
        atomic_store_explicit(&s->next, at, memory_order_relaxed);
        s->end = at += each + (t < more);
    }
}

/* Block until the epoch is another one. `sleepers` is raised before the epoch is read again, and the owner
 * bumps the epoch before it reads `sleepers`: one of the two sees the other, so no wake-up is lost. */
static unsigned wait_for_epoch(unsigned seen) {
    for (int spin = 0; spin < SPINS; spin++) {
        const unsigned now = atomic_load_explicit(&g_pool.epoch, memory_order_acquire);
        if (now != seen) return now;
        cpu_relax();
    }
    atomic_fetch_add(&g_pool.sleepers, 1);
    unsigned now;
    while ((now = atomic_load(&g_pool.epoch)) == seen) futex_wait(&g_pool.epoch, seen);
    atomic_fetch_sub(&g_pool.sleepers, 1);
    return now;
}

/* Count this worker into the open loop; false if the owner has closed it, which is the usual end of a late
 * wake-up. */
static bool join_loop(void) {
    unsigned gate = atomic_load(&g_pool.gate);
    while ((gate & CLOSED) == 0) {
        if (atomic_compare_exchange_weak(&g_pool.gate, &gate, gate + 1)) return true;
    }
    return false;
}

/* The last of a loop's workers to leave wakes the caller, if that has closed the gate and sleeps. */
static void *worker(void *arg) {
    const size_t self = (size_t)(uintptr_t)arg;
    unsigned seen = g_pool.first_epoch;
    for (;;) {
        seen = wait_for_epoch(seen);
        if (atomic_load(&g_pool.stop)) return NULL;
        if (!join_loop()) continue;
        run_pieces(&g_pool.loop, self);
        if (atomic_fetch_sub(&g_pool.gate, 1) == (CLOSED | 1)) futex_wake(&g_pool.gate, 1);
    }
}

/* Decided once: a thread count that changed between two calls would be no error, but no help either. The
 * affinity mask counts rather than the CPUs of the machine, as containers and numactl narrow it. */
size_t hc_num_threads(void) {
    static atomic_size_t cached;
    size_t count = atomic_load_explicit(&cached, memory_order_relaxed);
    if (HC_LIKELY(count > 0)) return count;
    if (hc_option_is_set(HC_OPT_NUM_THREADS)) {
        count = (size_t)hc_option_int(HC_OPT_NUM_THREADS);
    } else if (hc_option_is_set(HC_OPT_OMP_NUM_THREADS)) {
        count = (size_t)hc_option_int(HC_OPT_OMP_NUM_THREADS);
    } else {
        cpu_set_t set;
        count = sched_getaffinity(0, sizeof set, &set) == 0 ? (size_t)CPU_COUNT(&set) : 1;
    }
    count = hc_min_size(hc_max_size(count, 1), MAX_THREADS);
    atomic_store_explicit(&cached, count, memory_order_relaxed);
    return count;
}

/* At aclFinalize. The lock keeps a loop from starting meanwhile; the next one starts the workers again. */
static void stop_workers(void) {
    pthread_mutex_lock(&g_pool.owner);
    atomic_store(&g_pool.stop, true);
    atomic_fetch_add(&g_pool.epoch, 1);
    futex_wake(&g_pool.epoch, MAX_THREADS);
    for (size_t i = 0; i < g_pool.num_workers; i++) pthread_join(g_pool.threads[i], NULL);
    g_pool.num_workers = 0;
    g_pool.started = false;
    atomic_store(&g_pool.stop, false);
    pthread_mutex_unlock(&g_pool.owner);
}

/* The child of a fork has no workers; whoever held the lock is gone. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&g_pool.owner, NULL);
    g_pool.num_workers = 0;
    g_pool.started = false;
    g_inside = false;
    atomic_store(&g_pool.gate, CLOSED);
    atomic_store(&g_pool.sleepers, 0);
}

static void register_fork_handler(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

/* By the owner, at its first loop. Fewer threads than wanted is a slower pool, not an error. */
static void start_workers(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handler);
    hc_at_finalize(stop_workers);
    g_pool.started = true;
    g_pool.first_epoch = atomic_load(&g_pool.epoch);
    const size_t want = hc_num_threads() - 1;
    for (size_t i = 0; i < want; i++) {
        if (pthread_create(&g_pool.threads[i], NULL, worker, (void *)(uintptr_t)(i + 1)) != 0) {
            HC_LOG_WARNING("%zu of %zu operator threads could be started", i, want);
            break;
        }
        g_pool.num_workers = i + 1;
    }
}

static void run_alone(size_t n, size_t grain, void (*fn)(void *, size_t, size_t), void *ctx) {
    for (size_t begin = 0; begin < n; begin += grain) fn(ctx, begin, hc_min_size(begin + grain, n));
}

/* Let nobody join any more and wait until those inside have left: fn and ctx live on the caller's stack.
 * The owner has just run out of pieces, so the others have at most one each; spinning longer than a worker
 * does pays off. */
static void close_loop(void) {
    unsigned gate = atomic_fetch_or(&g_pool.gate, CLOSED) | CLOSED;
    for (int spin = 0; spin < SPINS * 8 && gate != CLOSED; spin++) {
        cpu_relax();
        gate = atomic_load(&g_pool.gate);
    }
    while ((gate = atomic_load(&g_pool.gate)) != CLOSED) futex_wait(&g_pool.gate, gate);
}

/* trylock, not lock: two streams of one process then share the machine as two threads would, without either
 * waiting. */
void hc_parallel_for(size_t n, size_t grain, void (*fn)(void *ctx, size_t begin, size_t end), void *ctx) {
    if (n == 0) return;
    if (grain == 0) grain = 1;
    if (n <= grain || g_inside || hc_num_threads() == 1 || pthread_mutex_trylock(&g_pool.owner) != 0) {
        run_alone(n, grain, fn, ctx);
        return;
    }
    if (!g_pool.started) start_workers();
    g_pool.loop = (struct loop){fn, ctx, n, grain, g_pool.num_workers + 1};
    deal_out(&g_pool.loop);
    atomic_store(&g_pool.gate, 0);
    atomic_fetch_add(&g_pool.epoch, 1);
    if (atomic_load(&g_pool.sleepers) > 0) futex_wake(&g_pool.epoch, (int)g_pool.num_workers);
    run_pieces(&g_pool.loop, 0);
    close_loop();
    pthread_mutex_unlock(&g_pool.owner);
}
