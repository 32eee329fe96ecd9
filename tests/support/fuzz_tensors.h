// SPDX-License-Identifier: Apache-2.0
/* Tensors of pseudo-random cases, in blocks of exactly their size with guards around them, and calls of
 * operators on them. Values are kept as double beside the tensor, as its type rounds them, for references
 * written as plain loops. */
#pragma once
#include "fuzz.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "aclnnop/aclnn_ops.h"

/* A sanitizer sees accesses around a block by itself, reads too. */
#ifdef __SANITIZE_ADDRESS__
enum { FUZZ_GUARD = 0 };
#else
enum { FUZZ_GUARD = 64 };
#endif
enum { FUZZ_CANARY = 0xA5, FUZZ_RANK = 5, FUZZ_BLOCKS = 128 };

struct fuzz_block {
    unsigned char *memory;
    size_t bytes;
};
static struct fuzz_block fuzz_blocks[FUZZ_BLOCKS];
static size_t fuzz_num_blocks;
static aclTensor *fuzz_kept[FUZZ_BLOCKS];
static size_t fuzz_num_kept;

/* Zeroed memory of the present case. */
static inline void *fuzz_take(size_t bytes) {
    if (fuzz_num_blocks == FUZZ_BLOCKS) abort();
    struct fuzz_block *b = &fuzz_blocks[fuzz_num_blocks++];
    *b = (struct fuzz_block){malloc(bytes + 2 * FUZZ_GUARD), bytes};
    if (b->memory == NULL) abort();
    memset(b->memory, FUZZ_CANARY, bytes + 2 * FUZZ_GUARD);
    memset(b->memory + FUZZ_GUARD, 0, bytes);
    return b->memory + FUZZ_GUARD;
}

/* Whether all guards are whole; everything of the case is freed. */
static inline bool fuzz_give_all(void) {
    bool whole = true;
    for (size_t i = 0; i < fuzz_num_kept; i++) aclDestroyTensor(fuzz_kept[i]);
    for (size_t i = 0; i < fuzz_num_blocks; i++) {
        const unsigned char *m = fuzz_blocks[i].memory, *end = m + FUZZ_GUARD + fuzz_blocks[i].bytes;
        for (int k = 0; k < FUZZ_GUARD; k++) whole = whole && m[k] == FUZZ_CANARY && end[k] == FUZZ_CANARY;
        free(fuzz_blocks[i].memory);
    }
    fuzz_num_blocks = fuzz_num_kept = 0;
    return whole;
}

static inline aclTensor *fuzz_keep(aclTensor *t) {
    if (fuzz_num_kept == FUZZ_BLOCKS) abort();
    if (t != NULL) fuzz_kept[fuzz_num_kept++] = t;
    return t;
}

/* ---- elements ---- */

static inline size_t fuzz_item(aclDataType t) {
    switch (t) {
    case ACL_FLOAT16:
    case ACL_BF16: return 2;
    case ACL_FLOAT:
    case ACL_INT32: return 4;
    case ACL_INT64: return 8;
    default: return 1; /* int8, uint8, bool */
    }
}
static inline float fuzz_bf16_of(const void *p) {
    const uint32_t bits = (uint32_t)*(const uint16_t *)p << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}
static inline uint16_t fuzz_to_bf16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
static inline double fuzz_load(aclDataType t, const void *p) {
    switch (t) {
    case ACL_FLOAT16: return (double)*(const _Float16 *)p;
    case ACL_BF16: return (double)fuzz_bf16_of(p);
    case ACL_FLOAT: return (double)*(const float *)p;
    case ACL_INT32: return *(const int32_t *)p;
    case ACL_INT64: return (double)*(const int64_t *)p;
    case ACL_INT8: return *(const int8_t *)p;
    default: return *(const uint8_t *)p;
    }
}
static inline void fuzz_store(aclDataType t, void *p, double x) {
    switch (t) {
    case ACL_FLOAT16: *(_Float16 *)p = (_Float16)x; break;
    case ACL_BF16: *(uint16_t *)p = fuzz_to_bf16((float)x); break;
    case ACL_FLOAT: *(float *)p = (float)x; break;
    case ACL_INT32: *(int32_t *)p = (int32_t)x; break;
    case ACL_INT64: *(int64_t *)p = (int64_t)x; break;
    case ACL_INT8: *(int8_t *)p = (int8_t)x; break;
    default: *(uint8_t *)p = (uint8_t)x; break;
    }
}
/* Relative error that rounding to the type makes, and a little more for sums of float32. */
static inline double fuzz_error(aclDataType t) {
    return t == ACL_BF16 ? 1.0 / 256 : t == ACL_FLOAT16 ? 1.0 / 2048 : 1e-6;
}
static inline aclDataType fuzz_float_type(void) {
    return (aclDataType[]){ACL_FLOAT, ACL_FLOAT16, ACL_BF16}[fuzz_below(3)];
}
/* About -2 to 2. */
static inline double fuzz_real(void) { return (double)fuzz_below(4097) / 1024 - 2; }

