// SPDX-License-Identifier: Apache-2.0
/* Flags in memory that streams write and wait for, and cache hints.
 *
 * torch_npu's external events are such flags. Memory cannot say that what should have been written never will
 * be, so waits are told beside it, within the process. */
#include <stdlib.h>
#include <time.h>

#include "hc_error.h"
#include "hc_memory.h"
#include "hc_outcome.h"
#include "hc_runtime.h"
#include "hc_stream.h"

/* The address stays the client's; the task holds the number. */
struct value {
    _Atomic(uint64_t) *address;
    uint64_t value;
    uint32_t condition;
    struct hc_stream *stream;
    unsigned past;             /* failures of the stream that a write is not behind */
    atomic_bool failed;        /* of a wait: what it waits for failed, as `outcome` says */
    struct hc_outcome outcome; /* guarded by g_lock until `failed` is set */
    struct value *next;        /* in g_waits */
};

/* A write that did not happen, or that happened behind a failure: waits for it that are launched later must
 * learn of it too, until the next write to the address is launched. */
struct failed_write {
    const _Atomic(uint64_t) *address;
    uint64_t value;
    bool stored;
    struct hc_outcome outcome;
    struct failed_write *next;
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct value *g_waits; /* launched and not over */
static struct failed_write *g_failed_writes;

/* Whether a wait would end with this number in memory. "At least" compares by the signed difference, so that
 * counters may wrap. */
static bool satisfies(const struct value *v, uint64_t now) {
    switch (v->condition) {
    case ACL_STREAM_WAIT_VALUE_GEQ: return (int64_t)(now - v->value) >= 0;
    case ACL_STREAM_WAIT_VALUE_EQ: return now == v->value;
    case ACL_STREAM_WAIT_VALUE_AND: return (now & v->value) != 0;
    default: return ~(now | v->value) != 0; /* NOR */
    }
}

static bool holds(const struct value *v) { return satisfies(v, atomic_load(v->address)); }

/* Needs the lock. */
static void fail_wait(struct value *wait, const struct hc_outcome *outcome) {
    if (atomic_load(&wait->failed)) return;
    wait->outcome = hc_outcome_copy(outcome);
    atomic_store(&wait->failed, true);
}

/* Needs the lock. */
static void forget_failed_write(const void *address) {
    for (struct failed_write **at = &g_failed_writes; *at != NULL; at = &(*at)->next) {
        struct failed_write *f = *at;
        if (f->address != address) continue;
        *at = f->next;
        hc_outcome_free(&f->outcome);
        free(f);
        return;
    }
}

/* Of a write that is behind a failure, with this thread's text. Called before the number is stored, if it is:
 * a wait that finds the number then finds the failure. Without host memory those that wait already are told.
 */
static void note_failed_write(const struct value *v, aclError code, bool stored) {
    struct hc_outcome outcome = hc_outcome_of(code);
    struct failed_write *f = malloc(sizeof *f);
    pthread_mutex_lock(&g_lock);
    for (struct value *w = g_waits; w != NULL; w = w->next) {
        if (w->address == v->address && satisfies(w, v->value) && !holds(w)) fail_wait(w, &outcome);
    }
    forget_failed_write(v->address);
    if (f != NULL) {
        *f = (struct failed_write){v->address, v->value, stored, outcome, g_failed_writes};
        g_failed_writes = f;
    } else {
        hc_outcome_free(&outcome);
    }
    pthread_mutex_unlock(&g_lock);
}

/* In the order of the launches: a write supersedes the failed one before it, a wait is for the latest. */
static void enter(struct value *v, bool wait) {
    pthread_mutex_lock(&g_lock);
    if (!wait) forget_failed_write(v->address);
    for (struct failed_write *f = g_failed_writes; wait && f != NULL; f = f->next) {
        if (f->address == v->address && satisfies(v, f->value) && (f->stored || !holds(v)))
            fail_wait(v, &f->outcome);
    }
    if (wait) {
        v->next = g_waits;
        g_waits = v;
    }
    pthread_mutex_unlock(&g_lock);
}

/* Sequentially consistent: what the stream wrote before is visible to whoever sees the flag. */
static aclError run_write(void *arg) {
    const struct value *v = arg;
    const aclError failed = hc_stream_failure_since(v->stream, v->past);
    if (failed != 0) note_failed_write(v, failed, true);
    atomic_store(v->address, v->value);
    return ACL_SUCCESS;
}

static void release_write(void *arg) {
    if (hc_dropped() != 0) note_failed_write(arg, hc_dropped(), false);
    free(arg);
}

/* Anyone may write the flag, so it is looked at: closely at first, then every 50 us. */
static aclError run_wait(void *arg) {
    enum { CLOSE_LOOKS = 200 };
    const struct timespec pause = {0, 50000};
    const struct value *v = arg;
    hc_stream_park(true);
    bool aborted = false;
    for (int look = 0; !aborted && !holds(v) && !atomic_load(&v->failed); look++) {
        if (look > CLOSE_LOOKS) nanosleep(&pause, NULL);
        aborted = hc_abort_requested();
    }
    hc_stream_park(false);
    HC_CHECK(!aborted, ACL_ERROR_RT_STREAM_ABORT, "wait value: the stream was aborted");
    return atomic_load(&v->failed) ? hc_outcome_tell(&v->outcome) : ACL_SUCCESS;
}

static void release_wait(void *arg) {
    struct value *v = arg;
    pthread_mutex_lock(&g_lock);
    struct value **at = &g_waits;
    while (*at != v) at = &(*at)->next;
    *at = v->next;
    pthread_mutex_unlock(&g_lock);
    hc_outcome_free(&v->outcome);
    free(v);
}

/* The address is checked when the task is queued and must stay allocated until it has run. */
static aclError launch(const char *function, void *devAddr, uint64_t value, uint32_t flag, aclrtStream stream,
                       bool wait) {
    size_t available = 0;
    HC_CHECK(devAddr != NULL && (uintptr_t)devAddr % sizeof value == 0, ACL_ERROR_RT_ADDR_UNALIGNED,
             "%s: devAddr is %p, must be a multiple of %zu", function, devAddr, sizeof value);
    HC_CHECK(hc_region_span(devAddr, sizeof value, &available) == HC_SPAN_INSIDE, ACL_ERROR_RT_PARAM_INVALID,
             "%s: devAddr %p is not device memory", function, devAddr);
    struct hc_stream *s = hc_stream_find(stream, function);
    if (s == NULL) return hc_error_peek();
    struct value *v = calloc(1, sizeof *v);
    HC_CHECK(v != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "%s: out of host memory", function);
    *v = (struct value){
        .address = devAddr, .value = value, .condition = flag, .stream = s, .past = hc_stream_past(s)};
    enter(v, wait);
    return hc_launch(s, &(struct hc_task){.name = wait ? "wait value" : "write value",
                                          .kind = HC_TASK_CONTROL,
                                          .may_block = wait,
                                          .arg = v,
                                          .run = wait ? run_wait : run_write,
                                          .release = wait ? release_wait : release_write});
}

aclError aclrtValueWrite(void *devAddr, uint64_t value, uint32_t flag, aclrtStream stream) {
    HC_CHECK(flag == 0, ACL_ERROR_RT_PARAM_INVALID, "aclrtValueWrite: flag is %u, must be 0", flag);
    return launch("aclrtValueWrite", devAddr, value, flag, stream, false);
}

aclError aclrtValueWait(void *devAddr, uint64_t value, uint32_t flag, aclrtStream stream) {
    HC_CHECK(flag <= ACL_STREAM_WAIT_VALUE_NOR, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtValueWait: flag is %u, must be 0 (>=), 1 (==), 2 (and) or 3 (nor)", flag);
    return launch("aclrtValueWait", devAddr, value, flag, stream, true);
}

struct prefetch {
    const char *from;
    size_t bytes;
};

/* A line at a time; the CPU drops what it has no room for. */
static aclError run_prefetch(void *arg) {
    const struct prefetch *p = arg;
    for (size_t at = 0; at < p->bytes; at += 64) __builtin_prefetch(p->from + at);
    return ACL_SUCCESS;
}

/* The host's caches are coherent: only prefetching means anything, and of more than a cache's worth nothing
 * is left. */
aclError aclrtCmoAsync(void *src, size_t size, aclrtCmoType cmoType, aclrtStream stream) {
    enum { WORTH_BYTES = 256 << 10 };
    size_t available = 0;
    HC_CHECK(src != NULL && size > 0, ACL_ERROR_RT_PARAM_INVALID, "aclrtCmoAsync: src is %p, size is %zu",
             src, size);
    HC_CHECK((unsigned)cmoType <= ACL_RT_CMO_TYPE_FLUSH, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtCmoAsync: there is no type %d", (int)cmoType);
    HC_CHECK(hc_region_span(src, size, &available) == HC_SPAN_INSIDE, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtCmoAsync: %zu bytes at %p are not device memory", size, src);
    struct hc_stream *s = hc_stream_find(stream, "aclrtCmoAsync");
    if (s == NULL) return hc_error_peek();
    if (cmoType != ACL_RT_CMO_TYPE_PREFETCH) return ACL_SUCCESS;
    struct prefetch *p = malloc(sizeof *p);
    HC_CHECK(p != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "aclrtCmoAsync: out of host memory");
    *p = (struct prefetch){src, hc_min_size(size, WORTH_BYTES)};
    return hc_launch(
        s, &(struct hc_task){
               .name = "prefetch", .kind = HC_TASK_COPY, .arg = p, .run = run_prefetch, .release = free});
}

void hc_value_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    g_waits = NULL;
    g_failed_writes = NULL;
}
