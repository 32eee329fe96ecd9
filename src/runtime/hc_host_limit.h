// SPDX-License-Identifier: Apache-2.0
/* How much memory the host has for this process: the machine's and its control groups'. */
#pragma once
#include "hc_util.h"

struct hc_host_limit {
    uint64_t total;     /* the smallest of the machine's memory and the groups' limits */
    uint64_t available; /* what can be used before the kernel ends processes, swap not counted */
};

/* Reads /proc and the control groups below `root` ("" for the system's own). About 50 us. What cannot be
 * read limits nothing; without /proc the answer is sysconf's. */
struct hc_host_limit hc_host_limit_read(const char *root);
