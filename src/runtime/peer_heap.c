// SPDX-License-Identifier: Apache-2.0
/* Heaps of other processes, mapped whole.
 *
 * A heap is a sparse file, so mapping all of it costs address space and nothing else, and an offset in it is
 * an address here: no mapping has to be made, found or dropped for a single buffer. Only a buffer whose
 * pieces lie apart (expandable segments) needs a mapping of its own. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hc_checked.h"
#include "hc_error.h"
#include "hc_heap.h"
#include "hc_memory.h"
#include "hc_share.h"

/* Per heap. A buffer at another offset is another view, and a process may have some 65000 mappings in all. */
enum { MAX_VIEWS = 64 };

/* Pieces of a heap that lie apart, mapped side by side. The list of a heap begins with the latest used. */
struct view {
    struct view *next;
    char *address;
    size_t bytes, count;
    uint32_t users; /* threads that got it and have not released it */
    struct hc_share_span spans[];
};

struct hc_peer_heap {
    struct hc_peer_heap *next;
    struct hc_heap *heap;
    char *data;
    size_t bytes;
    uint32_t references;
    struct view *views;
    size_t num_views;
};

/* What this thread got since its last release. */
struct hold {
    struct hold *next;
    struct view *view;
};
static _Thread_local struct hold *g_holds;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hc_peer_heap *g_heaps;

/* Needs the lock. Takes over the reference to `heap`. */
static struct hc_peer_heap *map_whole(struct hc_heap *heap, const char *caller) {
    struct hc_peer_heap *p = calloc(1, sizeof *p);
    const size_t bytes = heap->unit * heap->units;
    char *data = p != NULL ? hc_heap_map(heap, 0, 0, bytes, NULL) : NULL;
    if (data == NULL) {
        hc_fail(ACL_ERROR_RT_MEMORY_ALLOCATION,
                "%s: the host has no address space for the %zu bytes of device %d of process %d", caller,
                bytes, heap->device, heap->owner_pid);
        hc_heap_close(heap);
        free(p);
        return NULL;
    }
    madvise(data, bytes, MADV_DONTDUMP);
    *p = (struct hc_peer_heap){.next = g_heaps, .heap = heap, .data = data, .bytes = bytes};
    g_heaps = p;
    return p;
}

struct hc_peer_heap *hc_peer_heap_open(int32_t pid, int file, const char *caller) {
    struct hc_heap *heap = hc_heap_open(pid, file, caller);
    if (heap == NULL) return NULL;
    pthread_mutex_lock(&g_lock);
    struct hc_peer_heap *p = g_heaps;
    while (p != NULL && p->heap != heap) p = p->next;
    if (p != NULL) hc_heap_close(heap); /* one reference is enough */
    else p = map_whole(heap, caller);
    if (p != NULL) p->references++;
    pthread_mutex_unlock(&g_lock);
    return p;
}

/* Buffers in several pieces, mapped once more side by side. */
static void free_views(struct view *v) {
    while (v != NULL) {
        struct view *next = v->next;
        munmap(v->address, v->bytes);
        free(v);
        v = next;
    }
}

void hc_peer_heap_close(struct hc_peer_heap *p) {
    if (p == NULL) return;
    pthread_mutex_lock(&g_lock);
    if (--p->references == 0) {
        struct hc_peer_heap **at = &g_heaps;
        while (*at != p) at = &(*at)->next;
        *at = p->next;
        free_views(p->views);
        munmap(p->data, p->bytes);
        hc_heap_close(p->heap);
        free(p);
    }
    pthread_mutex_unlock(&g_lock);
}

static bool same_spans(const struct view *v, const struct hc_share_span *spans, size_t count) {
    return v->count == count && memcmp(v->spans, spans, count * sizeof *spans) == 0;
}

/* Pages of a file can be mapped at page boundaries only. The first span may begin and the last one end
 * anywhere; seams between are where allocations meet, which are pages. */
static bool seams_are_pages(const struct hc_share_span *spans, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && spans[i].offset % HC_PAGE != 0) return false;
        if (i + 1 < count && (spans[i].offset + spans[i].bytes) % HC_PAGE != 0) return false;
    }
    return true;
}

