// SPDX-License-Identifier: Apache-2.0
/* Which saved tensors of a training step go to the host's memory, and when, so that the step stays below a
 * limit of device memory and waits for copies as little as it can.
 *
 * The step is a row of segments; of each is known how long it takes and how much memory is in use at most if
 * everything is away. A block of memory can be copied from segment `sent` on, nobody needs it on the device
 * from `idle` on, and it is asked for in `asked`. Kept, it adds its bytes to the segments in between. Copies
 * go through two queues, one to the host, in the order of `sent`, as early as they can, and one back, as late
 * as they can. A block that goes is on the device until the segment behind the end of its copy, and again
 * from the one in which its copy back begins.
 *
 * At first all are kept. As long as a segment is above the limit, in the fullest one the largest block goes
 * whose copies leave it room there. Where no copy is quick enough, the block for which the wait is the
 * shortest is bound to be away in that segment, and the step waits for its copies. What a segment takes
 * depends on the order of segments alone, not on how long copies take in the end: a wrong guess of time costs
 * time, never memory. For b blocks and s segments a choice takes b + s; there are at most b of them
 * with quick copies, MOST_TRIES tried for each, and then one for each block that is bound. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "hc_util.h"

#define MOST_TRIES 64 /* blocks of one segment; those left are smaller */

struct block {
    int64_t bytes;
    int32_t sent, idle, asked;
    int32_t leave, fetch; /* of those that go: the first segment without it, the first one with it again */
    int32_t latest, earliest; /* bounds of these two */
    int32_t refused;          /* the segment that it has not helped */
    int goes;
    double arrived, begun; /* the end of its copy out, the beginning of its copy back */
};

struct swap_plan {
    size_t segments, blocks;
    const int64_t *base;
    double *start;        /* [segments + 1]: when each begins */
    int64_t *load;        /* [segments + 1], the last one is for sums */
    size_t *return_order; /* blocks, those asked for last first */
    struct block *block;
    double out_rate, back_rate; /* bytes in a second */
    double out_end, back_begin; /* of both queues */
};

/* The first segment that begins at `time` or later; `segments` if none does. */
static int32_t segment_from(const struct swap_plan *p, double time) {
    size_t low = 0, high = p->segments;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (p->start[middle] >= time) high = middle;
        else low = middle + 1;
    }
    return (int32_t)low;
}

/* The last segment that begins at `time` or earlier. */
static int32_t segment_until(const struct swap_plan *p, double time) {
    size_t low = 0, high = p->segments;
    while (low + 1 < high) {
        const size_t middle = (low + high) / 2;
        if (p->start[middle] <= time) low = middle;
        else high = middle;
    }
    return (int32_t)low;
}

static int32_t larger(int32_t a, int32_t b) { return a > b ? a : b; }

static int32_t smaller(int32_t a, int32_t b) { return a < b ? a : b; }

static void add(struct swap_plan *p, int32_t begin, int32_t end, int64_t bytes) {
    if (begin >= end) return;
    p->load[begin] += bytes, p->load[end] -= bytes;
}

static void run_queues(struct swap_plan *p) {
    p->out_end = 0;
    for (size_t i = 0; i < p->blocks; i++) {
        struct block *b = &p->block[i];
        if (!b->goes) continue;
        p->out_end = fmax(p->out_end, p->start[b->sent]) + (double)b->bytes / p->out_rate;
        b->arrived = p->out_end;
        b->leave = smaller(larger(segment_from(p, b->arrived), b->idle), b->latest);
    }
    p->back_begin = p->start[p->segments];
    for (size_t i = 0; i < p->blocks; i++) {
        struct block *b = &p->block[p->return_order[i]];
        if (!b->goes) continue;
        if ((size_t)b->asked == p->segments) { /* nobody does */
            b->fetch = b->asked;
            continue;
        }
        p->back_begin = fmin(p->back_begin, p->start[b->asked]) - (double)b->bytes / p->back_rate;
        b->begun = p->back_begin;
        /* Segments without length may begin together with the one that asks. */
        b->fetch = smaller(larger(segment_until(p, b->begun), b->earliest), b->asked);
    }
}

/* Times of all copies and the memory of all segments. */
static void evaluate(struct swap_plan *p) {
    run_queues(p);
    for (size_t k = 0; k <= p->segments; k++) p->load[k] = 0;
    for (size_t i = 0; i < p->blocks; i++) {
        const struct block *b = &p->block[i];
        if (b->goes && b->leave < b->fetch) {
            add(p, b->idle, b->leave, b->bytes);
            add(p, b->fetch, b->asked, b->bytes);
        } else {
            add(p, b->idle, b->asked, b->bytes);
        }
    }
    int64_t extra = 0;
    for (size_t k = 0; k < p->segments; k++) {
        extra += p->load[k];
        p->load[k] = p->base[k] + extra;
    }
}

static int32_t fullest(const struct swap_plan *p) {
    size_t found = 0;
    for (size_t k = 1; k < p->segments; k++)
        if (p->load[k] > p->load[found]) found = k;
    return (int32_t)found;
}

static int spans(const struct block *b, int32_t segment) { return b->idle <= segment && segment < b->asked; }

static int is_away(const struct block *b, int32_t segment) {
    return b->goes && b->leave <= segment && segment < b->fetch;
}

/* Whether its copies alone would be quick enough. */
static int could_help(const struct swap_plan *p, const struct block *b, int32_t segment) {
    const double begin = p->start[segment], end = p->start[segment + 1];
    return p->start[b->sent] + (double)b->bytes / p->out_rate <= begin &&
           p->start[b->asked] - (double)b->bytes / p->back_rate >= end;
}

/* Let the largest block go that makes the segment emptier; 0 if there is none. Of equal ones the first, whose
 * copy out has most time. */
