// SPDX-License-Identifier: Apache-2.0
/* The loop of rows.h.
 *
 * Kept dimensions count the rows, in the order in which the shape has them in memory; a row's own
 * dimensions are axes of each operand, merged where they lie side by side. An operand that is one run of
 * the block's type is handed to the kernel in place; others go through a buffer per thread. Cost beside
 * the kernel: one conversion each way, in cache, for rows up to a few thousand elements. */
#include "rows.h"

/* Sums over all rows: a piece's doubles added to another's, and a piece's floats added to its doubles. */
HC_KERNEL(rows_add, (size_t n, double *to, const double *from))
HC_KERNEL(rows_flush, (size_t n, double *to, float *from))

#ifdef HC_ISA
void HC_FN(rows_add)(size_t n, double *to, const double *from) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) to[i] += from[i];
}
/* After 32 rows, so that float sums stay short. */
void HC_FN(rows_flush)(size_t n, double *to, float *from) {
    _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {
        to[i] += (double)from[i];
        from[i] = 0;
    }
}

#else
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum {
    GRAIN = 16384,   /* operations per piece, about */
    SUM_PIECES = 32, /* most pieces with sums of their own: bounds their memory */
    SUM_ROWS = 32,   /* rows added up in float */
    TILE_ROWS = 16,  /* rows gathered together: as many floats as a cache line has */
    TILE_STEP = 64,  /* elements of each before the next row's */
    TILE_BYTES = 128 * 1024,
    MOST_COLUMNS = 64,               /* of a tile of columns: four cache lines of floats */
    COLUMNS_BYTES = 4 * 1024 * 1024, /* most memory of 16 columns */
    AHEAD = 8,                       /* elements of columns asked for before they are read */
};

/* An operand during a run. kept_stride is the step from row to row along each kept dimension; 0 for one
 * that all rows share. */
struct operand {
    char *data;
    enum hc_rows_kind kind;
    bool present, direct, output;
    hc_load_fn *load;
    hc_store_fn *store;
    int64_t item;
    int rank; /* axes within a row, [0] innermost; strides in elements */
    int64_t size[HC_MAX_RANK], stride[HC_MAX_RANK];
    int64_t kept_stride[HC_MAX_RANK]; /* in bytes */
    bool linear;                      /* row r is at r * kept_stride[0] */
    size_t n, buffer_bytes;           /* of one row */
};

/* One run: shared by the pool's threads and read-only, but for `failed` and the pieces' own parts of
 * `partial`. */
struct loop {
    const struct hc_rows *spec;
    hc_rows_kernel *kernel;
    struct operand operand[HC_ROWS_MAX_OPERANDS];
    int num_operands, kept_rank;
    int64_t kept[HC_MAX_RANK]; /* sizes, [0] has the smallest stride in the shape */
    int kept_dim[HC_MAX_RANK];
    bool columns; /* tiles are columns, for the kernel of columns */
    size_t rows, n, tile, grain, thread_bytes;
    char *partial; /* sums: per piece num_sums rows of double */
    size_t pieces, sum_bytes;
    atomic_bool failed; /* a thread had no memory */
};

aclnnStatus hc_rows_dim(const char *name, const aclTensor *self, int64_t dim, uint32_t *mask) {
    const int64_t d = hc_wrap_dim(dim, self->rank);
    HC_CHECK(d >= 0, ACLNN_ERR_PARAM_INVALID, "%s: dim is %lld, %s allows [%d, %d]", name, (long long)dim,
             HC_SHOW(self), self->rank ? -self->rank : -1, self->rank ? self->rank - 1 : 0);
    *mask = self->rank > 0 ? 1u << d : 0;
    return 0;
}

size_t hc_rows_length(const aclTensor *shape, uint32_t mask) {
    size_t n = 1;
    for (int32_t d = 0; d < shape->rank; d++) n *= mask >> d & 1 ? (size_t)shape->shape[d] : 1;
    return n;
}

/* Kept dimensions, sorted by the stride of the shape: neighbouring rows are then neighbours in memory.
 * Insertion sort, of at most 16. */
