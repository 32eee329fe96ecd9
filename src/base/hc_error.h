// SPDX-License-Identifier: Apache-2.0
/* Error codes with a text per thread, read by aclGetRecentErrMsg. */
#pragma once
#include "hc_util.h"

/* Codes of operators (phase one and two); the runtime's own are ACL_ERROR_* of acl/acl.h. 161xxx: the
 * caller's mistake, 361xxx: the runtime refused, 561xxx: our own failure, such as no host memory. */
enum hc_aclnn_status {
    ACLNN_SUCCESS = 0,
    ACLNN_ERR_PARAM_NULLPTR = 161001,
    ACLNN_ERR_PARAM_INVALID = 161002,
    ACLNN_ERR_RUNTIME_ERROR = 361001,
    ACLNN_ERR_INNER = 561000,
    ACLNN_ERR_INNER_NULLPTR = 561103,
};

/* Set this thread's error text and return `code`. Never allocates; a text over 1023 bytes is cut. */
HC_SHARED int hc_fail(int code, const char *fmt, ...) HC_PRINTF(2, 3);
/* This thread's last error text, "" if none. Valid until the next hc_fail of the thread. */
HC_SHARED const char *hc_error_text(void);
/* A constructor has failed and gives NULL: keep its text for the operator that is passed that, whose
 * complaint about a null argument then ends with the reason. Forgotten when an operator of the thread is
 * planned. */
HC_SHARED void hc_error_keep_creation(void);
HC_SHARED void hc_error_forget_creation(void);
/* Set the text without a code: used to carry an asynchronous error over to the synchronising thread. */
HC_SHARED void hc_error_set_text(const char *text);

/* This thread's last code of hc_fail, 0 if none since the last hc_error_take; take also forgets it. */
HC_SHARED int hc_error_peek(void);
HC_SHARED int hc_error_take(void);

/* Who is told of every hc_fail, in the thread that fails: the log, which stands above. Before main. */
void hc_error_listen(void (*listener)(int code, const char *text));

/* Leave the function with `code` and a text unless cond holds. Only while the function owns nothing: there
 * is no clean-up. */
#define HC_CHECK(cond, code, ...)                                                                            \
    do {                                                                                                     \
        if (HC_UNLIKELY(!(cond))) return hc_fail((code), __VA_ARGS__);                                       \
    } while (0)
/* Pass an error on: its text is set already. */
#define HC_TRY(expr)                                                                                         \
    do {                                                                                                     \
        const int hc_try_code = (expr);                                                                      \
        if (HC_UNLIKELY(hc_try_code != 0)) return hc_try_code;                                               \
    } while (0)
