// SPDX-License-Identifier: Apache-2.0
/* Operators of several tasks: phase two puts steps of the operator, and whatever else enqueues (a
 * collective), into the stream. */
#pragma once
#include "hc_executor.h"

/* Enqueue; return 0 or a code by hc_fail. Runs in the thread of phase two. Steps that are in the stream
 * already are not taken back. */
typedef aclnnStatus (*hc_launch_fn)(const struct hc_call *call, aclrtStream stream);

/* hc_plan with `launch` in place of plan->run. */
HC_SHARED aclnnStatus hc_plan_steps(const struct hc_plan *plan, hc_launch_fn launch, uint64_t *workspaceSize,
                                    aclOpExecutor **executor);
/* One of the operator's tasks, or a part of one: its number is what the launch gave. Returns as hc_run_fn. */
typedef aclnnStatus (*hc_step_fn)(const struct hc_call *call, size_t part);
/* In a launch function: `run` becomes the operator's next task, of so many FLOPs for the trace. */
HC_SHARED aclnnStatus hc_op_step(const struct hc_call *call, hc_step_fn run, size_t part, uint64_t flops,
                                 aclrtStream stream);
