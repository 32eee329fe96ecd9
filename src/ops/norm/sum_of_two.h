// SPDX-License-Identifier: Apache-2.0
/* The residual addition in front of a fused norm. */
#pragma once
#include "elementwise.h"

/* out = a + b, at once; all of one shape. out may be a or b. */
aclnnStatus hc_sum_of_two(const char *name, const aclTensor *out, const aclTensor *a, const aclTensor *b);
