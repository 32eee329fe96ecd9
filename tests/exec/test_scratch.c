// SPDX-License-Identifier: Apache-2.0
/* Memory of operators: blocks are apart, aligned, zeroed where asked for, and memory that a thread gave back
 * is used again. */
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#include "harness.h"
#include "hc_parallel.h"

enum { HELD = 24, ROUNDS = 4000 };

struct held {
    unsigned char *memory, mark;
    size_t bytes;
};

static bool all_are(const unsigned char *memory, size_t bytes, unsigned char value) {
    for (size_t i = 0; i < bytes; i += bytes > 64 ? 61 : 1)
        if (memory[i] != value) return false;
    return bytes == 0 || memory[bytes - 1] == value;
}

static size_t random_size(void) {
    const size_t most = (size_t)1 << (rand() % 23);
    return (size_t)rand() % most;
}

static void take(struct held *h, unsigned char mark) {
    const bool zeroed = rand() % 2 == 0;
    h->bytes = random_size();
    h->memory = zeroed ? hc_block_take_zeroed(h->bytes, 1) : hc_block_take(h->bytes);
    CHECK(h->memory != NULL);
    CHECK_EQ((uintptr_t)h->memory % 64, 0);
    if (zeroed) CHECK(all_are(h->memory, h->bytes, 0));
    memset(h->memory, mark, h->bytes);
    h->mark = mark;
}

TEST(blocks_are_apart) {
    struct held held[HELD] = {0};
    srand(1);
    for (int round = 0; round < ROUNDS; round++) {
        struct held *h = &held[rand() % HELD];
        if (h->memory != NULL) CHECK(all_are(h->memory, h->bytes, h->mark));
        hc_block_give(h->memory);
        take(h, (unsigned char)(1 + round % 255));
    }
    for (int i = 0; i < HELD; i++) {
        if (held[i].memory != NULL) CHECK(all_are(held[i].memory, held[i].bytes, held[i].mark));
        hc_block_give(held[i].memory);
    }
}

#ifndef __SANITIZE_ADDRESS__ /* which sees every block end */
TEST(large_blocks_are_used_again) {
    void *first = hc_block_take(5 << 20);
    CHECK(first != NULL);
    hc_block_give(first);
    void *second = hc_block_take(5 << 20);
    CHECK(second == first);
    void *third = hc_block_take(5 << 20);
    CHECK(third != NULL && third != second);
    hc_block_give(second);
    hc_block_give(third);
}
#endif

TEST(nothing_is_not_null) {
    void *none = hc_block_take(0);
    CHECK(none != NULL);
    hc_block_give(none);
}

static void *ask_for_nothing(void *got) {
    void **memory = got;
    for (int slot = 0; slot < HC_SCRATCH_SLOTS; slot++) memory[slot] = hc_scratch(slot, 0);
    return NULL;
}

/* The thread of a stream may meet a product without terms before any other. */
TEST(nothing_is_not_null_in_a_new_thread) {
    void *memory[HC_SCRATCH_SLOTS] = {0};
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, ask_for_nothing, memory), 0);
    pthread_join(thread, NULL);
    for (int slot = 0; slot < HC_SCRATCH_SLOTS; slot++) CHECK(memory[slot] != NULL);
}

TEST(too_much_is_null) {
    CHECK(hc_block_take(SIZE_MAX) == NULL);
    CHECK(hc_block_take(SIZE_MAX / 4) == NULL);
    CHECK(hc_block_take_zeroed(SIZE_MAX / 2, 3) == NULL);
    hc_block_give(NULL);
}
