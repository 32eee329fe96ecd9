// SPDX-License-Identifier: Apache-2.0
/* Whether a text is JSON, to the letter of RFC 8259 (but for the range of numbers and surrogates). */
#pragma once
#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct json_text {
    const char *at, *end;
    unsigned elements; /* of the outermost array */
    int depth;
};

static inline void json_space(struct json_text *j) {
    while (j->at < j->end && *j->at != '\0' && strchr(" \t\r\n", *j->at) != NULL) j->at++;
}
static inline bool json_take(struct json_text *j, char c) {
    if (j->at == j->end || *j->at != c) return false;
    j->at++;
    return true;
}

static inline bool json_string(struct json_text *j) {
    if (!json_take(j, '"')) return false;
    for (; j->at < j->end && *j->at != '"'; j->at++) {
        const unsigned char c = (unsigned char)*j->at;
        if (c < 0x20 || c > 0x7e) return false;
        if (c != '\\') continue;
        if (++j->at == j->end || *j->at == '\0' || strchr("\"\\/bfnrtu", *j->at) == NULL) return false;
        if (*j->at != 'u') continue;
        for (int i = 1; i <= 4; i++)
            if (j->end - j->at <= i || !isxdigit((unsigned char)j->at[i])) return false;
        j->at += 4;
    }
    return json_take(j, '"');
}

static inline bool json_digits(struct json_text *j) {
    const char *begin = j->at;
    while (j->at < j->end && isdigit((unsigned char)*j->at)) j->at++;
    return j->at > begin;
}
static inline bool json_number(struct json_text *j) {
    json_take(j, '-');
    const bool zero = j->at < j->end && *j->at == '0';
    const char *begin = j->at;
    if (!json_digits(j) || (zero && j->at - begin > 1)) return false;
    if (json_take(j, '.') && !json_digits(j)) return false;
    if (json_take(j, 'e') || json_take(j, 'E')) {
        if (!json_take(j, '-')) json_take(j, '+');
        return json_digits(j);
    }
    return true;
}

static inline bool json_value(struct json_text *j);

static inline bool json_members(struct json_text *j, bool object) {
    const char close = object ? '}' : ']';
    j->depth++;
    json_space(j);
    if (json_take(j, close)) return j->depth--, true;
    do {
        json_space(j);
        if (object) {
            if (!json_string(j)) return false;
            json_space(j);
            if (!json_take(j, ':')) return false;
        }
        if (!json_value(j)) return false;
        if (j->depth == 1) j->elements++;
        json_space(j);
    } while (json_take(j, ','));
    j->depth--;
    return json_take(j, close);
}

static inline bool json_value(struct json_text *j) {
    static const char *const WORDS[] = {"true", "false", "null"};
    json_space(j);
    if (json_take(j, '{')) return json_members(j, true);
    if (json_take(j, '[')) return json_members(j, false);
    if (j->at < j->end && *j->at == '"') return json_string(j);
    for (size_t i = 0; i < 3; i++) {
        const size_t n = strlen(WORDS[i]);
        if ((size_t)(j->end - j->at) >= n && memcmp(j->at, WORDS[i], n) == 0) return j->at += n, true;
    }
    return json_number(j);
}

/* The number of elements of an array that is all of the text; -1 if it is none. */
static inline int json_array(const char *text, size_t bytes) {
    struct json_text j = {.at = text, .end = text + bytes};
    json_space(&j);
    if (j.at == j.end || *j.at != '[' || !json_value(&j)) return -1;
    json_space(&j);
    return j.at == j.end ? (int)j.elements : -1;
}
