// SPDX-License-Identifier: Apache-2.0
/* Scratch memory per thread. Slots grow by half at least: packing buffers are asked for by every operator,
 * and in sizes that creep up during a first step. Blocks are for what is as large as a tensor: malloc would
 * map such memory anew for every call, and the page faults cost several times the copy that goes into it. A
 * thread's memory is freed by the destructor of a pthread key, as _Thread_local alone has none in C. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "hc_checked.h"
#include "hc_error.h"
#include "hc_parallel.h"

enum { HUGE_PAGE = 2 << 20, LARGE = HUGE_PAGE / 2 };
enum {
    KEPT_LEAST = 64 << 10, /* below this malloc keeps memory itself */
    KEPT_BLOCKS = 8,
#ifdef __SANITIZE_ADDRESS__ /* a block that is kept would hide who uses it too late */
    KEPT_MOST = 0,
#else
    KEPT_MOST = 64 << 20, /* of a thread, all blocks together */
#endif
};

/* Before the memory of a block. */
struct block {
    _Alignas(64) size_t bytes; /* behind it */
};

struct scratch {
    void *memory[HC_SCRATCH_SLOTS];
    size_t bytes[HC_SCRATCH_SLOTS];
    struct block *kept[KEPT_BLOCKS]; /* the oldest first */
    size_t num_kept, kept_bytes;
};
static _Thread_local struct scratch *g_scratch;
static pthread_key_t g_key;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

/* When the thread ends. */
static void destroy(void *arg) {
    struct scratch *s = arg;
    for (int i = 0; i < HC_SCRATCH_SLOTS; i++) free(s->memory[i]);
    for (size_t i = 0; i < s->num_kept; i++) free(s->kept[i]);
    free(s);
    g_scratch = NULL;
}

static void make_key(void) { pthread_key_create(&g_key, destroy); }

/* This thread's slots; NULL without memory. If the key cannot be made the block is merely never freed. */
static struct scratch *mine(void) {
    if (HC_UNLIKELY(g_scratch == NULL)) {
        pthread_once(&g_once, make_key);
        g_scratch = calloc(1, sizeof *g_scratch);
        if (g_scratch != NULL) pthread_setspecific(g_key, g_scratch);
    }
    return g_scratch;
}

/* Large memory in huge pages where the system gives them on request: panels are read with strides that would
 * miss the translation buffers. */
static void *allocate(size_t bytes) {
    if (bytes % HUGE_PAGE != 0) return aligned_alloc(64, bytes);
    void *memory = aligned_alloc(HUGE_PAGE, bytes);
    if (memory != NULL) madvise(memory, bytes, MADV_HUGEPAGE);
    return memory;
}

/* The old block is freed before the new one is asked for: contents are undefined anyway, and the peak stays
 * at one block. Nothing is one byte, as a slot that nobody has asked for yet is NULL. */
void *hc_scratch(enum hc_scratch_slot slot, size_t wanted) {
    struct scratch *s = mine();
    const size_t bytes = hc_max_size(wanted, 1);
    if (s != NULL && bytes <= s->bytes[slot]) return s->memory[slot];
    if (s != NULL && bytes <= HC_MAX_BYTES) {
        const size_t most = hc_max_size(bytes, s->bytes[slot] + s->bytes[slot] / 2);
        const size_t want = hc_align_up(most, most >= LARGE ? HUGE_PAGE : 4096);
        free(s->memory[slot]);
        s->memory[slot] = allocate(want);
        s->bytes[slot] = s->memory[slot] != NULL ? want : 0;
        if (s->memory[slot] != NULL) return s->memory[slot];
    }
    hc_fail(ACLNN_ERR_INNER, "out of host memory: %zu bytes of scratch", bytes);
    return NULL;
}

static struct block *unkeep(struct scratch *s, size_t i) {
    struct block *b = s->kept[i];
    s->num_kept--;
    s->kept_bytes -= b->bytes;
    memmove(&s->kept[i], &s->kept[i + 1], (s->num_kept - i) * sizeof s->kept[0]);
    return b;
}

/* The smallest one that is large enough, unless half of it would lie idle. */
static struct block *find_kept(struct scratch *s, size_t bytes) {
    size_t best = s->num_kept;
    for (size_t i = 0; i < s->num_kept; i++) {
        const size_t have = s->kept[i]->bytes;
        if (have >= bytes && have / 2 <= bytes && (best == s->num_kept || have < s->kept[best]->bytes))
            best = i;
    }
    return best < s->num_kept ? unkeep(s, best) : NULL;
}

void *hc_block_take(size_t bytes) {
    struct scratch *s = bytes >= KEPT_LEAST ? mine() : NULL;
    struct block *b = s != NULL ? find_kept(s, bytes) : NULL;
    if (b == NULL && bytes <= HC_MAX_BYTES) {
        const size_t whole = hc_align_up(sizeof *b + bytes, bytes >= LARGE ? HUGE_PAGE : 64);
        b = allocate(whole);
        if (b != NULL) b->bytes = whole - sizeof *b;
    }
    return b != NULL ? b + 1 : NULL;
}

void *hc_block_take_array(size_t count, size_t size) {
    size_t bytes;
    return hc_bytes_fit(count, size, &bytes) ? hc_block_take(bytes) : NULL;
}

void *hc_block_take_zeroed(size_t count, size_t size) {
    void *memory = hc_block_take_array(count, size);
    return memory != NULL ? memset(memory, 0, count * size) : NULL;
}

void hc_block_give(void *memory) {
    if (memory == NULL) return;
    struct block *b = (struct block *)memory - 1;
    struct scratch *s = b->bytes >= KEPT_LEAST && b->bytes <= KEPT_MOST ? mine() : NULL;
    if (s == NULL) {
        free(b);
        return;
    }
    while (s->num_kept == KEPT_BLOCKS || (s->num_kept > 0 && s->kept_bytes + b->bytes > KEPT_MOST))
        free(unkeep(s, 0));
    s->kept[s->num_kept++] = b;
    s->kept_bytes += b->bytes;
}
