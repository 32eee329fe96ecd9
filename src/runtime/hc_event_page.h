// SPDX-License-Identifier: Apache-2.0
/* The page of shared memory behind an event that processes share: the numbers of its records, and what became
 * of each. Every function is thread-safe. */
#pragma once
#include "hc_outcome.h"
#include "hc_util.h"

/* This process's mapping; counted. */
struct hc_event_page;

/* A new page. NULL with a text. */
struct hc_event_page *hc_event_page_create(void);
/* The page behind a file of another process; NULL with a text, also if its id is not `id`. */
struct hc_event_page *hc_event_page_open(int32_t pid, int32_t file, uint64_t id);
struct hc_event_page *hc_event_page_retain(struct hc_event_page *page);
void hc_event_page_release(struct hc_event_page *page); /* may be NULL */
/* File number, -1 where the page was opened, and the random id: what a handle names. */
int32_t hc_event_page_file(const struct hc_event_page *page);
uint64_t hc_event_page_id(const struct hc_event_page *page);

/* Ask for a record, as this process: its number, never 0. */
aclError hc_event_page_request(struct hc_event_page *page, unsigned *number);
/* It has happened, or never will. Wakes who waits for it in any process. */
void hc_event_page_finish(struct hc_event_page *page, unsigned number, const struct hc_outcome *outcome,
                          uint64_t time_ns);
/* The latest record that any process has asked for; 0: none, or reset since. */
unsigned hc_event_page_latest(const struct hc_event_page *page);
void hc_event_page_reset(struct hc_event_page *page);
/* Whether it is over. */
bool hc_event_page_over(const struct hc_event_page *page, unsigned number);
/* Of a record that is over: 0, or the failure, with its text. */
aclError hc_event_page_result(const struct hc_event_page *page, unsigned number);
/* When the latest record happened. */
uint64_t hc_event_page_time(const struct hc_event_page *page);
/* Wait until it is over, at most until `deadline` (hc_now_ns; 0: for ever), and give its result. Also fails
 * when the process that was to record has ended, or the stream of the running task is aborted. */
aclError hc_event_page_await(const struct hc_event_page *page, unsigned number, uint64_t deadline,
                             const char *caller);
