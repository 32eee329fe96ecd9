// SPDX-License-Identifier: Apache-2.0
/* Tiles that a thread has loaded, kept while it works on one head: forward's keys and values for all blocks
 * of queries, backward's queries and gradients for all blocks of keys. In the tensors the rows of a head lie
 * a power of two apart (all heads between them), where they push each other out of every cache; here they are
 * dense. */
#pragma once
#include "op.h"

/* Slots at most, and bytes: half a second-level cache of usual size would be best, but the third's are still
 * cheaper than rows far apart. A head of more tiles than fit is loaded again for each block. */
enum { ATTN_CACHE_SLOTS = 64, ATTN_CACHE_BYTES = 4 << 20 };

struct attn_cache {
    float *memory;
    size_t slots, size;             /* size: floats of a slot */
    uint64_t tag[ATTN_CACHE_SLOTS]; /* what a slot holds; 0: nothing */
};

/* Slots for a head of `tiles` tiles of `size` floats. The caller gives slots * size floats of memory. */
static inline size_t attn_cache_slots(size_t tiles, size_t size) {
    const size_t fit = hc_min_size(ATTN_CACHE_BYTES / sizeof(float) / size, ATTN_CACHE_SLOTS);
    return tiles > fit ? 1 : hc_max_size(tiles, 1);
}

/* The memory of tile number `tile` of `head`, a number that no other head of the operator has. *fresh: it
 * holds something else and is to be filled. It stays until another tile is asked for that needs the slot. */
static inline float *attn_cache_slot(struct attn_cache *cache, size_t head, size_t tile, bool *fresh) {
    const size_t slot = tile % cache->slots;
    const uint64_t tag = ((uint64_t)head << 32 | tile) + 1;
    *fresh = cache->tag[slot] != tag;
    cache->tag[slot] = tag;
    return cache->memory + slot * cache->size;
}
