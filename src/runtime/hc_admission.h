// SPDX-License-Identifier: Apache-2.0
/* Whether the host has the memory that a task would fill, while more is allocated than the host has. */
#pragma once
#include "hc_budget.h"
#include "hc_launch.h"

/* Before the task runs: ACL_ERROR_RT_MEMORY_ALLOCATION with a text if it must not. */
aclError hc_admission_enter(int32_t device, const struct hc_task *task, size_t *claimed);
void hc_admission_leave(size_t claimed);
