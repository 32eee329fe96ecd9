// SPDX-License-Identifier: Apache-2.0
/* Copies and fills, checked before they start: the destination's stated size, and the bounds of memory the
 * runtime knows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_checked.h"
#include "hc_copy.h"
#include "hc_error.h"
#include "hc_launch.h"
#include "hc_memory.h"
#include "hc_stream.h"

/* A transfer of so many bytes takes 100 us and more; to wake a worker takes 10. */
#define LONG_TRANSFER ((size_t)1 << 20)

struct copy {
    void *dst;
    const void *src; /* NULL: fill with `value` */
    size_t count;
    int value;
};

/* Which side of a copy the kind says is on a device; ACL_MEMCPY_DEFAULT says nothing. */
static bool device_side(aclrtMemcpyKind kind, bool dst) {
    switch (kind) {
    case ACL_MEMCPY_HOST_TO_DEVICE:
    case ACL_MEMCPY_HOST_TO_BUF_TO_DEVICE: return dst;
    case ACL_MEMCPY_DEVICE_TO_HOST: return !dst;
    case ACL_MEMCPY_DEVICE_TO_DEVICE:
    case ACL_MEMCPY_INNER_DEVICE_TO_DEVICE:
    case ACL_MEMCPY_INTER_DEVICE_TO_DEVICE: return true;
    default: return false;
    }
}

/* A host pointer that the runtime does not know cannot be checked; a device pointer it does not know is
 * wrong. */
static aclError check_range(const char *function, const char *what, const void *p, size_t count,
                            bool device) {
    size_t available = 0;
    switch (hc_region_span(p, count, &available)) {
    case HC_SPAN_INSIDE: return ACL_SUCCESS;
    case HC_SPAN_BEYOND:
        return hc_fail(ACL_ERROR_RT_PARAM_INVALID,
                       "%s: %s at %p has %zu bytes left in its allocation, the copy needs %zu", function,
                       what, p, available, count);
    default:
        HC_CHECK(!device, ACL_ERROR_RT_PARAM_INVALID,
                 "%s: %s %p is not device memory (never allocated, or freed)", function, what, p);
        HC_CHECK(hc_memory_possible(p, count), ACL_ERROR_RT_PARAM_INVALID,
                 "%s: %s, %zu bytes at %p, ends behind the address space", function, what, count, p);
        return ACL_SUCCESS;
    }
}

/* Before anything is queued, so the error comes from the call that made it. */
aclError hc_copy_check(const char *function, const void *dst, size_t destMax, const void *src, size_t count,
                       aclrtMemcpyKind kind) {
    HC_CHECK((int)kind >= ACL_MEMCPY_HOST_TO_HOST && kind <= ACL_MEMCPY_INTER_DEVICE_TO_DEVICE,
             ACL_ERROR_RT_PARAM_INVALID, "%s: there is no kind %d", function, (int)kind);
    HC_CHECK(count <= destMax, ACL_ERROR_RT_PARAM_INVALID, "%s: count %zu is more than destMax %zu", function,
             count, destMax);
    if (count == 0) return ACL_SUCCESS;
    HC_CHECK(dst != NULL && src != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: %s is null", function,
             dst == NULL ? "dst" : "src");
    HC_TRY(check_range(function, "dst", dst, count, device_side(kind, true)));
    return check_range(function, "src", src, count, device_side(kind, false));
}

/* One thread: the copy competes with operators for the memory bus, not for cores. */
static aclError run_copy(void *arg) {
    const struct copy *c = arg;
    if (c->src == NULL) memset(c->dst, c->value, c->count);
    else memmove(c->dst, c->src, c->count); /* the interface does not forbid overlap */
    return ACL_SUCCESS;
}

/* A copy reads and writes each byte, a fill only writes. */
static void describe_copy(const void *arg, struct hc_task_info *info) {
    const struct copy *c = arg;
    info->bytes = c->src != NULL ? 2 * (uint64_t)c->count : c->count;
    snprintf(info->shapes, sizeof info->shapes, "uint8[%zu]", c->count);
}

static void visit_copy(const void *arg, hc_visit_fn *visit, void *ctx) {
    const struct copy *c = arg;
    visit(ctx, c->dst, c->count, true);
    if (c->src != NULL) visit(ctx, c->src, c->count, false);
}

/* By direction, so that the trace tells transfers from moves. */
static const char *copy_name(aclrtMemcpyKind kind) {
    static const char *const NAMES[] = {
        "memcpy host-host", "memcpy host-device", "memcpy device-host",   "memcpy device-device",
        "memcpy",           "memcpy host-device", "memcpy device-device", "memcpy device-peer"};
    return NAMES[kind];
}

/* Inside the gate: memory must not move under a copy that no stream knows. */
static aclError run_now(const char *name, struct copy *copy) {
    hc_copy_gate_enter();
    const aclError code = hc_run_unordered(&(struct hc_task){.name = name,
                                                             .kind = HC_TASK_COPY,
                                                             .arg = copy,
                                                             .run = run_copy,
                                                             .describe = describe_copy,
                                                             .visit = visit_copy});
    hc_copy_gate_leave();
    return code;
}

