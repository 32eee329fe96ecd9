// SPDX-License-Identifier: Apache-2.0
/* What keys or values of inference are stored as, besides one tensor or its pages: behind a prefix that all
 * batches share, a tensor for each batch, quantised. */
#pragma once
#include "attention_job.h"

struct attn_extra {
    struct attn_view prefix;     /* its data is NULL where there is none */
    struct attn_view *each;      /* NULL: one tensor for all batches */
    const float *scale, *offset; /* NULL: not quantised; 0 */
    struct attn_scales scales;
    void *owned_scale, *owned_offset;
    bool in_place; /* rows can be multiplied where they lie */
};

/* Sets job->pages, and the extras of job->k and job->v. Free them also after a failure. */
aclnnStatus attn_stored_init(struct attn_job *job);
void attn_stored_free(struct attn_job *job);
