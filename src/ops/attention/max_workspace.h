// SPDX-License-Identifier: Apache-2.0
/* What a client that captures a graph asks before it: the workspace for the longest sequences that the same
 * call may be given later. Ours depends on shapes alone and not on lengths, so it is what phase one says; the
 * executor is the caller's to destroy. */
#pragma once
#include "op.h"

/* Of an operator in the same file, whose arguments it has. */
#define HC_OP_MAX_WORKSPACE(op)                                                                              \
    HC_API __typeof__(op##GetWorkspaceSize) op##GetMaxWorkspaceSize                                          \
        __attribute__((alias(#op "GetWorkspaceSize")));
