// SPDX-License-Identifier: Apache-2.0
/* Which layers keep what their backward pass needs, and which compute it again, so that the memory of a
 * training step comes as close to a limit as it can and the time of recomputation is the least.
 *
 * The step is a row of segments of time, of which is known how much memory each takes at most if everything
 * is computed again. A unit (a layer, with inputs of one size) has options; option 0 is to compute all of it
 * again and costs nothing. Every other option saves seconds and takes more bytes, in the spans of segments
 * between its forward and its backward passes. That is a knapsack with as many bounds as there are segments,
 * since in a pipeline passes of several micro-batches overlap. Exact methods are for one bound; here the
 * option with the most seconds for its bytes is taken while one fits, then options of two units are changed
 * at once as long as this saves more. Layers are much alike, so what is left over is less than the smallest
 * option. Of u units with o options and s segments: at most u*o choices at u*o*s each, and (u*o)^2*s for a
 * look at all pairs. */
#include <stdint.h>
#include <stdlib.h>

#include "hc_util.h"

#define MOST_OPTIONS 8
#define LEAST_GAIN                                                                                           \
    1e-9 /* seconds; below it a change is the noise of a clock, and pairs would go in circles */

struct spans {
    size_t count;
    const int32_t *unit, *begin, *end;
    const int64_t *bytes; /* [count][options] */
};

struct plan {
    size_t segments, units, options;
    struct spans spans;
    const double *seconds; /* [units][options]: saved, next to option 0 */
    int64_t limit;
    int64_t *load;   /* [segments] */
    size_t *first;   /* [units + 1]: of a unit, its places in `order` */
    size_t *order;   /* spans, by unit */
    int32_t *chosen; /* [units] */
};

static int64_t bytes_of(const struct plan *p, size_t span, int32_t option) {
    return p->spans.bytes[span * p->options + (size_t)option];
}

static double saved(const struct plan *p, size_t unit, int32_t option) {
    return p->seconds[unit * p->options + (size_t)option];
}

static void change(struct plan *p, size_t unit, int32_t option) {
    for (size_t i = p->first[unit]; i < p->first[unit + 1]; i++) {
        const size_t span = p->order[i];
        const int64_t more = bytes_of(p, span, option) - bytes_of(p, span, p->chosen[unit]);
        for (int32_t k = p->spans.begin[span]; k < p->spans.end[span]; k++) p->load[k] += more;
    }
    p->chosen[unit] = option;
}

/* Whether the segments of a unit are within the limit. What is over it without this unit is not its fault,
 * but it would make that worse, so it does not fit either. */
static int fits(const struct plan *p, size_t unit) {
    for (size_t i = p->first[unit]; i < p->first[unit + 1]; i++) {
        const size_t span = p->order[i];
        for (int32_t k = p->spans.begin[span]; k < p->spans.end[span]; k++)
            if (p->load[k] > p->limit) return 0;
    }
    return 1;
}

/* The most that the option adds anywhere. (Passes of one unit that overlap add up; layers of one pipeline
 * stage overlap alike, so that does not change who is first.) */
static int64_t most_bytes(const struct plan *p, size_t unit, int32_t option) {
    int64_t most = 0;
    for (size_t i = p->first[unit]; i < p->first[unit + 1]; i++) {
        const int64_t more = bytes_of(p, p->order[i], option) - bytes_of(p, p->order[i], p->chosen[unit]);
        if (more > most) most = more;
    }
    return most;
}

/* The change that fits and saves most for its bytes; 0 if there is none. Of equal ones the first unit's:
 * ranks that have the same numbers choose alike. */
static int take_best(struct plan *p) {
    size_t best_unit = 0;
    int32_t best_option = -1;
    double best = 0;
    for (size_t unit = 0; unit < p->units; unit++) {
        const int32_t before = p->chosen[unit];
        for (int32_t option = 1; option < (int32_t)p->options; option++) {
            const double gain = saved(p, unit, option) - saved(p, unit, before);
            if (gain <= LEAST_GAIN) continue;
            const double rate = gain / (double)(most_bytes(p, unit, option) + 1);
            if (best_option >= 0 && rate <= best) continue;
            change(p, unit, option);
            if (fits(p, unit)) best = rate, best_unit = unit, best_option = option;
            change(p, unit, before);
        }
    }
    if (best_option < 0) return 0;
    change(p, best_unit, best_option);
    return 1;
}

