// SPDX-License-Identifier: Apache-2.0
/* Connectionist temporal classification (Graves et al., 2006): minus the logarithm of the sum over all
 * alignments of a row's targets with its time steps, blanks between them and repeats merged; and its
 * gradient.
 *
 * Forward and backward variables in logarithms, over the targets with a blank before, between and behind them
 * (2 S + 1 states); O(T S) a row, in double. Logarithms are to base 2 inside, and "impossible" is a finite
 * number there, so that the loops over states have no branch and vectorise: 2^-46 is what a step may be off
 * by. The gradient is that of PyTorch: with respect to logits behind logProbs = log_softmax(logits). Rows are
 * independent, and run in parallel. */
#include "elementwise.h"

HC_KERNEL(ctc_step, (size_t n, const double *a, const double *b, const double *c, const double *skip,
                     const double *p, double *y))
HC_KERNEL(ctc_posterior,
          (size_t n, const double *alpha, const double *beta, const double *p, double offset, double *y))
HC_KERNEL(ctc_probability, (size_t n, const double *x, double *y))

#define LOG2_E 0x1.71547652b82fep+0
#define LN_2 0x1.62e42fefa39efp-1
/* The logarithm of what cannot be: far below all others, and three of them can be added. */
#define IMPOSSIBLE (-1e300)

#ifdef HC_ISA
#include "simd_math.h"

/* 2^x within the range of hc_exp2_f64; NaN, which that takes for a number, stays. */
static inline double power(double x) {
    double t = x < -1000 ? -1000 : x;
    t = t > 1000 ? 1000 : t;
    return hc_exp2_f64(t) + t * 0.0;
}

/* y = log2(2^a + 2^b + 2^(c + skip)) + p: one step of the recursion, for all states. */
void HC_FN(ctc_step)(size_t n, const double *a, const double *b, const double *c, const double *skip,
                     const double *p, double *y) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {
        const double u = a[i], v = b[i], w = c[i] + skip[i], most_uv = u > v ? u : v;
        const double most = most_uv > w ? most_uv : w;
        const double sum = power(u - most) + power(v - most) + power(w - most);
        const double x = most + hc_log2_f64(sum) + p[i] + (u + v + w) * 0.0;
        y[i] = x < IMPOSSIBLE ? IMPOSSIBLE : x;
    }
}

/* y = 2^(alpha + beta + offset - p): the probability that an alignment passes through a state. */
void HC_FN(ctc_posterior)(size_t n, const double *alpha, const double *beta, const double *p, double offset,
                          double *y) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = power(alpha[i] + beta[i] + (offset - p[i]));
}

/* y = e^x */
void HC_FN(ctc_probability)(size_t n, const double *x, double *y) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = power(x[i] * LOG2_E);
}
#else
#include <math.h>
#include <stdatomic.h>
#include <string.h>

/* A row's sizes and where its targets begin; copied with the plan, behind the head. */
struct row {
    int64_t steps, targets, first;
};
struct args {
    int64_t blank;
    bool zero_infinity;
    size_t num_rows;
    struct row rows[];
};

/* One run. The gradient reads alpha; it has `out` and `grad` instead of `loss`. */
struct loop {
    const struct args *a;
    aclTensor log_probs, alpha; /* [T, N, C], [N, T, 2 S + 1 or more] */
    const int64_t *targets;
    const aclTensor *loss, *grad, *nll;
    aclTensor out; /* [T, N, C] */
    atomic_bool failed;
};

/* [T, C] as [T, 1, C]. */
static aclTensor as_batch(const aclTensor *t) {
    aclTensor view = *t;
    if (t->rank == 3) return view;
    view.rank = 3;
    view.shape[2] = t->shape[1];
    view.stride[2] = t->stride[1];
    view.shape[1] = 1;
    view.stride[1] = 0;
    return view;
}

/* One element as double, of one dimension to three. */
static double get(const aclTensor *t, int64_t i, int64_t j, int64_t k) {
    double x;
    const int64_t at =
        i * t->stride[0] + (t->rank > 1 ? j * t->stride[1] : 0) + (t->rank > 2 ? k * t->stride[2] : 0);
    hc_load_for(t->dtype, HC_F64)(1, &x, hc_data(t) + at * t->item_size, 1);
    return x;
}

