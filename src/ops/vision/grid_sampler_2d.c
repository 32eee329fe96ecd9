// SPDX-License-Identifier: Apache-2.0
/* torch.nn.functional.grid_sample of images, and its gradients: y[n,c,p] is channel c of image n at the place
 * grid[n,p], between -1 and 1 from edge to edge.
 *
 * A place is a few elements (1, 4 or 16 taps) and weights, the same for all channels, so places are found
 * once, a block of them at a time in double, and then gathered channel by channel. The gradient of the input
 * scatters the same taps, channel by channel so that no two threads meet; that of the grid sums over channels
 * with the weights' derivatives in their place. Computed in float32 for the 16-bit types. */
#include <math.h>
#include <stdatomic.h>

#include "temporary.h"

enum { BLOCK = 128, MAX_TAPS = 16 };
enum mode { BILINEAR, NEAREST, BICUBIC };
enum padding { ZEROS, BORDER, REFLECTION };

/* A block of places: tap t of place i is entry t * BLOCK + i. A tap outside of the image has weight 0 and is
 * at 0. */
struct places {
    size_t n;
    int taps;
    int64_t at[MAX_TAPS * BLOCK];
    float w[MAX_TAPS * BLOCK], dx[MAX_TAPS * BLOCK], dy[MAX_TAPS * BLOCK]; /* weights, and by x and y */
};
/* y[i] = sum over taps of w * x[at] */
HC_KERNEL(grid_gather, (const struct places *p, const float *x, float *y))
/* x[at] += w * y[i] */
HC_KERNEL(grid_scatter, (const struct places *p, const float *y, float *x))
/* sums[2 * i] += y[i] * (sum over taps of dx * x[at]), sums[2 * i + 1] likewise of dy */
HC_KERNEL(grid_slope, (const struct places *p, const float *x, const float *y, double *sums))

#ifdef HC_ISA
void HC_FN(grid_gather)(const struct places *p, const float *x, float *y) {
    float sum[BLOCK] = {0};
    for (int t = 0; t < p->taps; t++) {
        const int64_t *at = p->at + (size_t)t * BLOCK;
        const float *w = p->w + (size_t)t * BLOCK;
        _Pragma("GCC ivdep") for (size_t i = 0; i < p->n; i++) sum[i] += w[i] != 0 ? w[i] * x[at[i]] : 0.0f;
    }
    for (size_t i = 0; i < p->n; i++) y[i] = sum[i];
}

void HC_FN(grid_scatter)(const struct places *p, const float *y, float *x) {
    for (size_t i = 0; i < p->n; i++) {
        for (size_t t = 0; t < (size_t)p->taps; t++) {
            const float w = p->w[t * BLOCK + i];
            if (w != 0) x[p->at[t * BLOCK + i]] += w * y[i];
        }
    }
}

void HC_FN(grid_slope)(const struct places *p, const float *x, const float *y, double *sums) {
    for (size_t i = 0; i < p->n; i++) {
        float gx = 0, gy = 0;
        for (size_t t = 0; t < (size_t)p->taps; t++) {
            const float dx = p->dx[t * BLOCK + i], dy = p->dy[t * BLOCK + i];
            if (dx == 0 && dy == 0) continue;
            gx += dx * x[p->at[t * BLOCK + i]];
            gy += dy * x[p->at[t * BLOCK + i]];
        }
        sums[2 * i] += (double)(gx * y[i]);
        sums[2 * i + 1] += (double)(gy * y[i]);
    }
}
#else
struct args {
    size_t images, channels, places; /* places of an image */
    int64_t size[2];                 /* rows and columns of the input */
    enum mode mode;
    enum padding padding;
    bool align_corners;
};

/* A coordinate and its derivative by the grid's. */
struct coordinate {
    double at, slope;
};

