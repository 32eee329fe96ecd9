// SPDX-License-Identifier: Apache-2.0
/* SIGINT (Ctrl-C) in a process whose interpreter handles signals between its own instructions only. */
#pragma once
#include <sys/types.h>

#include "hc_util.h"

/* Py_AddPendingCall: have a function called by the interpreter's main thread, between two instructions. */
typedef int (*hc_add_call)(int (*call)(void *arg), void *arg);

/* From now on a SIGINT that the interpreter does not get to drops the work that `thread` (its main thread)
 * waits for. To be called while SIGINT has the interpreter's handler that raises; a handler that is installed
 * later takes the place of this one. 0, or an errno. */
HC_SHARED int hc_interrupt_watch(pid_t thread, hc_add_call add_call);
/* The process is about to end: after a SIGINT nobody wants the work that is left, and the next SIGINT ends it
 * at once. */
HC_SHARED void hc_interrupt_ending(void);

void hc_interrupt_after_fork(void);
