// SPDX-License-Identifier: Apache-2.0
/* A hash table by the address of the name: names live as long as the process and repeat, so comparing
 * addresses is enough while counting. Names that are equal but stored twice (one per library) are merged
 * when read. One lock: whoever counts has paid for two clock reads already. */
#include "hc_stats.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "hc_observe.h"

enum { SLOTS = 4096 };
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hc_stat g_table[SLOTS];

/* Names are addresses of string constants; the multiplier spreads their low bits. */
static size_t hash(const char *name) { return ((uintptr_t)name * 0x9e3779b97f4a7c15u) >> 52; }

/* Linear probing; NULL when 4096 names are known, which then go uncounted. */
static struct hc_stat *slot_of(const char *name) {
    for (size_t i = 0; i < SLOTS; i++) {
        struct hc_stat *s = &g_table[(hash(name) + i) % SLOTS];
        if (s->name == name || s->name == NULL) return s;
    }
    return NULL;
}

/* One lock for all streams: taken only while someone asked for statistics. */
static void add(const struct hc_observation *o) {
    pthread_mutex_lock(&g_lock);
    struct hc_stat *s = slot_of(o->task->name);
    if (s != NULL) {
        s->name = o->task->name;
        s->kind = (int)o->task->kind;
        s->count++;
        s->nanoseconds += o->end_ns - o->begin_ns;
        s->bytes += o->info->bytes;
        s->flops += o->info->flops;
    }
    pthread_mutex_unlock(&g_lock);
}

/* May be switched at any time, from any thread. */
void hc_stats_enable(bool on) { hc_observe(HC_OBSERVE_STATS, on ? add : NULL); }

void hc_stats_reset(void) {
    pthread_mutex_lock(&g_lock);
    memset(g_table, 0, sizeof g_table);
    pthread_mutex_unlock(&g_lock);
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct hc_stat *)a)->name, ((const struct hc_stat *)b)->name);
}

static int by_time(const void *a, const void *b) {
    const uint64_t x = ((const struct hc_stat *)a)->nanoseconds, y = ((const struct hc_stat *)b)->nanoseconds;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Sorted by name: add up neighbours with the same name. */
static size_t merge(struct hc_stat *all, size_t count) {
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && strcmp(all[kept - 1].name, all[i].name) == 0) {
            all[kept - 1].count += all[i].count;
            all[kept - 1].nanoseconds += all[i].nanoseconds;
            all[kept - 1].bytes += all[i].bytes;
            all[kept - 1].flops += all[i].flops;
        } else {
            all[kept++] = all[i];
        }
    }
    return kept;
}

/* Returns how many names there are, which may be more than `room`; the longest total time first. */
size_t hc_stats_read(struct hc_stat *out, size_t room) {
    struct hc_stat *all = malloc(sizeof g_table);
    if (all == NULL) return 0;
    size_t count = 0;
    pthread_mutex_lock(&g_lock);
    for (size_t i = 0; i < SLOTS; i++) {
        if (g_table[i].name != NULL) all[count++] = g_table[i];
    }
    pthread_mutex_unlock(&g_lock);
    qsort(all, count, sizeof *all, by_name);
    count = merge(all, count);
    qsort(all, count, sizeof *all, by_time);
    if (count > 0 && room > 0) memcpy(out, all, hc_min_size(count, room) * sizeof *all);
    free(all);
    return count;
}

void hc_stats_after_fork(void) { pthread_mutex_init(&g_lock, NULL); }
