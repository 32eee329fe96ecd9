// SPDX-License-Identifier: Apache-2.0
/* Convolutions with one channel of x in each group: no sum over channels, so a matrix of patches would only
 * be memory traffic. Each channel of a sample is unpacked once into a plane of float with its padding, and
 * split by the stride of the last dimension:
 *
 *     plane[line][phase][i] = x[line][i * stride + phase - pad]
 *
 * so that whatever the stride, dilation and padding are, a weight meets a contiguous run of the plane for a
 * line of y. 16-bit types are computed in float. */
#include <stdatomic.h>

#include "conv.h"

/* A line of y with the lines of the plane that its weights meet: weight t begins at plane[offset[t]]. */
struct line {
    size_t n, taps;
    const int64_t *offset;
    const float *w;
    float *y, *plane;
    float bias;
};
/* y[i] = bias + sum over t of w[t] * plane[offset[t] + i] */
HC_KERNEL(depthwise_line, (const struct line *l))
/* plane[offset[t] + i] += w[t] * y[i] */
HC_KERNEL(depthwise_add_line, (const struct line *l))
/* lanes[t * HC_VL + lane] += the products of y and the plane, lane by lane; finish adds the lanes up. */
HC_KERNEL(depthwise_dot_line, (const struct line *l, float *lanes))
HC_KERNEL(depthwise_finish, (size_t taps, const float *lanes, float *w))

/* Floats beyond a line that a vector may read. */
enum { SLACK = 64 };

#ifdef HC_ISA
#include "simd.h"

enum { UNROLL = 4 };

void HC_FN(depthwise_line)(const struct line *l) {
    const vf bias = vf_set(l->bias);
    size_t i = 0;
    for (; i + UNROLL * HC_VL <= l->n; i += UNROLL * HC_VL) {
        vf sum[UNROLL];
        for (int u = 0; u < UNROLL; u++) sum[u] = bias;
        for (size_t t = 0; t < l->taps; t++) {
            const float *p = l->plane + l->offset[t] + i;
            const vf w = vf_set(l->w[t]);
            _Pragma("GCC unroll 4") for (int u = 0; u < UNROLL; u++) sum[u] =
                vf_fma(w, vf_load(p + u * HC_VL), sum[u]);
        }
        for (int u = 0; u < UNROLL; u++) vf_store(l->y + i + (size_t)u * HC_VL, sum[u]);
    }
    for (; i < l->n; i += HC_VL) {
        vf sum = bias;
        for (size_t t = 0; t < l->taps; t++)
            sum = vf_fma(vf_set(l->w[t]), vf_load(l->plane + l->offset[t] + i), sum);
        vf_store(l->y + i, sum);
    }
}

void HC_FN(depthwise_add_line)(const struct line *l) {
    for (size_t t = 0; t < l->taps; t++) {
        float *p = l->plane + l->offset[t];
        const float w = l->w[t];
        const vf wide = vf_set(w);
        size_t i = 0;
        for (; i + HC_VL <= l->n; i += HC_VL)
            vf_store(p + i, vf_fma(wide, vf_load(l->y + i), vf_load(p + i)));
        const size_t left = l->n - i;
        if (left == 0) continue;
        const vf last = vf_fma(wide, vf_load_part(l->y + i, left), vf_load_part(p + i, left));
        vf_store_part(p + i, last, left);
    }
}

void HC_FN(depthwise_dot_line)(const struct line *l, float *lanes) {
    for (size_t t = 0; t < l->taps; t++) {
        const float *p = l->plane + l->offset[t];
        vf sum = vf_load(lanes + t * HC_VL);
        size_t i = 0;
        for (; i + HC_VL <= l->n; i += HC_VL) sum = vf_fma(vf_load(l->y + i), vf_load(p + i), sum);
        const size_t left = l->n - i;
        if (left > 0) sum = vf_fma(vf_load_part(l->y + i, left), vf_load_part(p + i, left), sum);
        vf_store(lanes + t * HC_VL, sum);
    }
}

void HC_FN(depthwise_finish)(size_t taps, const float *lanes, float *w) {
    for (size_t t = 0; t < taps; t++) w[t] = vf_reduce_add(vf_load(lanes + t * HC_VL));
}
#else
struct job {
    const struct conv_shape *s;
    const aclTensor *x, *w, *bias, *y;
    int64_t line, plane[2]; /* floats of a line; lines along the first two dimensions */
    size_t width;           /* floats of a phase */
    size_t taps;
    bool flipped; /* the last weight is the first */
    atomic_int code;
};

