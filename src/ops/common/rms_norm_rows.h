// SPDX-License-Identifier: Apache-2.0
/* Root mean square normalisation of rows: y = x * rstd * (gamma + added), rstd = 1/sqrt(mean(x^2) + epsilon),
 * for the norms and for operators that end with one. */
#pragma once
#include "elementwise.h"

/* Also the arguments of a plan. Block: float, or double for double input. */
struct hc_rms_norm {
    double epsilon;
    double added;  /* to gamma: 1, or -0 for nothing, which leaves every gamma as it is */
    uint32_t mask; /* of the dimensions that are normalised (rows.h) */
    enum hc_block block;
};

/* At once. rstd, one number for each row, may be NULL; gamma has the shape of a row. */
aclnnStatus hc_rms_norm_run(const char *name, const struct hc_rms_norm *norm, const aclTensor *x,
                            const aclTensor *gamma, const aclTensor *y, const aclTensor *rstd);
