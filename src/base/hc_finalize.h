// SPDX-License-Identifier: Apache-2.0
/* Upper layers give back threads and memory when the runtime is finalised, without the runtime knowing them.
 */
#pragma once
#include "hc_util.h"

/* Run `fn` at every hc_run_finalizers; registering the same function again does nothing. At most 16. */
HC_SHARED void hc_at_finalize(void (*fn)(void));
/* Called by aclFinalize, after all streams are idle. Last registered first. */
HC_SHARED void hc_run_finalizers(void);
