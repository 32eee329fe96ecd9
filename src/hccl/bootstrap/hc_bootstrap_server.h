// SPDX-License-Identifier: Apache-2.0
/* What the files of the answering side share. All of it belongs to the thread that answers. */
#pragma once
#include "hc_bootstrap.h"

struct hc_caller {
    struct hc_caller *next;
    int socket;
    size_t have; /* bytes of call and blob so far, or of the notice that is arriving */
    uint64_t deadline;
    struct hc_call call;
    unsigned char *blob;
    uint64_t group;   /* 0: waits for its answer; else the meeting that it came from */
    bool stays, left; /* it has said so */
    bool silent;      /* it did not take what was sent */
    struct hc_notice notice;
};

/* Send all, waiting at most `limit_ms` at a time: the sockets do not block. On failure errno says why. */
bool hc_server_send(int socket, const void *bytes, size_t length, int limit_ms);
/* Close and forget the caller at *at. */
void hc_server_drop(struct hc_caller **at);

/* A caller has got its answer, with all others of `group`. */
void hc_relay_join(struct hc_caller *c, uint64_t group);
/* Read what has come from one of a group, pass it on, or tell the others that it is gone. */
void hc_relay_serve(struct hc_caller **all, struct hc_caller **at);
/* Tell everyone that this process ends. */
void hc_relay_close(struct hc_caller *all);
