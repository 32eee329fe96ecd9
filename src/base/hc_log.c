// SPDX-License-Identifier: Apache-2.0
/* One line per call, written with one fwrite so that lines of threads do not mix. A line over 1.4 KB is
 * cut: the longest text that is logged is an error text of 1 KB. */
#include "hc_log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_option.h"

static const char *const LEVEL_NAMES[] = {"debug", "info", "warning", "error", "off"};
static atomic_int g_level = -1;

/* An unknown name is off here; hc_option_validate reports it. */
static int read_level(void) {
    const char *text = hc_option_text(HC_OPT_LOG_LEVEL);
    for (int i = 0; i <= HC_LOG_LEVEL_OFF; i++) {
        if (strcmp(text, LEVEL_NAMES[i]) == 0) return i;
    }
    return HC_LOG_LEVEL_OFF;
}

/* The level is read at the first message: logging works before, and without, an aclInit. */
bool hc_log_enabled(int level) {
    int now = atomic_load_explicit(&g_level, memory_order_relaxed);
    if (HC_UNLIKELY(now < 0)) {
        now = read_level();
        atomic_store_explicit(&g_level, now, memory_order_relaxed);
    }
    return level >= now && level < HC_LOG_LEVEL_OFF;
}

void hc_log(int level, const char *func, const char *file, int line, const char *fmt, ...) {
    char text[1400];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const char *base = strrchr(file, '/');
    const int head =
        snprintf(text, sizeof text, "[mindspeed %s] %ld.%06ld pid %d %s:%d %s: ", LEVEL_NAMES[level],
                 (long)now.tv_sec, now.tv_nsec / 1000, (int)getpid(), base ? base + 1 : file, line, func);
    if (head < 0 || (size_t)head >= sizeof text - 2) return;
    va_list args;
    va_start(args, fmt);
    const int body = vsnprintf(text + head, sizeof text - (size_t)head - 1, fmt, args);
    va_end(args);
    size_t used = hc_min_size((size_t)head + (size_t)(body > 0 ? body : 0), sizeof text - 2);
    text[used++] = '\n';
    fwrite(text, 1, used, stderr);
}

static void log_error(int code, const char *text) { HC_LOG_ERROR("%s (code %d)", text, code); }
__attribute__((constructor)) static void log_errors(void) { hc_error_listen(log_error); }
