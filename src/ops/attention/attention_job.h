// SPDX-License-Identifier: Apache-2.0
/* What forward and backward share while they run: addresses, batches, which keys a query sees. */
#pragma once
#include <stdatomic.h>

#include "attention.h"
#include "attention_few.h"
#include "attention_kernels.h"
#include "convert.h"

/* Keys of a tile, and the most queries of one. Tiles of q, k, v, scores and output together fill half a
 * second-level cache of 1 MiB at a head size of 128. Results depend on them (the order of a softmax's
 * steps), so they are constants and not chosen by the machine. */
enum { ATTN_KEYS = 128, ATTN_QUERIES = 128 };

/* Floats from row to row of a tile with n of them in use: whole vectors, and an odd number of cache lines.
 * The rows that attn_gemm reads together are then spread over all sets of the first-level cache; a power of
 * two apart they share a quarter of the sets and push each other out (a fifth of the speed). */
static inline size_t attn_row_size(size_t n) { return hc_align_up(n, ATTN_PAD) | ATTN_PAD; }
/* The same of a tile whose columns are keys. */
enum { ATTN_KEY_ROW = ATTN_KEYS | ATTN_PAD };

struct attn_extra;
struct attn_quant;

/* A tensor as forward and backward address it, whatever its layout: element (batch, head, position,
 * column) lies at data + (batch * b + head * n + position * s + column * d) * item_size. */
struct attn_view {
    char *data;         /* NULL: not there */
    int64_t b, n, s, d; /* strides in elements */
    int64_t item_size;
    hc_load_fn *load;
    hc_store_fn *store;
    struct attn_extra *extra; /* of keys and values of inference that are more than it; NULL: they are not */
};

/* A sequence of its own: one batch of a padded layout, or one piece of a packed one. */
struct attn_batch {
    size_t q0, sq; /* first query row in the packed sequence (0 unless TND), and how many */
    size_t kv0, skv;
    size_t token0;        /* queries of the batches before */
    size_t page0;         /* of job->pages */
    size_t pad_q, pad_kv; /* positions that fill the sequence up on the left; q0 and kv0 count them */
    size_t drop0;         /* bits of the batches before */
    size_t index;
    bool first, last;
};

/* Made at the start of a run from the plan's arguments and addresses, freed at its end. Read-only but for
 * `failed` while work items run, so they share it without locks. Mask strides of 0 repeat a mask over batches
 * or heads. */
struct attn_job {
    const struct attn_args *a;
    const struct hc_call *call;
    struct attn_view q, k, v, out, dy, dq, dk, dv, pse, dpse, q_rope, k_rope;
    struct attn_batch *batches;
    size_t tokens; /* of all batches */
    const uint8_t *mask;
    int64_t mask_b, mask_n, mask_i;
    void *mask_owned;
    const uint8_t
        *blocks; /* [batch][head][block of queries][block of keys], 0 where hidden; NULL: all are seen */
    size_t blocks_i, blocks_k; /* how many there are along queries and keys */
    void *blocks_owned;
    const uint8_t *drop;
    void *drop_owned;
    float *max, *sum; /* NULL: not asked for */
    float *lse;       /* likewise */
    const float *sink;
    void *sink_owned;
    float scale;                    /* of scores */
    struct attn_quant *quant;       /* NULL: neither weights nor output are quantised */
    size_t *pages;                  /* of each batch in turn, where keys lie in pages */
    size_t ld, ldv;                 /* from row to row of a tile of head elements */
    bool tiles;                     /* products are those of attention_tiles.h */
    attn_gemm_fn *gemm;             /* products of tiles, the second operand being one of the tensors */
    attn_few_scores_fn *few_scores; /* products of a few rows with keys and values where they lie */
    attn_few_outputs_fn *few_outputs;
    attn_few_apart_fn *few_apart; /* what few_scores wants done with queries; NULL: nothing */
    atomic_bool failed;           /* a work item had no scratch: items cannot return an error */
};

aclnnStatus attn_job_init(struct attn_job *job, const struct hc_call *call);
void attn_job_free(struct attn_job *job);
/* Heads of d elements in a layout; without data for NULL. */
struct attn_view attn_make_view(enum attn_layout layout, const aclTensor *t, size_t d);
/* An error if a work item failed. */
aclnnStatus attn_job_status(const struct attn_job *job);

/* First element of a row; `position` counts from the start of the packed sequence, or of the batch. */
char *attn_address(const struct attn_view *v, const struct attn_batch *batch, size_t head, size_t position);
/* rows x d elements from an address on, as float32 rows of ld. */
void attn_load_rows(const struct attn_view *v, const char *from, size_t rows, size_t d, float *tile,
                    size_t ld);
/* rows x d elements of a head, from sequence position `at`, as float32 rows of ld. */
void attn_load(const struct attn_view *v, const struct attn_batch *batch, size_t base, size_t head, size_t at,
               size_t rows, size_t d, float *tile, size_t ld);
/* The same as rows of bfloat16, wherever they are: in the tensor, or else rounded in `tile`. */
void attn_find_bf16(const struct attn_view *v, const struct attn_batch *batch, size_t base, size_t head,
                    size_t at, size_t rows, size_t d, float *tile, size_t ld, const char **row);
/* Rows of a tile of floats, which become bfloat16 where they are. */
void attn_round_rows(size_t rows, size_t d, float *tile, size_t ld, const char **row);
/* Queries [at, at + rows) of a head; keys and values of a key head: with their rotated parts, from whatever
 * pages. */
void attn_load_queries(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                       size_t rows, float *tile);
void attn_load_keys(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                    size_t rows, float *tile);
void attn_load_values(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                      size_t rows, float *tile);
/* Whether rows of keys or values are elements one after the other, to be multiplied where they lie. */
bool attn_reads_in_place(const struct attn_view *v);
/* Where keys or values [at, at + count) of a key head lie: the first element of each. */
void attn_find_rows(const struct attn_job *job, const struct attn_view *v, const struct attn_batch *batch,
                    size_t head, size_t at, size_t count, const char **row);
/* One row back, at sequence position base + at of the head. */
void attn_store_row(const struct attn_view *v, const struct attn_batch *batch, size_t head, size_t position,
                    size_t d, const float *row);
/* Query row i sees keys [*low, *high), before the mask tensor. Both grow with i. */
void attn_visible(const struct attn_job *job, const struct attn_batch *batch, size_t i, size_t *low,
                  size_t *high);
/* Whether queries [i, i + rows) see any of keys [k, k + keys). */
bool attn_tile_visible(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                       size_t rows, size_t k, size_t keys);
/* Part of a tile's rows that sees the same keys, but for its last ones: the tile's keys before `high`. */
struct attn_stripe {
    size_t row, rows, high;
};
/* The next stripe of a tile; `stripe` starts as zeros. False after the last one. */
bool attn_next_stripe(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                      size_t rows, size_t k, size_t keys, struct attn_stripe *stripe);
/* How the scores of query i with keys [k, k + keys) become logits; bias: room for ATTN_KEYS floats. */
void attn_prepare_row(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                      size_t k, size_t keys, float *bias, struct attn_row *row);
/* Index of the statistics of a query row, in units of 8 floats. */
size_t attn_statistic(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i);
/* Index of the logarithm of a query row's sum: [T,N] or [B,N,S]. */
size_t attn_lse_at(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i);
/* Number of the dropout bit of query i and key k. */
size_t attn_drop_bit(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                     size_t k);
/* Factor of what dropout keeps. */
static inline float attn_keep_factor(const struct attn_args *a) {
    return a->keep_prob > 0 ? (float)(1 / a->keep_prob) : 0;
}