/* Into [low, high] by reflection at its ends. */
static struct coordinate reflect(struct coordinate c, double low, double high) {
    const double span = high - low;
    if (span <= 0) return (struct coordinate){0, 0};
    double from = c.at - low;
    if (from < 0) from = -from, c.slope = -c.slope;
    const double times = floor(from / span), rest = from - times * span;
    if (fmod(times, 2) == 0) return (struct coordinate){low + rest, c.slope};
    return (struct coordinate){high - rest, -c.slope};
}

static struct coordinate clip(struct coordinate c, int64_t n) {
    if (!(c.at > 0)) return (struct coordinate){0, 0};
    if (c.at >= (double)(n - 1)) return (struct coordinate){(double)(n - 1), 0};
    return c;
}

/* A place that is beyond what an index can be, or not a number, is one outside. */
static struct coordinate bounded(struct coordinate c) {
    enum { FAR = -100 };
    return c.at > -0x1p52 && c.at < 0x1p52 ? c : (struct coordinate){FAR, c.slope};
}

static struct coordinate pad(const struct args *a, struct coordinate c, int64_t n) {
    if (a->padding == BORDER) c = clip(c, n);
    if (a->padding == REFLECTION) {
        c = a->align_corners ? reflect(c, 0, (double)(n - 1)) : reflect(c, -0.5, (double)n - 0.5);
        c = clip(c, n);
    }
    return bounded(c);
}

/* From -1 to 1 to elements; padding of a cubic is applied tap by tap instead. */
static struct coordinate place(const struct args *a, float g, int64_t n) {
    const double half = a->align_corners ? (double)(n - 1) / 2 : (double)n / 2;
    struct coordinate c = {((double)g + 1) * half - (a->align_corners ? 0 : 0.5), half};
    return a->mode == BICUBIC ? bounded(c) : pad(a, c, n);
}

/* The taps of one dimension: elements (-1: outside), weights and the weights' derivatives. */
struct side {
    int taps;
    int64_t at[4];
    double w[4], slope[4];
};

