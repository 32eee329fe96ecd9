// SPDX-License-Identifier: Apache-2.0
/* Meetings by a rank table. */
#pragma once
#include "hc_meeting.h"

/* Read and check the table at `path` for `rank`; on rank 0 also begin to answer. */
HcclResult hc_rank_table_read(const char *caller, const char *path, uint32_t rank, uint32_t *num_ranks,
                              struct hc_meeting *meeting);
