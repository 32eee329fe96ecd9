// SPDX-License-Identifier: Apache-2.0
/* The calling side of a meeting, and what a host is. */
#include "hc_bootstrap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_error.h"
#include "hc_option.h"

/* Two lanes of a multiply-and-rotate hash (the constants are those of 64-bit FNV and of splitmix64). */
void hc_hash(const void *bytes, size_t length, uint64_t words[2]) {
    const unsigned char *at = bytes;
    uint64_t a = 0xcbf29ce484222325u, b = 0x9e3779b97f4a7c15u ^ length;
    for (size_t i = 0; i < length; i++) {
        a = (a ^ at[i]) * 0x100000001b3u;
        b = (b + at[i]) * 0xbf58476d1ce4e5b9u;
        b ^= b >> 29;
    }
    words[0] = a ^ b >> 32;
    words[1] = b;
}

static uint64_t inode_of(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 ? (uint64_t)s.st_ino : 0;
}

/* Processes share memory here through /proc, so they must see each other's process ids and be of one user.
 * Two network namespaces count as two hosts: whoever separates networks means separate machines. */
struct hc_host_id hc_host_self(void) {
    struct {
        char boot[64];
        uint64_t pid_namespace, net_namespace, user;
    } facts;
    memset(&facts, 0, sizeof facts);
    const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, facts.boot, sizeof facts.boot) < 0) facts.boot[0] = '\0';
        close(file);
    }
    facts.pid_namespace = inode_of("/proc/self/ns/pid");
    facts.net_namespace = inode_of("/proc/self/ns/net");
    facts.user = (uint64_t)geteuid();
    struct hc_host_id id;
    hc_hash(&facts, sizeof facts, id.words);
    return id;
}

/* HCCL_SOCKET_IFNAME: "eth0,eth1" names prefixes of interfaces, "=eth0" whole names, "^docker" the ones to
 * leave out. */
static bool wanted_interface(const char *name) {
    const char *spec = hc_option_text(HC_OPT_HCCL_SOCKET_IFNAME);
    if (spec[0] == '\0') return true;
    const bool without = spec[0] == '^';
    if (without) spec++;
    const bool whole = spec[0] == '=';
    if (whole) spec++;
    bool listed = false;
    while (*spec != '\0') {
        const size_t length = strcspn(spec, ",");
        listed = listed || (strncmp(name, spec, length) == 0 && (!whole || name[length] == '\0'));
        spec += length + (spec[length] == ',');
    }
    return listed != without;
}

static void list_addresses(struct hc_meeting *m) {
    struct in_addr fixed;
    struct ifaddrs *all;
    m->num_addresses = 0;
    if (inet_pton(AF_INET, hc_option_text(HC_OPT_HCCL_IF_IP), &fixed) == 1) {
        m->addresses[m->num_addresses++] = fixed;
        return;
    }
    if (getifaddrs(&all) != 0) return;
    for (const struct ifaddrs *i = all; i != NULL && m->num_addresses < HC_MEETING_ADDRESSES;
         i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET) continue;
        if ((i->ifa_flags & IFF_LOOPBACK) != 0 || (i->ifa_flags & IFF_UP) == 0 ||
            !wanted_interface(i->ifa_name))
            continue;
        m->addresses[m->num_addresses++] = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
    }
    freeifaddrs(all);
}

HcclResult hc_meeting_create(const char *caller, struct hc_meeting *m) {
    memset(m, 0, sizeof *m);
    HC_CHECK(getrandom(m->id, sizeof m->id, 0) == (ssize_t)sizeof m->id &&
                 getrandom(m->token, sizeof m->token, 0) == (ssize_t)sizeof m->token,
             HCCL_E_SYSCALL, "%s: the system gave no random bytes", caller);
    m->host = hc_host_self();
    list_addresses(m);
    return hc_bootstrap_serve(caller, 0, m->token, &m->port);
}

void hc_meeting_derive(const struct hc_meeting *parent, const void *bytes, size_t length,
                       struct hc_meeting *m) {
    uint64_t words[2];
    hc_hash(bytes, length, words);
    *m = *parent;
    m->id[0] = parent->id[0] * 0x9e3779b97f4a7c15u ^ words[0];
    m->id[1] = parent->id[1] * 0xbf58476d1ce4e5b9u ^ words[1];
}

/* Milliseconds until `deadline`, rounded up; 0 when it has passed. */
static int left_ms(uint64_t deadline) {
    const uint64_t now = hc_now_ns();
    return now >= deadline ? 0 : (int)((deadline - now) / 1000000u + 1);
}

/* A connected socket, or -1. */
static int try_connect(struct in_addr address, uint16_t port, uint64_t deadline) {
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) return -1;
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
    int error = connect(s, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        enum { CONNECT_MS = 3000 };
        struct pollfd p = {s, POLLOUT, 0};
        const int wait = left_ms(deadline) < CONNECT_MS ? left_ms(deadline) : CONNECT_MS;
        socklen_t length = sizeof error;
        if (poll(&p, 1, wait) != 1 || getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
            error = ETIMEDOUT;
    }
    if (error != 0) {
        close(s);
        errno = error;
        return -1;
    }
    const int one = 1;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return s;
}

/* On the answering host loopback is nearest; the listed addresses are tried as well, in case its loopback is
 * not ours. Retried until the deadline: with rank tables the others may start first. */