static void set_kept(struct loop *l) {
    const aclTensor *s = l->spec->shape;
    for (int32_t d = s->rank - 1; d >= 0; d--) {
        if ((l->spec->mask >> d & 1) || s->shape[d] == 1) continue;
        int at = l->kept_rank++;
        for (; at > 0 && llabs(s->stride[l->kept_dim[at - 1]]) > llabs(s->stride[d]); at--)
            l->kept_dim[at] = l->kept_dim[at - 1];
        l->kept_dim[at] = d;
    }
    for (int i = 0; i < l->kept_rank; i++) l->kept[i] = s->shape[l->kept_dim[i]];
}

/* Stride in elements of the tensor along dimension d of the shape, for one value per row. */
static int64_t one_stride(const struct loop *l, const aclTensor *t, int d) {
    const aclTensor *s = l->spec->shape;
    int64_t stride = 1;
    int at = 0;
    bool same = t->rank == s->rank;
    for (int32_t i = 0; i < t->rank && same; i++)
        same = t->shape[i] == (l->spec->mask >> i & 1 ? 1 : s->shape[i]);
    if (same) return t->stride[d];
    int32_t kept = 0;
    for (int32_t i = 0; i < s->rank; i++) kept += !(l->spec->mask >> i & 1);
    for (int i = 0; i < d; i++) at += !(l->spec->mask >> i & 1);
    if (t->rank == kept && !hc_is_contiguous(t)) return t->stride[at];
    for (int32_t i = s->rank - 1; i > d; i--) stride *= l->spec->mask >> i & 1 ? 1 : s->shape[i];
    return stride;
}

/* One dimension of a row more, outwards; it joins the last one where it continues it. */
static void add_axis(struct operand *o, int64_t size, int64_t stride) {
    const int last = o->rank - 1;
    if (size == 1) return;
    if (last >= 0 && stride == o->stride[last] * o->size[last]) {
        o->size[last] *= size;
        return;
    }
    o->size[o->rank] = size;
    o->stride[o->rank++] = stride;
}

/* Everything of an operand that does not depend on the row. */
static void set_operand(struct loop *l, struct operand *o, const struct hc_rows_operand *from, bool output) {
    const aclTensor *t = from->tensor, *s = l->spec->shape;
    *o = (struct operand){.kind = from->kind, .present = t != NULL, .output = output};
    if (t == NULL) return;
    o->data = hc_data(t);
    o->item = t->item_size;
    o->load = hc_load_for(t->dtype, from->block);
    o->store = hc_store_for(t->dtype, from->block);
    o->n = o->kind == HC_ROWS_ONE ? 1 : l->n;
    if (o->kind == HC_ROWS_VECTOR) {
        for (int32_t d = s->rank - 1; d >= 0; d--)
            if (l->spec->mask >> d & 1) add_axis(o, t->shape[d], t->stride[d]);
    } else if (o->kind == HC_ROWS_SHARED) {
        for (int32_t d = t->rank - 1; d >= 0; d--) add_axis(o, t->shape[d], t->stride[d]);
    }
    if (o->rank == 0) {
        o->rank = 1;
        o->size[0] = (int64_t)o->n;
        o->stride[0] = 1;
    }
    for (int i = 0; i < l->kept_rank && o->kind != HC_ROWS_SHARED; i++) {
        const int d = l->kept_dim[i];
        o->kept_stride[i] = (o->kind == HC_ROWS_VECTOR ? t->stride[d] : one_stride(l, t, d)) * o->item;
    }
    o->linear = true;
    for (int i = 1; i < l->kept_rank; i++)
        o->linear = o->linear && o->kept_stride[i] == o->kept_stride[i - 1] * l->kept[i - 1];
    o->direct = o->rank == 1 && o->stride[0] == 1 &&
                (hc_block_of(t->dtype) == (int)from->block ||
                 (t->dtype == ACL_BOOL && from->block == HC_B8 && output));
    o->buffer_bytes = o->direct ? 0 : hc_align_up(o->n * hc_block_size(from->block), 64);
}

/* How many rows are gathered together: more than one where rows lie side by side in memory (the row's
 * elements are further apart than the rows), so that a cache line serves 16 rows instead of one. Bounded
 * by the buffers it takes. */
