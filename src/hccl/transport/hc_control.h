// SPDX-License-Identifier: Apache-2.0
/* The connection to the process that answered the meeting. */
#pragma once
#include "hc_net_state.h"

void hc_control_open(struct hc_net *net, int socket);
/* Say goodbye and close. */
void hc_control_close(struct hc_net *net);
/* Send a notice to a rank or all; one that cannot be sent is dropped, and the connection with it. */
void hc_control_send(struct hc_net *net, const struct hc_notice *notice);
/* Read and handle all that has come. */
void hc_control_receive(struct hc_net *net);
/* Ask the others what they do; waits for their answers, a second or two at most. */
void hc_control_ask(struct hc_net *net);
