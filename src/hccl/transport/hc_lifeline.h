// SPDX-License-Identifier: Apache-2.0
/* Whether another process still lives: one file (pidfd) per process, however many communicators have a rank
 * in it, because files are few. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct hc_lifeline;

/* Watch a process that lives now. *out is NULL, with success, where the system cannot watch processes; an
 * HcclResult with a text otherwise. Close as often as opened. */
int hc_lifeline_open(const char *caller, int32_t pid, struct hc_lifeline **out);
void hc_lifeline_close(struct hc_lifeline *lifeline);
/* One poll(2); false of NULL. Thread-safe. */
bool hc_lifeline_ended(const struct hc_lifeline *lifeline);