/* Keys' cubic with a = -0.75 at distance d, and its derivative by d. */
static double cubic(double d, double *slope) {
    const double a = -0.75;
    if (d <= 1) {
        *slope = (3 * (a + 2) * d - 2 * (a + 3)) * d;
        return ((a + 2) * d - (a + 3)) * d * d + 1;
    }
    *slope = (3 * a * d - 10 * a) * d + 8 * a;
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

static int64_t element(double at, int64_t n) { return at >= 0 && at < (double)n ? (int64_t)at : -1; }

static struct side find_side(const struct args *a, float g, int64_t n) {
    const struct coordinate c = place(a, g, n);
    struct side s = {.taps = 1};
    if (a->mode == NEAREST) {
        s.at[0] = element(nearbyint(c.at), n);
        s.w[0] = 1;
        return s;
    }
    const double whole = floor(c.at), part = c.at - whole;
    if (a->mode == BILINEAR) {
        s.taps = 2;
        for (int k = 0; k < 2; k++) {
            s.at[k] = element(whole + k, n);
            s.w[k] = k == 0 ? 1 - part : part;
            s.slope[k] = k == 0 ? -c.slope : c.slope;
        }
        return s;
    }
    s.taps = 4;
    for (int k = 0; k < 4; k++) {
        const double from = part - (k - 1);
        s.at[k] = element(pad(a, (struct coordinate){whole + (k - 1), 0}, n).at, n);
        s.w[k] = cubic(fabs(from), &s.slope[k]);
        s.slope[k] *= from < 0 ? -c.slope : c.slope;
    }
    return s;
}

/* Places first to first + n of an image; grid is (x, y) of the first. */
static void find_places(const struct args *a, const float *grid, size_t n, struct places *p) {
    p->n = n;
    for (size_t i = 0; i < n; i++) {
        const struct side x = find_side(a, grid[2 * i], a->size[1]),
                          y = find_side(a, grid[2 * i + 1], a->size[0]);
        p->taps = x.taps * y.taps;
        for (int t = 0; t < p->taps; t++) {
            const int k = t / x.taps, l = t % x.taps;
            const bool inside = y.at[k] >= 0 && x.at[l] >= 0;
            const size_t to = (size_t)t * BLOCK + i;
            p->at[to] = inside ? y.at[k] * a->size[1] + x.at[l] : 0;
            p->w[to] = inside ? (float)(y.w[k] * x.w[l]) : 0;
            p->dx[to] = inside ? (float)(y.w[k] * x.slope[l]) : 0;
            p->dy[to] = inside ? (float)(y.slope[k] * x.w[l]) : 0;
        }
    }
}

/* Contiguous float32 images, grid, output or its gradient, and what is written. */
struct job {
    const struct args *args;
    const float *x, *grid, *dy;
    float *y, *dx, *dgrid;
};

static size_t blocks_of(const struct args *a) { return hc_ceil_div(a->places, BLOCK); }

/* The places of block `unit`, counted through all images. */
static size_t find_block(const struct job *j, size_t unit, struct places *p, size_t *first) {
    const struct args *a = j->args;
    const size_t image = unit / blocks_of(a);
    *first = unit % blocks_of(a) * BLOCK;
    find_places(a, j->grid + 2 * (image * a->places + *first), hc_min_size(BLOCK, a->places - *first), p);
    return image;
}

static void forward_blocks(void *job, size_t begin, size_t end) {
    const struct job *j = job;
    const struct args *a = j->args;
    struct places p;
    const size_t area = (size_t)(a->size[0] * a->size[1]);
    for (size_t unit = begin; unit < end; unit++) {
        size_t first;
        const size_t plane = find_block(j, unit, &p, &first) * a->channels;
        for (size_t c = plane; c < plane + a->channels; c++)
            HC_DISPATCH(grid_gather)(&p, j->x + c * area, j->y + c * a->places + first);
    }
}

/* All places of an image for a few channels at a time: a channel of the gradient is one thread's. */
enum { CHANNELS = 16 };
static void input_channels(void *job, size_t begin, size_t end) {
    const struct job *j = job;
    const struct args *a = j->args;
    const size_t area = (size_t)(a->size[0] * a->size[1]), groups = hc_ceil_div(a->channels, CHANNELS);
    struct places p;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t image = unit / groups, c0 = unit % groups * CHANNELS;
        const size_t c1 = hc_min_size(c0 + CHANNELS, a->channels);
        float *dx = j->dx + image * a->channels * area;
        memset(dx + c0 * area, 0, (c1 - c0) * area * sizeof *dx);
        for (size_t block = 0; block < blocks_of(a); block++) {
            size_t first;
            find_block(j, image * blocks_of(a) + block, &p, &first);
            for (size_t c = c0; c < c1; c++)
                HC_DISPATCH(grid_scatter)(&p, j->dy + (image * a->channels + c) * a->places + first,
                                          dx + c * area);
        }
    }
}

static void grid_blocks(void *job, size_t begin, size_t end) {
    const struct job *j = job;
    const struct args *a = j->args;
    const size_t area = (size_t)(a->size[0] * a->size[1]);
    struct places p;
    for (size_t unit = begin; unit < end; unit++) {
        double sums[2 * BLOCK] = {0};
        size_t first;
        const size_t image = find_block(j, unit, &p, &first);
        for (size_t c = image * a->channels; c < (image + 1) * a->channels; c++)
            HC_DISPATCH(grid_slope)(&p, j->x + c * area, j->dy + c * a->places + first, sums);
        float *to = j->dgrid + 2 * (image * a->places + first);
        for (size_t i = 0; i < 2 * p.n; i++) to[i] = (float)sums[i];
    }
}

/* Operands in the order of the plan as contiguous float32. */
static float *data(const aclTensor *t) { return (float *)(void *)hc_data(t); }

