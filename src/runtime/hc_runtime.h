// SPDX-License-Identifier: Apache-2.0
/* What the runtime tells the layers above. */
#pragma once
#include "acl/acl.h"
#include "hc_util.h"

/* aclrtSetSysParamOpt(ACL_OPT_DETERMINISTIC) or the context's: results must not depend on timing. */
HC_SHARED bool hc_deterministic(void);
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
