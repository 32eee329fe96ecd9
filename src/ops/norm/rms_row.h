// SPDX-License-Identifier: Apache-2.0
/* The root mean square normalisation of a row in float32, for operators that quantise the result. */
#pragma once
#include "op.h"

/* x = x * rstd * gamma + beta in place; beta NULL is 0. */
void hc_rms_row(size_t n, float *x, const float *gamma, const float *beta, double epsilon, float *rstd);
