// SPDX-License-Identifier: Apache-2.0
/* The answering side's part of meetings: who has come, who is missing, what all are told. */
#pragma once
#include "hc_callers.h"

/* All of a call is here. It waits from now on, is refused, or was the last one and all get their answer. */
void hc_meeting_arrive(struct hc_callers *all, struct hc_caller *c);
/* One that waited has closed its connection: it can no longer come, and the others should know. */
void hc_meeting_leave(struct hc_callers *all, struct hc_caller *c);
/* Its time is over: all of its meeting are told who is missing. */
void hc_meeting_expire(struct hc_callers *all, struct hc_caller *c);
