// SPDX-License-Identifier: Apache-2.0
/* The calling side of a meeting. */
#include "hc_meeting.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_error.h"
#include "hc_launch.h"
#include "hc_server.h"
#include "hc_socket.h"

HcclResult hc_meeting_create(const char *caller, struct hc_meeting *m) {
    memset(m, 0, sizeof *m);
    HC_CHECK(getrandom(m->id, sizeof m->id, 0) == (ssize_t)sizeof m->id, HCCL_E_SYSCALL,
             "%s: the system gave no random bytes", caller);
    HC_TRY(hc_key_random(caller, &m->key));
    HC_TRY(hc_host_addresses(caller, m->addresses, &m->num_addresses));
    m->host = hc_host_self();
    return hc_server_answer(caller, m->addresses, m->num_addresses, &m->key, &m->port);
}

void hc_meeting_derive(const struct hc_meeting *parent, const void *bytes, size_t length,
                       struct hc_meeting *m) {
    uint64_t words[2];
    hc_hash(bytes, length, words);
    *m = *parent;
    m->id[0] = parent->id[0] * 0x9e3779b97f4a7c15u ^ words[0];
    m->id[1] = parent->id[1] * 0xbf58476d1ce4e5b9u ^ words[1];
}

/* A joining rank's state. */
struct visit {
    const char *caller;
    const struct hc_meeting *meeting;
    uint64_t deadline;
    int socket;
    struct hc_challenge challenge;
    struct hc_call call;
    HcclResult status; /* why it was refused; its text is set */
};

/* Another host's loopback addresses are not ours. A rank table may give one alone: then all are on one host.
 */
static bool try_addresses(struct visit *v) {
    const struct hc_meeting *m = v->meeting;
    const struct hc_host_id self = hc_host_self();
    const bool local = m->num_addresses == 1 || memcmp(&self, &m->host, sizeof self) == 0;
    v->socket = -1;
    for (uint16_t i = 0; v->socket < 0 && i < m->num_addresses && i < HC_ADDRESSES; i++)
        if (local || !hc_is_loopback(m->addresses[i]))
            v->socket = hc_socket_connect(m->addresses[i], m->port, v->deadline);
    return v->socket >= 0;
}

enum outcome { SEATED, BROKEN, REFUSED };

/* Until the seat is given the connection may break without a reason of ours: the answering side drops whom it
 * does not know when it has too many callers. */
static enum outcome take_seat(struct visit *v) {
    enum { HELLO_MS = 5000 }; /* then the connection was never accepted: another one may be */
    const uint64_t limit = hc_now_ns() + HELLO_MS * 1000000ull;
    const struct hc_key *key = &v->meeting->key;
    unsigned char hello[sizeof(struct hc_challenge)], reply[sizeof(struct hc_seat)];
    struct hc_seat seat;
    if (!hc_socket_receive(v->socket, hello, sizeof hello, limit < v->deadline ? limit : v->deadline))
        return BROKEN;
    if (!hc_read_challenge(hello, sizeof hello, &v->challenge)) {
        v->status = hc_fail(HCCL_E_TCP_CONNECT, "%s: what answers is no rank 0 of this release", v->caller);
        return REFUSED;
    }
    v->call.timeout_ms = (uint32_t)hc_left_ms(v->deadline);
    v->status = hc_call_seal(v->caller, &v->call, &v->challenge, key);
    if (v->status != HCCL_SUCCESS) return REFUSED;
    if (!hc_socket_send(v->socket, &v->call, sizeof v->call, hc_left_ms(v->deadline)) ||
        !hc_socket_receive(v->socket, reply, sizeof reply, v->deadline))
        return BROKEN;
    if (hc_read_seat(reply, sizeof reply, &seat) && seat.taken &&
        hc_seat_proven(&seat, &v->challenge, &v->call, key))
        return SEATED;
    v->status = hc_fail(
        HCCL_E_PARA,
        "%s: what answers knows another secret: rank %u was started with another root info, rank table or "
        "MINDSPEED_HCCL_SECRET_FILE, or another job answers at this address",
        v->caller, v->call.member.rank);
    return REFUSED;
}

