// SPDX-License-Identifier: Apache-2.0
/* The interface's log function, for clients that log through the runtime. */
#include "hc_log.h"

#include <stdarg.h>
#include <stdio.h>

#include "acl/acl.h"

/* The client's log lines go where ours go, at the same level (MINDSPEED_LOG_LEVEL). */
void aclAppLog(aclLogLevel logLevel, const char *func, const char *file, uint32_t line, const char *fmt,
               ...) {
    char text[1200];
    if (fmt == NULL || (unsigned)logLevel > ACL_ERROR || !hc_log_enabled((int)logLevel)) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    hc_log((int)logLevel, func != NULL ? func : "?", file != NULL ? file : "?", (int)line, "%s", text);
}
