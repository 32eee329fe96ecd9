// SPDX-License-Identifier: Apache-2.0
/* What the ranks of a job know and strangers do not. */
#pragma once
#include "hc_sha256.h"
#include "hccl/hccl.h"

struct hc_key {
    unsigned char bytes[HC_SHA256_BYTES];
};

/* A fresh one, for a root info, which carries it to the ranks. */
HcclResult hc_key_random(const char *caller, struct hc_key *key);
/* From the file MINDSPEED_HCCL_SECRET_FILE and what the ranks have in common: ranks with another secret, or
 * with other facts, get another key. Without the variable *secret is false and the key is one that everybody
 * can compute. Fails where the file can be read by others, belongs to somebody else, or is of no use. */
HcclResult hc_key_shared(const char *caller, const void *facts, size_t length, struct hc_key *key,
                         bool *secret);
/* A number by which it is found; tells nothing of it. */
uint64_t hc_key_name(const struct hc_key *key);