static size_t choose_tile(const struct loop *l) {
    size_t bytes = 1;
    bool across = false;
    if (l->kept_rank == 0) return 1;
    for (int k = 0; k < l->num_operands; k++) {
        const struct operand *o = &l->operand[k];
        if (!o->present || o->kind != HC_ROWS_VECTOR) continue;
        if (o->rank > 1) return 1;
        across = across || llabs(o->stride[0] * o->item) > llabs(o->kept_stride[0]);
        bytes = hc_max_size(bytes, o->buffer_bytes);
    }
    if (!across) return 1;
    return hc_min_size(hc_min_size(TILE_ROWS, (size_t)l->kept[0]), hc_max_size(TILE_BYTES / bytes, 1));
}

/* Whether the kernel of columns may be called: all operands are floats in it, one per element, and their rows
 * lie side by side in memory. */
static bool all_columns(const struct loop *l) {
    if (l->spec->columns == NULL || l->kept_rank == 0 || l->n * TILE_ROWS * sizeof(float) > COLUMNS_BYTES)
        return false;
    for (int k = 0; k < l->num_operands; k++) {
        const struct operand *o = &l->operand[k];
        if (o->kind != HC_ROWS_VECTOR || l->spec->operand[k].block != HC_F32) return false;
        if (o->rank > 1 || o->kept_stride[0] != o->item || llabs(o->stride[0]) <= 1) return false;
    }
    return l->kept[0] >= TILE_ROWS / 2;
}

/* As many columns as keep a tile in the second-level cache. */
static void use_columns(struct loop *l) {
    const size_t fit = TILE_BYTES / (l->n * sizeof(float)) / TILE_ROWS * TILE_ROWS;
    l->tile = hc_min_size(hc_max_size(fit, TILE_ROWS), MOST_COLUMNS);
    l->columns = true;
    for (int k = 0; k < l->num_operands; k++) l->operand[k].buffer_bytes = l->n * sizeof(float);
}

/* First element of a row, by a division for each kept dimension: rows are long enough for that. */
static char *row_address(const struct loop *l, const struct operand *o, size_t row) {
    char *p = o->data;
    if (o->linear) return p + (int64_t)row * o->kept_stride[0];
    for (int i = 0; i < l->kept_rank; i++) {
        p += (int64_t)(row % (size_t)l->kept[i]) * o->kept_stride[i];
        row /= (size_t)l->kept[i];
    }
    return p;
}

/* Elements [begin, begin + n) of a row, from or to its buffer. */
static void move_part(const struct operand *o, char *row, char *buffer, size_t begin, size_t n, size_t size,
                      bool out) {
    while (n > 0) {
        size_t rest = begin, run = hc_min_size(n, (size_t)o->size[0] - begin % (size_t)o->size[0]);
        char *at = row;
        for (int i = 0; i < o->rank; i++) {
            at += (int64_t)(rest % (size_t)o->size[i]) * o->stride[i] * o->item;
            rest /= (size_t)o->size[i];
        }
        if (out) o->store(run, at, o->stride[0], buffer + begin * size);
        else o->load(run, buffer + begin * size, at, o->stride[0]);
        begin += run;
        n -= run;
    }
}

/* Rows [row, row + count) of an operand, all of the same kept axis 0, from or to buffers. */
static void move_rows(const struct loop *l, int k, size_t row, size_t count, char *buffer, bool out) {
    const struct operand *o = &l->operand[k];
    const size_t size = hc_block_size(l->spec->operand[k].block);
    char *first = row_address(l, o, row);
    const size_t step = count > 1 ? TILE_STEP : hc_max_size(o->n, 1);
    for (size_t i = 0; i < o->n; i += step) {
        for (size_t r = 0; r < count; r++) {
            move_part(o, first + (int64_t)r * o->kept_stride[0], buffer + r * o->buffer_bytes, i,
                      hc_min_size(step, o->n - i), size, out);
        }
    }
}

/* The same, element by element of all rows: a tile of columns. A step from element to element is too long for
 * the hardware to guess, so lines are asked for ahead. */
