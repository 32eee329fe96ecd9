// SPDX-License-Identifier: Apache-2.0
/* Ten rounds on sixteen counters at a time, and the loop that fills a tensor. The lanes are plain arrays:
 * the compiler makes one 32 x 32 -> 64 bit multiplication per vector of every set from them. */
#include "philox.h"

#ifdef HC_ISA

/* Constants of Philox4x32 and of its key schedule (the golden ratio and sqrt(3) - 1 in 32 bits), from the
 * paper. */
enum { LANES = 16, ROUNDS = 10 };
#define MULTIPLIER_0 0xD2511F53u
#define MULTIPLIER_1 0xCD9E8D57u
#define WEYL_0 0x9E3779B9u
#define WEYL_1 0xBB67AE85u

/* One round on sixteen counters. */
static inline void philox_round(uint32_t c[4][LANES], uint32_t key0, uint32_t key1) {
    for (int i = 0; i < LANES; i++) {
        const uint64_t a = (uint64_t)c[0][i] * MULTIPLIER_0, b = (uint64_t)c[2][i] * MULTIPLIER_1;
        const uint32_t x0 = (uint32_t)(b >> 32) ^ c[1][i] ^ key0, x2 = (uint32_t)(a >> 32) ^ c[3][i] ^ key1;
        c[0][i] = x0;
        c[1][i] = (uint32_t)b;
        c[2][i] = x2;
        c[3][i] = (uint32_t)a;
    }
}

void HC_FN(hc_philox_words)(const struct hc_philox *p, uint64_t first, size_t count, uint32_t *words) {
    for (size_t group = 0; group < count; group++) {
        uint32_t c[4][LANES];
        for (int i = 0; i < LANES; i++) {
            const uint64_t counter = (first + group) * LANES + (uint64_t)i;
            c[0][i] = (uint32_t)counter;
            c[1][i] = (uint32_t)(counter >> 32);
            c[2][i] = (uint32_t)p->offset;
            c[3][i] = (uint32_t)(p->offset >> 32);
        }
        uint32_t key0 = (uint32_t)p->seed, key1 = (uint32_t)(p->seed >> 32);
        for (int round = 0; round < ROUNDS; round++, key0 += WEYL_0, key1 += WEYL_1)
            philox_round(c, key0, key1);
        memcpy(words + group * HC_PHILOX_GROUP, c, sizeof c);
    }
}

#else

#include "index_read.h"
#include "temporary.h"

aclnnStatus hc_philox_check(const char *name, const aclTensor *seed, const aclTensor *offset) {
    const aclTensor *all[] = {seed, offset};
    for (int i = 0; i < 2; i++) {
        const char *what = i == 0 ? "seedTensor" : "offsetTensor";
        HC_CHECK(all[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, what);
        HC_CHECK(hc_numel(all[i]) == 1 && (all[i]->dtype == ACL_INT64 || all[i]->dtype == ACL_UINT64),
                 ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted one int64", name, what, HC_SHOW(all[i]));
    }
    return 0;
}

/* The offset of the call counts from the one in the tensor. */
struct hc_philox hc_philox_of(const struct hc_call *call, struct hc_philox philox, int seed) {
    const aclTensor *s = hc_arg(call, seed), *offset = hc_arg(call, seed + 1);
    if (s != NULL) philox.seed = (uint64_t)hc_index_once(hc_data(s));
    if (offset != NULL) philox.offset += (uint64_t)hc_index_once(hc_data(offset));
    return philox;
}

/* What a piece needs; shared and read-only. */
struct fill {
    const struct hc_random *random;
    hc_philox_words_fn *words;
    hc_store_fn *store;
    char *data;
    size_t item_size;
};

enum { GRAIN = 16 * HC_RANDOM_BLOCK };

/* Element i takes word i of the stream (words 2i and 2i + 1 where wide, half a group apart), wherever the
 * piece begins. */
static void fill_range(void *ctx, size_t begin, size_t end) {
    const struct fill *f = ctx;
    uint32_t words[2 * HC_RANDOM_BLOCK];
    _Alignas(64) char block[HC_RANDOM_BLOCK * sizeof(double)];
    const size_t per_group = f->random->wide ? HC_PHILOX_GROUP / 2 : HC_PHILOX_GROUP;
    for (; begin < end; begin += HC_RANDOM_BLOCK) {
        const size_t n = hc_min_size(end - begin, HC_RANDOM_BLOCK);
        f->words(&f->random->philox, begin / per_group, hc_ceil_div(n, per_group), words);
        f->random->fn(n, begin, words, block, f->random->args);
        f->store(n, f->data + begin * f->item_size, 1, block);
    }
}

/* Elements are numbered in row-major order whatever out's strides are, so a view gets the numbers that a
 * contiguous tensor would. */
aclnnStatus hc_random_fill(const struct hc_random *r, const aclTensor *out) {
    aclTensor view;
    void *owned = NULL;
    HC_TRY(hc_contiguous_out(out, out->dtype, &view, &owned));
    struct fill f = {r, HC_DISPATCH(hc_philox_words), hc_store_for(out->dtype, r->block), hc_data(&view),
                     (size_t)view.item_size};
    hc_parallel_for(hc_numel(&view), GRAIN, fill_range, &f);
    const aclnnStatus status = owned ? hc_copy(out, &view) : 0;
    hc_block_give(owned);
    return status;
}
#endif
