// SPDX-License-Identifier: Apache-2.0
/* Connections of the answering side. All of it belongs to the thread that answers. */
#pragma once
#include "hc_records.h"

enum hc_caller_stage {
    HC_CALLER_STRANGER, /* has not proven that it belongs here */
    HC_CALLER_KNOWN,    /* has; its blob is arriving */
    HC_CALLER_WAITS,    /* for the other ranks */
    HC_CALLER_STAYS,    /* has its answer, and is passed notices if it wants */
    HC_CALLER_GONE,     /* closed; its memory goes with the next sweep */
};

struct hc_caller {
    struct hc_caller *next, *previous;
    enum hc_caller_stage stage;
    int socket;
    uint64_t deadline; /* hc_now_ns; until the next stage is reached */
    struct hc_challenge challenge;
    struct hc_key key;
    size_t have; /* bytes of what is arriving: the call, the blob, a notice */
    union {
        unsigned char call[sizeof(struct hc_call)], notice[sizeof(struct hc_notice)];
    } arriving;
    struct hc_call call;
    unsigned char *blob;
    /* From here on: of those that stay. */
    uint64_t group;     /* the meeting that it came from */
    bool listens, left; /* it has said so */
    bool silent;        /* it did not take what was sent */
};

struct hc_caller_list {
    struct hc_caller *first, *last;
    size_t count;
};
/* Strangers apart, the oldest first: they are dropped to make room, those who have proven themselves never.
 */
struct hc_callers {
    int epoll; /* that watches them, with their addresses */
    struct hc_caller_list strangers, known, gone;
};

/* A stranger on `socket`, which is taken over and watched. NULL: it cannot be, and the socket is closed. */
struct hc_caller *hc_callers_add(struct hc_callers *all, int socket, uint64_t deadline);
/* It has proven itself. */
void hc_callers_identify(struct hc_callers *all, struct hc_caller *c);
/* Close and forget. The memory stays for who still points at it, until the next sweep. */
void hc_callers_drop(struct hc_callers *all, struct hc_caller *c);
/* Drop the stranger that has been here longest. False: there is none. */
bool hc_callers_drop_oldest(struct hc_callers *all);
void hc_callers_sweep(struct hc_callers *all);

enum hc_intake { HC_INTAKE_MORE, HC_INTAKE_WHOLE, HC_INTAKE_END };
/* Receive what is there of a record of `length` bytes at `to`; c->have counts. END: errno says why, 0:
 * closed.
 */
enum hc_intake hc_caller_receive(struct hc_caller *c, void *to, size_t length);
