// SPDX-License-Identifier: Apache-2.0
/* Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * 2011).
 *
 * Word number `index` of a stream is a function of (seed, offset, index) only, so any piece can be made by
 * any thread. Words come in groups of 64 (16 counters of 4 results each) so that the sixteen counters of a
 * group are computed side by side in vectors of any width, with the same result on every instruction set. */
#pragma once
#include "convert.h"

enum { HC_PHILOX_GROUP = 64, HC_RANDOM_BLOCK = 1024 };

/* Key and stream of one operator call. */
struct hc_philox {
    uint64_t seed, offset;
};

/* words[0 .. 64 * count) = the words of groups first, first + 1, ... */
HC_KERNEL(hc_philox_words, (const struct hc_philox *p, uint64_t first, size_t count, uint32_t *words))

/* Word i of 32 of a group, in 64 bits: its two halves are half a group apart. */
static inline uint64_t hc_philox_u64(const uint32_t *group, size_t i) {
    return (uint64_t)group[i + 32] << 32 | group[i];
}
/* Uniform in [0, 1): a multiple of 2^-53. */
static inline double hc_philox_unit_f64(uint64_t word) { return (double)(word >> 11) * 0x1p-53; }

/* Make n <= HC_RANDOM_BLOCK elements of a block type from the words of ceil(n / elements per group) groups;
 * may write up to the end of the last group. `index` is the first element's. */
typedef void hc_random_fn(size_t n, uint64_t index, const uint32_t *words, void *block, const void *args);

/* Seed and offset in tensors of the device, which a captured graph reads anew each time it runs: phase one,
 * and the run, where they are operands `seed` and the next; without them it is `philox` itself. */
aclnnStatus hc_philox_check(const char *name, const aclTensor *seed, const aclTensor *offset);
struct hc_philox hc_philox_of(const struct hc_call *call, struct hc_philox philox, int seed);

/* How an operator makes its values. */
struct hc_random {
    struct hc_philox philox;
    enum hc_block block;
    bool wide; /* two words an element */
    hc_random_fn *fn;
    const void *args;
};
/* Fill every element of out (any dtype, any strides), in parallel. Element i in row-major order is a function
 * of (seed, offset, i) only. */
aclnnStatus hc_random_fill(const struct hc_random *r, const aclTensor *out);
#define HC_RANDOM_KERNEL(name)                                                                               \
    HC_KERNEL(name, (size_t n, uint64_t index, const uint32_t *words, void *block, const void *args))