/* ---- tensors ---- */

struct fuzz_tensor {
    aclDataType dtype;
    int64_t rank, numel, shape[FUZZ_RANK], stride[FUZZ_RANK], offset, room;
    double *value; /* of each element in order */
    unsigned char *data;
    aclTensor *tensor;
};

static inline unsigned char *fuzz_place(const struct fuzz_tensor *t, int64_t index) {
    int64_t at = t->offset;
    for (int64_t d = t->rank; d > 0; d--) {
        at += index % t->shape[d - 1] * t->stride[d - 1];
        index /= t->shape[d - 1];
    }
    return t->data + (size_t)at * fuzz_item(t->dtype);
}

/* Dimensions in any order in memory, with gaps between them and before the first. */
static inline void fuzz_strides(struct fuzz_tensor *t, bool plain) {
    int64_t order[FUZZ_RANK], step = !plain && fuzz_one_in(8) ? 2 : 1;
    for (int64_t d = 0; d < t->rank; d++) order[d] = t->rank - 1 - d;
    for (int64_t d = 0; !plain && d + 1 < t->rank && fuzz_one_in(2); d++) {
        const int64_t other = d + fuzz_below(t->rank - d), kept = order[d];
        order[d] = order[other], order[other] = kept;
    }
    for (int64_t d = 0; d < t->rank; d++) {
        t->stride[order[d]] = step;
        step *= t->shape[order[d]] > 0 ? t->shape[order[d]] : 1;
        if (!plain && fuzz_one_in(8)) step += fuzz_below(5);
    }
    t->offset = !plain && fuzz_one_in(4) ? fuzz_below(9) : 0;
    t->room = t->offset;
    if (t->numel == 0) return;
    t->room++;
    for (int64_t d = 0; d < t->rank; d++) t->room += (t->shape[d] - 1) * t->stride[d];
}

