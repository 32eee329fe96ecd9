// SPDX-License-Identifier: Apache-2.0
#include "hc_link_speed.h"

#include <stdlib.h>
#include <string.h>

static const double MOST_GIGABYTES = 1e6, MOST_MICROSECONDS = 1e7;

/* Digits and a point alone: strtod takes "inf", "0x1" and " 1" too. */
static bool read_number(const char **at, double *value) {
    char *end = NULL;
    const size_t digits = strspn(*at, "0123456789.");
    *value = strtod(*at, &end);
    if (digits == 0 || end != *at + digits) return false;
    *at = end;
    return true;
}

/* A latency alone would divide by no bandwidth, so that comes first and is more than 0. */
static bool read_speed(const char **at, struct hc_link_speed *speed) {
    speed->microseconds = 0;
    if (!read_number(at, &speed->gigabytes)) return false;
    if (!(speed->gigabytes > 0 && speed->gigabytes <= MOST_GIGABYTES)) return false;
    if (**at != ',') return true;
    ++*at;
    return read_number(at, &speed->microseconds) && speed->microseconds <= MOST_MICROSECONDS;
}

/* One pass: the whole text must be right, whichever entry counts; an entry with the group's own name wins
 * over one for all, wherever it stands. */
bool hc_link_speed_of(const char *text, const char *group, struct hc_link_speed *speed) {
    static const char NAME[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    struct hc_link_speed found = {0, 0}, read;
    bool named = false;
    *speed = found;
    for (const char *at = text;; at++) {
        const size_t length = strspn(at, NAME);
        const bool has_name = at[length] == '=',
                   own = has_name && length == strlen(group) && strncmp(at, group, length) == 0;
        if (has_name && length == 0) return false;
        if (has_name) at += length + 1;
        if (!read_speed(&at, &read) || (*at != ';' && *at != '\0')) return false;
        if (own || (!has_name && !named)) found = read;
        named = named || own;
        if (*at == '\0') break;
    }
    *speed = found;
    return true;
}
