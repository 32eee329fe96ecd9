// SPDX-License-Identifier: Apache-2.0
/* SHA-256 (FIPS 180-4) and HMAC with it (RFC 2104): how ranks prove that they know a secret without telling
 * it.
 *
 * Written here because hostcann links no library of cryptography, and would need one for these two functions
 * alone. tests/hccl/test_sha256.c holds the published vectors. */
#pragma once
#include "hc_util.h"

enum { HC_SHA256_BYTES = 32, HC_SHA256_BLOCK = 64 };

struct hc_sha256 {
    uint32_t state[8];
    uint64_t bytes; /* so far */
    unsigned char block[HC_SHA256_BLOCK];
};
void hc_sha256_begin(struct hc_sha256 *s);
void hc_sha256_add(struct hc_sha256 *s, const void *bytes, size_t length);
void hc_sha256_end(struct hc_sha256 *s, unsigned char digest[HC_SHA256_BYTES]);

struct hc_hmac {
    struct hc_sha256 inner, outer;
};
void hc_hmac_begin(struct hc_hmac *h, const void *key, size_t length);
void hc_hmac_add(struct hc_hmac *h, const void *bytes, size_t length);
void hc_hmac_end(struct hc_hmac *h, unsigned char code[HC_SHA256_BYTES]);

/* In a time that does not depend on where they differ: else a guess could be mended byte by byte. */
bool hc_same_secret(const void *a, const void *b, size_t length);
