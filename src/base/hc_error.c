// SPDX-License-Identifier: Apache-2.0
/* One fixed buffer per thread: reporting out of memory must not need memory, and a thread never sees the
 * text of another one's failure. An asynchronous failure is carried over by whoever synchronises. */
#include "hc_error.h"

#include <stdarg.h>
#include <stdio.h>

enum { TEXT_BYTES = 1024 };
static _Thread_local char g_text[TEXT_BYTES];
static _Thread_local int g_code;
static void (*g_listener)(int code, const char *text);

void hc_error_listen(void (*listener)(int code, const char *text)) { g_listener = listener; }

int hc_fail(int code, const char *fmt, ...) {
    char text[TEXT_BYTES]; /* the arguments may point into g_text */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    hc_error_set_text(text);
    g_code = code;
    if (g_listener != NULL) g_listener(code, text);
    return code;
}

void hc_error_set_text(const char *text) { snprintf(g_text, sizeof g_text, "%s", text); }

const char *hc_error_text(void) { return g_text; }

int hc_error_peek(void) { return g_code; }

int hc_error_take(void) {
    const int code = g_code;
    g_code = 0;
    return code;
}
