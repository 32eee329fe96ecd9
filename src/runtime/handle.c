// SPDX-License-Identifier: Apache-2.0
/* Pools of objects behind opaque handles. A handle is an address within the pool's range, aligned to a
 * slot, whose `live` is 1: three comparisons, no table, no lock (hc_handle_ok). A stale handle is told
 * from its slot's next user only while the slot is unused, hence the late reuse. */
#include "hc_handle.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

#include "acl/acl.h"
#include "hc_error.h"

static atomic_bool g_forked;

bool hc_was_forked(void) { return atomic_load(&g_forked); }
void hc_set_forked(void) { atomic_store(&g_forked, true); }

/* Address space for all slots; a page of it is committed when its first slot is used. */
static bool reserve(struct hc_pool *pool) {
    void *base = mmap(NULL, pool->slot_bytes * pool->capacity, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return false;
#if defined(__SANITIZE_ADDRESS__) /* what only an object points to is no leak */
    __lsan_register_root_region(base, pool->slot_bytes * pool->capacity);
#endif
    atomic_store(&pool->base, (uintptr_t)base);
    return true;
}

/* Needs the lock. A fresh slot while there are fewer than 1024, so that a stale handle is found out for
 * long; then the one that has been free longest. NULL when all are in use. */
static struct hc_handle *take_slot(struct hc_pool *pool) {
    const size_t used = atomic_load(&pool->used_bytes);
    const bool fresh = used < pool->slot_bytes * pool->capacity;
    if (pool->first_free != NULL && (!fresh || used > pool->slot_bytes * 1024)) {
        struct hc_handle *h = pool->first_free;
        pool->first_free = h->next_free;
        if (pool->first_free == NULL) pool->last_free = NULL;
        return h;
    }
    if (!fresh) return NULL;
    struct hc_handle *h = (struct hc_handle *)(atomic_load(&pool->base) + used);
    h->index = (uint32_t)(used / pool->slot_bytes);
    atomic_store(&pool->used_bytes, used + pool->slot_bytes);
    return h;
}

/* Cleared here, not when freed: a late look at a freed object finds what it was. */
void *hc_handle_new(struct hc_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    struct hc_handle *h = atomic_load(&pool->base) != 0 || reserve(pool) ? take_slot(pool) : NULL;
    pthread_mutex_unlock(&pool->lock);
    if (h == NULL) {
        hc_fail(ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "no %s is left: %zu exist", pool->name,
                atomic_load(&pool->live));
        return NULL;
    }
    memset((char *)h + sizeof *h, 0, pool->slot_bytes - sizeof *h);
    atomic_fetch_add(&pool->live, 1);
    return h;
}

/* To the end of the list. */
void hc_handle_free(struct hc_pool *pool, void *object) {
    struct hc_handle *h = object;
    pthread_mutex_lock(&pool->lock);
    h->next_free = NULL;
    if (pool->last_free != NULL) pool->last_free->next_free = h;
    else pool->first_free = h;
    pool->last_free = h;
    pthread_mutex_unlock(&pool->lock);
    atomic_fetch_sub(&pool->live, 1);
}

/* Null is a forgotten argument, anything else a lifetime error; after a fork both have the same cause,
 * which the text then names. */
int hc_handle_fail(const struct hc_pool *pool, const void *handle, const char *function) {
    const char *hint =
        hc_was_forked() ? "; this process was forked after NPUs were in use: use the spawn start method" : "";
    if (handle == NULL)
        return hc_fail(ACL_ERROR_RT_PARAM_INVALID, "%s: %s is null%s", function, pool->name, hint);
    return hc_fail(ACL_ERROR_RT_INVALID_HANDLE, "%s: %p is no live %s (destroyed, or never one)%s", function,
                   handle, pool->name, hint);
}

/* Pins are held for a walk over the pool, so this is rare and short. */
void hc_handle_wait_unpinned(struct hc_handle *h, uint32_t own) {
    const struct timespec pause = {0, 20000};
    while (atomic_load(&h->pins) > own) nanosleep(&pause, NULL);
}

/* No lock is held while fn runs, so that fn may create and destroy objects. Those created meanwhile may
 * be missed. */
void hc_handle_each(struct hc_pool *pool, void (*fn)(void *object, void *ctx), void *ctx) {
    const uintptr_t base = atomic_load(&pool->base);
    const size_t used = atomic_load(&pool->used_bytes);
    for (size_t at = 0; at < used; at += pool->slot_bytes) {
        struct hc_handle *h = (struct hc_handle *)(base + at);
        if (atomic_load(&h->live) != 1 || !hc_handle_pin(h)) continue;
        fn(h, ctx);
        hc_handle_unpin(h);
    }
}

/* The old range stays mapped: old handles point into it, and comparing with the new base refuses them. */
void hc_pool_reset(struct hc_pool *pool) {
    pthread_mutex_init(&pool->lock, NULL);
    atomic_store(&pool->used_bytes, 0);
    atomic_store(&pool->base, 0);
    atomic_store(&pool->live, 0);
    pool->first_free = pool->last_free = NULL;
}
