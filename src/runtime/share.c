// SPDX-License-Identifier: Apache-2.0
/* Moving device memory to where other processes can map it.
 *
 * Ordinary allocations are private pages, which are faster (huge pages, no page cache). The first time one is
 * shared it moves, at its address, into the device's heap (heap.c). Who uses it notices nothing: streams are
 * paused and synchronous copies held while the pages are copied. */
#include "hc_share.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hc_error.h"
#include "hc_heap.h"
#include "hc_memory.h"
#include "hc_stream.h"
#include "hc_vmm.h"

enum { PAUSE_MS = 60000 };

/* Guards the moving: two threads must not move one allocation. */
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;

/* Importers that still map it see zeros from now on. */
void hc_share_drop(void *share) {
    struct hc_share *s = share;
    hc_heap_give(s->heap, s->unit, s->bytes);
    free(s);
}

/* Copy the pages that hold something: reading a page that was never touched does not commit it, writing
 * would. */
static void copy_pages(char *to, const char *from, size_t bytes) {
    static const char ZEROS[HC_PAGE];
    for (size_t at = 0; at < bytes; at += HC_PAGE) {
        if (memcmp(from + at, ZEROS, HC_PAGE) != 0) memcpy(to + at, from + at, HC_PAGE);
    }
}

/* The same addresses show the same bytes before and after; nobody looks in between, see promote. */
static int move_to_heap(const struct hc_region *r, struct hc_share *s, const char *caller) {
    char *copy = hc_heap_map(s->heap, s->unit, 0, r->mapped, NULL);
    HC_CHECK(copy != NULL, ACL_ERROR_RT_IPC_ERROR, "%s: the host has no address space", caller);
    copy_pages(copy, (const char *)r->begin, r->mapped);
    munmap(copy, r->mapped);
    HC_CHECK(hc_heap_map(s->heap, s->unit, 0, r->mapped, (void *)r->begin) != NULL, ACL_ERROR_RT_IPC_ERROR,
             "%s: cannot map shared memory", caller);
    hc_region_set_owner((void *)r->begin, s);
    return ACL_SUCCESS;
}

/* For hc_handle_each. */
static void pause_one(void *object, void *ok) {
    if (!hc_stream_pause(object, PAUSE_MS)) *(bool *)ok = false;
}
static void resume_one(void *object, void *ctx) {
    (void)ctx;
    hc_stream_resume(object);
}

/* Needs the lock. Stops what could write the memory while it moves: streams by pausing them, synchronous
 * copies by the gate. A stream that does not pause in a minute makes this fail, with everything as it was. */
static int promote(const struct hc_region *r, const char *caller, struct hc_share **out) {
    struct hc_heap *heap = hc_heap_own(r->device);
    if (heap == NULL) return hc_error_peek();
    struct hc_share *s = malloc(sizeof *s);
    HC_CHECK(s != NULL, ACL_ERROR_RT_MEMORY_ALLOCATION, "%s: out of host memory", caller);
    *s = (struct hc_share){heap, 0, r->mapped};
    if (!hc_heap_take(heap, r->mapped, &s->unit)) {
        free(s);
        return hc_fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "%s: no %zu bytes of shareable memory in a row",
                       caller, r->mapped);
    }
    bool still = true;
    hc_copy_gate_close();
    hc_handle_each(&hc_stream_pool, pause_one, &still);
    const int code = still ? move_to_heap(r, s, caller)
                           : hc_fail(ACL_ERROR_RT_IPC_ERROR,
                                     "%s: a stream is busy for more than %d s, memory cannot be moved",
                                     caller, PAUSE_MS / 1000);
    hc_handle_each(&hc_stream_pool, resume_one, NULL);
    hc_copy_gate_open();
    if (code != 0) hc_share_drop(s);
    else *out = s;
    return code;
}

/* Looked up again under the lock: another thread may have moved the allocation meanwhile. */
int hc_share_region(const struct hc_region *region, const char *caller, struct hc_share **share) {
    struct hc_region r;
    pthread_mutex_lock(&g_lock);
    int code = ACL_SUCCESS;
    if (!hc_region_find((const void *)region->begin, &r) || r.kind != HC_REGION_DEVICE) {
        code =
            hc_fail(ACL_ERROR_RT_PARAM_INVALID, "%s: %p was freed meanwhile", caller, (void *)region->begin);
    } else if (r.owner != NULL) {
        *share = r.owner;
    } else {
        code = promote(&r, caller, share);
    }
    pthread_mutex_unlock(&g_lock);
    return code;
}

/* The heap and unit behind a region; a NULL heap where it cannot be shared. */
static int piece_of(const struct hc_region *r, int32_t device, const char *caller, struct hc_heap **heap,
                    uint32_t *unit) {
    *heap = NULL;
    if (r->device == NULL || r->device->id != device) return ACL_SUCCESS;
    if (r->kind == HC_REGION_MAPPED) {
        const struct hc_physical *p = r->owner;
        if (p->imported) return ACL_SUCCESS;
        *heap = p->heap;
        *unit = p->unit;
    } else if (r->kind == HC_REGION_DEVICE) {
        struct hc_share *s = r->owner;
        if (s == NULL) HC_TRY(hc_share_region(r, caller, &s));
        *heap = s->heap;
        *unit = s->unit;
    }
    return ACL_SUCCESS;
}

/* *count stays 0 where any byte is not shared memory of the device, or lies in more pieces than `max`;
 * neighbours are joined, so a plain buffer is one. */
int hc_share_locate(int32_t device, const void *address, size_t bytes, const char *caller,
                    struct hc_share_span *spans, size_t max, size_t *count) {
    uintptr_t at = (uintptr_t)address;
    const uintptr_t end = at + bytes;
    size_t found = 0;
    *count = 0;
    while (at < end) {
        struct hc_region r;
        struct hc_heap *heap;
        uint32_t unit = 0;
        if (!hc_region_find((const void *)at, &r)) return ACL_SUCCESS;
        HC_TRY(piece_of(&r, device, caller, &heap, &unit));
        if (heap == NULL) return ACL_SUCCESS;
        const size_t inside = at - r.begin, length = hc_min_size(r.bytes - inside, end - at);
        const uint64_t offset = (uint64_t)unit * heap->unit + inside;
        if (length == 0) return ACL_SUCCESS;
        if (found > 0 && spans[found - 1].offset + spans[found - 1].bytes == offset) {
            spans[found - 1].bytes += length;
        } else {
            if (found == max) return ACL_SUCCESS;
            spans[found++] = (struct hc_share_span){offset, length};
        }
        at += length;
    }
    *count = found;
    return ACL_SUCCESS;
}

int hc_share_file(int32_t device) {
    const struct hc_device *d = hc_device_get(device);
    const struct hc_heap *heap = d != NULL ? hc_heap_own(d) : NULL;
    return heap != NULL ? heap->file : -1;
}

void hc_share_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    hc_peer_heap_after_fork();
}
