// SPDX-License-Identifier: Apache-2.0
/* Events. Each record of an event is an object of its own: a wait captures the record of that moment, so
 * recording the event again, or destroying it, does not disturb who waits already. */
#pragma once
#include "hc_capture.h"
#include "hc_event_page.h"
#include "hc_stream.h"

/* Guarded by the lock of event.c, but for `references` and what never changes. */
struct hc_record {
    atomic_uint references;
    bool done;
    struct hc_outcome outcome; /* of what is in front of it; never changes once done */
    uint64_t time_ns;
    struct hc_stream *stream; /* may be gone, and its slot another stream's: `stream_id` tells */
    int32_t stream_id;
    unsigned past;              /* failures of the stream that the record is not behind */
    unsigned failure;           /* number of the one that it is behind */
    uint32_t waits;             /* queued waits that have not passed yet */
    struct hc_event_page *page; /* of an event that processes share, else NULL */
    unsigned number;            /* in the page; 0 without one */
    struct hc_graph *graph;     /* a reference: of a stream that was captured, else NULL */
};

struct hc_event {
    struct hc_handle handle;
    uint32_t flags;
    struct hc_device *device;
    struct hc_record *record;   /* the latest of this process; NULL: never recorded, or reset */
    struct hc_event_page *page; /* shared with other processes: which may have recorded later */
};

extern struct hc_pool hc_event_pool;

struct hc_event *hc_event_find(aclrtEvent handle, const char *function);
/* An event around a page, which it takes over, also on failure. */
aclError hc_event_make(aclrtEvent *event, uint32_t flags, struct hc_device *device,
                       struct hc_event_page *page);
/* Make threads that wait for a record look at their stream's abort flag. */
void hc_wake_waits(void);
void hc_events_destroy(void);
void hc_event_after_fork(void);