static void move_columns(const struct loop *l, int k, size_t row, size_t count, char *buffer, bool out) {
    const struct operand *o = &l->operand[k];
    const int64_t step = o->stride[0] * o->item;
    char *at = row_address(l, o, row);
    for (size_t i = 0; i < o->n; i++, at += step) {
        char *const block = buffer + i * l->tile * sizeof(float);
        if (i + AHEAD < o->n) {
            const char *next = at + AHEAD * step;
            for (size_t b = 0; b < count * (size_t)o->item; b += HC_CACHE_LINE) __builtin_prefetch(next + b);
        }
        if (out) o->store(count, at, 1, block);
        else o->load(count, block, at, 1);
    }
}

static void move(const struct loop *l, int k, size_t row, size_t count, char *buffer, bool out) {
    if (l->columns) move_columns(l, k, row, count, buffer, out);
    else move_rows(l, k, row, count, buffer, out);
}

/* Buffers of a thread, in its own scratch. */
struct thread_state {
    char *buffer[HC_ROWS_MAX_OPERANDS]; /* NULL: direct */
    char *sums;
};

/* False without memory: noted in the loop, as a piece cannot return a code. */
static bool start_thread(struct loop *l, struct thread_state *t) {
    char *at = hc_scratch(HC_SCRATCH_C, l->thread_bytes);
    if (at == NULL) {
        atomic_store(&l->failed, true);
        return false;
    }
    for (int k = 0; k < l->num_operands; k++) {
        const struct operand *o = &l->operand[k];
        t->buffer[k] = o->present && !o->direct && o->kind != HC_ROWS_SHARED ? at : NULL;
        if (t->buffer[k] != NULL) at += l->tile * o->buffer_bytes;
    }
    t->sums = at;
    return true;
}

/* One row: buffers where there are any, else the memory itself. */
static void call_kernel(const struct loop *l, const struct thread_state *t, size_t row, size_t in_tile,
                        char *sums) {
    const struct hc_rows *spec = l->spec;
    void *outs[HC_ROWS_MAX_OPERANDS];
    const void *ins[HC_ROWS_MAX_OPERANDS];
    for (int k = 0; k < l->num_operands; k++) {
        const struct operand *o = &l->operand[k];
        char *p = NULL;
        if (t->buffer[k] != NULL) p = t->buffer[k] + in_tile * o->buffer_bytes;
        else if (o->present) p = row_address(l, o, row);
        if (k < spec->num_outs) outs[k] = p;
        else ins[k - spec->num_outs] = p;
    }
    for (int s = 0; s < spec->num_sums; s++) outs[spec->num_outs + s] = sums + (size_t)s * l->sum_bytes;
    l->kernel(l->n, outs, ins, row, spec->args);
}

/* All rows of a tile of columns. Columns that the last tile lacks are computed from zeros, and not stored. */
static void call_columns(const struct loop *l, const struct thread_state *t) {
    void *outs[HC_ROWS_MAX_OPERANDS];
    const void *ins[HC_ROWS_MAX_OPERANDS];
    for (int k = 0; k < l->num_operands; k++) {
        if (k < l->spec->num_outs) outs[k] = t->buffer[k];
        else ins[k - l->spec->num_outs] = t->buffer[k];
    }
    l->spec->columns(l->n, l->tile, outs, ins);
}

/* Sums of floats since the last flush go into the piece's doubles. */
static void flush_sums(const struct loop *l, char *partial, char *sums) {
    if (l->spec->sum_block != HC_F32) return;
    for (int s = 0; s < l->spec->num_sums; s++) {
        HC_DISPATCH(rows_flush)(l->n, (double *)partial + (size_t)s * l->n,
                                (float *)(sums + (size_t)s * l->sum_bytes));
    }
}

/* Rows [begin, end), tile by tile: load, compute, store. Sums are added in floats over 32 rows, then in
 * double: the error stays that of 32 additions whatever the number of rows, and the float loops vectorise
 * twice as wide. */
