// SPDX-License-Identifier: Apache-2.0
/* Misspelt names of options. Of names that begin with one of MindSpeed's own prefixes any unknown one is
 * told; of HCCL_ only near ones, as the vendor has many that mean nothing here. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "hc_option.h"

extern char **environ;

enum { NAME_BYTES = 64, NEAR = 2 };

static size_t min3(size_t a, size_t b, size_t c) { return hc_min_size(hc_min_size(a, b), c); }

/* Insertions, deletions, replacements and swaps of neighbours that make b of a. Row by row: O(|a| |b|), about
 * 2 us for two names. */
static size_t distance(const char *a, size_t n, const char *b, size_t m) {
    size_t rows[3][NAME_BYTES + 1], *before = rows[0], *last = rows[1], *now = rows[2];
    for (size_t j = 0; j <= m; j++) last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = hc_min_size(now[j], before[j - 2] + 1);
        }
        size_t *const free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[m];
}

static bool begins(const char *name, const char *prefix) {
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

/* `length` without what follows the name, such as "=value". */
static int meant(const char *name, size_t length) {
    const bool own = begins(name, "MINDSPEED_") || begins(name, "HC_");
    int best = own ? -2 : -1;
    size_t nearest = NEAR + 1;
    if ((!own && !begins(name, "HCCL_")) || length > NAME_BYTES) return -1;
    for (int i = 0; i < HC_OPT_COUNT; i++) {
        const char *env = hc_option_env_name((enum hc_option)i);
        const size_t n = strlen(env);
        if (n > NAME_BYTES || n > length + NEAR || length > n + NEAR) continue;
        const size_t d = distance(name, length, env, n);
        if (d == 0) return -1;
        if (d < nearest) nearest = d, best = i;
    }
    return best;
}

int hc_option_meant(const char *name) { return meant(name, strlen(name)); }

void hc_option_warn_of_names(void) {
    static atomic_bool told;
    if (environ == NULL || atomic_exchange(&told, true)) return;
    for (char **e = environ; *e != NULL; e++) {
        const size_t length = strcspn(*e, "=");
        const int option = meant(*e, length);
        if (option == -1) continue;
        char hint[NAME_BYTES + 32] = "";
        if (option >= 0)
            snprintf(hint, sizeof hint, "; did you mean %s?", hc_option_env_name((enum hc_option)option));
        fprintf(stderr, "mindspeed: %.*s is no option and has no effect%s (mindspeed env --list)\n",
                (int)length, *e, hint);
    }
}
