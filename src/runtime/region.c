// SPDX-License-Identifier: Apache-2.0
/* The table of known memory: an array sorted by address, looked up by bisection. Allocations are rare
 * (frameworks cache), look-ups frequent: each copy asks for both ends. Readers share the lock. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hc_checked.h"
#include "hc_memory.h"

static pthread_rwlock_t g_lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_rwlock_t g_copy_gate = PTHREAD_RWLOCK_INITIALIZER;
static struct hc_region *g_regions;
static size_t g_count, g_room;

/* Copies pass the gate as readers; whoever replaces the pages behind an address (ipc.c) closes it, so
 * that no copy writes to pages that are being left. */
void hc_copy_gate_enter(void) { pthread_rwlock_rdlock(&g_copy_gate); }
void hc_copy_gate_leave(void) { pthread_rwlock_unlock(&g_copy_gate); }
void hc_copy_gate_close(void) { pthread_rwlock_wrlock(&g_copy_gate); }
void hc_copy_gate_open(void) { pthread_rwlock_unlock(&g_copy_gate); }

/* Index of the first region that begins above `address`. */
static size_t above(uintptr_t address) {
    size_t low = 0, high = g_count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (g_regions[middle].begin <= address) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The end belongs to the next region, but an empty region holds its own begin. */
static struct hc_region *holding(uintptr_t address) {
    const size_t at = above(address);
    if (at == 0) return NULL;
    struct hc_region *r = &g_regions[at - 1];
    return address - r->begin < r->bytes || address == r->begin ? r : NULL;
}

/* Needs the write lock. */
static bool grow(void) {
    if (g_count < g_room) return true;
    const size_t room = g_room > 0 ? g_room * 2 : 256;
    struct hc_region *regions = realloc(g_regions, room * sizeof *regions);
    if (regions == NULL) return false;
    g_regions = regions;
    g_room = room;
    return true;
}

/* Two regions never overlap: an address belongs to one allocation. None reaches the end of the address space,
 * so `begin + bytes` of what is in the table does not overflow. */
bool hc_region_add(const struct hc_region *region) {
    if (!hc_memory_possible((const void *)region->begin, region->bytes)) return false;
    pthread_rwlock_wrlock(&g_lock);
    const size_t at = above(region->begin);
    const bool free_below = at == 0 || g_regions[at - 1].begin + g_regions[at - 1].bytes <= region->begin;
    const bool free_above = at == g_count || region->begin + region->bytes <= g_regions[at].begin;
    const bool added = free_below && free_above && grow();
    if (added) {
        memmove(g_regions + at + 1, g_regions + at, (g_count - at) * sizeof *g_regions);
        g_regions[at] = *region;
        g_count++;
    }
    pthread_rwlock_unlock(&g_lock);
    return added;
}

/* By value: the table may move as soon as the lock is gone. */
bool hc_region_find(const void *address, struct hc_region *out) {
    pthread_rwlock_rdlock(&g_lock);
    const struct hc_region *r = holding((uintptr_t)address);
    if (r != NULL) *out = *r;
    pthread_rwlock_unlock(&g_lock);
    return r != NULL;
}

/* The caller that gets true is the only one that frees, however many try. */
bool hc_region_take(const void *address, enum hc_region_kind kind, struct hc_region *out) {
    pthread_rwlock_wrlock(&g_lock);
    struct hc_region *r = holding((uintptr_t)address);
    const bool found = r != NULL && r->begin == (uintptr_t)address && r->kind == kind;
    if (found) {
        *out = *r;
        const size_t at = (size_t)(r - g_regions);
        memmove(r, r + 1, (g_count - at - 1) * sizeof *r);
        g_count--;
    }
    pthread_rwlock_unlock(&g_lock);
    return found;
}

/* Only by the address that an allocation began with: false for one inside. */
bool hc_region_set_owner(const void *address, void *owner) {
    pthread_rwlock_wrlock(&g_lock);
    struct hc_region *r = holding((uintptr_t)address);
    const bool found = r != NULL && r->begin == (uintptr_t)address;
    if (found) r->owner = owner;
    pthread_rwlock_unlock(&g_lock);
    return found;
}

/* For walks: the table may change between two calls. */
bool hc_region_next(uintptr_t address, uintptr_t end, struct hc_region *out) {
    pthread_rwlock_rdlock(&g_lock);
    const size_t at = address > 0 ? above(address - 1) : 0;
    const bool found = at < g_count && g_regions[at].begin < end;
    if (found) *out = g_regions[at];
    pthread_rwlock_unlock(&g_lock);
    return found;
}

/* A tensor may cross the seam between two mapped pieces, so neighbours are followed. */
enum hc_span hc_region_span(const void *address, size_t bytes, size_t *available) {
    const uintptr_t begin = (uintptr_t)address;
    enum hc_span span = HC_SPAN_UNKNOWN;
    pthread_rwlock_rdlock(&g_lock);
    const struct hc_region *r = holding(begin);
    if (r != NULL) {
        uintptr_t end = r->begin + r->bytes;
        while (end - begin < bytes && ++r < g_regions + g_count && r->begin == end) end += r->bytes;
        *available = end - begin;
        span = *available >= bytes ? HC_SPAN_INSIDE : HC_SPAN_BEYOND;
    }
    pthread_rwlock_unlock(&g_lock);
    return span;
}

const char *hc_region_kind_name(enum hc_region_kind kind) {
    static const char *const NAMES[] = {"device memory", "pinned host memory", "registered host memory",
                                        "mapped device memory", "imported device memory"};
    return (size_t)kind < HC_ARRAY_SIZE(NAMES) ? NAMES[kind] : "unknown memory";
}

/* The alignment comes from asking for more address space than needed and giving back both ends. */
void *hc_pages_map(size_t bytes, size_t alignment) {
    const size_t extra = alignment > HC_PAGE ? alignment : 0;
    char *p =
        mmap(NULL, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return NULL;
    char *aligned = (char *)hc_align_up((uintptr_t)p, hc_max_size(alignment, HC_PAGE));
    if (aligned > p) munmap(p, (size_t)(aligned - p));
    const size_t tail = (size_t)(p + bytes + extra - (aligned + bytes));
    if (tail > 0) munmap(aligned + bytes, tail);
    return aligned;
}

void hc_pages_unmap(void *address, size_t bytes) { munmap(address, bytes); }

/* Device memory is not in the child at all (MADV_DONTFORK), so neither is what the table says of it. */
void hc_region_after_fork(void) {
    pthread_rwlock_init(&g_lock, NULL);
    pthread_rwlock_init(&g_copy_gate, NULL);
    size_t kept = 0;
    for (size_t i = 0; i < g_count; i++) {
        if (g_regions[i].device == NULL) g_regions[kept++] = g_regions[i];
    }
    g_count = kept;
}
