// SPDX-License-Identifier: Apache-2.0
/* What operators ask the runtime: hc_results_unwanted() says when one that takes seconds is to give up,
 * hc_batch_invariant() whether rows are to be computed as if they were alone. */
#pragma once
#include "hc_runtime.h"
