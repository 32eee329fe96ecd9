// SPDX-License-Identifier: Apache-2.0
/* Ranks that stay connected after their meeting: their notices are passed on, and the end of a connection is
 * told to the others. */
#pragma once
#include "hc_callers.h"

/* A caller has got its answer, with all others of `group`. */
void hc_relay_join(struct hc_caller *c, uint64_t group);
/* Read what has come from one of a group, pass it on, or tell the others that it is gone. */
void hc_relay_serve(struct hc_callers *all, struct hc_caller *c);
/* Tell everyone that this process ends. */
void hc_relay_close(const struct hc_callers *all);
