// SPDX-License-Identifier: Apache-2.0
/* What ranks read from the network, given anything: random bytes, and good records that were damaged. Records
 * lie in memory that ends with them, so a reader beyond the end is seen by the address sanitizer; what is
 * accepted is in its bounds. HC_TEST_FULL=1 tries a hundred times as many. */
#include "harness.h"
#include "../../src/hccl/bootstrap/host.c"
#include "../../src/hccl/bootstrap/records.c"
#include "../../src/hccl/bootstrap/secret.c"
#include "../../src/hccl/bootstrap/sha256.c"

enum { RANKS = 5 };

static uint64_t g_state;
static uint32_t any(uint32_t below) {
    g_state = g_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(g_state >> 33) % below;
}

static int rounds(void) { return getenv("HC_TEST_FULL") != NULL ? 2000000 : 20000; }

/* A copy of a record, damaged or not, of perhaps another length. Free it. */
static unsigned char *damaged(const void *record, size_t length, size_t *out) {
    static const unsigned char EXTREMES[] = {0, 1, 0x7f, 0x80, 0xff};
    *out = any(8) > 0 ? length : any((uint32_t)length + 40);
    unsigned char *copy = malloc(*out + (*out == 0));
    for (size_t i = 0; i < *out; i++) copy[i] = (unsigned char)any(256);
    if (any(8) > 0) memcpy(copy, record, *out < length ? *out : length);
    for (uint32_t hits = *out > 0 ? any(6) : 0; hits > 0; hits--) {
        const size_t at = any((uint32_t)*out);
        copy[at] = any(2) > 0 ? (unsigned char)any(256) : EXTREMES[any(5)];
        for (size_t i = at; any(3) > 0 && i < *out && i < at + 4; i++) copy[i] = EXTREMES[any(5)];
    }
    return copy;
}

static bool clean_text(const char *text, size_t room) {
    if (memchr(text, '\0', room) == NULL) return false;
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f) return false;
    return true;
}

static bool good_member(const struct hc_member *m, uint32_t num_ranks) {
    return m->rank < num_ranks && m->pid > 0 && m->device >= 0 && m->heap_file >= 0 && m->board_file >= 0 &&
           m->blob_bytes <= HC_BLOB_MAX && clean_text(m->host_name, sizeof m->host_name) &&
           clean_text(m->comm_name, sizeof m->comm_name);
}

static struct hc_member member(uint32_t rank, uint32_t blob_bytes) {
    struct hc_member m;
    memset(&m, 0, sizeof m);
    m.rank = rank, m.pid = 7, m.heap_file = 8, m.board_file = 9, m.blob_bytes = blob_bytes;
    strcpy(m.host_name, "node1");
    strcpy(m.comm_name, "group");
    return m;
}

/* A call that was answered, with its challenge. */
static struct hc_key g_key;
static struct hc_challenge g_challenge;
static struct hc_call g_call;
static bool ready(void) {
    memset(&g_call, 0, sizeof g_call);
    g_state = 1;
    g_call.num_ranks = RANKS, g_call.timeout_ms = 1000;
    const struct hc_member m = member(2, 30);
    memcpy(&g_call.member, &m, sizeof m);
    return hc_key_random("test", &g_key) == 0 && hc_challenge_make("test", &g_challenge) == 0 &&
           hc_call_seal("test", &g_call, &g_challenge, &g_key) == 0;
}

TEST(calls) {
    int accepted = 0;
    struct hc_call call;
    CHECK(ready());
    CHECK(hc_read_call(&g_call, sizeof g_call, &call) && hc_call_proven(&call, &g_challenge, &g_key));
    for (int i = 0; i < rounds(); i++) {
        size_t length;
        unsigned char *bytes = damaged(&g_call, sizeof g_call, &length);
        const bool same = length == sizeof g_call && memcmp(bytes, &g_call, length) == 0;
        if (hc_read_call(bytes, length, &call)) {
            accepted++;
            CHECK(length == sizeof call && call.num_ranks > 0 && call.num_ranks <= HC_MAX_RANKS);
            CHECK(good_member(&call.member, call.num_ranks) && call.member.blob == NULL);
            const bool meant = memcmp(&call, &g_call, sizeof call) == 0;
            if (i % 16 == 0) CHECK(hc_call_proven(&call, &g_challenge, &g_key) == meant);
        } else {
            CHECK(!same);
        }
        free(bytes);
    }
    CHECK(accepted > rounds() / 20 && accepted < rounds());
}