static aclnnStatus forward(const struct args *a, const aclTensor *const *t, void **owned) {
    aclTensor x, grid, y;
    HC_TRY(hc_contiguous_apart(t[0], ACL_FLOAT, t[2], &x, &owned[0]));
    HC_TRY(hc_contiguous_apart(t[1], ACL_FLOAT, t[2], &grid, &owned[1]));
    HC_TRY(hc_contiguous_out(t[2], ACL_FLOAT, &y, &owned[2]));
    struct job j = {.args = a, .x = data(&x), .grid = data(&grid), .y = data(&y)};
    hc_parallel_for(a->images * blocks_of(a), 1, forward_blocks, &j);
    return owned[2] != NULL ? hc_copy(t[2], &y) : 0;
}

static aclnnStatus run_forward(const struct hc_call *call) {
    const aclTensor *t[] = {hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2)};
    void *owned[3] = {0};
    if (t[2]->numel == 0) return 0;
    const aclnnStatus code = forward(call->args, t, owned);
    for (int i = 0; i < 3; i++) hc_block_give(owned[i]);
    return code;
}

/* t: gradOutput, input, grid, then the gradients of the last two, NULL where not wanted. Both are computed
 * before one is copied out. */
static aclnnStatus backward(const struct args *a, const aclTensor *const *t, void **owned) {
    aclTensor dy, x, grid, dx, dgrid;
    aclTensor *const views[] = {&dy, &x, &grid};
    for (int i = 0; i < 3; i++) {
        HC_TRY(hc_contiguous(t[i], ACL_FLOAT, views[i], &owned[i]));
        for (int k = 3; k < 5 && owned[i] == NULL; k++) {
            if (t[k] != NULL) HC_TRY(hc_contiguous_apart(t[i], ACL_FLOAT, t[k], views[i], &owned[i]));
        }
    }
    struct job j = {.args = a, .x = data(&x), .grid = data(&grid), .dy = data(&dy)};
    if (t[3] != NULL) {
        HC_TRY(hc_contiguous_out(t[3], ACL_FLOAT, &dx, &owned[3]));
        j.dx = data(&dx);
        hc_parallel_for(a->images * hc_ceil_div(a->channels, CHANNELS), 1, input_channels, &j);
        if (owned[3] != NULL) HC_TRY(hc_copy(t[3], &dx));
    }
    if (t[4] == NULL) return 0;
    HC_TRY(hc_contiguous_out(t[4], ACL_FLOAT, &dgrid, &owned[4]));
    j.dgrid = data(&dgrid);
    hc_parallel_for(a->images * blocks_of(a), 1, grid_blocks, &j);
    return owned[4] != NULL ? hc_copy(t[4], &dgrid) : 0;
}

static aclnnStatus run_backward(const struct hc_call *call) {
    const aclTensor *t[5];
    void *owned[5] = {0};
    for (int i = 0; i < 5; i++) t[i] = hc_arg(call, i);
    const aclnnStatus code = backward(call->args, t, owned);
    for (int i = 0; i < 5; i++) hc_block_give(owned[i]);
    return code;
}

