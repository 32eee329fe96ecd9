// SPDX-License-Identifier: Apache-2.0
/* See upsample.h. Images are shared out among threads; each is added up in one order. */
#include <math.h>
#include <stdatomic.h>

#include "upsample.h"

enum { MAX_TAPS = 4 };

/* y[i] = sum over t of w[t] * rows[t][i] */
HC_KERNEL(upsample_join_rows, (size_t n, int taps, const float *const *rows, const float *w, float *y))
/* rows[t][i] += w[t] * x[i], the rows one after the other: they may be the same. */
HC_KERNEL(upsample_part_rows, (size_t n, int taps, float *const *rows, const float *w, const float *x))
/* y[i] = sum over t of w[t*n + i] * x[index[t*n + i]] */
HC_KERNEL(upsample_gather,
          (size_t n, int taps, const int32_t *index, const float *w, const float *x, float *y))
/* x[index[t*n + i]] += w[t*n + i] * y[i] */
HC_KERNEL(upsample_scatter,
          (size_t n, int taps, const int32_t *index, const float *w, const float *y, float *x))

#ifdef HC_ISA
void HC_FN(upsample_join_rows)(size_t n, int taps, const float *const *rows, const float *w, float *y) {
    const float *a = rows[0], w0 = w[0];
    if (taps == 1) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = a[i];
        return;
    }
    const float *b = rows[1], w1 = w[1];
    if (taps == 2) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = w0 * a[i] + w1 * b[i];
        return;
    }
    const float *c = rows[2], *d = rows[3], w2 = w[2], w3 = w[3];
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] =
        (w0 * a[i] + w1 * b[i]) + (w2 * c[i] + w3 * d[i]);
}

void HC_FN(upsample_part_rows)(size_t n, int taps, float *const *rows, const float *w, const float *x) {
    for (int t = 0; t < taps; t++) {
        float *row = rows[t];
        const float factor = w[t];
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) row[i] += factor * x[i];
    }
}

void HC_FN(upsample_gather)(size_t n, int taps, const int32_t *index, const float *w, const float *x,
                            float *y) {
    if (taps == 1) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = x[index[i]];
        return;
    }
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] =
        w[i] * x[index[i]] + w[n + i] * x[index[n + i]];
    if (taps == 2) return;
    index += 2 * n, w += 2 * n;
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] +=
        w[i] * x[index[i]] + w[n + i] * x[index[n + i]];
}

void HC_FN(upsample_scatter)(size_t n, int taps, const int32_t *index, const float *w, const float *y,
                             float *x) {
    for (size_t i = 0; i < n; i++) {
        for (int t = 0; t < taps; t++) x[index[(size_t)t * n + i]] += w[(size_t)t * n + i] * y[i];
    }
}
#else
/* One dimension: n results of `in` elements. */
struct axis {
    size_t in, n;
    int taps;
    bool align_corners;
    double scale; /* given by the caller, or 0 */
};
struct args {
    struct axis axis[2];
    enum upsample_kind kind;
    bool backward;
};

/* Places and weights, tap by tap: entry t * n + i. */
struct table {
    int32_t *index;
    float *weight;
};

/* Elements of x per element of y. */
static double step_of(const struct axis *a) {
    if (a->align_corners) return a->n > 1 ? (double)(a->in - 1) / (double)(a->n - 1) : 0;
    return a->scale > 0 ? 1 / a->scale : (double)a->in / (double)a->n;
}

/* PyTorch finds the nearest element in float32; so does this, to name the same one. */
static void fill_nearest(const struct axis *a, const struct table *t) {
    const float step = a->scale > 0 ? (float)(1 / a->scale) : (float)a->in / (float)a->n;
    for (size_t i = 0; i < a->n; i++) {
        const float place = floorf((float)i * step);
        size_t at = place < (float)a->in ? (size_t)place : a->in - 1;
        if (a->n == a->in) at = i;
        if (a->n == 2 * a->in) at = i / 2;
        t->index[i] = (int32_t)hc_min_size(at, a->in - 1);
        t->weight[i] = 1;
    }
}