/* ln(e^a + e^b) without overflow; both may be -inf, and then so is the sum, not NaN. */
static double log_add(double a, double b) {
    const double most = a > b ? a : b;
    if (most == -INFINITY) return most;
    return most + log1p(exp((a > b ? b : a) - most));
}

/* What a thread needs for a row. Arrays of states have room for two more on either side, which are
 * impossible: every state then has two neighbours. */
struct buffers {
    double *p, *d;                                /* of classes: logProbs, and the gradient */
    double *skip, *labels_p, *now, *then, *alpha; /* of states */
    int64_t *label;
    size_t classes, states;
};
enum { MARGIN = 2, STATE_ARRAYS = 6 };

static bool take_buffers(const struct loop *l, struct buffers *b) {
    b->classes = (size_t)l->log_probs.shape[2];
    const size_t room = (size_t)l->alpha.shape[2] + 2 * MARGIN;
    double *memory = hc_scratch(HC_SCRATCH_A, (2 * b->classes + STATE_ARRAYS * room) * sizeof *memory);
    if (memory == NULL) return false;
    b->p = memory;
    b->d = b->p + b->classes;
    memory = b->d + b->classes;
    double **const arrays[] = {&b->skip, &b->labels_p, &b->now, &b->then, &b->alpha};
    for (size_t i = 0; i < HC_ARRAY_SIZE(arrays); i++) *arrays[i] = memory + i * room + MARGIN;
    b->label = (int64_t *)(memory + HC_ARRAY_SIZE(arrays) * room);
    for (size_t i = 0; i < HC_ARRAY_SIZE(arrays) * room; i++) memory[i] = IMPOSSIBLE;
    return true;
}

/* State s is a blank where s is even, or the target between two of them. It may follow s - 2 at once where
 * the blank between two different targets is left out. */
static void begin_row(const struct loop *l, int64_t n, struct buffers *b) {
    const struct row *r = &l->a->rows[n];
    const int64_t *targets = l->targets + r->first;
    b->states = 2 * (size_t)r->targets + 1;
    for (int64_t s = 0; s < (int64_t)b->states + MARGIN; s++) {
        const bool inside = s < (int64_t)b->states, target = inside && s % 2 == 1;
        if (inside) b->label[s] = target ? targets[s / 2] : l->a->blank;
        b->skip[s] = target && s >= 3 && targets[s / 2] != targets[s / 2 - 1] ? 0 : IMPOSSIBLE;
        b->now[s] = b->then[s] = IMPOSSIBLE;
    }
}

static void swap_steps(struct buffers *b) {
    double *const then = b->then;
    b->then = b->now;
    b->now = then;
}

/* logProbs of a step: one conversion for all classes, then those of the states, to base 2. */
static void load_step(const struct loop *l, int64_t n, int64_t t, struct buffers *b) {
    const aclTensor *x = &l->log_probs;
    const int64_t at = t * x->stride[0] + n * x->stride[1];
    hc_load_for(x->dtype, HC_F64)(b->classes, b->p, hc_data(x) + at * x->item_size, x->stride[2]);
    for (size_t s = 0; s < b->states; s++) {
        const double p = b->p[b->label[s]] * LOG2_E;
        b->labels_p[s] = p < IMPOSSIBLE ? IMPOSSIBLE : p;
    }
}

/* To base e, with a true infinity. */
static double natural(double x) { return x < IMPOSSIBLE / 2 ? -INFINITY : x * LN_2; }

/* A row of alpha, as many states as it has, -inf behind those in use. */
static void store_alpha(const struct loop *l, int64_t n, int64_t t, const struct buffers *b, size_t states) {
    const aclTensor *y = &l->alpha;
    for (size_t s = 0; s < (size_t)y->shape[2]; s++)
        b->alpha[s] = s < states ? natural(b->now[s]) : -INFINITY;
    const int64_t at = n * y->stride[0] + t * y->stride[1];
    hc_store_for(y->dtype, HC_F64)((size_t)y->shape[2], hc_data(y) + at * y->item_size, y->stride[2],
                                   b->alpha);
}

/* An alignment ends in the last target or in the blank behind it; without targets in the one blank. */
static double loss_of(const struct buffers *b) {
    const double last = natural(b->now[b->states - 1]);
    return -(b->states > 1 ? log_add(last, natural(b->now[b->states - 2])) : last);
}