static void run_piece(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    struct thread_state t;
    const int num_sums = l->spec->num_sums;
    char *partial = NULL, *sums = NULL;
    if (!start_thread(l, &t)) return;
    if (num_sums > 0) {
        partial = l->partial + begin / l->grain * (size_t)num_sums * l->n * sizeof(double);
        memset(partial, 0, (size_t)num_sums * l->n * sizeof(double));
        sums = l->spec->sum_block == HC_F32 ? t.sums : partial;
        if (sums == t.sums) memset(sums, 0, (size_t)num_sums * l->sum_bytes);
    }
    size_t unflushed = 0;
    for (size_t row = begin; row < end;) {
        size_t count = hc_min_size(l->tile, end - row);
        if (l->kept_rank > 0) count = hc_min_size(count, (size_t)l->kept[0] - row % (size_t)l->kept[0]);
        for (int k = l->spec->num_outs; k < l->num_operands; k++) {
            if (t.buffer[k] == NULL) continue;
            if (l->columns && count < l->tile) memset(t.buffer[k], 0, l->tile * l->operand[k].buffer_bytes);
            move(l, k, row, count, t.buffer[k], false);
        }
        if (l->columns) call_columns(l, &t);
        for (size_t r = 0; r < count && !l->columns; r++) {
            call_kernel(l, &t, row + r, r, sums);
            if (num_sums > 0 && ++unflushed == SUM_ROWS) {
                flush_sums(l, partial, sums);
                unflushed = 0;
            }
        }
        for (int k = 0; k < l->spec->num_outs; k++) {
            if (t.buffer[k] != NULL) move(l, k, row, count, t.buffer[k], true);
        }
        row += count;
    }
    if (num_sums > 0) flush_sums(l, partial, sums);
}

/* Some columns of the sums, all pieces in order. */
static void add_pieces(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    const size_t row = (size_t)l->spec->num_sums * l->n;
    for (size_t p = 1; p < l->pieces; p++) {
        HC_DISPATCH(rows_add)(end - begin, (double *)l->partial + begin,
                              (const double *)l->partial + p * row + begin);
    }
}

/* Without rows there was no piece to clear the sums. */
static aclnnStatus finish_sums(struct loop *l) {
    const size_t values = (size_t)l->spec->num_sums * l->n;
    if (l->rows == 0) memset(l->partial, 0, values * sizeof(double));
    hc_parallel_for(values, hc_max_size(GRAIN / hc_max_size(l->pieces, 1), 512), add_pieces, l);
    for (int s = 0; s < l->spec->num_sums; s++) {
        const aclTensor *to = l->spec->sum[s];
        if (to == NULL) continue;
        const aclTensor from =
            hc_tensor_view(ACL_DOUBLE, to->shape, to->rank, (double *)l->partial + (size_t)s * l->n);
        HC_TRY(hc_copy(to, &from));
    }
    return 0;
}

/* Rows shared by all are converted once. */
static aclnnStatus load_shared(struct loop *l) {
    size_t bytes = 0;
    for (int k = 0; k < l->num_operands; k++) {
        if (l->operand[k].kind == HC_ROWS_SHARED) bytes += l->operand[k].buffer_bytes;
    }
    if (bytes == 0) return 0;
    char *at = hc_scratch(HC_SCRATCH_B, bytes);
    if (at == NULL) return ACLNN_ERR_INNER;
    for (int k = 0; k < l->num_operands; k++) {
        struct operand *o = &l->operand[k];
        if (o->kind != HC_ROWS_SHARED || o->buffer_bytes == 0) continue;
        move_part(o, o->data, at, 0, o->n, hc_block_size(l->spec->operand[k].block), false);
        o->data = at;
        at += o->buffer_bytes;
        o->buffer_bytes = 0;
        o->direct = true;
    }
    return 0;
}

/* Whether the bfloat16 kernel may be called on the operands' own memory. */
static bool all_bf16_runs(const struct loop *l) {
    for (int k = 0; k < l->num_operands; k++) {
        const struct hc_rows_operand *from = &l->spec->operand[k];
        const struct operand *o = &l->operand[k];
        if (from->tensor == NULL || from->tensor->dtype != ACL_BF16 || from->kind != HC_ROWS_VECTOR)
            return false;
        if (o->rank != 1 || o->stride[0] != 1) return false;
    }
    return l->spec->bf16_max == 0 || l->n <= l->spec->bf16_max;
}

static void use_bf16_kernel(struct loop *l) {
    l->kernel = l->spec->bf16;
    for (int k = 0; k < l->num_operands; k++) {
        l->operand[k].direct = true;
        l->operand[k].buffer_bytes = 0;
    }
}

/* Pieces are sized by operations, not by rows, and by shape only. With sums there are at most 32, as each
 * holds a row of doubles. */
