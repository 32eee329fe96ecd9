// SPDX-License-Identifier: Apache-2.0
/* The host's memory, shared by all devices and all processes of this user. docs/memory.md */
#pragma once
#include <stdatomic.h>

#include "hc_util.h"

struct hc_device;

/* Promise `bytes` to an allocation of a device. Refused (false, *left is what could be had) when the host
 * could not fill it, with what else is promised. With `may_plan`, which an explicit MINDSPEED_DEVICE_MEMORY
 * gives, only a process that fills what it gets is refused. */
bool hc_budget_take(const struct hc_device *device, size_t bytes, bool may_plan, uint64_t *left);
void hc_budget_give(const struct hc_device *device, size_t bytes);
/* Whether this process holds more than the host could fill. Its tasks claim what they fill while they run;
 * refused as above. */
extern atomic_bool hc_planning;
static inline bool hc_is_planning(void) { return atomic_load_explicit(&hc_planning, memory_order_relaxed); }
bool hc_budget_claim(size_t bytes, uint64_t *left);
void hc_budget_unclaim(size_t bytes);
/* Whether the host has `bytes` for memory that belongs to no device. */
bool hc_budget_has(size_t bytes);
/* What could be had now. */
uint64_t hc_budget_left(void);
/* What all processes together could have had, of the memory available when first asked. */
uint64_t hc_budget_capacity(void);
void hc_budget_after_fork(void);