/* Alpha is kept for the gradient, step by step in the output's type, but the recursion goes on in double.
 * Steps behind the row's last have no alignments. Before the first step there is one, in front of the first
 * blank. */
static void run_row(const struct loop *l, int64_t n, struct buffers *b) {
    const struct row *r = &l->a->rows[n];
    double loss = r->targets == 0 ? 0 : INFINITY; /* of no steps */
    begin_row(l, n, b);
    b->then[0] = 0;
    for (int64_t t = 0; t < l->log_probs.shape[0]; t++) {
        if (t < r->steps) {
            load_step(l, n, t, b);
            HC_DISPATCH(ctc_step)
            (b->states, b->then, b->then - 1, b->then - 2, b->skip, b->labels_p, b->now);
        }
        store_alpha(l, n, t, b, t < r->steps ? b->states : 0);
        if (t == r->steps - 1) loss = loss_of(b);
        if (t < r->steps) swap_steps(b);
    }
    /* What PyTorch does behind its operator: torch_npu passes zeroInfinity on, other clients expect it here.
     */
    const double y = l->a->zero_infinity && loss == INFINITY ? 0 : loss;
    const int64_t at = l->loss->rank > 0 ? n * l->loss->stride[0] * l->loss->item_size : 0;
    hc_store_for(l->loss->dtype, HC_F64)(1, hc_data(l->loss) + at, 1, &y);
}

/* Alpha of a step, to base 2. */
static void load_alpha(const struct loop *l, int64_t n, int64_t t, const struct buffers *b) {
    const aclTensor *x = &l->alpha;
    const int64_t at = n * x->stride[0] + t * x->stride[1];
    hc_load_for(x->dtype, HC_F64)(b->states, b->alpha, hc_data(x) + at * x->item_size, x->stride[2]);
    for (size_t s = 0; s < b->states; s++) {
        const double alpha = b->alpha[s] * LOG2_E;
        b->alpha[s] = alpha < IMPOSSIBLE ? IMPOSSIBLE : alpha;
    }
}

/* d[c] = (e^p - the probability of all states of class c) times the gradient. */
static void differentiate(const struct loop *l, int64_t n, int64_t t, double loss, double g,
                          struct buffers *b) {
    load_alpha(l, n, t, b);
    HC_DISPATCH(ctc_probability)(b->classes, b->p, b->d);
    HC_DISPATCH(ctc_posterior)(b->states, b->alpha, b->now, b->labels_p, loss * LOG2_E, b->alpha);
    for (size_t s = 0; s < b->states; s++) b->d[b->label[s]] -= b->alpha[s];
    for (size_t c = 0; c < b->classes; c++) b->d[c] *= g;
}

/* A step of the gradient, all classes. */
static void store_step(const struct loop *l, int64_t n, int64_t t, const double *d) {
    const aclTensor *y = &l->out;
    const int64_t at = t * y->stride[0] + n * y->stride[1];
    hc_store_for(y->dtype, HC_F64)((size_t)y->shape[2], hc_data(y) + at * y->item_size, y->stride[2], d);
}

/* The loss as the forward variables have it: what was handed over may have been set to 0. */
static bool is_impossible(const struct loop *l, int64_t n, int64_t states) {
    const struct row *r = &l->a->rows[n];
    if (r->steps == 0) return r->targets > 0;
    for (int64_t k = 0; k < 2 && k < states; k++)
        if (get(&l->alpha, n, r->steps - 1, states - 1 - k) != -INFINITY) return false;
    return true;
}

/* Without an alignment NaN, as in PyTorch, or 0 where asked for. Behind the last step there is one, after the
 * last blank. */
