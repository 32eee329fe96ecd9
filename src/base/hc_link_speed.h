// SPDX-License-Identifier: Apache-2.0
/* The speed of links between ranks, as a user writes it (MINDSPEED_HCCL_LINK). */
#pragma once
#include "hc_util.h"

/* Bytes per second in one direction of a rank's link (in 10^9), and what each message takes besides; both 0:
 * not limited. */
struct hc_link_speed {
    double gigabytes, microseconds;
};

/* `text`: "[GROUP=]GB/s[,us]", several with ";" between them. The entry of `group`, or else the one without a
 * group, or else none. False, and no speed, where the text is something else. */
HC_SHARED bool hc_link_speed_of(const char *text, const char *group, struct hc_link_speed *speed);
