// SPDX-License-Identifier: Apache-2.0
/* The configuration file of aclInit: a JSON object. Of its contents only the default device means anything
 * here (dumps and profiling of the hardware do not), but the file must be readable and well formed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_error.h"
#include "hc_runtime.h"

enum { MAX_FILE = 10 << 20, MAX_DEPTH = 64 };

/* A cursor, not a tree: one pass decides whether the file is well formed and picks the one value on the
 * way. */
struct json {
    const char *at, *end;
    int depth;
    const char *path[MAX_DEPTH]; /* key of each open object, not terminated */
    int32_t default_device;
};

/* JSON's four. */
static void skip_space(struct json *j) {
    while (j->at < j->end && strchr(" \t\r\n", *j->at) != NULL && *j->at != '\0') j->at++;
}

/* Skips space, then the character if it is there. */
static bool take(struct json *j, char c) {
    skip_space(j);
    if (j->at >= j->end || *j->at != c) return false;
    j->at++;
    return true;
}

/* Leaves `at` behind the closing quote. */
static bool string(struct json *j, const char **begin) {
    if (!take(j, '"')) return false;
    *begin = j->at;
    while (j->at < j->end && *j->at != '"') {
        if ((unsigned char)*j->at < 0x20) return false;
        if (*j->at == '\\') j->at++;
        if (j->at < j->end) j->at++;
    }
    return take(j, '"');
}

/* The key of the object that is open at that level. */
static bool is_key(const struct json *j, int level, const char *key) {
    const size_t n = strlen(key);
    return j->path[level] != NULL && strncmp(j->path[level], key, n) == 0 && j->path[level][n] == '"';
}

static bool value(struct json *j);

/* Of an object or an array; depth is limited, as the parser recurses. */
static bool members(struct json *j, bool object) {
    const char close = object ? '}' : ']';
    if (take(j, close)) return true;
    if (++j->depth >= MAX_DEPTH) return false;
    do {
        j->path[j->depth] = NULL;
        if (object && (!string(j, &j->path[j->depth]) || !take(j, ':'))) return false;
        if (!value(j)) return false;
    } while (take(j, ','));
    j->depth--;
    return take(j, close);
}

/* The one value that counts: defaultDevice.default_device, a number written as text. Other texts are
 * skipped. */
static bool text_value(struct json *j) {
    const char *begin;
    if (!string(j, &begin)) return false;
    if (j->depth == 2 && is_key(j, 1, "defaultDevice") && is_key(j, 2, "default_device")) {
        char *end;
        const long id = strtol(begin, &end, 10);
        if (end == begin || *end != '"' || id < 0 || id > INT32_MAX) return false;
        j->default_device = (int32_t)id;
    }
    return true;
}

/* true, false, null or a number. */
static bool word(struct json *j) {
    static const char *const WORDS[] = {"true", "false", "null"};
    for (size_t i = 0; i < HC_ARRAY_SIZE(WORDS); i++) {
        const size_t n = strlen(WORDS[i]);
        if ((size_t)(j->end - j->at) >= n && strncmp(j->at, WORDS[i], n) == 0) {
            j->at += n;
            return true;
        }
    }
    char *end;
    strtod(j->at, &end);
    const bool number = end > j->at && (strchr("-0123456789", *j->at) != NULL);
    j->at = end;
    return number;
}

static bool value(struct json *j) {
    if (take(j, '{')) return members(j, true);
    if (take(j, '[')) return members(j, false);
    skip_space(j);
    if (j->at >= j->end) return false;
    return *j->at == '"' ? text_value(j) : word(j);
}

/* A cursor over the text; nothing is stored but the one value that is needed. */
static aclError parse(const char *path, const char *text, size_t bytes, int32_t *default_device) {
    struct json j = {.at = text, .end = text + bytes, .default_device = -1};
    bool good = take(&j, '{') && members(&j, true);
    skip_space(&j);
    good = good && j.at == j.end;
    HC_CHECK(good, ACL_ERROR_PARSE_FILE, "aclInit: %s is not a JSON object: error at byte %zu", path,
             (size_t)(j.at - text));
    *default_device = j.default_device;
    return ACL_SUCCESS;
}

/* Reads the whole file: configurations are small, and the limit keeps a wrong path from filling memory. */
aclError hc_config_read(const char *path, int32_t *default_device) {
    FILE *file = fopen(path, "re");
    HC_CHECK(file != NULL, ACL_ERROR_INVALID_FILE, "aclInit: cannot open %s: %s", path, strerror(errno));
    char *text = malloc(MAX_FILE + 1);
    const size_t bytes = text != NULL ? fread(text, 1, MAX_FILE, file) : 0;
    const bool failed = text == NULL || ferror(file) || !feof(file);
    fclose(file);
    aclError code;
    if (failed) {
        code = hc_fail(ACL_ERROR_INVALID_FILE, "aclInit: cannot read %s, or it has more than %d bytes", path,
                       MAX_FILE);
    } else {
        text[bytes] = '\0';
        code = parse(path, text, bytes, default_device);
    }
    free(text);
    return code;
}
