// SPDX-License-Identifier: Apache-2.0
/* What ranks know of each other while they work together. */
#pragma once
#include "hc_bell.h"
#include "hccl/hccl.h"

enum hc_stage { HC_ABSENT, HC_JOINED, HC_LEFT, HC_ENDED, HC_CUT };

/* One writer, many readers, who want it for messages only. */
struct hc_presence {
    _Alignas(64) atomic_int pid;
    atomic_int stage;
    /* The collective it is in, or was in last. Of one moment while `version` is even and the same before and
     * after reading. */
    atomic_uint version, seq, kind, type, inside;
    atomic_ullong count;
    /* The point-to-point call it waits in. */
    atomic_uint message_inside, message_peer, message_direction;
    _Alignas(64) struct hc_bell door; /* rung when a lane from or to this rank has something new */
};

/* What a rank does, as far as this one knows. */
struct hc_rank_status {
    bool known;          /* false: it did not tell */
    bool settled;        /* what follows is of one moment */
    enum hc_stage stage; /* HC_ENDED: its process is gone; HC_CUT: its host, or the way to it */
    int32_t pid;
    uint32_t seq, kind, type; /* the collective it is in, or was in last; seq 0: none yet */
    bool inside;
    uint64_t count;
    bool message_inside; /* it waits in a point-to-point call with: */
    uint32_t message_peer, message_direction;
};

/* The first error of another rank. */
struct hc_report {
    HcclResult code;
    uint32_t rank;
    char text[512];
};

/* What a rank shows the others, as a status of stage `presence->stage`. */
void hc_rank_status_read(const struct hc_presence *presence, struct hc_rank_status *status);
