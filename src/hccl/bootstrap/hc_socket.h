// SPDX-License-Identifier: Apache-2.0
/* TCP sockets, none of which blocks: every wait has an end. */
#pragma once
#include <netinet/in.h>

#include "hc_util.h"

/* A socket that listens there; *port 0: any, and the one it got. -1 with errno. */
int hc_socket_listen(struct in_addr address, uint16_t *port);
/* A connection, within a few seconds and before `deadline` (hc_now_ns). -1 with errno. */
int hc_socket_connect(struct in_addr address, uint16_t port, uint64_t deadline);
/* Receive exactly so many bytes. False with errno; 0: the other end has closed. */
bool hc_socket_receive(int socket, void *bytes, size_t length, uint64_t deadline);
/* Send all, waiting at most `limit_ms` for the other end to take some. False with errno. */
bool hc_socket_send(int socket, const void *bytes, size_t length, int limit_ms);

/* Make TCP find out within ten seconds that the other end, or the way to it, is gone. */
void hc_watch_silence(int socket);
/* Whether an error of a socket means that. */
bool hc_means_silence(int error);

/* Milliseconds until `deadline`, rounded up; 0 when it has passed. */
int hc_left_ms(uint64_t deadline);