/* Another option for `other` that, after `unit` has changed at a loss, fits and saves more than was lost. */
static int make_up(struct plan *p, size_t unit, size_t other, double loss) {
    const int32_t before = p->chosen[other];
    for (int32_t option = 1; option < (int32_t)p->options; option++) {
        if (saved(p, other, option) - saved(p, other, before) <= loss + LEAST_GAIN) continue;
        change(p, other, option);
        if (fits(p, other) && fits(p, unit)) return 1;
        change(p, other, before);
    }
    return 0;
}

static int exchange(struct plan *p) {
    for (size_t unit = 0; unit < p->units; unit++) {
        const int32_t before = p->chosen[unit];
        for (int32_t option = 0; option < (int32_t)p->options; option++) {
            const double loss = saved(p, unit, before) - saved(p, unit, option);
            if (option == before || loss < 0) continue;
            change(p, unit, option);
            for (size_t other = 0; other < p->units; other++)
                if (other != unit && make_up(p, unit, other, loss)) return 1;
            change(p, unit, before);
        }
    }
    return 0;
}

static int is_valid(const struct plan *p, const int64_t *base) {
    if (p->options < 1 || p->options > MOST_OPTIONS || p->segments > INT32_MAX || !base) return 0;
    for (size_t i = 0; i < p->spans.count; i++) {
        const struct spans *s = &p->spans;
        if (s->unit[i] < 0 || (size_t)s->unit[i] >= p->units) return 0;
        if (s->begin[i] < 0 || s->begin[i] > s->end[i] || (size_t)s->end[i] > p->segments) return 0;
    }
    return 1;
}

static void sort_spans(struct plan *p) {
    for (size_t i = 0; i < p->spans.count; i++) p->first[p->spans.unit[i] + 1]++;
    for (size_t unit = 0; unit < p->units; unit++) p->first[unit + 1] += p->first[unit];
    for (size_t i = p->spans.count; i-- > 0;) { /* from the back, which restores where each unit begins */
        const size_t unit = (size_t)p->spans.unit[i];
        p->order[--p->first[unit + 1]] = i;
    }
    for (size_t unit = 0; unit < p->units; unit++) p->first[unit] = p->first[unit + 1];
    p->first[p->units] = p->spans.count;
}

/* `base` [segments]: bytes if everything is computed again. Spans: unit, first segment and the one behind the
 * last, bytes [spans][options] more than with option 0. `seconds` [units][options]: saved by the option.
 * `chosen` [units] is filled with options, and *peak with the most bytes of a segment, which is more than
 * `limit` only where `base` is. Returns 0, or -1 for numbers that contradict each other or without memory.
 * Thread safe, does not block. */
HC_API int32_t hc_adaptive_recompute(size_t segments, const int64_t *base, size_t spans,
                                     const int32_t *span_unit, const int32_t *span_begin,
                                     const int32_t *span_end, const int64_t *span_bytes, size_t units,
                                     size_t options, const double *seconds, int64_t limit, int32_t *chosen,
                                     int64_t *peak) {
    struct plan p = {.segments = segments, .units = units, .options = options, .seconds = seconds};
    p.spans = (struct spans){spans, span_unit, span_begin, span_end, span_bytes};
    p.limit = limit, p.chosen = chosen;
    if (!is_valid(&p, base)) return -1;
    p.load = malloc((segments + 1) * sizeof *p.load);
    p.first = calloc(units + 1, sizeof *p.first);
    p.order = malloc((spans + 1) * sizeof *p.order);
    int32_t found = -1;
    if (p.load && p.first && p.order) {
        for (size_t k = 0; k < segments; k++) p.load[k] = base[k];
        for (size_t unit = 0; unit < units; unit++) chosen[unit] = 0;
        sort_spans(&p);
        size_t left = 4 * units * options; /* each saves time, so it ends; this bounds how long it takes */
        do
            while (take_best(&p)) continue;
        while (left-- > 0 && exchange(&p));
        *peak = 0;
        for (size_t k = 0; k < segments; k++)
            if (p.load[k] > *peak) *peak = p.load[k];
        found = 0;
    }
    free(p.load), free(p.first), free(p.order);
    return found;
}