static int let_go(struct swap_plan *p, int32_t segment) {
    for (int tries = 0; tries < MOST_TRIES; tries++) {
        struct block *best = NULL;
        for (size_t i = 0; i < p->blocks; i++) {
            struct block *b = &p->block[i];
            if (b->goes || b->refused == segment || !spans(b, segment) || !could_help(p, b, segment))
                continue;
            if (!best || b->bytes > best->bytes) best = b;
        }
        if (!best) return 0;
        const int64_t before = p->load[segment];
        best->goes = 1;
        evaluate(p);
        if (p->load[segment] < before) return 1;
        best->goes = 0, best->refused = segment;
        evaluate(p);
    }
    return 0;
}

/* How long the step would wait if the block had to be away in the segment. */
static double wait_for(const struct swap_plan *p, const struct block *b, int32_t segment) {
    const double out =
        b->goes ? b->arrived : fmax(p->out_end, p->start[b->sent]) + (double)b->bytes / p->out_rate;
    const double back = p->start[segment + 1] + (double)b->bytes / p->back_rate;
    return fmax(0, out - p->start[segment]) + fmax(0, back - p->start[b->asked]);
}

/* Bind the block with the shortest wait, of equal ones the largest, to be away in the segment; 0 if all are.
 */
static int bind(struct swap_plan *p, int32_t segment) {
    struct block *best = NULL;
    double least = 0;
    for (size_t i = 0; i < p->blocks; i++) {
        struct block *b = &p->block[i];
        if (!spans(b, segment) || is_away(b, segment)) continue;
        const double wait = wait_for(p, b, segment);
        if (best && (wait > least || (wait >= least && b->bytes <= best->bytes))) continue;
        best = b, least = wait;
    }
    if (!best) return 0;
    best->goes = 1;
    best->latest = smaller(best->latest, segment);
    best->earliest = larger(best->earliest, segment + 1);
    evaluate(p);
    return 1;
}

static int is_valid(const struct swap_plan *p) {
    if (p->segments < 1 || p->segments >= INT32_MAX || p->blocks >= INT32_MAX) return 0;
    if (!(p->out_rate > 0) || !(p->back_rate > 0)) return 0;
    for (size_t i = 0; i < p->blocks; i++) {
        const struct block *b = &p->block[i];
        if (b->bytes < 0 || b->sent < 0 || b->sent > b->idle || b->idle > b->asked) return 0;
        if ((size_t)b->asked > p->segments || (i > 0 && b->sent < b[-1].sent)) return 0;
    }
    return 1;
}

/* A counting sort by `asked`, from the last segment to the first; of equal ones the later block first, whose
 * copy back is then behind the others. */
static void sort_by_return(struct swap_plan *p, size_t *count) {
    for (size_t i = 0; i < p->blocks; i++) count[p->segments - (size_t)p->block[i].asked + 1]++;
    for (size_t k = 1; k <= p->segments + 1; k++) count[k] += count[k - 1];
    for (size_t i = p->blocks; i-- > 0;)
        p->return_order[count[p->segments - (size_t)p->block[i].asked]++] = i;
}

static int64_t solve(struct swap_plan *p, int64_t limit) {
    evaluate(p);
    for (;;) {
        const int32_t segment = fullest(p);
        if (p->load[segment] <= limit || (!let_go(p, segment) && !bind(p, segment))) return p->load[segment];
    }
}

/* `seconds`, `base` [segments]: how long each takes, and its bytes with everything away. Of blocks, in the
 * order of `sent`: bytes; the segments sent <= idle <= asked, which may be `segments`. Rates are bytes in a
 * second. `leave` and `fetch` [blocks] are filled with the first segment without the block and the first one
 * with it again, or -1 where it stays; *peak with the most bytes of a segment, which is above `limit` only
 * where `base` is. Returns 0, or -1 for numbers that contradict each other or without memory. Thread safe,
 * does not block. */
HC_API int32_t hc_smart_swap(size_t segments, const double *seconds, const int64_t *base, size_t blocks,
                             const int64_t *bytes, const int32_t *sent, const int32_t *idle,
                             const int32_t *asked, double out_rate, double back_rate, int64_t limit,
                             int32_t *leave, int32_t *fetch, int64_t *peak) {
    struct swap_plan p = {.segments = segments, .blocks = blocks, .base = base};
    p.out_rate = out_rate, p.back_rate = back_rate;
    p.start = calloc(segments + 1, sizeof *p.start);
    p.load = calloc(segments + 1, sizeof *p.load);
    p.return_order = calloc(blocks + 1, sizeof *p.return_order);
    p.block = calloc(blocks + 1, sizeof *p.block);
    size_t *count = calloc(segments + 2, sizeof *count);
    int32_t found = -1;
    if (p.start && p.load && p.return_order && p.block && count) {
        for (size_t k = 0; k < segments; k++) p.start[k + 1] = p.start[k] + fmax(0, seconds[k]);
        for (size_t i = 0; i < blocks; i++)
            p.block[i] = (struct block){.bytes = bytes[i],
                                        .sent = sent[i],
                                        .idle = idle[i],
                                        .asked = asked[i],
                                        .latest = INT32_MAX,
                                        .refused = -1};
        if (is_valid(&p)) {
            sort_by_return(&p, count);
            *peak = solve(&p, limit);
            for (size_t i = 0; i < blocks; i++) {
                const struct block *b = &p.block[i];
                const int goes = b->goes && b->leave < b->fetch;
                leave[i] = goes ? b->leave : -1, fetch[i] = goes ? b->fetch : -1;
            }
            found = 0;
        }
    }
    free(p.start), free(p.load), free(p.return_order), free(p.block), free(count);
    return found;
}