/* A thread's memory for one channel. */
struct memory {
    float *plane, *y, *w, *lanes;
    int64_t *offset;
};

enum { MAX_PER_CHANNEL = 4, MAX_LANES = 16 }; /* outputs per channel up to which the plane serves enough */

/* Lines, or elements of the last dimension, that weights meet or x has, in the order of padded x. */
static int64_t extent(const struct conv_shape *s, int d) {
    const int64_t met = (s->y[d] - 1) * s->stride[d] + (s->kernel[d] - 1) * s->dilation[d] + 1;
    return hc_max_i64(met, s->x[d] + s->pad[d]);
}

/* The padding must not be much more than the image: the plane is memory. */
bool conv_is_depthwise(const struct conv_shape *s, const aclTensor *x) {
    enum { LEAST = 1 << 20 };
    if (s->cx != 1 || s->cy > MAX_PER_CHANNEL || hc_compute_block(x->dtype) != HC_F32) return false;
    int64_t plane = 1;
    for (int d = 0; d < CONV_DIMS; d++) {
        if (!hc_mul_i64_fits(plane, extent(s, d), &plane)) return false;
    }
    return plane <= LEAST || (size_t)plane <= 8 * (conv_volume(s->x) + conv_volume(s->y));
}

static struct job make_job(const struct conv_shape *s, const aclTensor *x, const aclTensor *w,
                           const aclTensor *bias, const aclTensor *y) {
    struct job j = {.s = s, .x = x, .w = w, .bias = bias, .y = y, .taps = conv_volume(s->kernel)};
    for (int d = 0; d < 2; d++) j.plane[d] = extent(s, d);
    j.width = (size_t)((extent(s, 2) + s->stride[2] - 1) / s->stride[2]);
    j.line = (int64_t)j.width * s->stride[2];
    return j;
}

static size_t plane_floats(const struct job *j) {
    return (size_t)(j->plane[0] * j->plane[1] * j->line) + SLACK;
}

/* Memory, and for each weight where its run begins relative to the line that the first meets. False, and told
 * in the job, where there is none. */
static bool take_memory(struct job *j, struct memory *m) {
    const struct conv_shape *s = j->s;
    const size_t y = (size_t)s->y[2] + SLACK;
    m->plane = hc_scratch(HC_SCRATCH_A, plane_floats(j) * sizeof *m->plane);
    m->y = hc_scratch(HC_SCRATCH_B, (y + j->taps * (1 + MAX_LANES)) * sizeof *m->y);
    m->offset = hc_scratch(HC_SCRATCH_C, j->taps * sizeof *m->offset);
    if (m->plane == NULL || m->y == NULL || m->offset == NULL) {
        atomic_store(&j->code, ACLNN_ERR_INNER);
        return false;
    }
    m->w = m->y + y;
    m->lanes = m->w + j->taps;
    size_t t = 0;
    for (int64_t a = 0; a < s->kernel[0]; a++) {
        for (int64_t b = 0; b < s->kernel[1]; b++) {
            for (int64_t c = 0; c < s->kernel[2]; c++) {
                const int64_t at = c * s->dilation[2];
                m->offset[t++] = (a * s->dilation[0] * j->plane[1] + b * s->dilation[1]) * j->line +
                                 at % s->stride[2] * (int64_t)j->width + at / s->stride[2];
            }
        }
    }
    return true;
}

/* Where the plane's line (a, b) is in the channel, in elements; -1 in the padding. */
static int64_t line_of_x(const struct conv_shape *s, int64_t a, int64_t b) {
    const int64_t d = a - s->pad[0], h = b - s->pad[1];
    return d >= 0 && d < s->x[0] && h >= 0 && h < s->x[1] ? (d * s->x[1] + h) * s->x[2] : -1;
}

/* Elements of x that fall into a phase: x[from], x[from + stride], ..., n of them, at plane[first]. */
struct phase {
    int64_t from, first, n;
};
static struct phase phase_of(const struct job *j, int64_t phase) {
    const struct conv_shape *s = j->s;
    const int64_t step = s->stride[2], at = phase - s->pad[2];
    const int64_t first = at >= 0 ? 0 : (-at + step - 1) / step, from = first * step + at;
    const int64_t n = from >= s->x[2] ? 0 : (s->x[2] - 1 - from) / step + 1;
    return (struct phase){from, first, hc_max_i64(hc_min_i64(n, (int64_t)j->width - first), 0)};
}

