// SPDX-License-Identifier: Apache-2.0
/* Blocks that every rank of a group has for every other. */
#pragma once
#include "hc_groups.h"
#include "op.h"

/* Of a group's name that a plan keeps. */
enum { HC_GROUP_BYTES = 128 };

/* Block j of `from`, `count` elements, to rank j, and what rank j has for this one into block j of `to`; this
 * rank's own block is not moved. Launched: errors of the way come from the stream. */
aclnnStatus hc_group_exchange(const struct hc_group *group, char *from, char *to, size_t count,
                              aclDataType dtype, aclrtStream stream);