static void run_gradient_row(const struct loop *l, int64_t n, struct buffers *b) {
    const struct row *r = &l->a->rows[n];
    const double g = l->grad->rank > 0 ? get(l->grad, n, 0, 0) : get(l->grad, 0, 0, 0);
    const double loss = l->nll->rank > 0 ? get(l->nll, n, 0, 0) : get(l->nll, 0, 0, 0);
    begin_row(l, n, b);
    b->then[b->states - 1] = 0;
    const bool impossible = is_impossible(l, n, (int64_t)b->states);
    for (int64_t t = l->log_probs.shape[0] - 1; t >= 0; t--) {
        const double nothing = t < r->steps && !l->a->zero_infinity ? NAN : 0;
        if (t >= r->steps || impossible) {
            for (size_t c = 0; c < b->classes; c++) b->d[c] = nothing;
        } else {
            load_step(l, n, t, b);
            HC_DISPATCH(ctc_step)
            (b->states, b->then, b->then + 1, b->then + 2, b->skip + 2, b->labels_p, b->now);
            differentiate(l, n, t, loss, g, b);
            swap_steps(b);
        }
        store_step(l, n, t, b->d);
    }
}

static void run_rows(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    for (size_t n = begin; n < end; n++) {
        struct buffers b;
        if (!take_buffers(l, &b)) {
            atomic_store(&l->failed, true);
            return;
        }
        if (l->loss != NULL) run_row(l, (int64_t)n, &b);
        else run_gradient_row(l, (int64_t)n, &b);
    }
}

/* Those that count are looked at in our copy, which stays as it is. */
static aclnnStatus check_targets(const struct hc_call *call, const struct loop *l) {
    for (size_t n = 0; n < l->a->num_rows; n++) {
        const struct row *r = &l->a->rows[n];
        for (int64_t i = 0; i < r->targets; i++) {
            const int64_t x = l->targets[r->first + i];
            HC_CHECK(x >= 0 && x < l->log_probs.shape[2], ACLNN_ERR_PARAM_INVALID,
                     "%s: target %lld of row %zu is %lld, wanted a class of logProbs, 0 to %lld", call->name,
                     (long long)i, n, (long long)x, (long long)l->log_probs.shape[2] - 1);
        }
    }
    return 0;
}

/* One row is the least that a thread takes: rows are few, and long. */
static aclnnStatus run_loop(const struct hc_call *call, struct loop *l, const aclTensor *targets) {
    int64_t *own = hc_block_take_array(hc_numel(targets), sizeof *own);
    HC_CHECK(own != NULL, ACLNN_ERR_INNER, "%s: out of host memory for targets %s", call->name,
             HC_SHOW(targets));
    const aclTensor copy = hc_tensor_view(ACL_INT64, targets->shape, targets->rank, own);
    l->targets = own;
    aclnnStatus status = hc_copy(&copy, targets);
    if (status == 0) status = check_targets(call, l);
    if (status == 0) hc_parallel_for(l->a->num_rows, 1, run_rows, l);
    hc_block_give(own);
    return status == 0 && atomic_load(&l->failed) ? ACLNN_ERR_INNER : status;
}

/* Operands: logProbs, targets, negLogLikelihood, logAlpha. */
static aclnnStatus run(const struct hc_call *call) {
    struct loop l = {.a = call->args,
                     .log_probs = as_batch(hc_arg(call, 0)),
                     .alpha = *hc_arg(call, 3),
                     .loss = hc_arg(call, 2)};
    return run_loop(call, &l, hc_arg(call, 1));
}

/* Operands: gradOut, logProbs, targets, negLogLikelihood, logAlpha, out. */
static aclnnStatus run_gradient(const struct hc_call *call) {
    struct loop l = {.a = call->args,
                     .log_probs = as_batch(hc_arg(call, 1)),
                     .alpha = *hc_arg(call, 4),
                     .grad = hc_arg(call, 0),
                     .nll = hc_arg(call, 3),
                     .out = as_batch(hc_arg(call, 5))};
    return run_loop(call, &l, hc_arg(call, 2));
}

/* What both operators have, as their phase one got it. */
struct call {
    const char *name, *lengths_name; /* the interface spells targetLengths in two ways */
    const aclTensor *log_probs, *targets, *nll, *alpha;
    const aclIntArray *steps, *target_lengths;
    int64_t blank;
    bool zero_infinity;
};

