// SPDX-License-Identifier: Apache-2.0
/* From int8 back to floating point. */
#pragma once
#include "op.h"

/* y[i] = (x[i] + offset[i]) * scale[i] in float32; each or one number for all. */
HC_KERNEL(hc_antiquant, (size_t n, float *y, const int8_t *x, const float *scale, const float *offset,
                         bool scale_each, bool offset_each))
