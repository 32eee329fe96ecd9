// SPDX-License-Identifier: Apache-2.0
/* One fixed buffer per thread: reporting out of memory must not need memory, and a thread never sees the
 * text of another one's failure. An asynchronous failure is carried over by whoever synchronises. */
#include "hc_error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_BYTES = 1024, CREATION_BYTES = 640 };
static _Thread_local char g_text[TEXT_BYTES];
static _Thread_local char g_creation[CREATION_BYTES]; /* why the latest constructor failed */
static _Thread_local int g_code;
static void (*g_listener)(int code, const char *text);

void hc_error_listen(void (*listener)(int code, const char *text)) { g_listener = listener; }

int hc_fail(int code, const char *fmt, ...) {
    char text[TEXT_BYTES]; /* the arguments may point into g_text */
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (code == ACLNN_ERR_PARAM_NULLPTR && g_creation[0] != '\0') {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, " (%s)", g_creation);
        g_creation[0] = '\0';
    }
    hc_error_set_text(text);
    g_code = code;
    if (g_listener != NULL) g_listener(code, text);
    return code;
}

void hc_error_set_text(const char *text) { snprintf(g_text, sizeof g_text, "%s", text); }

void hc_error_keep_creation(void) {
    snprintf(g_creation, sizeof g_creation, "%.*s", CREATION_BYTES - 1, g_text);
}

void hc_error_forget_creation(void) { g_creation[0] = '\0'; }

const char *hc_error_text(void) { return g_text; }

int hc_error_peek(void) { return g_code; }

int hc_error_take(void) {
    const int code = g_code;
    g_code = 0;
    return code;
}
