// SPDX-License-Identifier: Apache-2.0
#include "hc_records.h"

#include <stddef.h>
#include <string.h>
#include <sys/random.h>

#include "hc_checked.h"
#include "hc_error.h"

enum { VERSION = 3 };
static const char MAGIC[8] = "hcclcal";

/* No padding between what is proven and the proof: all bytes of a record are set. */
#define PROVEN(record) offsetof(record, proof)
_Static_assert(PROVEN(struct hc_call) + HC_SHA256_BYTES == sizeof(struct hc_call), "bytes behind the proof");
_Static_assert(PROVEN(struct hc_seat) + HC_SHA256_BYTES == sizeof(struct hc_seat), "bytes behind the proof");
_Static_assert(PROVEN(struct hc_answer) + HC_SHA256_BYTES == sizeof(struct hc_answer), "bytes behind it");

/* Texts of others end up in logs and terminals. */
static void clean(char *text, size_t room) {
    text[room - 1] = '\0';
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
}

static bool is_ours(const char magic[8], uint32_t version) {
    return memcmp(magic, MAGIC, sizeof MAGIC) == 0 && version == VERSION;
}

static bool clean_member(struct hc_member *m, uint32_t num_ranks) {
    clean(m->host_name, sizeof m->host_name);
    clean(m->comm_name, sizeof m->comm_name);
    m->blob = NULL;
    return m->rank < num_ranks && m->pid > 0 && m->device >= 0 && m->heap_file >= 0 && m->board_file >= 0 &&
           m->blob_bytes <= HC_BLOB_MAX;
}

bool hc_read_challenge(const void *bytes, size_t length, struct hc_challenge *c) {
    if (length != sizeof *c) return false;
    memcpy(c, bytes, sizeof *c);
    return is_ours(c->magic, c->version);
}

bool hc_read_call(const void *bytes, size_t length, struct hc_call *call) {
    if (length != sizeof *call) return false;
    memcpy(call, bytes, sizeof *call);
    return is_ours(call->magic, call->version) && call->member_bytes == sizeof call->member &&
           call->num_ranks > 0 && call->num_ranks <= HC_MAX_RANKS &&
           clean_member(&call->member, call->num_ranks);
}

bool hc_read_seat(const void *bytes, size_t length, struct hc_seat *seat) {
    if (length != sizeof *seat) return false;
    memcpy(seat, bytes, sizeof *seat);
    return seat->taken <= 1;
}

bool hc_read_answer(const void *bytes, size_t length, uint32_t num_ranks, struct hc_answer *a) {
    if (length != sizeof *a) return false;
    memcpy(a, bytes, sizeof *a);
    clean(a->text, sizeof a->text);
    if (a->code != HCCL_SUCCESS) return a->num_members == 0 && a->blob_bytes == 0;
    return a->num_members == num_ranks && a->blob_bytes <= (uint64_t)num_ranks * HC_BLOB_MAX;
}

bool hc_read_members(struct hc_member *members, size_t length, uint32_t num_ranks) {
    size_t records;
    if (!hc_bytes_fit(num_ranks, sizeof *members, &records) || length < records) return false;
    const unsigned char *at = (const unsigned char *)(members + num_ranks);
    size_t left = length - records;
    for (uint32_t i = 0; i < num_ranks; i++) {
        struct hc_member *m = &members[i];
        if (!clean_member(m, num_ranks) || m->rank != i || m->blob_bytes > left) return false;
        m->blob = at;
        at += m->blob_bytes;
        left -= m->blob_bytes;
    }
    return left == 0;
}

bool hc_read_notice(const void *bytes, size_t length, uint32_t num_ranks, struct hc_notice *n) {
    if (length != sizeof *n) return false;
    memcpy(n, bytes, sizeof *n);
    clean(n->text, sizeof n->text);
    if (n->type >= HC_NOTICES || (n->to >= num_ranks && n->to != HC_NOTICE_ALL)) return false;
    if (n->type == HC_NOTICE_FAILED && n->code <= HCCL_SUCCESS) return false;
    return n->from < num_ranks;
}

static void prove(const char *label, const struct hc_challenge *challenge, const unsigned char *nonce,
                  const void *record, size_t length, const struct hc_key *key,
                  unsigned char proof[HC_SHA256_BYTES]) {
    struct hc_hmac h;
    hc_hmac_begin(&h, key, sizeof *key);
    hc_hmac_add(&h, label, strlen(label) + 1);
    hc_hmac_add(&h, challenge, sizeof *challenge);
    hc_hmac_add(&h, nonce, HC_NONCE_BYTES);
    hc_hmac_add(&h, record, length);
    hc_hmac_end(&h, proof);
}

HcclResult hc_challenge_make(const char *caller, struct hc_challenge *c) {
    *c = (struct hc_challenge){.version = VERSION};
    memcpy(c->magic, MAGIC, sizeof c->magic);
    HC_CHECK(getrandom(c->nonce, sizeof c->nonce, 0) == (ssize_t)sizeof c->nonce, HCCL_E_SYSCALL,
             "%s: the system gave no random bytes", caller);
    return HCCL_SUCCESS;
}

HcclResult hc_call_seal(const char *caller, struct hc_call *call, const struct hc_challenge *challenge,
                        const struct hc_key *key) {
    memcpy(call->magic, MAGIC, sizeof call->magic);
    call->version = VERSION;
    call->member_bytes = sizeof call->member;
    clean_member(&call->member, call->num_ranks); /* as the reader will see it: that is what is proven */
    call->key_name = hc_key_name(key);
    HC_CHECK(getrandom(call->nonce, sizeof call->nonce, 0) == (ssize_t)sizeof call->nonce, HCCL_E_SYSCALL,
             "%s: the system gave no random bytes", caller);
    prove("call", challenge, call->nonce, call, PROVEN(struct hc_call), key, call->proof);
    return HCCL_SUCCESS;
}

void hc_seat_seal(struct hc_seat *s, const struct hc_challenge *challenge, const struct hc_call *call,
                  const struct hc_key *key) {
    prove("seat", challenge, call->nonce, s, PROVEN(struct hc_seat), key, s->proof);
}

void hc_answer_seal(struct hc_answer *a, const struct hc_challenge *challenge, const struct hc_call *call,
                    const struct hc_key *key) {
    prove("answer", challenge, call->nonce, a, PROVEN(struct hc_answer), key, a->proof);
}

bool hc_call_proven(const struct hc_call *call, const struct hc_challenge *challenge,
                    const struct hc_key *key) {
    unsigned char proof[HC_SHA256_BYTES];
    prove("call", challenge, call->nonce, call, PROVEN(struct hc_call), key, proof);
    return hc_same_secret(proof, call->proof, sizeof proof);
}

bool hc_seat_proven(const struct hc_seat *s, const struct hc_challenge *challenge, const struct hc_call *call,
                    const struct hc_key *key) {
    unsigned char proof[HC_SHA256_BYTES];
    prove("seat", challenge, call->nonce, s, PROVEN(struct hc_seat), key, proof);
    return hc_same_secret(proof, s->proof, sizeof proof);
}

bool hc_answer_proven(const struct hc_answer *a, const struct hc_challenge *challenge,
                      const struct hc_call *call, const struct hc_key *key) {
    unsigned char proof[HC_SHA256_BYTES];
    prove("answer", challenge, call->nonce, a, PROVEN(struct hc_answer), key, proof);
    return hc_same_secret(proof, a->proof, sizeof proof);
}
