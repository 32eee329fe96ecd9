// SPDX-License-Identifier: Apache-2.0
/* Threads of an operator, and their memory. */
#pragma once
#include "hc_util.h"

/* Call fn(ctx, begin, end) for consecutive pieces of [0, n), each `grain` long (the last may be shorter), on
 * the pool and on the caller. Where the pieces start depends on n and grain only, never on the thread count,
 * so a result per piece is reproducible. Returns when all are done. Nested calls, and calls made while
 * another stream has the pool, run in the caller. */
HC_SHARED void hc_parallel_for(size_t n, size_t grain, void (*fn)(void *ctx, size_t begin, size_t end),
                               void *ctx);
/* Threads that take part, the caller included: MINDSPEED_NUM_THREADS, OMP_NUM_THREADS, or the CPUs we may
 * use. */
HC_SHARED size_t hc_num_threads(void);

/* Memory of this thread, kept until the thread or the library ends: 64-byte aligned, contents undefined,
 * valid until the same slot is asked for again. Not NULL for 0 bytes; NULL when out of memory (text set). */
enum hc_scratch_slot {
    HC_SCRATCH_A,
    HC_SCRATCH_B,
    HC_SCRATCH_C,
    HC_SCRATCH_D,
    HC_SCRATCH_GEMM_A, /* hc_gemm only, so that its callers keep theirs */
    HC_SCRATCH_GEMM_B,
    HC_SCRATCH_GEMM_C,
    HC_SCRATCH_SLOTS
};
HC_SHARED void *hc_scratch(enum hc_scratch_slot slot, size_t bytes);

/* Memory for one run of an operator, 64-byte aligned, which the same thread gives back: malloc for what may
 * be as large as a tensor. Up to 64 MiB are kept for the next one. Not NULL for 0 bytes; NULL when out of
 * memory (no text). */
HC_SHARED void *hc_block_take(size_t bytes);
/* `count` items of `size` bytes: NULL also where that is no size. What is computed is not one to pass above.
 */
HC_SHARED void *hc_block_take_array(size_t count, size_t size);
/* The same, all bytes 0. */
HC_SHARED void *hc_block_take_zeroed(size_t count, size_t size);
/* NULL is fine. */
HC_SHARED void hc_block_give(void *memory);