/* Between x and the plane of one channel, line by line and phase by phase. */
static void load_plane(const struct job *j, size_t slice, float *plane) {
    const struct conv_shape *s = j->s;
    hc_load_fn *load = hc_load_for(j->x->dtype, HC_F32);
    const size_t item = (size_t)j->x->item_size;
    const char *x = hc_data(j->x) + slice * conv_volume(s->x) * item;
    memset(plane, 0, plane_floats(j) * sizeof *plane);
    for (int64_t i = 0; i < j->plane[0] * j->plane[1]; i++, plane += j->line) {
        const int64_t line = line_of_x(s, i / j->plane[1], i % j->plane[1]);
        for (int64_t p = 0; line >= 0 && p < s->stride[2]; p++) {
            const struct phase f = phase_of(j, p);
            if (f.n > 0)
                load((size_t)f.n, plane + p * (int64_t)j->width + f.first, x + (size_t)(line + f.from) * item,
                     s->stride[2]);
        }
    }
}

static void store_plane(const struct job *j, size_t slice, const float *plane) {
    const struct conv_shape *s = j->s;
    hc_store_fn *store = hc_store_for(j->x->dtype, HC_F32);
    const size_t item = (size_t)j->x->item_size;
    char *x = hc_data(j->x) + slice * conv_volume(s->x) * item;
    for (int64_t i = 0; i < j->plane[0] * j->plane[1]; i++, plane += j->line) {
        const int64_t line = line_of_x(s, i / j->plane[1], i % j->plane[1]);
        for (int64_t p = 0; line >= 0 && p < s->stride[2]; p++) {
            const struct phase f = phase_of(j, p);
            if (f.n > 0)
                store((size_t)f.n, x + (size_t)(line + f.from) * item, s->stride[2],
                      plane + p * (int64_t)j->width + f.first);
        }
    }
}

/* One value of a contiguous or strided vector of any type. */
static float read_one(const aclTensor *t, size_t i) {
    float value;
    const int64_t at = (int64_t)i * t->stride[0] * t->item_size;
    hc_load_for(t->dtype, HC_F32)(1, &value, hc_data(t) + at, 1);
    return value;
}

static void load_weights(const struct job *j, size_t channel, float *w) {
    const size_t at = channel * j->taps * (size_t)j->w->item_size;
    hc_load_for(j->w->dtype, HC_F32)(j->taps, w, hc_data(j->w) + at, 1);
    for (size_t a = 0, b = j->taps; j->flipped && a + 1 < b; a++) {
        const float last = w[--b];
        w[b] = w[a], w[a] = last;
    }
}

/* The line of the plane that the first weight meets for line i of y; and y's line in memory. */
static float *plane_line(const struct job *j, float *plane, size_t i) {
    const struct conv_shape *s = j->s;
    const int64_t b = (int64_t)i % s->y[1] * s->stride[1], a = (int64_t)i / s->y[1] * s->stride[0];
    return plane + (a * j->plane[1] + b) * j->line;
}
static char *y_line(const struct job *j, size_t slice, size_t i) {
    const struct conv_shape *s = j->s;
    return hc_data(j->y) + (slice * conv_volume(s->y) + i * (size_t)s->y[2]) * (size_t)j->y->item_size;
}

static size_t lines_of_y(const struct job *j) { return (size_t)(j->s->y[0] * j->s->y[1]); }

/* What is the same for all lines. */
static struct line make_line(const struct job *j, const struct memory *m) {
    return (struct line){.n = (size_t)j->s->y[2], .taps = j->taps, .offset = m->offset, .w = m->w, .y = m->y};
}

/* A slice is a channel of a sample of x; it has cy channels of y. */
static void forward_slices(void *job, size_t begin, size_t end) {
    struct job *j = job;
    struct memory m;
    if (!take_memory(j, &m)) return;
    hc_store_fn *store = hc_store_for(j->y->dtype, HC_F32);
    struct line l = make_line(j, &m);
    for (size_t slice = begin; slice < end; slice++) {
        load_plane(j, slice, m.plane);
        for (size_t o = 0; o < j->s->cy; o++) {
            const size_t channel = slice % j->s->groups * j->s->cy + o, to = slice * j->s->cy + o;
            load_weights(j, channel, m.w);
            l.bias = j->bias != NULL ? read_one(j->bias, channel) : 0.0f;
            for (size_t i = 0; i < lines_of_y(j); i++) {
                l.plane = plane_line(j, m.plane, i);
                HC_DISPATCH(depthwise_line)(&l);
                store(l.n, y_line(j, to, i), 1, l.y);
            }
        }
    }
}

/* Gradients of all channels of y that a channel of x has a part in, added up in its plane, which starts from
 * the bias. */