/* Retried until the deadline: with rank tables the others may start first. */
static HcclResult find_seat(struct visit *v, uint32_t timeout_s) {
    enum { AGAIN_US = 50000 };
    const struct hc_meeting *m = v->meeting;
    char address[INET_ADDRSTRLEN] = "no address";
    int error = 0;
    do {
        enum outcome outcome = BROKEN;
        if (try_addresses(v)) outcome = take_seat(v);
        error = errno;
        if (outcome == SEATED) return HCCL_SUCCESS;
        if (v->socket >= 0) close(v->socket);
        v->socket = -1;
        if (outcome == REFUSED) return v->status;
        usleep(AGAIN_US);
    } while (hc_left_ms(v->deadline) > 0 && !hc_abort_requested());
    if (m->num_addresses > 0)
        inet_ntop(AF_INET, &m->addresses[m->num_addresses - 1], address, sizeof address);
    return hc_fail(
        HCCL_E_TCP_CONNECT,
        "%s: rank %u cannot reach the process that made the root info (%s, port %u) within %u s: %s "
        "(HCCL_IF_IP and HCCL_SOCKET_IFNAME choose its address, HCCL_CONNECT_TIMEOUT the time)",
        v->caller, v->call.member.rank, address, m->port, timeout_s,
        error != 0 ? strerror(error) : "it closes the connection");
}

/* Sizes are checked before anything of them is allocated, the digest before anything is used. */
static HcclResult read_members(struct visit *v, const struct hc_answer *answer, struct hc_member **members) {
    const size_t bytes = answer->num_members * sizeof **members + answer->blob_bytes;
    unsigned char digest[HC_SHA256_BYTES];
    struct hc_sha256 s;
    struct hc_member *list = malloc(bytes);
    HC_CHECK(list != NULL, HCCL_E_MEMORY, "%s: out of host memory", v->caller);
    const bool whole = hc_socket_receive(v->socket, list, bytes, v->deadline);
    hc_sha256_begin(&s);
    if (whole) hc_sha256_add(&s, list, bytes);
    hc_sha256_end(&s, digest);
    if (!whole || memcmp(digest, answer->digest, sizeof digest) != 0 ||
        !hc_read_members(list, bytes, answer->num_members)) {
        free(list);
        return hc_fail(HCCL_E_TCP_TRANSFER, "%s: the list of ranks did not arrive whole", v->caller);
    }
    *members = list;
    return HCCL_SUCCESS;
}

static HcclResult read_answer(struct visit *v, struct hc_member **members) {
    unsigned char bytes[sizeof(struct hc_answer)];
    struct hc_answer answer;
    HC_CHECK(hc_socket_receive(v->socket, bytes, sizeof bytes, v->deadline), HCCL_E_TCP_TRANSFER,
             "%s: rank 0 does not answer: its process may have ended", v->caller);
    HC_CHECK(hc_read_answer(bytes, sizeof bytes, v->call.num_ranks, &answer) &&
                 hc_answer_proven(&answer, &v->challenge, &v->call, &v->meeting->key),
             HCCL_E_TCP_TRANSFER, "%s: the answer of rank 0 is damaged", v->caller);
    HC_CHECK(answer.code == HCCL_SUCCESS, (HcclResult)answer.code, "%s: %s", v->caller, answer.text);
    return read_members(v, &answer, members);
}

static HcclResult join(struct visit *v, const struct hc_member *self, uint32_t timeout_s,
                       struct hc_member **members) {
    enum { GRACE_MS = 5000 }; /* for the answer that says who is missing */
    HC_TRY(find_seat(v, timeout_s));
    v->deadline += GRACE_MS * 1000000ull;
    if (hc_socket_send(v->socket, self->blob, self->blob_bytes, hc_left_ms(v->deadline)))
        return read_answer(v, members);
    return hc_fail(HCCL_E_TCP_TRANSFER, "%s: the connection to rank 0 broke", v->caller);
}

HcclResult hc_meeting_join(const char *caller, const struct hc_meeting *m, uint32_t num_ranks,
                           const struct hc_member *self, uint32_t timeout_s, struct hc_member **members,
                           int *connection) {
    struct visit v = {.caller = caller,
                      .meeting = m,
                      .deadline = hc_now_ns() + timeout_s * 1000000000ull,
                      .socket = -1,
                      .call = {.num_ranks = num_ranks}};
    memcpy(&v.call.member, self, sizeof v.call.member);
    memcpy(v.call.id, m->id, sizeof v.call.id);
    const HcclResult status = join(&v, self, timeout_s, members);
    if (status == HCCL_SUCCESS) {
        *connection = v.socket;
        return HCCL_SUCCESS;
    }
    if (v.socket >= 0) close(v.socket);
    HC_CHECK(!hc_abort_requested(), HCCL_E_SUSPENDING,
             "%s: the program was interrupted while rank %u waited for the others", caller, self->rank);
    return status;
}