/* Ranks, types and counts. Lengths are looked at where rows are laid out. */
static aclnnStatus check_tensors(const struct call *c) {
    HC_CHECK(hc_dtype_is_float(c->log_probs->dtype) && (c->log_probs->rank == 2 || c->log_probs->rank == 3) &&
                 c->log_probs->numel > 0,
             ACLNN_ERR_PARAM_INVALID, "%s: logProbs is %s, wanted floating point [steps, rows, classes]",
             c->name, HC_SHOW(c->log_probs));
    const aclTensor batch = as_batch(c->log_probs);
    const int64_t rows = batch.shape[1];
    HC_CHECK(hc_dtype_class(c->targets->dtype) == HC_CLASS_INT &&
                 (c->targets->rank == 1 || (c->targets->rank == 2 && c->targets->shape[0] == rows)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: targets is %s, wanted integers [rows, targets] or [all targets] of %lld rows", c->name,
             HC_SHOW(c->targets), (long long)rows);
    HC_CHECK(c->blank >= 0 && c->blank < batch.shape[2], ACLNN_ERR_PARAM_INVALID,
             "%s: blank is %lld, wanted a class of logProbs %s", c->name, (long long)c->blank,
             HC_SHOW(c->log_probs));
    HC_CHECK(c->steps->size == (size_t)rows && c->target_lengths->size == (size_t)rows,
             ACLNN_ERR_PARAM_INVALID,
             "%s: inputLengths has %zu values and %s %zu, wanted one for each of %lld rows", c->name,
             c->steps->size, c->lengths_name, c->target_lengths->size, (long long)rows);
    HC_CHECK(hc_dtype_is_float(c->nll->dtype) && c->nll->numel == rows && c->nll->rank <= 1,
             ACLNN_ERR_PARAM_INVALID,
             "%s: negLogLikelihood is %s, wanted a floating point value for each of %lld rows", c->name,
             HC_SHOW(c->nll), (long long)rows);
    return 0;
}

/* Where each row's targets lie: rows of a matrix, or one after the other. */
static aclnnStatus fill_rows(const struct call *c, struct args *a) {
    const int64_t all_steps = c->log_probs->shape[0],
                  pitch = c->targets->rank == 2 ? c->targets->shape[1] : 0;
    int64_t next = 0, most = 0;
    for (size_t n = 0; n < a->num_rows; n++) {
        const int64_t steps = c->steps->data[n], targets = c->target_lengths->data[n];
        const int64_t room = c->targets->rank == 2 ? pitch : c->targets->numel - next;
        HC_CHECK(steps >= 0 && steps <= all_steps, ACLNN_ERR_PARAM_INVALID,
                 "%s: inputLengths[%zu] is %lld, wanted 0 to %lld, the steps of logProbs", c->name, n,
                 (long long)steps, (long long)all_steps);
        HC_CHECK(targets >= 0 && targets <= room, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%zu] is %lld, wanted 0 to %lld, what targets %s has", c->name, c->lengths_name, n,
                 (long long)targets, (long long)room, HC_SHOW(c->targets));
        a->rows[n] = (struct row){steps, targets, c->targets->rank == 2 ? (int64_t)n * pitch : next};
        next += targets;
        most = hc_max_i64(most, targets);
    }
    HC_CHECK(hc_dtype_is_float(c->alpha->dtype) && c->alpha->rank == 3 &&
                 c->alpha->shape[0] == (int64_t)a->num_rows && c->alpha->shape[1] == all_steps &&
                 c->alpha->shape[2] >= 2 * most + 1,
             ACLNN_ERR_PARAM_INVALID, "%s: logAlpha is %s, wanted floating point [%zu,%lld,%lld or more]",
             c->name, HC_SHOW(c->alpha), a->num_rows, (long long)all_steps, (long long)(2 * most + 1));
    return 0;
}

/* To be given back by the caller, on failure too. */
static aclnnStatus describe(const struct call *c, struct args **args, size_t *bytes) {
    *args = NULL;
    HC_CHECK(c->log_probs && c->targets && c->steps && c->target_lengths && c->nll && c->alpha,
             ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", c->name,
             !c->log_probs        ? "logProbs"
             : !c->targets        ? "targets"
             : !c->steps          ? "inputLengths"
             : !c->target_lengths ? c->lengths_name
             : !c->nll            ? "negLogLikelihood"
                                  : "logAlpha");
    HC_TRY(check_tensors(c));
    const size_t num_rows = c->steps->size;
    size_t rows_bytes;
    HC_CHECK(hc_mul_fits(num_rows, sizeof(struct row), &rows_bytes) &&
                 (*args = hc_block_take(sizeof(struct args) + rows_bytes)) != NULL,
             ACLNN_ERR_INNER, "%s: out of host memory for %zu rows", c->name, num_rows);
    **args = (struct args){.blank = c->blank, .zero_infinity = c->zero_infinity, .num_rows = num_rows};
    *bytes = sizeof(struct args) + rows_bytes;
    return fill_rows(c, *args);
}