/* A tensor of zeros. plain: contiguous. */
static inline struct fuzz_tensor fuzz_zeros(aclDataType dtype, int64_t rank, const int64_t *shape,
                                            bool plain) {
    struct fuzz_tensor t = {.dtype = dtype, .rank = rank, .numel = 1};
    for (int64_t d = 0; d < rank; d++) t.numel *= t.shape[d] = shape[d];
    fuzz_strides(&t, plain || fuzz_one_in(2));
    t.data = fuzz_take((size_t)t.room * fuzz_item(dtype));
    t.value = fuzz_take((size_t)t.numel * sizeof *t.value);
    t.tensor = fuzz_keep(aclCreateTensor(t.shape, (uint64_t)rank, dtype, t.stride, t.offset, ACL_FORMAT_ND,
                                         &t.room, 1, t.data));
    return t;
}
static inline void fuzz_set(struct fuzz_tensor *t, int64_t index, double x) {
    unsigned char *p = fuzz_place(t, index);
    fuzz_store(t->dtype, p, x);
    t->value[index] = fuzz_load(t->dtype, p);
}
/* Random values: reals, or integers [low, high]. */
static inline struct fuzz_tensor fuzz_reals(aclDataType dtype, int64_t rank, const int64_t *shape,
                                            bool plain) {
    struct fuzz_tensor t = fuzz_zeros(dtype, rank, shape, plain);
    for (int64_t i = 0; i < t.numel; i++) fuzz_set(&t, i, fuzz_real());
    return t;
}
static inline struct fuzz_tensor fuzz_integers(aclDataType dtype, int64_t rank, const int64_t *shape,
                                               bool plain, int64_t low, int64_t high) {
    struct fuzz_tensor t = fuzz_zeros(dtype, rank, shape, plain);
    for (int64_t i = 0; i < t.numel; i++) fuzz_set(&t, i, (double)(low + fuzz_below(high - low + 1)));
    return t;
}
#define FUZZ_SHAPE(...)                                                                                      \
    (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (const int64_t[]) { __VA_ARGS__ }

/* A result to be written over: nothing of it may stay. */
static inline struct fuzz_tensor fuzz_result(aclDataType dtype, int64_t rank, const int64_t *shape,
                                             bool plain) {
    struct fuzz_tensor t = fuzz_zeros(dtype, rank, shape, plain);
    const bool is_float = dtype == ACL_FLOAT || dtype == ACL_FLOAT16 || dtype == ACL_BF16;
    for (int64_t i = 0; i < t.numel; i++) fuzz_store(dtype, fuzz_place(&t, i), is_float ? NAN : 77);
    return t;
}
/* Whether element i is `want`, but for an error relative to `size`. */
static inline bool fuzz_is(const struct fuzz_tensor *t, int64_t i, double want, double size, double error) {
    const double got = fuzz_load(t->dtype, fuzz_place(t, i));
    if (isnan(want) || isinf(want)) return isnan(want) ? isnan(got) : got == want;
    const double least = t->dtype == ACL_FLOAT16 ? 0x1p-24 : 0; /* its smallest step, between subnormals */
    if (fabs(got - want) <= error * (size + fabs(want)) + least) return true;
    printf("element %lld: %.9g, wanted %.9g\n", (long long)i, got, want);
    return false;
}

/* ---- calls ---- */

/* 0, or 1 for an error that names the operator, or 2. */
static inline int fuzz_outcome(const char *op, int code) {
    if (code == 0) return 0;
    const char *text = aclGetRecentErrMsg();
    if (text != NULL && strstr(text, op) != NULL) return 1;
    printf("%s: code %d, text %s\n", op, code, text != NULL ? text : "none");
    return 2;
}
static inline void fuzz_explain(const char *op, int outcome) {
    if (outcome == 1) printf("%s: %s\n", op, aclGetRecentErrMsg());
}
/* Both phases, then the stream. */
#define FUZZ_RUN(op, ...)                                                                                    \
    ({                                                                                                       \
        uint64_t bytes_ = 0;                                                                                 \
        aclOpExecutor *executor_ = NULL;                                                                     \
        int code_ = op##GetWorkspaceSize(__VA_ARGS__, &bytes_, &executor_);                                  \
        void *workspace_ = code_ == 0 && bytes_ > 0 ? malloc(bytes_) : NULL;                                 \
        if (code_ == 0) code_ = op(workspace_, bytes_, executor_, NULL);                                     \
        if (code_ == 0) code_ = aclrtSynchronizeStream(NULL);                                                \
        const int outcome_ = fuzz_outcome(#op, code_);                                                       \
        free(workspace_);                                                                                    \
        outcome_;                                                                                            \
    })

struct fuzz_operator {
    const char *name;
    bool (*run)(void);
};
/* Cases by turns; a FUZZ_SEED of one that failed, with FUZZ_CASES=1, runs it alone. `ran`: of each operator.
 */
static inline bool fuzz_all(const struct fuzz_operator *operators, size_t count, uint64_t few) {
    const uint64_t cases = fuzz_cases(few), first = fuzz_setting("FUZZ_SEED", 0);
    for (uint64_t i = 0; i < cases; i++) {
        const struct fuzz_operator *o = &operators[(first + i) % count];
        fuzz_begin(i);
        const bool good = o->run(), whole = fuzz_give_all();
        if (good && whole) continue;
        printf("case %llu, %s: %s\n", (unsigned long long)(first + i), o->name,
               good ? "bytes around a tensor changed" : "wrong result, or an error");
        return false;
    }
    printf("%llu cases\n", (unsigned long long)cases);
    return true;
}
