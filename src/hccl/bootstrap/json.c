// SPDX-License-Identifier: Apache-2.0
#include "hc_json.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void hc_json_begin(struct hc_json *j, const char *text, size_t length) {
    *j = (struct hc_json){.at = text, .end = text + length, .line = 1};
}

bool hc_json_fail(struct hc_json *j, const char *fmt, ...) {
    char what[160];
    va_list args;
    if (j->error[0] != '\0') return false;
    va_start(args, fmt);
    vsnprintf(what, sizeof what, fmt, args);
    va_end(args);
    snprintf(j->error, sizeof j->error, "line %u: %s", j->line, what);
    return false;
}

/* The next character that is no space, '\0' at the end. A NUL in the text is no space either, and fits
 * nowhere. */
static char peek(struct hc_json *j) {
    for (; j->at < j->end; j->at++) {
        if (*j->at == '\n') j->line++;
        else if (*j->at != ' ' && *j->at != '\t' && *j->at != '\r') return *j->at;
    }
    return '\0';
}

static bool unexpected(struct hc_json *j, const char *wanted) {
    if (j->at == j->end) return hc_json_fail(j, "the text ends where %s is wanted", wanted);
    return hc_json_fail(j, "%s is wanted, not '%c'", wanted, *j->at >= ' ' ? *j->at : '?');
}

static bool take(struct hc_json *j, char c, const char *wanted) {
    if (j->error[0] != '\0' || peek(j) != c || j->at == j->end) return unexpected(j, wanted);
    j->at++;
    return true;
}

bool hc_json_end(struct hc_json *j) {
    if (j->error[0] != '\0') return false;
    peek(j);
    return j->at == j->end || hc_json_fail(j, "there is text behind the value");
}

static bool enter(struct hc_json *j) {
    if (++j->depth <= HC_JSON_DEPTH) return true;
    return hc_json_fail(j, "values are nested more than %d deep", HC_JSON_DEPTH);
}

static bool append(struct hc_json *j, char *text, size_t *length, unsigned char byte) {
    if (*length + 1 >= HC_JSON_TEXT)
        return hc_json_fail(j, "a text is longer than %d bytes", HC_JSON_TEXT - 1);
    text[(*length)++] = (char)byte;
    text[*length] = '\0';
    return true;
}

/* Four hexadecimal digits. */
static bool take_code(struct hc_json *j, unsigned *code) {
    *code = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        const char c = j->at < j->end ? *j->at : '\0';
        const char *digits = "0123456789abcdef", *found = c != '\0' ? strchr(digits, c | 0x20) : NULL;
        if (found == NULL || (c < '0' || (c > '9' && c < 'A')))
            return hc_json_fail(j, "\\u wants four digits");
        *code = *code * 16 + (unsigned)(found - digits);
    }
    return true;
}

/* As UTF-8. Names and addresses do not need characters beyond the first plane, so surrogates are refused. */
static bool append_code(struct hc_json *j, char *text, size_t *length, unsigned code) {
    if (code == 0 || (code >= 0xd800 && code < 0xe000))
        return hc_json_fail(j, "\\u%04x is not supported", code);
    if (code < 0x80) return append(j, text, length, (unsigned char)code);
    if (code >= 0x800 && !append(j, text, length, (unsigned char)(0xe0 | code >> 12))) return false;
    const unsigned second = code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6;
    return append(j, text, length, (unsigned char)second) &&
           append(j, text, length, (unsigned char)(0x80 | (code & 0x3f)));
}

static bool take_escape(struct hc_json *j, char *text, size_t *length) {
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    const char c = j->at < j->end ? *j->at++ : '\0';
    unsigned code;
    if (c == 'u') return take_code(j, &code) && append_code(j, text, length, code);
    const char *found = c != '\0' ? strchr(FROM, c) : NULL;
    if (found == NULL) return hc_json_fail(j, "a text has an unknown escape");
    return append(j, text, length, (unsigned char)TO[found - FROM]);
}

static bool take_string(struct hc_json *j, char *text) {
    size_t length = 0;
    text[0] = '\0';
    if (!take(j, '"', "a text in quotes")) return false;
    while (j->at < j->end && *j->at != '"') {
        const unsigned char c = (unsigned char)*j->at++;
        if (c < 0x20) return hc_json_fail(j, "a text has a control character, or no end");
        if (!(c == '\\' ? take_escape(j, text, &length) : append(j, text, &length, c))) return false;
    }
    return take(j, '"', "the end of a text");
}