/* Rows are as many as there are: the arguments have no fixed size, and are copied into the executor. */
static aclnnStatus plan(const struct call *c, hc_run_fn run_fn, const struct hc_operand *operands,
                        size_t num_operands, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args *args;
    size_t bytes = 0;
    aclnnStatus status = describe(c, &args, &bytes);
    if (status == 0) {
        status = hc_plan(&(const struct hc_plan){.name = c->name,
                                                 .run = run_fn,
                                                 .args = args,
                                                 .args_size = bytes,
                                                 .operands = operands,
                                                 .num_operands = num_operands},
                         workspaceSize, executor);
    }
    hc_block_give(args);
    return status;
}

/* torch._ctc_loss(logProbs, targets, inputLengths, targetLengths, blank, zeroInfinity) */
HC_API aclnnStatus aclnnCtcLossGetWorkspaceSize(const aclTensor *logProbs, const aclTensor *targets,
                                                const aclIntArray *inputLengths,
                                                const aclIntArray *targetlengths, int64_t blank,
                                                bool zeroInfinity, aclTensor *negLogLikelihoodOut,
                                                aclTensor *logAlphaOut, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    const struct call c = {.name = "aclnnCtcLoss",
                           .lengths_name = "targetlengths",
                           .log_probs = logProbs,
                           .targets = targets,
                           .nll = negLogLikelihoodOut,
                           .alpha = logAlphaOut,
                           .steps = inputLengths,
                           .target_lengths = targetlengths,
                           .blank = blank,
                           .zero_infinity = zeroInfinity};
    const struct hc_operand operands[] = {HC_IN(logProbs), HC_IN(targets), HC_OUT(negLogLikelihoodOut),
                                          HC_OUT(logAlphaOut)};
    return plan(&c, run, operands, HC_ARRAY_SIZE(operands), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnCtcLoss)

/* gradOut, negLogLikelihood and logAlpha are the forward's; out is written whole, zeros where a row has
 * ended. */
HC_API aclnnStatus aclnnCtcLossBackwardGetWorkspaceSize(
    const aclTensor *gradOut, const aclTensor *logProbs, const aclTensor *targets,
    const aclIntArray *inputLengths, const aclIntArray *targetLengths, const aclTensor *negLogLikelihood,
    const aclTensor *logAlpha, int64_t blank, bool zeroInfinity, aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    const struct call c = {.name = "aclnnCtcLossBackward",
                           .lengths_name = "targetLengths",
                           .log_probs = logProbs,
                           .targets = targets,
                           .nll = negLogLikelihood,
                           .alpha = logAlpha,
                           .steps = inputLengths,
                           .target_lengths = targetLengths,
                           .blank = blank,
                           .zero_infinity = zeroInfinity};
    HC_CHECK(logProbs && gradOut && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", c.name,
             !logProbs ? "logProbs"
             : gradOut ? "out"
                       : "gradOut");
    HC_CHECK(hc_dtype_is_float(out->dtype) && hc_same_shape(out, logProbs), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted floating point in the shape of logProbs %s", c.name, HC_SHOW(out),
             HC_SHOW(logProbs));
    HC_CHECK(hc_dtype_is_float(gradOut->dtype) && gradOut->rank <= 1 && negLogLikelihood != NULL &&
                 gradOut->numel == negLogLikelihood->numel,
             ACLNN_ERR_PARAM_INVALID, "%s: gradOut is %s, wanted a floating point value per row", c.name,
             HC_SHOW(gradOut));
    const struct hc_operand operands[] = {HC_IN(gradOut),          HC_IN(logProbs), HC_IN(targets),
                                          HC_IN(negLogLikelihood), HC_IN(logAlpha), HC_OUT(out)};
    return plan(&c, run_gradient, operands, HC_ARRAY_SIZE(operands), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnCtcLossBackward)
#endif