static void data_slices(void *job, size_t begin, size_t end) {
    struct job *j = job;
    struct memory m;
    if (!take_memory(j, &m)) return;
    hc_load_fn *load = hc_load_for(j->y->dtype, HC_F32);
    struct line l = make_line(j, &m);
    for (size_t slice = begin; slice < end; slice++) {
        const size_t group = slice % j->s->groups;
        const float bias = j->bias != NULL ? read_one(j->bias, group) : 0.0f;
        for (size_t i = 0; i < plane_floats(j); i++) m.plane[i] = bias;
        for (size_t o = 0; o < j->s->cy; o++) {
            load_weights(j, group * j->s->cy + o, m.w);
            for (size_t i = 0; i < lines_of_y(j); i++) {
                l.plane = plane_line(j, m.plane, i);
                load(l.n, l.y, y_line(j, slice * j->s->cy + o, i), 1);
                HC_DISPATCH(depthwise_add_line)(&l);
            }
        }
        store_plane(j, slice, m.plane);
    }
}

/* The weights of a channel of y at a time, over all samples. */
static void weight_channels(void *job, size_t begin, size_t end) {
    struct job *j = job;
    struct memory m;
    if (!take_memory(j, &m)) return;
    hc_load_fn *load = hc_load_for(j->y->dtype, HC_F32);
    hc_store_fn *store = hc_store_for(j->w->dtype, HC_F32);
    struct line l = make_line(j, &m);
    const struct conv_shape *s = j->s;
    for (size_t channel = begin; channel < end; channel++) {
        memset(m.lanes, 0, j->taps * MAX_LANES * sizeof *m.lanes);
        for (size_t sample = 0; sample < s->batch; sample++) {
            load_plane(j, sample * s->groups + channel / s->cy, m.plane);
            for (size_t i = 0; i < lines_of_y(j); i++) {
                l.plane = plane_line(j, m.plane, i);
                load(l.n, l.y, y_line(j, sample * s->groups * s->cy + channel, i), 1);
                HC_DISPATCH(depthwise_dot_line)(&l, m.lanes);
            }
        }
        HC_DISPATCH(depthwise_finish)(j->taps, m.lanes, m.w);
        store(j->taps, hc_data(j->w) + channel * j->taps * (size_t)j->w->item_size, 1, m.w);
    }
}

/* Pieces are whole slices: each takes its memory once. */
static aclnnStatus run_job(struct job *j, size_t n, void (*fn)(void *, size_t, size_t)) {
    enum { WORK = 1 << 16 }; /* multiply-adds of a piece */
    const size_t each = conv_volume(j->s->y) * j->taps * j->s->cy;
    hc_parallel_for(n, hc_max_size(WORK / hc_max_size(each, 1), 1), fn, j);
    const int code = atomic_load(&j->code);
    HC_CHECK(code == 0, code, "convolution: out of host memory for a channel of %s", HC_SHOW(j->x));
    return 0;
}

aclnnStatus conv_depthwise_forward(const struct conv_shape *s, const aclTensor *x, const aclTensor *w,
                                   const aclTensor *bias, const aclTensor *y) {
    struct job j = make_job(s, x, w, bias, y);
    return run_job(&j, s->batch * s->groups, forward_slices);
}
/* With strides of 1 the gradient of the input is a convolution of y by the flipped weights, padded by what
 * x's padding leaves of the kernel: sums then stay in registers. */
static bool turn_around(const struct conv_shape *s, struct conv_shape *turned) {
    *turned = *s;
    for (int d = 0; d < CONV_DIMS; d++) {
        turned->x[d] = s->y[d], turned->y[d] = s->x[d];
        turned->pad[d] = (s->kernel[d] - 1) * s->dilation[d] - s->pad[d];
        if (s->stride[d] != 1 || turned->pad[d] < 0) return false;
    }
    return s->cy == 1;
}

aclnnStatus conv_depthwise_data(const struct conv_shape *s, const aclTensor *y, const aclTensor *w,
                                const aclTensor *bias, const aclTensor *x) {
    struct conv_shape turned;
    if (turn_around(s, &turned)) {
        struct job t = make_job(&turned, y, w, bias, x);
        t.flipped = true;
        return run_job(&t, s->batch * s->groups, forward_slices);
    }
    struct job j = make_job(s, x, w, bias, y);
    return run_job(&j, s->batch * s->groups, data_slices);
}
aclnnStatus conv_depthwise_weight(const struct conv_shape *s, const aclTensor *x, const aclTensor *y,
                                  const aclTensor *w) {
    struct job j = make_job(s, x, w, NULL, y);
    return run_job(&j, s->groups * s->cy, weight_channels);
}
#endif