static size_t digits(const char *at) { return strspn(at, "0123456789"); }

/* -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)? */
static bool is_number(const char *at) {
    at += *at == '-';
    if (digits(at) == 0 || (*at == '0' && digits(at) > 1)) return false;
    at += digits(at);
    if (*at == '.') {
        if (digits(++at) == 0) return false;
        at += digits(at);
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '+' || *at == '-';
        if (digits(at) == 0) return false;
        at += digits(at);
    }
    return *at == '\0';
}

bool hc_json_scalar(struct hc_json *j, char text[HC_JSON_TEXT]) {
    size_t length = 0;
    if (j->error[0] != '\0') return false;
    if (peek(j) == '"') return take_string(j, text);
    text[0] = '\0';
    while (j->at < j->end && *j->at != '\0' && strchr(",:]}[{\" \t\r\n", *j->at) == NULL)
        if (!append(j, text, &length, (unsigned char)*j->at++)) return false;
    if (length == 0) return unexpected(j, "a value");
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0 || strcmp(text, "null") == 0 ||
        is_number(text))
        return true;
    return hc_json_fail(j, "'%s' is no value", text);
}

bool hc_json_number(struct hc_json *j, uint32_t max, uint32_t *number) {
    char text[HC_JSON_TEXT];
    if (!hc_json_scalar(j, text)) return false;
    errno = 0;
    const unsigned long value = strtoul(text, NULL, 10);
    if (text[0] == '\0' || text[digits(text)] != '\0' || errno != 0 || value > max)
        return hc_json_fail(j, "'%s' is no whole number from 0 to %u", text, max);
    *number = (uint32_t)value;
    return true;
}

/* Between members: a comma goes on, `close` ends. */
static bool more(struct hc_json *j, char close, bool first) {
    if (peek(j) == close) return false;
    return first || take(j, ',', close == '}' ? "',' or '}'" : "',' or ']'");
}

/* Which of two equal keys is meant nobody knows, and readers differ. FNV-1a, 64 bits: two keys that share one
 * by accident are refused as well. */
static bool note_key(struct hc_json *j, const char *key, uint64_t *seen, size_t count) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (const char *c = key; *c != '\0'; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3u;
    if (count == HC_JSON_KEYS) return hc_json_fail(j, "an object has more than %d keys", HC_JSON_KEYS);
    for (size_t i = 0; i < count; i++)
        if (seen[i] == hash) return hc_json_fail(j, "the key \"%.80s\" comes twice", key);
    seen[count] = hash;
    return true;
}

bool hc_json_object(struct hc_json *j, bool (*member)(struct hc_json *j, const char *key, void *ctx),
                    void *ctx) {
    char key[HC_JSON_TEXT];
    uint64_t seen[HC_JSON_KEYS];
    size_t count = 0;
    if (!take(j, '{', "an object") || !enter(j)) return false;
    for (bool first = true; more(j, '}', first); first = false) {
        if (!take_string(j, key) || !note_key(j, key, seen, count++) || !take(j, ':', "':'")) return false;
        if (!member(j, key, ctx) || j->error[0] != '\0') return false;
    }
    j->depth--;
    return take(j, '}', "'}'");
}

bool hc_json_array(struct hc_json *j, bool (*element)(struct hc_json *j, void *ctx), void *ctx) {
    if (!take(j, '[', "a list") || !enter(j)) return false;
    for (bool first = true; more(j, ']', first); first = false)
        if (!element(j, ctx) || j->error[0] != '\0') return false;
    j->depth--;
    return take(j, ']', "']'");
}

static bool skip_element(struct hc_json *j, void *ctx) {
    (void)ctx;
    return hc_json_skip(j);
}
static bool skip_member(struct hc_json *j, const char *key, void *ctx) {
    (void)key;
    (void)ctx;
    return hc_json_skip(j);
}

bool hc_json_skip(struct hc_json *j) {
    char text[HC_JSON_TEXT];
    if (j->error[0] != '\0') return false;
    if (peek(j) == '{') return hc_json_object(j, skip_member, NULL);
    if (peek(j) == '[') return hc_json_array(j, skip_element, NULL);
    return hc_json_scalar(j, text);
}
