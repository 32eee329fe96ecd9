// SPDX-License-Identifier: Apache-2.0
/* SHA-256 and HMAC against the vectors of FIPS 180-4's examples and RFC 4231. */
#include <stdio.h>

#include "harness.h"
#include "../../src/hccl/bootstrap/sha256.c"

static bool is(const unsigned char digest[HC_SHA256_BYTES], const char *wanted) {
    char text[2 * HC_SHA256_BYTES + 1];
    for (int i = 0; i < HC_SHA256_BYTES; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
    if (strcmp(text, wanted) != 0) printf("%s, wanted %s\n", text, wanted);
    return strcmp(text, wanted) == 0;
}

/* In pieces of every size: what is left of a block waits for the next piece. */
static bool hashes(const void *text, size_t length, const char *wanted) {
    unsigned char digest[HC_SHA256_BYTES];
    for (size_t piece = 1; piece <= 130; piece++) {
        struct hc_sha256 s;
        hc_sha256_begin(&s);
        for (size_t at = 0; at < length; at += piece)
            hc_sha256_add(&s, (const char *)text + at, length - at < piece ? length - at : piece);
        hc_sha256_end(&s, digest);
        if (!is(digest, wanted)) return false;
    }
    return true;
}

static bool signs(const void *key, size_t key_length, const void *text, size_t length, const char *wanted) {
    struct hc_hmac h;
    unsigned char code[HC_SHA256_BYTES];
    hc_hmac_begin(&h, key, key_length);
    hc_hmac_add(&h, text, length);
    hc_hmac_end(&h, code);
    return is(code, wanted);
}

TEST(sha256) {
    static char a[1000];
    memset(a, 'a', sizeof a);
    CHECK(hashes("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    CHECK(hashes("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    CHECK(hashes("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
    CHECK(hashes("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlm"
                 "nopqrsmnopqrstnopqrstu",
                 112, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"));
    struct hc_sha256 s;
    unsigned char digest[HC_SHA256_BYTES];
    hc_sha256_begin(&s);
    for (int i = 0; i < 1000; i++) hc_sha256_add(&s, a, sizeof a);
    hc_sha256_end(&s, digest);
    CHECK(is(digest, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
}

TEST(hmac) {
    unsigned char key[131], data[50];
    memset(key, 0x0b, sizeof key);
    CHECK(signs(key, 20, "Hi There", 8, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"));
    CHECK(signs("Jefe", 4, "what do ya want for nothing?", 28,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
    memset(key, 0xaa, sizeof key);
    memset(data, 0xdd, sizeof data);
    CHECK(signs(key, 20, data, 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"));
    CHECK(signs(key, 131, "Test Using Larger Than Block-Size Key - Hash Key First", 54,
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
    CHECK(
        signs(key, 131,
              "This is a test using a larger than block-size key and a larger than block-size data. The key "
              "needs to be hashed before being used by the HMAC algorithm.",
              152, "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"));
}

TEST(comparison) {
    unsigned char a[32] = {0}, b[32] = {0};
    CHECK(hc_same_secret(a, b, sizeof a));
    for (size_t i = 0; i < sizeof a; i++) {
        b[i] = 0x80;
        CHECK(!hc_same_secret(a, b, sizeof a) && hc_same_secret(a, b, i));
        b[i] = 0;
    }
}
