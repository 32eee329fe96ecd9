// SPDX-License-Identifier: Apache-2.0
/* What the runtime tells the layers above. */
#pragma once
#include "acl/acl.h"
#include "hc_util.h"

/* Whether a row of a result must have the same bits whatever other rows are computed with it: asked for by
 * ACL_OPT_STRONG_CONSISTENCY, by ACL_OPT_DETERMINISTIC of 2 and more (torch_npu.npu.set_deterministic_level),
 * or by MINDSPEED_BATCH_INVARIANT. */
HC_SHARED bool hc_batch_invariant(void);
/* Read the environment, at aclInit. */
void hc_settings_read(void);
/* aclrtSetDeviceSatMode: ACL_RT_OVERFLOW_MODE_*. */
HC_SHARED int hc_overflow_mode(void);
/* For kernels that may take seconds and whose results are numbers, never places in memory: true when the
 * program was interrupted, and what is left to do may be left undone. */
HC_SHARED bool hc_results_unwanted(void);
/* An interrupt has made this process drop work, now or earlier. */
HC_SHARED bool hc_interrupted(void);
/* A file with a JSON object; *default_device gets its defaultDevice.default_device, -1 if it has none. */
aclError hc_config_read(const char *path, int32_t *default_device);
/* Call the client's exception callback for an asynchronous error. */
void hc_exception_report(aclError code, int32_t device, int32_t stream);
void hc_callback_after_fork(void);
void hc_value_after_fork(void);