/* Everything but outputs; the shape of the sampled images goes to `out`. */
static aclnnStatus check(const char *name, const aclTensor *input, const aclTensor *grid, int64_t mode,
                         int64_t padding, bool align_corners, struct args *args, int64_t *out) {
    HC_CHECK(input && grid, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, input ? "grid" : "input");
    HC_CHECK(input->rank == 4 && grid->rank == 4 && grid->shape[3] == 2 && grid->shape[0] == input->shape[0],
             ACLNN_ERR_PARAM_INVALID,
             "%s: input is %s, grid %s: wanted [N,C,H,W] and [N,rows,columns,2] with the same N", name,
             HC_SHOW(input), HC_SHOW(grid));
    HC_CHECK(hc_compute_block(input->dtype) == HC_F32 && hc_compute_block(grid->dtype) == HC_F32,
             ACLNN_ERR_PARAM_INVALID, "%s: input is %s, grid %s: wanted float32, bfloat16 or float16", name,
             HC_SHOW(input), HC_SHOW(grid));
    HC_CHECK(input->shape[2] > 0 && input->shape[3] > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: input is %s, wanted images that are not empty", name, HC_SHOW(input));
    HC_CHECK(mode >= BILINEAR && mode <= BICUBIC, ACLNN_ERR_PARAM_INVALID,
             "%s: interpolationMode is %lld, wanted 0 (bilinear), 1 (nearest) or 2 (bicubic)", name,
             (long long)mode);
    HC_CHECK(padding >= ZEROS && padding <= REFLECTION, ACLNN_ERR_PARAM_INVALID,
             "%s: paddingMode is %lld, wanted 0 (zeros), 1 (border) or 2 (reflection)", name,
             (long long)padding);
    const int64_t shape[4] = {input->shape[0], input->shape[1], grid->shape[1], grid->shape[2]};
    int64_t numel;
    HC_CHECK(hc_shape_numel(shape, 4, &numel), ACLNN_ERR_PARAM_INVALID,
             "%s: the output would have more elements than a tensor can", name);
    memcpy(out, shape, sizeof shape);
    *args = (struct args){.images = (size_t)shape[0],
                          .channels = (size_t)shape[1],
                          .places = (size_t)(shape[2] * shape[3]),
                          .size = {input->shape[2], input->shape[3]},
                          .mode = (enum mode)mode,
                          .padding = (enum padding)padding,
                          .align_corners = align_corners};
    return 0;
}

static aclnnStatus check_shape(const char *name, const char *what, const aclTensor *t, const int64_t *shape) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, what);
    const aclTensor wanted = hc_tensor_view(ACL_FLOAT, shape, 4, NULL);
    HC_CHECK(hc_compute_block(t->dtype) == HC_F32 && hc_same_shape(t, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %s (or a 16-bit type)", name, what, HC_SHOW(t), HC_SHOW(&wanted));
    return 0;
}

HC_API aclnnStatus aclnnGridSampler2DGetWorkspaceSize(const aclTensor *input, const aclTensor *grid,
                                                      int64_t interpolationMode, int64_t paddingMode,
                                                      bool alignCorners, aclTensor *out,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args;
    int64_t shape[4];
    HC_TRY(
        check("aclnnGridSampler2D", input, grid, interpolationMode, paddingMode, alignCorners, &args, shape));
    HC_TRY(check_shape("aclnnGridSampler2D", "out", out, shape));
    return HC_PLAN("aclnnGridSampler2D", run_forward, &args, HC_IN(input), HC_IN(grid), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnGridSampler2D)

HC_API aclnnStatus aclnnGridSampler2DBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *input, const aclTensor *grid, int64_t interpolationMode,
    int64_t paddingMode, bool alignCorners, const aclBoolArray *outputMask, aclTensor *inputGrad,
    aclTensor *gridGrad, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const name = "aclnnGridSampler2DBackward";
    struct args args;
    int64_t shape[4];
    HC_TRY(check(name, input, grid, interpolationMode, paddingMode, alignCorners, &args, shape));
    HC_TRY(check_shape(name, "gradOutput", gradOutput, shape));
    HC_CHECK(outputMask != NULL && outputMask->size == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: outputMask has %zu values, wanted 2", name, outputMask == NULL ? 0 : outputMask->size);
    const bool *wanted = outputMask->data;
    if (wanted[0]) HC_TRY(check_shape(name, "inputGrad", inputGrad, input->shape));
    if (wanted[1]) HC_TRY(check_shape(name, "gridGrad", gridGrad, grid->shape));
    if (!wanted[0]) inputGrad = NULL;
    if (!wanted[1]) gridGrad = NULL;
    return HC_PLAN(name, run_backward, &args, HC_IN(gradOutput), HC_IN(input), HC_IN(grid),
                   HC_OUT_OPT(inputGrad), HC_OUT_OPT(gridGrad));
}
HC_OP_LAUNCH(aclnnGridSampler2DBackward)
#endif
