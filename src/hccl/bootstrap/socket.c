// SPDX-License-Identifier: Apache-2.0
#include "hc_socket.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_launch.h"

int hc_left_ms(uint64_t deadline) {
    const uint64_t now = hc_now_ns();
    return now >= deadline ? 0 : (int)hc_min_size((deadline - now) / 1000000u + 1, INT32_MAX);
}

/* close() keeps what was to be said. */
static int give_up(int socket, int error) {
    close(socket);
    errno = error;
    return -1;
}

int hc_socket_listen(struct in_addr address, uint16_t *port) {
    enum { BACKLOG = 4096 }; /* the system's limit, as a rule: callers come all at once */
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) return -1;
    const int one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(*port), .sin_addr = address};
    socklen_t length = sizeof at;
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(s, (struct sockaddr *)&at, sizeof at) != 0 || listen(s, BACKLOG) != 0 ||
        getsockname(s, (struct sockaddr *)&at, &length) != 0)
        return give_up(s, errno);
    *port = ntohs(at.sin_port);
    return s;
}

int hc_socket_connect(struct in_addr address, uint16_t port, uint64_t deadline) {
    enum { CONNECT_MS = 3000 };
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s < 0) return -1;
    const struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address};
    int error = connect(s, (const struct sockaddr *)&to, sizeof to) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        struct pollfd p = {s, POLLOUT, 0};
        const int left = hc_left_ms(deadline);
        socklen_t length = sizeof error;
        if (poll(&p, 1, left < CONNECT_MS ? left : CONNECT_MS) != 1 ||
            getsockopt(s, SOL_SOCKET, SO_ERROR, &error, &length) != 0)
            error = ETIMEDOUT;
    }
    if (error != 0) return give_up(s, error);
    const int one = 1;
    setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return s;
}

/* Looks now and then whether the program has been interrupted. */
bool hc_socket_receive(int socket, void *bytes, size_t length, uint64_t deadline) {
    enum { SLICE_MS = 100 };
    char *at = bytes;
    while (length > 0) {
        const ssize_t n = recv(socket, at, length, 0);
        if (n > 0) {
            at += n;
            length -= (size_t)n;
            continue;
        }
        if (n == 0) errno = 0;
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) return false;
        struct pollfd p = {socket, POLLIN, 0};
        const int left = hc_left_ms(deadline);
        if (poll(&p, 1, left < SLICE_MS ? left : SLICE_MS) != 0) continue;
        errno = hc_abort_requested() ? EINTR : ETIMEDOUT;
        if (left == 0 || errno == EINTR) return false;
    }
    return true;
}

bool hc_socket_send(int socket, const void *bytes, size_t length, int limit_ms) {
    const char *at = bytes;
    while (length > 0) {
        const ssize_t n = send(socket, at, length, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            length -= (size_t)n;
            continue;
        }
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) return false;
        struct pollfd p = {socket, POLLOUT, 0};
        if (poll(&p, 1, limit_ms) != 0) continue;
        errno = ETIMEDOUT;
        return false;
    }
    return true;
}

void hc_watch_silence(int socket) {
    enum { SILENCE_S = 9, PROBES = 3, INTERVAL_S = SILENCE_S / PROBES };
    const int one = 1, interval = INTERVAL_S, probes = PROBES, silence_ms = SILENCE_S * 1000;
    setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPIDLE, &interval, sizeof interval);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof interval);
    setsockopt(socket, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
    setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof silence_ms);
}

bool hc_means_silence(int error) {
    return error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH || error == ENETDOWN;
}