/* Needs the lock. */
static struct view *make_view(struct hc_peer_heap *p, const struct hc_share_span *spans, size_t count) {
    struct view *v = malloc(sizeof *v + count * sizeof *spans);
    if (v == NULL || !seams_are_pages(spans, count)) {
        free(v);
        return NULL;
    }
    const size_t skew = spans[0].offset % HC_PAGE;
    *v = (struct view){.bytes = skew, .count = count};
    for (size_t i = 0; i < count; i++) v->bytes += spans[i].bytes;
    v->bytes = hc_align_up(v->bytes, HC_PAGE);
    v->address = hc_pages_map(v->bytes, HC_PAGE);
    char *at = v->address;
    for (size_t i = 0; v->address != NULL && i < count; i++) {
        const size_t before = i == 0 ? skew : 0, length = hc_align_up(before + spans[i].bytes, HC_PAGE);
        if (hc_heap_map(p->heap, 0, spans[i].offset - before, length, at) == NULL) {
            munmap(v->address, v->bytes);
            v->address = NULL;
        }
        at += length;
    }
    if (v->address == NULL) {
        free(v);
        return NULL;
    }
    memcpy(v->spans, spans, count * sizeof *spans);
    v->next = p->views;
    p->views = v;
    p->num_views++;
    return v;
}

/* Needs the lock. Make room for one more: the view that was not used for longest and is not in use. */
static void drop_oldest(struct hc_peer_heap *p) {
    struct view **oldest = NULL;
    if (p->num_views < MAX_VIEWS) return;
    for (struct view **at = &p->views; *at != NULL; at = &(*at)->next)
        if ((*at)->users == 0) oldest = at;
    if (oldest == NULL) return;
    struct view *v = *oldest;
    *oldest = v->next;
    v->next = NULL;
    p->num_views--;
    free_views(v);
}

/* Needs the lock. The view of these spans, at the head of the list and held by this thread. */
static struct view *hold_view(struct hc_peer_heap *p, const struct hc_share_span *spans, size_t count) {
    struct hold *hold = malloc(sizeof *hold);
    struct view **at = &p->views;
    while (hold != NULL && *at != NULL && !same_spans(*at, spans, count)) at = &(*at)->next;
    struct view *v = hold != NULL ? *at : NULL;
    if (v != NULL) {
        *at = v->next;
        v->next = p->views;
        p->views = v;
    } else if (hold != NULL) {
        drop_oldest(p);
        v = make_view(p, spans, count);
    }
    if (v == NULL) {
        free(hold);
        return NULL;
    }
    v->users++;
    *hold = (struct hold){g_holds, v};
    g_holds = hold;
    return v;
}

void hc_peer_heap_release(void) {
    if (HC_LIKELY(g_holds == NULL)) return;
    pthread_mutex_lock(&g_lock);
    while (g_holds != NULL) {
        struct hold *next = g_holds->next;
        g_holds->view->users--;
        free(g_holds);
        g_holds = next;
    }
    pthread_mutex_unlock(&g_lock);
}

/* The numbers come from another process. */
static bool inside(const struct hc_peer_heap *p, const struct hc_share_span *spans, size_t count,
                   size_t bytes) {
    size_t have = 0;
    for (size_t i = 0; i < count; i++) {
        if (!hc_span_inside(spans[i].offset, spans[i].bytes, p->bytes)) return false;
        have = hc_add_saturated(have, spans[i].bytes);
    }
    return count > 0 && bytes <= have;
}

/* One piece lies in the mapping of the whole heap. Several are mapped once more, in a row; the thread holds
 * that view until hc_peer_heap_release(). */
void *hc_peer_heap_at(struct hc_peer_heap *p, const struct hc_share_span *spans, size_t count, size_t bytes) {
    if (!inside(p, spans, count, bytes)) {
        hc_fail(ACL_ERROR_RT_IPC_ERROR,
                "a buffer of process %d, of which %zu bytes are wanted, lies outside of its memory",
                p->heap->owner_pid, bytes);
        return NULL;
    }
    if (count == 1) return p->data + spans[0].offset;
    pthread_mutex_lock(&g_lock);
    const struct view *v = hold_view(p, spans, count);
    pthread_mutex_unlock(&g_lock);
    if (v == NULL) {
        hc_fail(ACL_ERROR_RT_IPC_ERROR, "cannot map a buffer of process %d in %zu pieces", p->heap->owner_pid,
                count);
        return NULL;
    }
    return v->address + spans[0].offset % HC_PAGE;
}

/* The mappings are not in the child (MADV_DONTFORK). */
void hc_peer_heap_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    g_holds = NULL;
    while (g_heaps != NULL) {
        struct hc_peer_heap *next = g_heaps->next;
        free(g_heaps);
        g_heaps = next;
    }
}
