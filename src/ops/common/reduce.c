// SPDX-License-Identifier: Apache-2.0
/* The loop of reduce.h.
 *
 * Dimensions are split into kept and folded axes, each sorted by the input's stride and merged where
 * possible. If the folded axis is the denser one in memory, each output folds its rows; otherwise a tile
 * of neighbouring outputs is folded row of the tile by row, so memory is always read in lines. Every
 * element is read once; states live in the first-level cache (a tile of 512 doubles is 4 KiB). Where
 * outputs are too few for the threads, the folded axis is cut into chunks whose states are joined in
 * order afterwards. */
#include "reduce.h"

#include "messages.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK = 1024,       /* elements converted or gathered at a time */
    GRAIN = 32 * BLOCK, /* elements per unit of work, about */
    MAX_UNITS = 64,     /* folded axes are cut only until there are so many units */
    LONG_RUN = 128,     /* shorter runs are gathered before they are folded */
    COL_ROWS = 4,       /* rows loaded before the column kernel is called */
    GATHER = 256,       /* lines that stay in the first-level cache while columns are gathered */
    GATHER_COLS = 16,
    SHORT_ROW = 16, /* rows shorter than this are folded column-wise */
};

/* A dimension, or several merged; steps of the input and of both outputs. */
struct axis {
    int64_t size, x, out[2]; /* strides in bytes */
};

/* ROWS: outputs one after the other. COLUMNS: a tile of outputs, the column kernel. GATHERED_COLUMNS: the
 * same for operators without such a kernel, by gathering a few columns at a time. */
enum mode { ROWS, COLUMNS, GATHERED_COLUMNS };

/* One run: shared by the pool's threads, read-only but for `partial`, where each unit has its own place. */
struct loop {
    const struct hc_reduce_kernels *kernels;
    hc_reduce_row *row, *memory_row; /* of blocks; of the elements where they lie, NULL: not possible */
    hc_reduce_col *col, *memory_col;
    const void *args;
    enum mode mode;
    const char *x;
    char *out[2];
    int num_outs, kept_rank, folded_rank;
    struct axis kept[HC_MAX_RANK + 1], folded[HC_MAX_RANK + 1]; /* [0] is the innermost */
    size_t item, block_size, folded_count;
    hc_load_fn *load;
    hc_store_fn *store[2];
    int64_t out_item[2];
    size_t tile, tiles_inner, tiles; /* outputs of a tile, tiles of axis 0, all tiles */
    size_t chunk, chunks;
    char *partial;
};

/* Header of the planned arguments. */
struct planned {
    const struct hc_reduce *op;
    enum hc_block compute;
    uint32_t mask;
    _Alignas(16) char args[HC_REDUCE_MAX_ARGS];
};

/* A scalar has one dimension for this purpose, 0 or -1, as in PyTorch; its bit is ignored later. */
aclnnStatus hc_dims_mask(const char *name, const aclTensor *self, struct hc_dims dims, uint32_t *mask) {
    *mask = 0;
    for (size_t i = 0; i < dims.size; i++) {
        const int64_t d = hc_wrap_dim(dims.data[i], self->rank);
        HC_CHECK(d >= 0, ACLNN_ERR_PARAM_INVALID, "%s: dim[%zu] is %lld, self %s allows [%d, %d]", name, i,
                 (long long)dims.data[i], HC_SHOW(self), self->rank ? -self->rank : -1,
                 self->rank ? self->rank - 1 : 0);
        HC_CHECK((*mask >> d & 1) == 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: dim %lld appears twice, self %s: wanted each dimension once", name, (long long)d,
                 HC_SHOW(self));
        *mask |= 1u << d;
    }
    if (dims.size == 0) *mask = (1u << self->rank) - 1;
    return 0;
}

aclnnStatus hc_reduce_check_out(const char *name, const aclTensor *self, uint32_t mask, bool keep,
                                const aclTensor *out, int k) {
    aclTensor want = {.dtype = out->dtype};
    for (int32_t d = 0; d < self->rank; d++) {
        if ((mask >> d & 1) == 0) want.shape[want.rank++] = self->shape[d];
        else if (keep) want.shape[want.rank++] = 1;
    }
    HC_CHECK(hc_same_shape(&want, out), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, self %s reduced gives %s",
             name, hc_tensor_name(name, k), HC_SHOW(out), HC_SHOW(self), HC_SHOW(&want));
    return 0;
}

