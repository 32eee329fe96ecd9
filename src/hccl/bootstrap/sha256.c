// SPDX-License-Identifier: Apache-2.0
#include "hc_sha256.h"

#include <string.h>

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes. */
static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t turn(uint32_t x, int bits) { return x >> bits | x << (32 - bits); }

static uint32_t load(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void store(unsigned char *at, uint32_t x) {
    for (int i = 0; i < 4; i++) at[i] = (unsigned char)(x >> (24 - 8 * i));
}

static void take_block(uint32_t state[8], const unsigned char *block) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) w[i] = load(block + 4 * i);
    for (int i = 16; i < 64; i++) {
        const uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + w[i - 7] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) +
               (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
    memcpy(v, state, sizeof v);
    for (int i = 0; i < 64; i++) {
        const uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        const uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        const uint32_t one =
            v[7] + (turn(v[4], 6) ^ turn(v[4], 11) ^ turn(v[4], 25)) + choice + ROUND[i] + w[i];
        const uint32_t two = (turn(v[0], 2) ^ turn(v[0], 13) ^ turn(v[0], 22)) + majority;
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
    for (int i = 0; i < 8; i++) state[i] += v[i];
}

/* The same of the square roots of the first 8 primes. */
void hc_sha256_begin(struct hc_sha256 *s) {
    static const uint32_t START[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    memcpy(s->state, START, sizeof s->state);
    s->bytes = 0;
}

void hc_sha256_add(struct hc_sha256 *s, const void *bytes, size_t length) {
    const unsigned char *at = bytes;
    while (length > 0) {
        const size_t filled = s->bytes % HC_SHA256_BLOCK, n = hc_min_size(length, HC_SHA256_BLOCK - filled);
        memcpy(s->block + filled, at, n);
        s->bytes += n;
        at += n;
        length -= n;
        if (s->bytes % HC_SHA256_BLOCK == 0) take_block(s->state, s->block);
    }
}

/* A one bit, zeros, and the number of bits at the end of a block. */
void hc_sha256_end(struct hc_sha256 *s, unsigned char digest[HC_SHA256_BYTES]) {
    static const unsigned char PADDING[HC_SHA256_BLOCK] = {0x80};
    const uint64_t bits = s->bytes * 8;
    unsigned char length[8];
    store(length, (uint32_t)(bits >> 32));
    store(length + 4, (uint32_t)bits);
    const size_t filled = s->bytes % HC_SHA256_BLOCK, end = HC_SHA256_BLOCK - sizeof length;
    hc_sha256_add(s, PADDING, filled < end ? end - filled : end + HC_SHA256_BLOCK - filled);
    hc_sha256_add(s, length, sizeof length);
    for (int i = 0; i < 8; i++) store(digest + 4 * i, s->state[i]);
}

void hc_hmac_begin(struct hc_hmac *h, const void *key, size_t length) {
    unsigned char pad[HC_SHA256_BLOCK] = {0};
    hc_sha256_begin(&h->inner);
    hc_sha256_begin(&h->outer);
    if (length > sizeof pad) {
        struct hc_sha256 s;
        hc_sha256_begin(&s);
        hc_sha256_add(&s, key, length);
        hc_sha256_end(&s, pad);
    } else if (length > 0) {
        memcpy(pad, key, length);
    }
    for (size_t i = 0; i < sizeof pad; i++) pad[i] ^= 0x36;
    hc_sha256_add(&h->inner, pad, sizeof pad);
    for (size_t i = 0; i < sizeof pad; i++) pad[i] ^= 0x36 ^ 0x5c;
    hc_sha256_add(&h->outer, pad, sizeof pad);
    explicit_bzero(pad, sizeof pad);
}

void hc_hmac_add(struct hc_hmac *h, const void *bytes, size_t length) {
    hc_sha256_add(&h->inner, bytes, length);
}

void hc_hmac_end(struct hc_hmac *h, unsigned char code[HC_SHA256_BYTES]) {
    unsigned char digest[HC_SHA256_BYTES];
    hc_sha256_end(&h->inner, digest);
    hc_sha256_add(&h->outer, digest, sizeof digest);
    hc_sha256_end(&h->outer, code);
    explicit_bzero(h, sizeof *h);
}

bool hc_same_secret(const void *a, const void *b, size_t length) {
    const volatile unsigned char *x = a, *y = b;
    unsigned char difference = 0;
    for (size_t i = 0; i < length; i++) difference |= x[i] ^ y[i];
    return difference == 0;
}
