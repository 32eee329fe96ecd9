// SPDX-License-Identifier: Apache-2.0
/* Flags in memory that streams write and wait for, and cache hints. */
#include <stdlib.h>
#include <time.h>

#include "hc_error.h"
#include "hc_memory.h"
#include "hc_stream.h"

/* The address stays the client's; the task holds the number. */
struct value {
    _Atomic(uint64_t) *address;
    uint64_t value;
    uint32_t condition;
};

/* Sequentially consistent: what the stream wrote before is visible to whoever sees the flag. */
static aclError run_write(void *arg) {
    const struct value *v = arg;
    atomic_store(v->address, v->value);
    return ACL_SUCCESS;
}

/* "At least" compares by the signed difference, so that counters may wrap. */
static bool holds(const struct value *v) {
    const uint64_t now = atomic_load(v->address);
    switch (v->condition) {
    case ACL_STREAM_WAIT_VALUE_GEQ: return (int64_t)(now - v->value) >= 0;
    case ACL_STREAM_WAIT_VALUE_EQ: return now == v->value;
    case ACL_STREAM_WAIT_VALUE_AND: return (now & v->value) != 0;
    default: return ~(now | v->value) != 0; /* NOR */
    }
}

/* Anyone may write the flag, so it is looked at: closely at first, then every 50 us. */
static aclError run_wait(void *arg) {
    enum { CLOSE_LOOKS = 200 };
    const struct timespec pause = {0, 50000};
    hc_stream_park(true);
    bool aborted = false;
    for (int look = 0; !aborted && !holds(arg); look++) {
        if (look > CLOSE_LOOKS) nanosleep(&pause, NULL);
        aborted = hc_abort_requested();
    }
    hc_stream_park(false);
    HC_CHECK(!aborted, ACL_ERROR_RT_STREAM_ABORT, "wait value: the stream was aborted");
    return ACL_SUCCESS;
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
    struct value *v = malloc(sizeof *v);
    HC_CHECK(v != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "%s: out of host memory", function);
    *v = (struct value){devAddr, value, flag};
    return hc_launch(s, &(struct hc_task){.name = wait ? "wait value" : "write value",
                                          .kind = HC_TASK_CONTROL,
                                          .may_block = wait,
                                          .arg = v,
                                          .run = wait ? run_wait : run_write,
                                          .release = free});
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
