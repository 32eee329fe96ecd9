// SPDX-License-Identifier: Apache-2.0
/* The keep mask of dropout: 1 bit an element (first element in the lowest bit of the first byte), padded with
 * 0 to a multiple of 128 bits. */
#pragma once
#include "philox.h"

/* Bytes of a mask: a multiple of 16. */
static inline size_t hc_dropout_mask_bytes(size_t numel) { return hc_ceil_div(numel, 128) * 16; }
/* Keep (bit 1) with probability 1 - prob. */
void hc_dropout_fill_mask(struct hc_philox philox, double prob, size_t numel, void *mask);
