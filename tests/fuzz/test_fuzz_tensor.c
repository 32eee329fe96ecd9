// SPDX-License-Identifier: Apache-2.0
/* aclCreateTensor with shapes, strides, offsets and storages near the limits of their types, against the same
 * questions asked in 128 bits; and what is computed from those that it accepts. */
#include "fuzz.h"

#include "harness.h"
#include "hc_error.h"
#include "hc_tensor.h"

typedef __int128 wide;
enum { MAX_RANK = 20, CASES = 20000 };

struct description {
    uint64_t rank, storage_rank;
    int64_t dims[MAX_RANK], strides[MAX_RANK], offset, storage[4];
    bool has_strides, has_storage;
    char *data;
};

static int64_t size(void) { return fuzz_one_in(8) ? fuzz_edge() : fuzz_below(6); }
static int64_t step(void) { return fuzz_one_in(8) ? fuzz_edge() : fuzz_below(12) - 3; }

static struct description describe(char *memory) {
    struct description d = {.rank = (uint64_t)(fuzz_one_in(10) ? fuzz_below(MAX_RANK + 1) : fuzz_below(5))};
    for (uint64_t i = 0; i < d.rank; i++) {
        d.dims[i] = fuzz_one_in(2) ? size() : fuzz_below(4) + 1;
        d.strides[i] = step();
    }
    d.has_strides = !fuzz_one_in(3);
    d.offset = fuzz_one_in(3) ? step() : fuzz_below(20);
    d.has_storage = !fuzz_one_in(3);
    d.storage_rank = (uint64_t)fuzz_below(3);
    for (uint64_t i = 0; i < d.storage_rank; i++)
        d.storage[i] = fuzz_one_in(4) ? fuzz_edge() : fuzz_below(100) + 20;
    d.data = fuzz_one_in(10) ? (char *)(uintptr_t)fuzz_edge() : memory;
    return d;
}

/* Elements with sizes of 0 counted as 1; more than the limit: -1. */
static wide elements(const int64_t *dims, uint64_t rank) {
    wide total = 1;
    for (uint64_t i = 0; i < rank; i++) {
        if (dims[i] < 0) return -1;
        total *= dims[i] > 1 ? dims[i] : 1;
        if (total > HC_MAX_NUMEL) return -1;
    }
    return total;
}

static bool is_empty(const int64_t *dims, uint64_t rank) {
    for (uint64_t i = 0; i < rank; i++)
        if (dims[i] == 0) return true;
    return false;
}

/* Lowest and highest element in the storage. */
static void reach(const struct description *d, wide *low, wide *high) {
    wide running = 1;
    *low = *high = d->offset;
    for (uint64_t k = d->rank; k > 0; k--) {
        const uint64_t i = k - 1;
        const wide last = (d->has_strides ? (wide)d->strides[i] : running) * (d->dims[i] - 1);
        *(last < 0 ? low : high) += last;
        running *= d->dims[i];
    }
}

static bool is_legal(const struct description *d, size_t item) {
    if (d->rank > HC_MAX_RANK || elements(d->dims, d->rank) < 0) return false;
    if (d->has_storage && elements(d->storage, d->storage_rank) < 0) return false;
    if (is_empty(d->dims, d->rank)) return true;
    wide room = HC_MAX_NUMEL, low, high;
    if (d->has_storage && d->storage_rank > 0) {
        room = 1;
        for (uint64_t i = 0; i < d->storage_rank; i++) room *= d->storage[i];
    }
    reach(d, &low, &high);
    if (low < 0 || high >= room) return false;
    return (wide)(uintptr_t)d->data + (high + 1) * (wide)item <= (wide)UINTPTR_MAX;
}

static aclTensor *create(const struct description *d, aclDataType dtype) {
    return aclCreateTensor(d->dims, d->rank, dtype, d->has_strides ? d->strides : NULL, d->offset,
                           ACL_FORMAT_ND, d->has_storage ? d->storage : NULL, d->storage_rank, d->data);
}

