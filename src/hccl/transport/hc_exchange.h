// SPDX-License-Identifier: Apache-2.0
/* Messages between ranks, over whatever connects them. */
#pragma once
#include "hc_op.h"

/* Begin to move messages, side by side with those under way. They must stay where they are until a finish
 * that names them, or any finish that fails, has returned: on failure all of the operation is given up. */
HcclResult hc_exchange_start(struct hc_op *op, struct hc_message *messages, size_t count);
/* Move everything under way until these messages are over: their buffers may be used again. */
HcclResult hc_exchange_finish(struct hc_op *op, const struct hc_message *messages, size_t count);
/* Both. */
HcclResult hc_exchange(struct hc_op *op, struct hc_message *messages, size_t count);
/* Take the message at *link, which is over, out of op->flight. */
void hc_flight_unlink(struct hc_op *op, struct hc_message **link);
/* Whether all of these are over. */
bool hc_messages_over(const struct hc_message *messages, size_t count);
/* The next message in the lane of one that has moved may start, perhaps in another thread of this rank. */
void hc_message_pass_turn(const struct hc_op *op, const struct hc_message *m);