/* Keys' cubic with a = -0.75: at distance d from the centre. */
static double cubic(double d) {
    const double a = -0.75;
    if (d <= 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
    return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
}

static int32_t inside(double at, size_t n) { return (int32_t)fmin(fmax(at, 0), (double)(n - 1)); }

static void fill_table(const struct axis *a, enum upsample_kind kind, const struct table *t) {
    if (kind == UPSAMPLE_NEAREST) {
        fill_nearest(a, t);
        return;
    }
    const double step = step_of(a);
    for (size_t i = 0; i < a->n; i++) {
        double at = a->align_corners ? (double)i * step : ((double)i + 0.5) * step - 0.5;
        if (kind == UPSAMPLE_LINEAR) at = fmin(fmax(at, 0), (double)(a->in - 1));
        const double whole = floor(at), part = at - whole;
        for (int k = 0; k < a->taps; k++) {
            const int shift = kind == UPSAMPLE_LINEAR ? k : k - 1;
            t->index[(size_t)k * a->n + i] = inside(whole + shift, a->in);
            t->weight[(size_t)k * a->n + i] =
                (float)(kind == UPSAMPLE_LINEAR ? (k == 0 ? 1 - part : part) : cubic(fabs(part - shift)));
        }
    }
}

struct job {
    const struct args *args;
    struct table table[2];
    float *large, *small;
    atomic_int code;
};

/* The rows of an image that row i of the result meets, and their weights. */
static void find_rows(const struct job *j, float *image, size_t i, float **rows, float *w) {
    const struct axis *h = &j->args->axis[0];
    for (int k = 0; k < h->taps; k++) {
        const size_t at = (size_t)k * h->n + i;
        rows[k] = image + (size_t)j->table[0].index[at] * j->args->axis[1].in;
        w[k] = j->table[0].weight[at];
    }
}

static void run_images(void *job, size_t begin, size_t end) {
    struct job *j = job;
    const struct axis *h = &j->args->axis[0], *w = &j->args->axis[1];
    const struct table *t = &j->table[1];
    float *line = hc_scratch(HC_SCRATCH_A, w->in * sizeof *line), *rows[MAX_TAPS], factor[MAX_TAPS];
    if (line == NULL) {
        atomic_store(&j->code, ACLNN_ERR_INNER);
        return;
    }
    for (size_t image = begin; image < end; image++) {
        float *large = j->large + image * h->n * w->n, *small = j->small + image * h->in * w->in;
        if (j->args->backward) memset(small, 0, h->in * w->in * sizeof *small);
        for (size_t i = 0; i < h->n; i++, large += w->n) {
            find_rows(j, small, i, rows, factor);
            if (j->args->backward) {
                memset(line, 0, w->in * sizeof *line);
                HC_DISPATCH(upsample_scatter)(w->n, w->taps, t->index, t->weight, large, line);
                HC_DISPATCH(upsample_part_rows)(w->in, h->taps, rows, factor, line);
            } else {
                HC_DISPATCH(upsample_join_rows)(w->in, h->taps, (const float *const *)rows, factor, line);
                HC_DISPATCH(upsample_gather)(w->n, w->taps, t->index, t->weight, line, large);
            }
        }
    }
}

/* Both tables in one block, which the caller gives back. */
static void *make_tables(struct job *j) {
    const struct axis *axis = j->args->axis;
    const size_t taps = (size_t)axis[0].taps, entries = axis[0].n + axis[1].n;
    char *memory = hc_block_take_array(taps * entries, sizeof(int32_t) + sizeof(float));
    if (memory == NULL) return NULL;
    int32_t *index = (int32_t *)(void *)memory;
    float *weight = (float *)(index + taps * entries);
    for (int d = 0; d < 2; d++) {
        j->table[d] = (struct table){index, weight};
        fill_table(&axis[d], j->args->kind, &j->table[d]);
        index += taps * axis[d].n, weight += taps * axis[d].n;
    }
    return memory;
}

/* In float32: `from` and `to` are contiguous. */
static aclnnStatus interpolate(const struct args *args, const aclTensor *from, const aclTensor *to) {
    enum { WORK = 1 << 14 };
    struct job j = {.args = args};
    j.large = (float *)(void *)hc_data(args->backward ? from : to);
    j.small = (float *)(void *)hc_data(args->backward ? to : from);
    const size_t images = (size_t)(to->shape[0] * to->shape[1]);
    const size_t size = hc_numel(from) / images + hc_numel(to) / images;
    void *tables = make_tables(&j);
    HC_CHECK(tables != NULL, ACLNN_ERR_INNER, "out of host memory for the places of %s", HC_SHOW(to));
    hc_parallel_for(images, hc_max_size(WORK / size, 1), run_images, &j);
    hc_block_give(tables);
    return atomic_load(&j.code);
}

static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *x = hc_arg(call, 0), *y = hc_arg(call, 1);
    aclTensor from, to;
    void *owned[2] = {0};
    if (y->numel == 0) return 0;
    int code = hc_contiguous_apart(x, ACL_FLOAT, y, &from, &owned[0]);
    if (code == 0) code = hc_contiguous_out(y, ACL_FLOAT, &to, &owned[1]);
    if (code == 0) code = interpolate(call->args, &from, &to);
    if (code == 0 && owned[1] != NULL) code = hc_copy(y, &to);
    for (int i = 0; i < 2; i++) hc_block_give(owned[i]);
    return code;
}

