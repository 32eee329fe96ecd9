// SPDX-License-Identifier: Apache-2.0
/* Events. Each record of an event is an object of its own: a wait captures the record of that moment, so
 * recording the event again, or destroying it, does not disturb who waits already. */
#pragma once
#include "hc_stream.h"

/* Guarded by the lock of event.c, but for `references`. */
struct hc_record {
    atomic_uint references;
    bool done;
    aclError failed; /* the error in front of it that nobody had been told of */
    char *why;       /* its text; NULL if there was no memory for it */
    uint64_t time_ns;
    struct hc_stream *stream;
    uint32_t waits; /* queued waits that have not passed yet */
};

struct hc_event_page;

struct hc_event {
    struct hc_handle handle;
    uint32_t flags;
    struct hc_device *device;
    struct hc_record *record;   /* the latest; NULL: never recorded, or reset */
    struct hc_event_page *page; /* shared with other processes; then `record` is not used */
    int file;                   /* of the page; -1 if imported or not shared */
    uint64_t page_id;
};

extern struct hc_pool hc_event_pool;

struct hc_event *hc_event_find(aclrtEvent handle, const char *function);

/* event_ipc.c: the same operations on an event with a page. */
aclError hc_event_page_create(struct hc_event *event);
void hc_event_page_close(struct hc_event *event);
aclError hc_event_page_record(struct hc_event *event, aclrtStream stream);
aclError hc_event_page_wait(struct hc_event *event, aclrtStream stream);
bool hc_event_page_done(const struct hc_event *event, uint64_t *time_ns);
aclError hc_event_page_synchronize(struct hc_event *event);
void hc_event_page_reset(struct hc_event *event);
void hc_events_destroy(void);
void hc_event_after_fork(void);
