// SPDX-License-Identifier: Apache-2.0
/* What attention of inference quantises while it runs: weights, where queries, keys and values are int8, and
 * the output.
 *
 *     S = deqScale1 q k^T     W = exp(scale S - max)     O = deqScale2 (round(quantScale1 W) v) / sum W
 *     y = round(quantScale2 O + quantOffset2)
 *
 * W are at most 1 (the largest weight of a row so far is), so a scale of 127 uses all of int8; they are not
 * divided by their sum before. Sums of products of int8 are exact (choose_products). */
#pragma once
#include "attention_job.h"

/* Sets job->quant and job->scale. Free them also after a failure. */
aclnnStatus attn_quant_init(struct attn_job *job);
void attn_quant_free(struct attn_job *job);
/* Queries [at, at + rows) of a head, loaded: times what dequantScaleQuery has for them. */
void attn_scale_queries(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                        size_t rows, float *tile);
/* Weights of a row before they are multiplied with values. */
void attn_quantise_weights(const struct attn_job *job, size_t n, float *weights);
/* A row of the output before it is stored. */
void attn_quantise_output(const struct attn_job *job, size_t head, float *row);
/* An output that is all what zeros become. */
aclnnStatus attn_quantise_zeros(const struct attn_job *job, const aclTensor *out);