/* What was accepted stays within 64 bits in all that is computed from it. */
static bool is_sound(const struct description *d, const aclTensor *t) {
    const char *begin, *end;
    wide low, high;
    hc_is_contiguous(t);
    if (t->numel == 0) return !hc_byte_range(t, &begin, &end) && hc_data(t) == t->base;
    reach(d, &low, &high);
    return hc_byte_range(t, &begin, &end) &&
           (wide)(uintptr_t)begin == (wide)(uintptr_t)d->data + low * t->item_size &&
           (wide)(uintptr_t)end == (wide)(uintptr_t)d->data + (high + 1) * t->item_size;
}

static bool same_broadcast(const aclTensor *a, const aclTensor *b) {
    int64_t shape[HC_MAX_RANK], want[HC_MAX_RANK];
    int32_t rank, most = a->rank > b->rank ? a->rank : b->rank;
    bool fits = true;
    for (int32_t i = 0; i < most; i++) {
        const int32_t from_a = i - (most - a->rank), from_b = i - (most - b->rank);
        const int64_t x = from_a >= 0 ? a->shape[from_a] : 1, y = from_b >= 0 ? b->shape[from_b] : 1;
        fits = fits && (x == y || x == 1 || y == 1);
        want[i] = x == 1 ? y : x;
    }
    fits = fits && elements(want, (uint64_t)most) >= 0;
    if (hc_broadcast_shape(a, b, shape, &rank) != fits) return false;
    aclTensor view;
    return !fits || (rank == most && memcmp(shape, want, (size_t)rank * sizeof *shape) == 0 &&
                     hc_broadcast_to(a, shape, rank, &view) && hc_broadcast_to(b, shape, rank, &view));
}

TEST(tensors) {
    static const aclDataType DTYPES[] = {ACL_FLOAT, ACL_INT8, ACL_COMPLEX128, ACL_BF16};
    char memory[4096];
    const uint64_t cases = fuzz_cases(CASES);
    aclTensor *last = NULL;
    uint64_t accepted = 0;
    for (uint64_t i = 0; i < cases; i++) {
        fuzz_begin(i);
        const aclDataType dtype = DTYPES[fuzz_below(4)];
        const struct description d = describe(memory);
        aclTensor *t = create(&d, dtype);
        const bool legal = is_legal(&d, hc_dtype_size(dtype));
        CHECK_MSG((t != NULL) == legal, "case %llu: legal %d: %s", (unsigned long long)i, legal,
                  hc_error_text());
        if (t == NULL) {
            CHECK_MSG(strncmp(hc_error_text(), "aclCreateTensor: ", 17) == 0, "case %llu",
                      (unsigned long long)i);
            continue;
        }
        accepted++;
        CHECK_MSG(is_sound(&d, t), "case %llu: %s", (unsigned long long)i, HC_SHOW(t));
        if (last != NULL) CHECK_MSG(same_broadcast(last, t), "case %llu", (unsigned long long)i);
        aclDestroyTensor(last);
        last = t;
    }
    aclDestroyTensor(last);
    CHECK(cases < 1000 || (accepted > cases / 10 && accepted < cases - cases / 10));
}

/* Sizes that are no memory give NULL with a text; nothing is read. */
TEST(lists) {
    const uint64_t sizes[] = {1ull << 47,     1ull << 59,         1ull << 60,        1ull << 61,
                              1ull << 62,     1ull << 63,         UINT64_MAX,        UINT64_MAX - 1,
                              UINT64_MAX / 8, UINT64_MAX / 8 + 1, UINT64_MAX / 4 + 1};
    const int64_t number = 1;
    const aclTensor *tensor = NULL;
    const aclScalar *scalar = NULL;
    const float real = 1;
    const bool truth = true;
    for (size_t i = 0; i < HC_ARRAY_SIZE(sizes); i++) {
        CHECK(aclCreateIntArray(&number, sizes[i]) == NULL);
        CHECK(strncmp(hc_error_text(), "aclCreateIntArray: ", 19) == 0);
        CHECK(aclCreateFloatArray(&real, sizes[i]) == NULL);
        CHECK(aclCreateBoolArray(&truth, sizes[i]) == NULL);
        CHECK(aclCreateTensorList(&tensor, sizes[i]) == NULL);
        CHECK(aclCreateScalarList(&scalar, sizes[i]) == NULL);
    }
}
