// SPDX-License-Identifier: Apache-2.0
/* Scratch memory per thread and slot, grown by half at least: packing buffers are asked for by every
 * operator, and in sizes that creep up during a first step. A thread's memory is freed by the destructor of
 * a pthread key, as _Thread_local alone has none in C. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "hc_error.h"
#include "hc_parallel.h"

enum { HUGE_PAGE = 2 << 20, LARGE = HUGE_PAGE / 2 };

struct scratch {
    void *memory[HC_SCRATCH_SLOTS];
    size_t bytes[HC_SCRATCH_SLOTS];
};
static _Thread_local struct scratch *g_scratch;
static pthread_key_t g_key;
static pthread_once_t g_once = PTHREAD_ONCE_INIT;

/* When the thread ends. */
static void destroy(void *arg) {
    struct scratch *s = arg;
    for (int i = 0; i < HC_SCRATCH_SLOTS; i++) free(s->memory[i]);
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
 * at one block. */
void *hc_scratch(enum hc_scratch_slot slot, size_t bytes) {
    struct scratch *s = mine();
    if (s != NULL && bytes <= s->bytes[slot]) return s->memory[slot];
    if (s != NULL) {
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