/* A maximum of nothing is an error only where an output would need one. */
static aclnnStatus check_elements(const struct hc_reduce *op, const aclTensor *self, uint32_t mask) {
    bool empty = false, outputs = true;
    for (int32_t d = 0; d < self->rank; d++) {
        if (self->shape[d] != 0) continue;
        if (mask >> d & 1) empty = true;
        else outputs = false;
    }
    HC_CHECK(!op->needs_elements || !empty || !outputs, ACLNN_ERR_PARAM_INVALID,
             "%s: self %s has no elements to reduce", op->name, HC_SHOW(self));
    return 0;
}

/* Phase two. */
static aclnnStatus reduce_call(const struct hc_call *call) {
    const struct planned *p = call->args;
    return hc_reduce_run(p->op, p->compute, hc_arg(call, 0), p->mask, hc_arg(call, 1), hc_arg(call, 2),
                         p->args);
}

aclnnStatus hc_reduce_plan(const struct hc_reduce *op, enum hc_block compute, const aclTensor *self,
                           struct hc_dims dims, const aclTensor *out0, const aclTensor *out1,
                           const void *args, size_t args_size, uint64_t *workspaceSize,
                           aclOpExecutor **executor) {
    struct planned planned = {.op = op, .compute = compute};
    HC_CHECK(self != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: self is null", op->name);
    HC_CHECK(out0 != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, hc_tensor_name(op->name, 1));
    HC_CHECK(self->item_size > 0 && out0->item_size > 0 && op->kernels[compute] != NULL,
             ACLNN_ERR_PARAM_INVALID, "%s: not supported for self %s, out %s, wanted %s tensors", op->name,
             HC_SHOW(self), HC_SHOW(out0), HC_SUPPORTED(op->kernels));
    /* bool and integers share a block, and what they fold to may be asked for as bool. */
    const enum hc_block result = op->kernels[compute]->out[0];
    HC_CHECK((result != HC_C128 || hc_dtype_is_complex(out0->dtype)) &&
                 ((result != HC_F32 && result != HC_F64) || !hc_dtype_is_integral(out0->dtype)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: result type %s (of %s) can't be cast to the desired output type of out %s", op->name,
             result == HC_C128 ? "complex" : "float", HC_SHOW(self), HC_SHOW(out0));
    HC_TRY(hc_dims_mask(op->name, self, dims, &planned.mask));
    HC_TRY(hc_reduce_check_out(op->name, self, planned.mask, dims.keep, out0, 1));
    if (out1 != NULL) HC_TRY(hc_reduce_check_out(op->name, self, planned.mask, dims.keep, out1, 2));
    HC_TRY(check_elements(op, self, planned.mask));
    HC_CHECK(args_size <= sizeof planned.args, ACLNN_ERR_INNER, "%s: %zu bytes of arguments", op->name,
             args_size);
    if (args_size > 0) memcpy(planned.args, args, args_size);
    const struct hc_operand operands[] = {{self, NULL, HC_ROLE_IN, "self"},
                                          {out0, NULL, HC_ROLE_OUT, "out"},
                                          {out1, NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, "out1"}};
    return hc_plan(&(const struct hc_plan){.name = op->name,
                                           .run = reduce_call,
                                           .args = &planned,
                                           .args_size = sizeof planned,
                                           .operands = operands,
                                           .num_operands = 3,
                                           .flops = (uint64_t)self->numel},
                   workspaceSize, executor);
}

/* Insert sorted by the input's stride, smallest first. */
static void insert_axis(struct axis *axes, int *rank, struct axis axis) {
    int at = (*rank)++;
    for (; at > 0 && llabs(axes[at - 1].x) > llabs(axis.x); at--) axes[at] = axes[at - 1];
    axes[at] = axis;
}

/* Neighbours in memory become one axis: a contiguous tensor that is folded whole has one axis left. */
static void merge_axes(struct axis *axes, int *rank, int num_outs) {
    int used = 0;
    for (int i = 1; i < *rank; i++) {
        struct axis *inner = &axes[used];
        bool fits = axes[i].x == inner->x * inner->size;
        for (int k = 0; k < num_outs; k++) fits = fits && axes[i].out[k] == inner->out[k] * inner->size;
        if (fits) inner->size *= axes[i].size;
        else axes[++used] = axes[i];
    }
    if (*rank > 0) *rank = used + 1;
}

/* Outputs may lack the folded dimensions or have 1 there: `at` walks theirs. */
static void set_axes(struct loop *l, const aclTensor *self, uint32_t mask, const aclTensor *const *outs) {
    int32_t at[2] = {0, 0}; /* dimension of each output */
    for (int32_t d = 0; d < self->rank; d++) {
        const bool folded = mask >> d & 1;
        struct axis axis = {self->shape[d], self->stride[d] * self->item_size, {0, 0}};
        for (int k = 0; k < l->num_outs; k++) {
            if (!folded) axis.out[k] = outs[k]->stride[at[k]] * outs[k]->item_size;
            if (!folded || outs[k]->rank == self->rank) at[k]++;
        }
        if (axis.size == 1) continue;
        if (folded) insert_axis(l->folded, &l->folded_rank, axis);
        else insert_axis(l->kept, &l->kept_rank, axis);
    }
    merge_axes(l->folded, &l->folded_rank, 0);
    merge_axes(l->kept, &l->kept_rank, l->num_outs);
    if (l->folded_rank == 0) l->folded[l->folded_rank++] = (struct axis){1, (int64_t)l->item, {0, 0}};
    if (l->kept_rank == 0) l->kept[l->kept_rank++] = (struct axis){1, (int64_t)l->item, {0, 0}};
    l->folded_count = 1;
    for (int i = 0; i < l->folded_rank; i++) l->folded_count *= (size_t)l->folded[i].size;
}

/* Columns where the kept axis is the denser one. Also for rows of fewer than 16 elements where there are
 * many: a call per row would cost more than the row. */
static enum mode choose_mode(const struct loop *l) {
    const bool short_rows = l->folded_count < SHORT_ROW && l->kept[0].size >= 2 * SHORT_ROW;
    if (l->kept[0].size > 1 &&
        (llabs(l->folded[0].x) > llabs(l->kept[0].x) || (short_rows && l->col != NULL))) {
        return l->col != NULL ? COLUMNS : GATHERED_COLUMNS;
    }
    return ROWS;
}

/* Cut outputs into tiles and the folded axes into chunks, by sizes only. */
static void set_units(struct loop *l) {
    const size_t width = (size_t)l->kept[0].size, count = hc_max_size(l->folded_count, 1);
    const size_t most = l->mode == GATHERED_COLUMNS ? GATHER_COLS : HC_REDUCE_TILE;
    l->tile = hc_min_size(most, width);
    if (l->mode == ROWS) l->tile = hc_min_size(l->tile, hc_max_size(GRAIN / count, 1));
    l->tiles_inner = hc_ceil_div(width, l->tile);
    l->tiles = l->tiles_inner;
    for (int i = 1; i < l->kept_rank; i++) l->tiles *= (size_t)l->kept[i].size;
    size_t chunks = 1;
    if (l->tiles < MAX_UNITS && count * l->tile >= 2 * GRAIN) {
        chunks = hc_min_size(hc_ceil_div(MAX_UNITS, l->tiles), count * l->tile / GRAIN);
    }
    l->chunk = hc_align_up(hc_ceil_div(count, chunks), l->mode == ROWS ? BLOCK : COL_ROWS);
    if (chunks == 1) l->chunk = count;
    l->chunks = hc_ceil_div(count, l->chunk);
}

/* Address of folded element r relative to an output's first, and how many follow it on axis 0. */
static const char *folded_at(const struct loop *l, const char *x, size_t r, size_t *run) {
    *run = (size_t)l->folded[0].size - r % (size_t)l->folded[0].size;
    for (int i = 0; i < l->folded_rank; i++) {
        const size_t size = (size_t)l->folded[i].size;
        x += (int64_t)(r % size) * l->folded[i].x;
        r /= size;
    }
    return x;
}

/* n folded elements from r on, in a row, converted. */
static void gather(const struct loop *l, const char *x, size_t r, size_t n, char *block) {
    while (n > 0) {
        size_t run;
        const char *from = folded_at(l, x, r, &run);
        run = hc_min_size(run, n);
        l->load(run, block, from, l->folded[0].x / (int64_t)l->item);
        block += run * l->block_size;
        r += run;
        n -= run;
    }
}

/* Elements [begin, end) of one output's folded axis into its state, a block at a time. */
static void fold_row(const struct loop *l, const char *x, size_t begin, size_t end, void *state,
                     size_t block) {
    _Alignas(64) char buffer[BLOCK * sizeof(hc_c128)];
    const bool runs = l->memory_row != NULL && l->folded[0].x == (int64_t)l->item &&
                      (l->folded_rank == 1 || l->folded[0].size >= LONG_RUN);
    while (begin < end) {
        size_t n = hc_min_size(end - begin, block);
        if (runs) {
            const char *from = folded_at(l, x, begin, &n);
            n = hc_min_size(n, end - begin);
            l->memory_row(n, state, from, begin, l->args);
        } else {
            gather(l, x, begin, n, buffer);
            l->row(n, state, buffer, begin, l->args);
        }
        begin += n;
    }
}

/* Folded rows [begin, end) of `cols` neighbouring outputs, row by row. Four rows are converted before
 * each call, so that a state is loaded and stored once for four values. */
static void fold_columns(const struct loop *l, const char *x, size_t cols, size_t begin, size_t end,
                         char *state) {
    _Alignas(64) char buffer[COL_ROWS * HC_REDUCE_TILE * sizeof(hc_c128)];
    const bool rows_direct = l->memory_col != NULL && l->kept[0].x == (int64_t)l->item;
    while (begin < end) {
        size_t n;
        const char *from = folded_at(l, x, begin, &n);
        n = hc_min_size(n, end - begin);
        if (rows_direct) {
            l->memory_col(n, cols, state, from, (size_t)(l->folded[0].x / (int64_t)l->item), l->args);
        } else {
            n = hc_min_size(n, COL_ROWS);
            for (size_t r = 0; r < n; r++) {
                l->load(cols, buffer + r * cols * l->block_size, from + (int64_t)r * l->folded[0].x,
                        l->kept[0].x / (int64_t)l->item);
            }
            l->col(n, cols, state, buffer, cols, l->args);
        }
        begin += n;
    }
}

/* States of a tile from the identity on. Gathered columns advance 256 elements at a time, so that the
 * lines that one column has touched are still in cache for the next. */
static void fold_tile(const struct loop *l, const char *x, size_t cols, size_t begin, size_t end,
                      char *state) {
    const size_t size = l->kernels->state_size;
    for (size_t c = 0; c < cols; c++) memcpy(state + c * size, l->kernels->identity, size);
    if (l->mode == COLUMNS) {
        fold_columns(l, x, cols, begin, end, state);
        return;
    }
    const size_t step = l->mode == ROWS ? hc_max_size(end - begin, 1) : GATHER;
    for (; begin < end; begin += step) {
        for (size_t c = 0; c < cols; c++) {
            fold_row(l, x + (int64_t)c * l->kept[0].x, begin, hc_min_size(begin + step, end),
                     state + c * size, l->mode == ROWS ? BLOCK : GATHER);
        }
    }
}

/* Where a tile begins in the input and the outputs. */
struct tile {
    const char *x;
    char *out[2];
    size_t cols;
};

/* Tiles are numbered along the innermost kept axis first. */
static struct tile locate(const struct loop *l, size_t number) {
    struct tile t = {l->x, {l->out[0], l->out[1]}, 0};
    const size_t first = number % l->tiles_inner * l->tile;
    size_t rest = number / l->tiles_inner;
    t.cols = hc_min_size(l->tile, (size_t)l->kept[0].size - first);
    int64_t index = (int64_t)first;
    for (int i = 0; i < l->kept_rank; i++) {
        if (i > 0) {
            index = (int64_t)(rest % (size_t)l->kept[i].size);
            rest /= (size_t)l->kept[i].size;
        }
        t.x += index * l->kept[i].x;
        for (int k = 0; k < l->num_outs; k++) t.out[k] += index * l->kept[i].out[k];
    }
    return t;
}

/* States to values of the output's block type, then to its own type. */
static void finish_tile(const struct loop *l, const struct tile *t, const char *state) {
    _Alignas(64) char blocks[2][HC_REDUCE_TILE * sizeof(hc_c128)];
    void *const outs[] = {blocks[0], blocks[1]};
    l->kernels->finish[hc_isa()](t->cols, outs, state, l->folded_count, l->args);
    for (int k = 0; k < l->num_outs; k++) {
        l->store[k](t->cols, t->out[k], l->kept[0].out[k] / l->out_item[k], blocks[k]);
    }
}

/* A unit is a chunk of a tile. Alone it is finished at once; otherwise its states wait in `partial`. */
static void run_units(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    _Alignas(64) char local[HC_REDUCE_TILE * HC_REDUCE_MAX_STATE];
    for (size_t u = begin; u < end; u++) {
        const struct tile t = locate(l, u / l->chunks);
        const size_t from = u % l->chunks * l->chunk;
        char *state = l->chunks > 1 ? l->partial + u * l->tile * l->kernels->state_size : local;
        fold_tile(l, t.x, t.cols, from, hc_min_size(from + l->chunk, l->folded_count), state);
        if (l->chunks == 1) finish_tile(l, &t, state);
    }
}

/* Chunks of a tile in their order, which is why the result does not depend on who folded them. */
static void join_units(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    const size_t bytes = l->tile * l->kernels->state_size;
    for (size_t number = begin; number < end; number++) {
        const struct tile t = locate(l, number);
        char *state = l->partial + number * l->chunks * bytes;
        for (size_t c = 1; c < l->chunks; c++) l->kernels->join[hc_isa()](t.cols, state, state + c * bytes);
        finish_tile(l, &t, state);
    }
}

/* Kernels, and which of them read memory: those of the block type, or of bfloat16 beside float. */
static void set_kernels(struct loop *l, const struct hc_reduce_kernels *k, enum hc_block compute,
                        aclDataType dtype) {
    const int isa = hc_isa();
    l->kernels = k;
    l->row = k->row[isa];
    l->col = k->col != NULL ? k->col[isa] : NULL;
    l->memory_row = NULL;
    l->memory_col = NULL;
    if (hc_block_of(dtype) == (int)compute) {
        l->memory_row = l->row;
        l->memory_col = l->col;
    } else if (dtype == ACL_BF16 && compute == HC_F32) {
        if (k->bf16_row != NULL) l->memory_row = k->bf16_row[isa];
        if (k->bf16_col != NULL) l->memory_col = k->bf16_col[isa];
    }
}

/* From dtypes to functions, from shapes to axes, from axes to the way that rows or columns are read, and
 * from that to units of work. */
static void set_loop(struct loop *l, const struct hc_reduce_kernels *k, enum hc_block compute,
                     const aclTensor *self, uint32_t mask, const aclTensor *const *outs) {
    set_kernels(l, k, compute, self->dtype);
    l->x = hc_data(self);
    l->item = (size_t)self->item_size;
    l->block_size = hc_block_size(compute);
    l->load = hc_load_for(self->dtype, compute);
    for (int i = 0; i < l->num_outs; i++) {
        l->out[i] = hc_data(outs[i]);
        l->out_item[i] = outs[i]->item_size;
        l->store[i] = hc_store_for(outs[i]->dtype, k->out[i]);
    }
    set_axes(l, self, mask, outs);
    l->mode = choose_mode(l);
    set_units(l);
}

/* One chunk: units write outputs themselves. Several: states go to scratch, and a second loop joins them
 * in order. */
aclnnStatus hc_reduce_run(const struct hc_reduce *op, enum hc_block compute, const aclTensor *self,
                          uint32_t mask, const aclTensor *out0, const aclTensor *out1, const void *args) {
    const aclTensor *const outs[] = {out0, out1};
    const struct hc_reduce_kernels *k = op->kernels[compute];
    if (out0->numel == 0) return 0;
    struct loop l;
    l.num_outs = out1 != NULL ? 2 : 1;
    l.kept_rank = l.folded_rank = 0;
    l.args = args;
    l.partial = NULL;
    set_loop(&l, k, compute, self, mask, outs);
    if (l.chunks > 1) {
        l.partial = hc_scratch(HC_SCRATCH_A, l.tiles * l.chunks * l.tile * k->state_size);
        if (l.partial == NULL) return ACLNN_ERR_INNER;
    }
    const size_t cost = hc_max_size(l.tile * hc_min_size(l.chunk, l.folded_count), 1);
    hc_parallel_for(l.tiles * l.chunks, hc_max_size(GRAIN / cost, 1), run_units, &l);
    if (l.chunks > 1) hc_parallel_for(l.tiles, hc_max_size(GRAIN / (l.tile * l.chunks), 1), join_units, &l);
    return 0;
}