/* Long transfers run beside the caller, as on hardware, where an engine of its own makes them: who swaps
 * tensors counts on it. Not from or to host memory that is not the runtime's: its owner may free it as soon
 * as the call is over, counting on the copy of pageable memory that drivers make. */
static bool runs_beside(const struct copy *copy, aclrtMemcpyKind kind) {
    if (copy->count < LONG_TRANSFER) return false;
    if (kind != ACL_MEMCPY_HOST_TO_DEVICE && kind != ACL_MEMCPY_DEVICE_TO_HOST) return false;
    size_t left = 0;
    return hc_region_span(copy->src, copy->count, &left) == HC_SPAN_INSIDE &&
           hc_region_span(copy->dst, copy->count, &left) == HC_SPAN_INSIDE;
}

/* Queued tasks outlive the caller's stack. */
static aclError enqueue(const char *name, const struct copy *copy, bool beside, aclrtStream stream) {
    struct copy *own = malloc(sizeof *own);
    HC_CHECK(own != NULL, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "%s: out of host memory", name);
    *own = *copy;
    return hc_launch(stream, &(struct hc_task){.name = name,
                                               .kind = HC_TASK_COPY,
                                               .may_block = beside,
                                               .arg = own,
                                               .run = run_copy,
                                               .release = free,
                                               .describe = describe_copy,
                                               .visit = visit_copy});
}

aclError hc_copy_enqueue(void *dst, const void *src, size_t count, aclrtMemcpyKind kind, aclrtStream stream) {
    const struct copy copy = {dst, src, count, 0};
    return enqueue(copy_name(kind), &copy, runs_beside(&copy, kind), stream);
}

aclError hc_copy_now(void *dst, const void *src, size_t count, aclrtMemcpyKind kind) {
    return count > 0 ? run_now(copy_name(kind), &(struct copy){dst, src, count, 0}) : ACL_SUCCESS;
}

/* Synchronous and in no stream's order: the client synchronises first, as with the hardware. Right behind a
 * synchronise that failed the copy fails with the same text, as what it should copy is not there: torch_npu
 * looks at the copy first, and of the synchronise alone it would tell the code only. */
aclError aclrtMemcpy(void *dst, size_t destMax, const void *src, size_t count, aclrtMemcpyKind kind) {
    HC_TRY(hc_synchronize_failed());
    HC_TRY(hc_copy_check("aclrtMemcpy", dst, destMax, src, count, kind));
    return hc_copy_now(dst, src, count, kind);
}

static aclError copy_async(const char *function, void *dst, size_t destMax, const void *src, size_t count,
                           aclrtMemcpyKind kind, aclrtStream stream) {
    HC_TRY(hc_copy_check(function, dst, destMax, src, count, kind));
    return hc_copy_enqueue(dst, count > 0 ? src : dst, count, kind, stream);
}

/* On an idle stream a copy that is no long transfer is done on return; otherwise source and destination must
 * stay until the stream is synchronised. */
aclError aclrtMemcpyAsync(void *dst, size_t destMax, const void *src, size_t count, aclrtMemcpyKind kind,
                          aclrtStream stream) {
    return copy_async("aclrtMemcpyAsync", dst, destMax, src, count, kind, stream);
}

/* The condition is the hardware's: with pageable host memory the copy may become synchronous. Never needed
 * here. */
aclError aclrtMemcpyAsyncWithCondition(void *dst, size_t destMax, const void *src, size_t count,
                                       aclrtMemcpyKind kind, aclrtStream stream) {
    return copy_async("aclrtMemcpyAsyncWithCondition", dst, destMax, src, count, kind, stream);
}

/* Host memory may be filled too, if it lies within what is known. */
static aclError check_fill(const char *function, const void *devPtr, size_t maxCount, size_t count) {
    HC_CHECK(count <= maxCount, ACL_ERROR_RT_PARAM_INVALID, "%s: count %zu is more than maxCount %zu",
             function, count, maxCount);
    if (count == 0) return ACL_SUCCESS;
    HC_CHECK(devPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: devPtr is null", function);
    return check_range(function, "devPtr", devPtr, count, false);
}

aclError aclrtMemset(void *devPtr, size_t maxCount, int32_t value, size_t count) {
    HC_TRY(check_fill("aclrtMemset", devPtr, maxCount, count));
    return count > 0 ? run_now("memset", &(struct copy){devPtr, NULL, count, value}) : ACL_SUCCESS;
}

aclError aclrtMemsetAsync(void *devPtr, size_t maxCount, int32_t value, size_t count, aclrtStream stream) {
    HC_TRY(check_fill("aclrtMemsetAsync", devPtr, maxCount, count));
    return enqueue("memset", &(struct copy){devPtr, NULL, count, value}, false, stream);
}