/* A list of sizes is those of the tensor from dimension `first` on. */
static aclnnStatus check_size(const struct upsample_call *call, const char *list_name,
                              const aclIntArray *list, const aclTensor *t, const char *t_name, int first) {
    HC_CHECK(list != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name, list_name);
    HC_CHECK(list->size == (size_t)(4 - first), ACLNN_ERR_PARAM_INVALID, "%s: %s has %zu values, wanted %d",
             call->name, list_name, list->size, 4 - first);
    for (int d = first; d < 4; d++) {
        HC_CHECK(list->data[d - first] == t->shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted %lld for dimension %d as in %s", call->name, t_name, HC_SHOW(t),
                 (long long)list->data[d - first], d, list_name);
    }
    return 0;
}

static aclnnStatus check(const struct upsample_call *call) {
    const aclTensor *tensors[] = {call->large, call->small};
    const char *names[] = {call->large_name, call->small_name};
    for (int i = 0; i < 2; i++) {
        const aclTensor *t = tensors[i];
        HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", call->name, names[i]);
        HC_CHECK(t->rank == 4, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted 4 dimensions", call->name,
                 names[i], HC_SHOW(t));
        HC_CHECK(hc_compute_block(t->dtype) == HC_F32, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted float32, bfloat16 or float16", call->name, names[i], HC_SHOW(t));
        for (int d = 2; d < 4; d++) {
            HC_CHECK(t->shape[d] >= 1 && t->shape[d] <= INT32_MAX, ACLNN_ERR_PARAM_INVALID,
                     "%s: %s is %s, wanted images of 1 to 2^31 - 1 rows and columns", call->name, names[i],
                     HC_SHOW(t));
        }
    }
    for (int d = 0; d < 2; d++) {
        HC_CHECK(call->large->shape[d] == call->small->shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, %s %s: wanted the same images and channels", call->name, names[0],
                 HC_SHOW(call->large), names[1], HC_SHOW(call->small));
    }
    HC_TRY(check_size(call, "outputSize", call->output_size, call->large, names[0], 2));
    if (!call->backward) return 0;
    return check_size(call, "inputSize", call->input_size, call->small, names[1], 0);
}

aclnnStatus upsample_plan(const struct upsample_call *call, uint64_t *workspaceSize,
                          aclOpExecutor **executor) {
    static const int TAPS[] = {[UPSAMPLE_NEAREST] = 1, [UPSAMPLE_LINEAR] = 2, [UPSAMPLE_CUBIC] = 4};
    HC_TRY(check(call));
    struct args args = {.kind = call->kind, .backward = call->backward};
    for (int d = 0; d < 2; d++) {
        args.axis[d] = (struct axis){(size_t)call->small->shape[d + 2], (size_t)call->large->shape[d + 2],
                                     TAPS[call->kind], call->align_corners, call->scales[d]};
    }
    const aclTensor *from = call->backward ? call->large : call->small;
    const aclTensor *to = call->backward ? call->small : call->large;
    return HC_PLAN(call->name, run, &args, HC_IN(from), HC_OUT(to));
}
#endif