/* Every bit of a call is proven, as are the challenge and the key. */
TEST(proofs) {
    struct hc_call call;
    unsigned char bytes[sizeof call];
    CHECK(ready());
    for (size_t i = 0; i < sizeof bytes; i++) {
        memcpy(bytes, &g_call, sizeof bytes);
        bytes[i] ^= (unsigned char)(1u << i % 8);
        CHECK(!hc_read_call(bytes, sizeof bytes, &call) || !hc_call_proven(&call, &g_challenge, &g_key) ||
              memcmp(&call, &g_call, sizeof call) == 0); /* a pointer, which is not read */
    }
    struct hc_challenge other = g_challenge;
    struct hc_key key = g_key;
    other.nonce[HC_NONCE_BYTES - 1] ^= 1;
    key.bytes[HC_SHA256_BYTES - 1] ^= 1;
    CHECK(!hc_call_proven(&g_call, &other, &g_key) && !hc_call_proven(&g_call, &g_challenge, &key));
    struct hc_seat seat = {.taken = 1};
    struct hc_answer answer = {.num_members = RANKS};
    hc_seat_seal(&seat, &g_challenge, &g_call, &g_key);
    hc_answer_seal(&answer, &g_challenge, &g_call, &g_key);
    CHECK(hc_seat_proven(&seat, &g_challenge, &g_call, &g_key));
    CHECK(hc_answer_proven(&answer, &g_challenge, &g_call, &g_key));
    CHECK(!hc_seat_proven(&seat, &other, &g_call, &g_key) &&
          !hc_seat_proven(&seat, &g_challenge, &g_call, &key));
    CHECK(!hc_answer_proven(&answer, &other, &g_call, &g_key));
    answer.text[0] = 'x';
    CHECK(!hc_answer_proven(&answer, &g_challenge, &g_call, &g_key));
    CHECK(memcmp(seat.proof, answer.proof, sizeof seat.proof) != 0);
    CHECK(hc_key_name(&g_key) != hc_key_name(&key));
}

TEST(challenges_seats_answers) {
    struct hc_seat seat = {.taken = 1}, s;
    struct hc_answer answer = {.num_members = RANKS, .blob_bytes = 100, .text = "text"}, a;
    struct hc_challenge c;
    CHECK(ready());
    for (int i = 0; i < rounds(); i++) {
        size_t length;
        unsigned char *bytes = damaged(&g_challenge, sizeof g_challenge, &length);
        if (hc_read_challenge(bytes, length, &c)) CHECK(length == sizeof c && c.version == VERSION);
        free(bytes);
        bytes = damaged(&seat, sizeof seat, &length);
        if (hc_read_seat(bytes, length, &s)) CHECK(length == sizeof s && s.taken <= 1);
        free(bytes);
        bytes = damaged(&answer, sizeof answer, &length);
        if (hc_read_answer(bytes, length, RANKS, &a)) {
            CHECK(length == sizeof a && clean_text(a.text, sizeof a.text));
            CHECK(a.code == 0 ? a.num_members == RANKS && a.blob_bytes <= RANKS * HC_BLOB_MAX
                              : a.num_members == 0 && a.blob_bytes == 0);
        }
        free(bytes);
    }
}

TEST(lists) {
    struct hc_member list[RANKS];
    unsigned char all[sizeof list + 200];
    int accepted = 0;
    size_t blobs = 0;
    CHECK(ready());
    for (uint32_t r = 0; r < RANKS; r++) {
        list[r] = member(r, r * 20);
        blobs += r * 20;
    }
    memcpy(all, list, sizeof list);
    memset(all + sizeof list, 'b', blobs);
    for (int i = 0; i < rounds(); i++) {
        size_t length;
        unsigned char *bytes = damaged(all, sizeof list + blobs, &length);
        struct hc_member *m = (struct hc_member *)(void *)bytes;
        if (hc_read_members(m, length, RANKS)) {
            accepted++;
            for (uint32_t r = 0; r < RANKS; r++) {
                CHECK(m[r].rank == r && good_member(&m[r], RANKS));
                CHECK(m[r].blob >= bytes + sizeof list && m[r].blob + m[r].blob_bytes <= bytes + length);
            }
            CHECK(m[RANKS - 1].blob + m[RANKS - 1].blob_bytes == bytes + length);
        }
        free(bytes);
    }
    CHECK(accepted > rounds() / 20 && accepted < rounds());
}

TEST(notices) {
    struct hc_notice notice = {.type = HC_NOTICE_FAILED, .from = 1, .to = HC_NOTICE_ALL, .code = 4}, n;
    int accepted = 0;
    CHECK(ready());
    strcpy(notice.text, "why");
    for (int i = 0; i < rounds(); i++) {
        size_t length;
        unsigned char *bytes = damaged(&notice, sizeof notice, &length);
        if (hc_read_notice(bytes, length, RANKS, &n)) {
            accepted++;
            CHECK(length == sizeof n && n.type < HC_NOTICES && n.from < RANKS && clean_text(n.text, 512));
            CHECK(n.to < RANKS || n.to == HC_NOTICE_ALL);
            CHECK(n.type != HC_NOTICE_FAILED || n.code > 0);
        }
        free(bytes);
    }
    CHECK(accepted > rounds() / 20 && accepted < rounds());
}
