// SPDX-License-Identifier: Apache-2.0
/* Whether an interrupt has this process drop its work (interrupt.c decides). */
#pragma once
#include <sys/types.h>

#include "hc_util.h"

/* Launched work is dropped, until the interpreter has got to the interrupt. */
bool hc_interrupt_drops(void);
/* The same, and this is the thread in which the interpreter will raise. */
bool hc_interrupt_here(void);

/* `thread`: in which the interpreter will raise. False if work is dropped already. */
bool hc_interrupt_drop(pid_t thread);
/* Long operators are cut short as well. */
void hc_interrupt_cut(void);
/* All as before; true if work was dropped. */
bool hc_interrupt_over(void);
