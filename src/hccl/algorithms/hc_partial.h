// SPDX-License-Identifier: Apache-2.0
/* Partial results of a reduction on their way between ranks.
 *
 * Sums and products of 16-bit floats travel as float32 and are rounded once, at the end: with N ranks and any
 * order of combination the error is at most half a unit in the last place of the result plus
 * (N - 1) * 2^-24 * sum |x|, instead of N - 1 roundings to 16 bits. All other partial results travel in their
 * own type, exactly as they would be combined in one place. */
#pragma once
#include "hc_op.h"

struct hc_partial {
    HcclDataType type;
    size_t element; /* bytes */
    bool wide;      /* float32 instead of the operation's own type */
};

struct hc_partial hc_partial_of(const struct hc_op *op);

/* Elements of the operation's type as partial results, and back. */
void hc_partial_load(const struct hc_op *op, char *partial, const char *data, size_t count);
void hc_partial_store(const struct hc_op *op, char *data, const char *partial, size_t count);
/* partial = partial op data, data in the operation's type. */
void hc_partial_add(const struct hc_op *op, char *partial, const char *data, size_t count);
/* to = partial op data, rounded; the partial result is used up. `to` may be `data`. */
void hc_partial_finish(const struct hc_op *op, char *to, char *partial, const char *data, size_t count);
/* into = low op high, all three partial results; `into` may be either of them. The order matters for the
 * bits of NaN and of signed zeros only. */
void hc_partial_merge(const struct hc_op *op, char *into, const char *low, const char *high, size_t count);