static int connect_meeting(const struct hc_meeting *m, uint64_t deadline) {
    const struct hc_host_id self = hc_host_self();
    const bool local = memcmp(&self, &m->host, sizeof self) == 0;
    const struct in_addr loopback = {htonl(INADDR_LOOPBACK)};
    do {
        int s = local ? try_connect(loopback, m->port, deadline) : -1;
        for (uint16_t i = 0; s < 0 && i < m->num_addresses && i < HC_MEETING_ADDRESSES; i++)
            s = try_connect(m->addresses[i], m->port, deadline);
        if (s >= 0) return s;
        usleep(50000);
    } while (left_ms(deadline) > 0);
    return -1;
}

/* Move all bytes in one direction before the deadline. */
static bool move_all(int s, void *bytes, size_t length, bool sending, uint64_t deadline) {
    char *at = bytes;
    while (length > 0) {
        const ssize_t n = sending ? send(s, at, length, MSG_NOSIGNAL) : recv(s, at, length, 0);
        if (n > 0) {
            at += n;
            length -= (size_t)n;
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) return false;
        struct pollfd p = {s, sending ? POLLOUT : POLLIN, 0};
        if (poll(&p, 1, left_ms(deadline)) <= 0) return false;
    }
    return true;
}

/* Point the records at their blobs, checking every size that came from outside. */
static bool place_blobs(struct hc_member *members, uint32_t count, size_t blob_bytes) {
    const unsigned char *at = (const unsigned char *)(members + count);
    for (uint32_t i = 0; i < count; i++) {
        if (members[i].rank != i || members[i].blob_bytes > blob_bytes) return false;
        members[i].host_name[sizeof members[i].host_name - 1] = '\0';
        members[i].comm_name[sizeof members[i].comm_name - 1] = '\0';
        members[i].blob = at;
        at += members[i].blob_bytes;
        blob_bytes -= members[i].blob_bytes;
    }
    return blob_bytes == 0;
}

static HcclResult read_answer(const char *caller, int s, uint32_t num_ranks, uint64_t deadline,
                              struct hc_member **members) {
    struct hc_answer answer;
    HC_CHECK(move_all(s, &answer, sizeof answer, false, deadline), HCCL_E_TCP_TRANSFER,
             "%s: rank 0 does not answer: its process may have ended, or be of another release", caller);
    answer.text[sizeof answer.text - 1] = '\0';
    HC_CHECK(answer.code == HCCL_SUCCESS, (HcclResult)answer.code, "%s: %s", caller, answer.text);
    HC_CHECK(answer.num_members == num_ranks && answer.blob_bytes <= (uint64_t)num_ranks * HC_BLOB_MAX,
             HCCL_E_INTERNAL, "%s: the list of ranks has %u entries, wanted %u", caller, answer.num_members,
             num_ranks);
    struct hc_member *list = malloc(num_ranks * sizeof *list + answer.blob_bytes);
    HC_CHECK(list != NULL, HCCL_E_MEMORY, "%s: out of host memory", caller);
    if (!move_all(s, list, num_ranks * sizeof *list + answer.blob_bytes, false, deadline) ||
        !place_blobs(list, num_ranks, answer.blob_bytes)) {
        free(list);
        return hc_fail(HCCL_E_TCP_TRANSFER, "%s: the list of ranks did not arrive whole", caller);
    }
    *members = list;
    return HCCL_SUCCESS;
}

HcclResult hc_meeting_join(const char *caller, const struct hc_meeting *m, uint32_t num_ranks,
                           const struct hc_member *self, uint32_t timeout_s, struct hc_member **members,
                           int *connection) {
    enum { GRACE_MS = 5000 }; /* for the answer that says who is missing */
    const uint64_t deadline = hc_now_ns() + (uint64_t)timeout_s * 1000000000u;
    const int s = connect_meeting(m, deadline);
    char address[INET_ADDRSTRLEN] = "127.0.0.1";
    if (m->num_addresses > 0) inet_ntop(AF_INET, &m->addresses[0], address, sizeof address);
    HC_CHECK(s >= 0, HCCL_E_TCP_CONNECT,
             "%s: rank %u cannot reach the process that made the root info (%s, port %u) within %u s: %s "
             "(HCCL_IF_IP and HCCL_SOCKET_IFNAME choose its address, HCCL_CONNECT_TIMEOUT the time)",
             caller, self->rank, address, m->port, timeout_s, strerror(errno));
    struct hc_call call = {.version = HC_CALL_VERSION, .num_ranks = num_ranks, .member = *self};
    memcpy(call.magic, HC_CALL_MAGIC, sizeof call.magic);
    memcpy(call.id, m->id, sizeof call.id);
    memcpy(call.token, m->token, sizeof call.token);
    call.timeout_ms = (uint32_t)left_ms(deadline);
    call.member_bytes = sizeof call.member;
    call.member.blob = NULL;
    HcclResult status = HCCL_SUCCESS;
    if (!move_all(s, &call, sizeof call, true, deadline) ||
        !move_all(s, (void *)self->blob, self->blob_bytes, true, deadline))
        status = hc_fail(HCCL_E_TCP_TRANSFER, "%s: the connection to rank 0 broke", caller);
    else status = read_answer(caller, s, num_ranks, deadline + (uint64_t)GRACE_MS * 1000000u, members);
    if (status == HCCL_SUCCESS) *connection = s;
    else close(s);
    return status;
}