static aclnnStatus set_loop(struct loop *l) {
    const struct hc_rows *spec = l->spec;
    l->kernel = spec->kernel;
    l->n = hc_rows_length(spec->shape, spec->mask);
    l->rows = 1;
    for (int32_t d = 0; d < spec->shape->rank; d++)
        l->rows *= spec->mask >> d & 1 ? 1 : (size_t)spec->shape->shape[d];
    set_kept(l);
    for (int k = 0; k < l->num_operands; k++)
        set_operand(l, &l->operand[k], &spec->operand[k], k < spec->num_outs);
    if (spec->bf16 != NULL && all_bf16_runs(l)) use_bf16_kernel(l);
    HC_TRY(load_shared(l));
    if (all_columns(l)) use_columns(l);
    else l->tile = choose_tile(l);
    l->grain = hc_align_up(hc_max_size(GRAIN / hc_max_size(l->n * hc_max_size(spec->work, 1), 1), 1),
                           l->tile >= TILE_ROWS ? l->tile : 1);
    if (spec->num_sums > 0)
        l->grain = hc_align_up(hc_max_size(l->grain, hc_ceil_div(l->rows, SUM_PIECES)), SUM_ROWS);
    l->pieces = hc_ceil_div(l->rows, l->grain);
    l->sum_bytes = hc_align_up(l->n * hc_block_size(spec->sum_block), 64);
    if (spec->sum_block == HC_F64) l->sum_bytes = l->n * sizeof(double);
    for (int k = 0; k < l->num_operands; k++) l->thread_bytes += l->tile * l->operand[k].buffer_bytes;
    l->thread_bytes += (size_t)spec->num_sums * l->sum_bytes;
    if (spec->num_sums == 0) return 0;
    l->partial = hc_scratch(HC_SCRATCH_A, l->pieces * (size_t)spec->num_sums * l->n * sizeof(double));
    return l->partial != NULL ? 0 : ACLNN_ERR_INNER;
}

/* A piece cannot return an error, so it sets `failed`. */
static aclnnStatus run_loop(const struct hc_rows *spec) {
    struct loop l = {.spec = spec, .num_operands = spec->num_outs + spec->num_ins};
    HC_TRY(set_loop(&l));
    hc_parallel_for(l.rows, l.grain, run_piece, &l);
    HC_CHECK(!atomic_load(&l.failed), ACLNN_ERR_INNER, "%s: out of host memory for rows of %zu elements",
             spec->name, l.n);
    return spec->num_sums > 0 ? finish_sums(&l) : 0;
}

/* Whether an output would be written over parts of an input that are still to be read. */
static bool overlaps(const struct hc_rows *spec, const aclTensor *in) {
    for (int k = 0; k < spec->num_outs; k++) {
        const aclTensor *out = spec->operand[k].tensor;
        if (out != NULL && hc_overlaps_partly(out, in)) return true;
    }
    return false;
}

/* Inputs that an output overlaps in part are copied first; one that is exactly an output may stay, as
 * kernels read a row before they write it. */
aclnnStatus hc_rows_run(const struct hc_rows *rows) {
    struct hc_rows spec = *rows;
    aclTensor copies[HC_ROWS_MAX_OPERANDS];
    char *memory[HC_ROWS_MAX_OPERANDS] = {0};
    aclnnStatus status = 0;
    for (int k = spec.num_outs; k < spec.num_outs + spec.num_ins && status == 0; k++) {
        const aclTensor *in = spec.operand[k].tensor;
        if (in == NULL || !overlaps(rows, in)) continue;
        memory[k] = hc_block_take_array(hc_numel(in), (size_t)in->item_size);
        if (memory[k] == NULL) {
            status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory: copy of an overlapping %s", spec.name,
                             HC_SHOW(in));
            break;
        }
        copies[k] = hc_tensor_view(in->dtype, in->shape, in->rank, memory[k]);
        status = hc_copy(&copies[k], in);
        if (spec.shape == in) spec.shape = &copies[k];
        spec.operand[k].tensor = &copies[k];
    }
    if (status == 0) status = run_loop(&spec);
    for (int k = 0; k < HC_ROWS_MAX_OPERANDS; k++) hc_block_give(memory[k]);
    return status;
}
#endif
