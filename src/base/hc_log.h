// SPDX-License-Identifier: Apache-2.0
/* Log to stderr, off by default. MINDSPEED_LOG_LEVEL = off | error | warning | info | debug. */
#pragma once
#include "hc_util.h"

/* Same order as the interface's aclLogLevel. */
enum hc_log_level {
    HC_LOG_LEVEL_DEBUG,
    HC_LOG_LEVEL_INFO,
    HC_LOG_LEVEL_WARNING,
    HC_LOG_LEVEL_ERROR,
    HC_LOG_LEVEL_OFF
};

HC_SHARED bool hc_log_enabled(int level);
HC_SHARED void hc_log(int level, const char *func, const char *file, int line, const char *fmt, ...)
    HC_PRINTF(5, 6);

/* The arguments are evaluated only where the level is on: logging costs a load and a branch while it is
 * off. */
#define HC_LOG(level, ...)                                                                                   \
    do {                                                                                                     \
        if (HC_UNLIKELY(hc_log_enabled(level))) hc_log((level), __func__, __FILE__, __LINE__, __VA_ARGS__);  \
    } while (0)
#define HC_LOG_ERROR(...) HC_LOG(HC_LOG_LEVEL_ERROR, __VA_ARGS__)
#define HC_LOG_WARNING(...) HC_LOG(HC_LOG_LEVEL_WARNING, __VA_ARGS__)
#define HC_LOG_INFO(...) HC_LOG(HC_LOG_LEVEL_INFO, __VA_ARGS__)
#define HC_LOG_DEBUG(...) HC_LOG(HC_LOG_LEVEL_DEBUG, __VA_ARGS__)
