// SPDX-License-Identifier: Apache-2.0
/* Pseudo-random cases: the same ones in every run, FUZZ_CASES of them (each test has a small default),
 * from FUZZ_SEED on. A test that fails prints the number of its case. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static uint64_t fuzz_state;

/* splitmix64 */
static inline uint64_t fuzz_next(void) {
    uint64_t z = (fuzz_state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static inline uint64_t fuzz_setting(const char *name, uint64_t fallback) {
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? strtoull(text, NULL, 10) : fallback;
}
static inline uint64_t fuzz_cases(uint64_t fallback) { return fuzz_setting("FUZZ_CASES", fallback); }
/* Each case has a state of its own, so that one can be run alone. */
static inline void fuzz_begin(uint64_t number) {
    fuzz_state = (fuzz_setting("FUZZ_SEED", 0) + number) * 0xd1342543de82ef95u;
}

/* 0 to n - 1. */
static inline int64_t fuzz_below(int64_t n) { return (int64_t)(fuzz_next() % (uint64_t)n); }
static inline bool fuzz_one_in(int64_t n) { return fuzz_below(n) == 0; }

/* A number near where arithmetic changes. */
static inline int64_t fuzz_edge(void) {
    static const int64_t EDGES[] = {0,          INT32_MAX,     INT32_MIN,    UINT32_MAX, INT64_MAX,
                                    INT64_MIN,  1ll << 48,     1ll << 59,    1ll << 60,  1ll << 61,
                                    1ll << 62,  -(1ll << 62),  -(1ll << 48), 1ll << 33,  INT16_MAX,
                                    UINT16_MAX, INT64_MAX / 3, INT64_MIN / 3};
    const uint64_t edge = (uint64_t)EDGES[fuzz_below((int64_t)(sizeof EDGES / sizeof EDGES[0]))];
    return (int64_t)(edge + (uint64_t)fuzz_below(7) - 3);
}
