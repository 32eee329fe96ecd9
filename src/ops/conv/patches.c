// SPDX-License-Identifier: Apache-2.0
/* The matrix of patches: row (c, k) holds, for each position q of the output, the element of channel c that
 * weight k meets there. A convolution is the product of the weights with it.
 *
 * Taken or added back in runs along the innermost dimension, where a row's in-range part is one interval.
 * Each element is moved once; bound by memory. */
#include "conv.h"

/* Rows [begin, end) of it; a row of conv_add_patches only touches its own channel. */
HC_KERNEL(conv_take_rows, (const struct conv_columns *c, size_t begin, size_t end))
HC_KERNEL(conv_add_channels, (const struct conv_columns *c, size_t begin, size_t end))

#ifdef HC_ISA
/* One row of the matrix: where its weight lies, and the run of outputs that meet x along the last dimension.
 */
struct row {
    int64_t at[CONV_DIMS]; /* of the first output, in x; may be negative */
    int64_t low, high;
};

static inline struct row find_row(const struct conv_shape *s, size_t k) {
    struct row r;
    for (int d = CONV_DIMS - 1; d >= 0; d--) {
        r.at[d] = (int64_t)(k % (size_t)s->kernel[d]) * s->dilation[d] - s->pad[d];
        k /= (size_t)s->kernel[d];
    }
    const int64_t step = s->stride[2], at = r.at[2], left = s->x[2] - at;
    r.low = at >= 0 ? 0 : hc_min_i64((-at + step - 1) / step, s->y[2]);
    r.high = left <= 0 ? 0 : hc_min_i64((left - 1) / step + 1, s->y[2]);
    if (r.high < r.low) r.high = r.low;
    return r;
}

/* Outputs [first, first + n) of one line: `line` is the first element of x's line, or NULL outside of x. */
struct run {
    int64_t line; /* element of the channel; -1: outside */
    int64_t first;
    size_t n;
};

/* The run that begins at output q, of at most `left`. */
static inline struct run find_run(const struct conv_shape *s, const struct row *r, size_t q, size_t left) {
    const int64_t width = s->y[2], line = (int64_t)q / width, first = (int64_t)q % width;
    const int64_t h = line % s->y[1] * s->stride[1] + r->at[1], d = line / s->y[1] * s->stride[0] + r->at[0];
    const bool inside = h >= 0 && h < s->x[1] && d >= 0 && d < s->x[0];
    return (struct run){inside ? (d * s->x[1] + h) * s->x[2] : -1, first,
                        hc_min_size(left, (size_t)(width - first))};
}

#define DEFINE_TAKE(type)                                                                                    \
    static inline void take_##type(const struct conv_columns *c, size_t row_index, const type *x) {          \
        const struct conv_shape *s = c->shape;                                                               \
        const struct row r = find_row(s, row_index);                                                         \
        type *to = (type *)c->columns + row_index * c->cols;                                                 \
        for (size_t done = 0; done < c->cols;) {                                                             \
            const struct run run = find_run(s, &r, c->first + done, c->cols - done);                         \
            const int64_t end = run.first + (int64_t)run.n;                                                  \
            const int64_t low = run.line < 0 ? end : hc_min_i64(hc_max_i64(r.low, run.first), end);          \
            const int64_t high = run.line < 0 ? end : hc_max_i64(hc_min_i64(r.high, end), low);              \
            type *line = to + done - run.first;                                                              \
            const type *from = x + run.line + r.at[2];                                                       \
            for (int64_t i = run.first; i < low; i++) line[i] = 0;                                           \
            if (s->stride[2] == 1) {                                                                         \
                for (int64_t i = low; i < high; i++) line[i] = from[i];                                      \
            } else {                                                                                         \
                for (int64_t i = low; i < high; i++) line[i] = from[i * s->stride[2]];                       \
            }                                                                                                \
            for (int64_t i = high; i < end; i++) line[i] = 0;                                                \
            done += run.n;                                                                                   \
        }                                                                                                    \
    }
DEFINE_TAKE(uint16_t)
DEFINE_TAKE(uint32_t)
DEFINE_TAKE(uint64_t)

#define DEFINE_ADD(type)                                                                                     \
    static inline void add_##type(const struct conv_columns *c, size_t row_index, type *x) {                 \
        const struct conv_shape *s = c->shape;                                                               \
        const struct row r = find_row(s, row_index);                                                         \
        const type *from = (const type *)c->columns + row_index * c->cols;                                   \
        for (size_t done = 0; done < c->cols;) {                                                             \
            const struct run run = find_run(s, &r, c->first + done, c->cols - done);                         \
            const type *line = from + done - run.first;                                                      \
            const int64_t end = run.first + (int64_t)run.n;                                                  \
            const int64_t low = hc_max_i64(r.low, run.first), high = hc_min_i64(r.high, end);                \
            type *to = x + run.line + r.at[2];                                                               \
            done += run.n;                                                                                   \
            if (run.line < 0) continue;                                                                      \
            if (s->stride[2] == 1) {                                                                         \
                _Pragma("GCC ivdep") for (int64_t i = low; i < high; i++) to[i] += line[i];                  \
            } else {                                                                                         \
                for (int64_t i = low; i < high; i++) to[i * s->stride[2]] += line[i];                        \
            }                                                                                                \
        }                                                                                                    \
    }
DEFINE_ADD(float)
DEFINE_ADD(double)

void HC_FN(conv_take_rows)(const struct conv_columns *c, size_t begin, size_t end) {
    const size_t taps = conv_volume(c->shape->kernel), channel = conv_volume(c->shape->x) * c->item;
    for (size_t row = begin; row < end; row++) {
        const void *x = c->x + row / taps * channel;
        if (c->item == 2) take_uint16_t(c, row, x);
        else if (c->item == 4) take_uint32_t(c, row, x);
        else take_uint64_t(c, row, x);
    }
}

/* Weights of a channel one after the other, so an element of x is added to in one order. */
void HC_FN(conv_add_channels)(const struct conv_columns *c, size_t begin, size_t end) {
    const size_t taps = conv_volume(c->shape->kernel), channel = conv_volume(c->shape->x) * c->item;
    for (size_t i = begin; i < end; i++) {
        for (size_t k = 0; k < taps; k++) {
            if (c->item == 4) add_float(c, i * taps + k, (float *)(c->x + i * channel));
            else add_double(c, i * taps + k, (double *)(c->x + i * channel));
        }
    }
}
#else
/* Elements below which a piece is not worth waking a thread for. */
enum { GRAIN = 1 << 15 };

static void take_piece(void *columns, size_t begin, size_t end) {
    HC_DISPATCH(conv_take_rows)(columns, begin, end);
}
static void add_piece(void *columns, size_t begin, size_t end) {
    HC_DISPATCH(conv_add_channels)(columns, begin, end);
}

void conv_take_patches(const struct conv_columns *c) {
    struct conv_columns columns = *c;
    hc_parallel_for(conv_rows(c->shape), hc_ceil_div(GRAIN, hc_max_size(c->cols, 1)), take_piece, &columns);
}

void conv_add_patches(const struct conv_columns *c) {
    struct conv_columns columns = *c;
    const size_t work = hc_max_size(c->cols * conv_volume(c->shape->kernel), 1);
    hc_parallel_for(c->shape->cx, hc_ceil_div(GRAIN, work), add_piece, &columns);
}
#endif
