// SPDX-License-Identifier: Apache-2.0
/* Attention over chosen blocks of keys, as its two interfaces plan it (chosen_attention.c). */
#pragma once
#include "sparse_tokens.h"

/* `repeat`: how often each of the statistics stands beside itself. */
struct chosen_args {
    const char *indices; /* what the interface calls them: a literal */
    enum hc_tokens_layout query, key;
    int64_t mode, block, sequences, count, repeat; /* count: blocks that are chosen for a token */
    double scale;
    bool q_given, k_given;
    int64_t lengths[]; /* of queries, then of keys, where the interface gives them as numbers */
};

/* Operands of the forward plan; the backward plan has the first ones, too. What is not there is null. */
enum {
    CHOSEN_QUERY,
    CHOSEN_KEY,
    CHOSEN_VALUE,
    CHOSEN_INDICES,
    CHOSEN_Q_LENGTHS,
    CHOSEN_K_LENGTHS,
    CHOSEN_Q_ROPE,
    CHOSEN_K_ROPE,
    CHOSEN_TABLE,
    CHOSEN_SINKS,
    CHOSEN_OUT,
    CHOSEN_MAX,
    CHOSEN_SUM
};
enum {
    CHOSEN_GRAD = CHOSEN_TABLE,
    CHOSEN_RESULT,
    CHOSEN_G_MAX,
    CHOSEN_G_SUM,
    CHOSEN_D_QUERY,
    CHOSEN_D_KEY,
    CHOSEN_D_VALUE,
    CHOSEN_D_Q_ROPE,
    CHOSEN_D_K_ROPE
};

aclnnStatus chosen_run(const struct hc_call *call);
aclnnStatus chosen_run_grad(const struct hc_call *call);
