// SPDX-License-Identifier: Apache-2.0
/* A strict reader of JSON text, for small files that people write: no tree is built, the caller takes values
 * as they come. Strict: what RFC 8259 does not allow is an error, and so is nesting deeper than
 * HC_JSON_DEPTH, a key that comes twice in an object, and more than HC_JSON_KEYS of them. */
#pragma once
#include "hc_util.h"

enum { HC_JSON_DEPTH = 32, HC_JSON_TEXT = 256, HC_JSON_KEYS = 64 };

struct hc_json {
    const char *at, *end;
    unsigned line, depth;
    char error[200]; /* "line 3: ..."; empty: none so far */
};

void hc_json_begin(struct hc_json *j, const char *text, size_t length);
/* True if nothing but space is left, and there was no error. */
bool hc_json_end(struct hc_json *j);
/* Note the first error, with its line. Returns false. */
bool hc_json_fail(struct hc_json *j, const char *fmt, ...) HC_PRINTF(2, 3);

/* Call `member` for every member of the object that comes next; it must take the value, and returns false to
 * stop. `key` is valid during the call. All of these return false after an error. */
bool hc_json_object(struct hc_json *j, bool (*member)(struct hc_json *j, const char *key, void *ctx),
                    void *ctx);
bool hc_json_array(struct hc_json *j, bool (*element)(struct hc_json *j, void *ctx), void *ctx);
/* A string, number, true, false or null, as text. */
bool hc_json_scalar(struct hc_json *j, char text[HC_JSON_TEXT]);
/* A whole number from 0 to `max`, quoted or not. */
bool hc_json_number(struct hc_json *j, uint32_t max, uint32_t *number);
/* Anything. */
bool hc_json_skip(struct hc_json *j);
