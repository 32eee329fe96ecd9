// SPDX-License-Identifier: Apache-2.0
/* One product and its blocking, between the driver (gemm.c) and the loops over panels and tiles (private to
 * gemm*.c). */
#pragma once
#include <stdatomic.h>

#include "gemm_kernels.h"

/* One product (one batch index). Written between the parallel loops only. */
struct gemm_product {
    struct hc_gemm g;
    enum hc_block block;
    struct gemm_geometry geo;
    gemm_micro_F32_fn *micro;
    gemm_pack_F32_fn *pack_rows, *pack_columns; /* A and B, of the float family */
    gemm_store_F32_fn *store;                   /* likewise */
    gemm_round_BF16_fn *round;                  /* for blocks of one slab that it can end; may be NULL */
    gemm_amx_begin_fn *begin, *end;             /* around a thread's calls of micro; may be NULL */
    size_t batch, item;                         /* item: bytes of a packed element */
    size_t m, n, k; /* of the real product that the kernels see; k counts packed elements */
    size_t slab;    /* steps of k per slab: one chain of additions */
    size_t chunk;   /* steps of k, whole slabs, that are packed at a time */
    bool pairs;     /* a packed element is two bfloat16 */
    bool serial;
    bool plain;         /* out is exactly the sum (or self + the sum, self being out) */
    bool sums_in_out;   /* partial sums can wait in out */
    bool own_a;         /* a tile packs its rows of A, slab by slab: they come from its thread's own cache */
    bool own_b;         /* and its columns of B, panel by panel: each stays in the first-level cache */
    atomic_bool failed; /* a tile had no scratch: loops cannot return an error */
    /* The super block and chunk at work: */
    size_t row0, col0, rows, cols, k0, ks;
    bool first, last;
    char *pack_a, *pack_b;
    char *sums; /* partial sums of the super block; NULL: none, in out or in the tile */
    /* Bytes of a panel of one slab, of all panels of one slab; 0 where a tile's slabs (own_a), or all panels
     * (own_b), take turns. */
    size_t panel_a, panel_b, slab_a, slab_b;
    size_t bytes_b;                                        /* of pack_b */
    size_t panels_a, panels_b, tile_a, tile_b, tiles_down; /* panels in all, panels of a tile */
    size_t ld_sums;                                        /* elements */
};

/* Loops for hc_parallel_for over a struct gemm_product: panels are A's, then B's; tiles go down the columns,
 * so that neighbours share their part of B. */
void gemm_pack_panels(void *product, size_t begin, size_t end);
void gemm_compute_tiles(void *product, size_t begin, size_t end);

/* For the block types other than the float family: panels, and one tile. */
void gemm_pack_block(const struct gemm_product *p, const struct gemm_pack *t, bool is_a);
void gemm_store_block(const struct gemm_product *p, const struct gemm_store *s);
/* out[j] = x[j] + acc[j]; float64, or integers modulo 2^64; acc NULL is zero. */
void gemm_add_block(enum hc_block block, size_t n, const void *x, const void *acc, void *out);

/* Address of element (i, j). */
static inline char *gemm_at(const struct hc_gemm_matrix *m, size_t i, size_t j) {
    return (char *)m->data + ((int64_t)i * m->row + (int64_t)j * m->col) * (int64_t)hc_dtype_size(m->dtype);
}
