// SPDX-License-Identifier: Apache-2.0
/* Handles that clients hold as opaque pointers: a freed, foreign or null one is found out, never followed.
 *
 * The objects of one type live in a range of address space that is reserved once and never given back, so
 * looking at any slot of it is safe. A slot is reused as late as possible (first freed, first reused). */
#pragma once
#include <pthread.h>
#include <stdatomic.h>

#include "hc_util.h"

/* First member of every object in a pool. */
struct hc_handle {
    atomic_uint live;
    atomic_uint pins; /* threads that look at the object without owning it */
    uint32_t index;
    struct hc_handle *next_free;
};

struct hc_pool {
    const char *name;            /* "stream": for error texts */
    size_t slot_bytes, capacity; /* slot_bytes is a power of two */
    pthread_mutex_t lock;
    _Atomic(uintptr_t) base;
    atomic_size_t used_bytes;
    struct hc_handle *first_free, *last_free;
    atomic_size_t live;
};
#define HC_POOL(text, bytes, slots)                                                                          \
    {.name = (text), .slot_bytes = (bytes), .capacity = (slots), .lock = PTHREAD_MUTEX_INITIALIZER}

/* A zeroed object (but its handle), not live yet; NULL with a text when the pool is full. */
void *hc_handle_new(struct hc_pool *pool);
/* Clients may use it from now on. */
static inline void hc_handle_publish(struct hc_handle *h) {
    atomic_store_explicit(&h->live, 1, memory_order_release);
}
/* False if another thread has retired it already: the caller that gets true owns the rest of the destruction.
 */
static inline bool hc_handle_retire(struct hc_handle *h) { return atomic_exchange(&h->live, 0) == 1; }
/* Give the slot back; it must not be live. */
void hc_handle_free(struct hc_pool *pool, void *object);

/* Whether `handle` is a live object of the pool. */
static inline bool hc_handle_ok(struct hc_pool *pool, const void *handle) {
    const uintptr_t offset = (uintptr_t)handle - atomic_load_explicit(&pool->base, memory_order_relaxed);
    return HC_LIKELY(offset < atomic_load_explicit(&pool->used_bytes, memory_order_acquire) &&
                     (offset & (pool->slot_bytes - 1)) == 0) &&
           HC_LIKELY(atomic_load_explicit(&((struct hc_handle *)handle)->live, memory_order_acquire) == 1);
}
/* Set the text "function: what is no live stream" and return ACL_ERROR_RT_INVALID_HANDLE, or 107000 for null.
 */
int hc_handle_fail(const struct hc_pool *pool, const void *handle, const char *function);
/* Keep a live object from being freed; false if it is not live (any more). */
static inline bool hc_handle_pin(struct hc_handle *h) {
    atomic_fetch_add(&h->pins, 1);
    if (HC_LIKELY(atomic_load(&h->live) == 1)) return true;
    atomic_fetch_sub(&h->pins, 1);
    return false;
}
static inline void hc_handle_unpin(struct hc_handle *h) { atomic_fetch_sub(&h->pins, 1); }
/* After retiring: wait until nobody but the caller, who holds `own` pins, looks at the object. */
void hc_handle_wait_unpinned(struct hc_handle *h, uint32_t own);
/* Call fn for every live object, pinned meanwhile; fn may retire it. */
void hc_handle_each(struct hc_pool *pool, void (*fn)(void *object, void *ctx), void *ctx);
/* In the child of a fork: forget every object. */
void hc_pool_reset(struct hc_pool *pool);
/* True in a process forked from one that used devices. */
bool hc_was_forked(void);
void hc_set_forked(void);
