// SPDX-License-Identifier: Apache-2.0
/* The answering side: one thread per process ("hccl-bootstrap"), from its first meeting to aclFinalize. */
#pragma once
#include "hc_records.h"

/* Answer on these addresses, and on no other, to those who know the key; the port it is. `*port` 0: any free
 * one. Keys are kept: parts of a communicator meet with the key of the whole, at any time. */
HcclResult hc_server_answer(const char *caller, const struct in_addr *addresses, size_t count,
                            const struct hc_key *key, uint16_t *port);
/* Stop answering. Calls under way are cut off. */
void hc_server_stop(void);
