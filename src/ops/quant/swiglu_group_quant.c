// SPDX-License-Identifier: Apache-2.0
/* SwiGLU of the halves of x's last dimension, with a limit and a factor for each row, quantised to hifloat8
 * with one scale for each group of rows, and its gradient:
 *
 *     z = silu(min(a, limit)) * clamp(b, limit) * weight[row]
 *     scale[g] = max(max |z|, 1e-8) / dstTypeMax, y = round(z / scale[g])          of the rows of group g
 *
 * Groups are numbers of rows in order. What reaches beyond the last row ends there; rows behind the last
 * group are zeros in y, and have no gradient. A limit of 0 or less is none.
 *
 * Forward passes twice over the rows, as the scale of a group is known when all of its rows are; z in float32
 * lies in memory of ours meanwhile. The gradient passes once, and needs no memory but a row of each thread's.
 */
#include "quant.h"
#include "swiglu.h"

static const float SMALLEST = 1e-8f; /* of the largest value of a group */

enum slot { X, WEIGHT, GROUPS, Y, SCALE, ORIGIN, SLOTS };

struct args {
    struct hc_swiglu swiglu;
    struct hc_quant_target target;
    float largest; /* takes the place of hifloat8's */
};

/* Halves, the first of which is activated. */
static struct hc_swiglu swiglu_of(double limit) {
    struct hc_swiglu s = {HC_SWIGLU_PLAIN, true, false};
    if (limit > 0) s.gate.limit = (float)limit;
    return s;
}

/* Ends of groups from their lengths, or one of all rows; returns how many. */
static aclnnStatus read_groups(const char *name, const aclTensor *groups, int64_t rows, int64_t *ends) {
    int64_t end = 0;
    if (groups == NULL) {
        ends[0] = rows;
        return 0;
    }
    const aclTensor copy = hc_tensor_view(ACL_INT64, &groups->numel, 1, ends);
    HC_TRY(hc_copy(&copy, groups));
    for (int64_t g = 0; g < groups->numel; g++) {
        HC_CHECK(ends[g] >= 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: groupIndexOptional[%lld] is %lld, wanted a number of rows", name, (long long)g,
                 (long long)ends[g]);
        end = ends[g] < rows - end ? end + ends[g] : rows;
        ends[g] = end;
    }
    return 0;
}

/* All rows are one group where there is no list. */
static size_t group_count(const aclTensor *groups) { return groups != NULL ? hc_numel(groups) : 1; }

/* ---- forward ---- */

/* One run, everything contiguous. */
struct job {
    const struct args *a;
    size_t n, groups;
    const int64_t *ends;
    const float *weight; /* NULL: none */
    float *z, *top;      /* top: the largest of each row */
    float *scale;        /* of each group */
    char *y, *origin;    /* origin NULL: not wanted */
    hc_store_fn *store;
    size_t item; /* of origin */
};

/* z in float32 stays for the second pass; what is asked for of it in x's type is rounded from it. */
static void activate_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    float *z = hc_swiglu_of_row(&j->a->swiglu, j->n, x, spare);
    struct hc_quant_range range;
    for (size_t i = 0; j->weight != NULL && i < j->n; i++) z[i] *= j->weight[row];
    HC_DISPATCH(hc_quant_range)(j->n, z, NULL, &range);
    j->top[row] = -range.min > range.max ? -range.min : range.max;
    __builtin_memcpy(j->z + row * j->n, z, j->n * sizeof *z);
    if (j->origin != NULL) j->store(j->n, j->origin + row * j->n * j->item, 1, z);
}

/* NaN stays: a group with one has a scale that is none. */
static void find_scales(const struct job *j) {
    for (size_t g = 0; g < j->groups; g++) {
        float top = SMALLEST;
        for (int64_t row = g > 0 ? j->ends[g - 1] : 0; row < j->ends[g]; row++)
            if (!(j->top[row] <= top) && !__builtin_isnan(top)) top = j->top[row];
        j->scale[g] = top / j->a->largest;
    }
}

static void quantise_row(const void *ctx, size_t row, float *z, float *spare) {
    const struct job *j = ctx;
    size_t g = 0;
    (void)spare;
    while (g < j->groups && j->ends[g] <= (int64_t)row) g++;
    if (g == j->groups) {
        __builtin_memset(j->y + row * j->n, 0, j->n);
        return;
    }
    const struct hc_quant_affine by = {
        .scale = &j->scale[g], .divide = true, .rounding = HC_QUANT_KEEP, .target = j->a->target};
    HC_DISPATCH(hc_quant_affine)(j->n, z, z, &by);
    hc_quant_store(&j->a->target, j->y, row, j->n, z);
}

/* Twice over the rows: a scale is known when all rows of its group are. */
static aclnnStatus run_rows(const struct hc_call *call, struct job *j, const aclTensor *x) {
    const size_t rows = hc_quant_row_count(x);
    const int64_t shape[] = {(int64_t)rows, (int64_t)j->n};
    j->z = hc_block_take_array(rows * (j->n + 1), sizeof *j->z);
    HC_CHECK(j->z != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu rows of %zu", call->name, rows,
             j->n);
    j->top = j->z + rows * j->n;
    const aclTensor z = hc_tensor_view(ACL_FLOAT, shape, 2, j->z);
    aclnnStatus status =
        hc_quant_rows_run(&(const struct hc_quant_rows){call->name, x, 2 * j->n, rows, activate_row, j});
    if (status == 0) {
        find_scales(j);
        status =
            hc_quant_rows_run(&(const struct hc_quant_rows){call->name, &z, j->n, rows, quantise_row, j});
    }
    hc_block_give(j->z);
    return status;
}

/* Views of all operands: inputs as copies where they are not contiguous or share memory with a result. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *groups = hc_arg(call, GROUPS), *x = hc_arg(call, X);
    aclTensor views[SLOTS] = {{0}};
    void *owned[SLOTS] = {NULL};
    const size_t count = group_count(groups);
    int64_t *ends = hc_block_take_array(count, sizeof *ends);
    HC_CHECK(ends != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name, count);
    const size_t n = hc_quant_row_length(x) / 2;
    aclnnStatus status = read_groups(call->name, groups, (int64_t)hc_quant_row_count(x), ends);
    for (int s = 0; s < SLOTS && status == 0; s++) {
        const aclTensor *t = hc_arg(call, s);
        if (t == NULL || s == GROUPS) continue;
        const aclTensor *origin = hc_arg(call, ORIGIN);
        const aclDataType as = s == X ? t->dtype : ACL_FLOAT;
        if (s < Y && origin != NULL) status = hc_contiguous_apart(t, as, origin, &views[s], &owned[s]);
        else if (s < Y) status = hc_contiguous(t, as, &views[s], &owned[s]);
        else status = hc_contiguous_out(t, t->dtype, &views[s], &owned[s]);
    }
    if (status == 0) {
        const aclTensor *origin = hc_arg(call, ORIGIN);
        struct job j = {.a = a,
                        .n = n,
                        .groups = count,
                        .ends = ends,
                        .weight =
                            hc_arg(call, WEIGHT) != NULL ? (const float *)hc_data(&views[WEIGHT]) : NULL,
                        .scale = (float *)hc_data(&views[SCALE]),
                        .y = hc_data(&views[Y]),
                        .origin = origin != NULL ? hc_data(&views[ORIGIN]) : NULL,
                        .store = origin != NULL ? hc_store_for(origin->dtype, HC_F32) : NULL,
                        .item = origin != NULL ? (size_t)origin->item_size : 0};
        status = run_rows(call, &j, &views[X]);
    }
    for (int s = Y; s < SLOTS && status == 0; s++)
        if (owned[s] != NULL) status = hc_copy(hc_arg(call, s), &views[s]);
    for (int s = 0; s < SLOTS; s++) hc_block_give(owned[s]);
    hc_block_give(ends);
    return status;
}

/* ---- gradient ---- */

enum grad_slot { GRAD, GX, GWEIGHT, GORIGIN, GGROUPS, DX, DWEIGHT, GSLOTS };

struct grad_args {
    struct hc_swiglu swiglu;
};

/* A contiguous operand by rows of n. */
struct rows {
    const char *at;
    size_t item;
    hc_load_fn *load;
};

/* One run of the gradient, everything contiguous. */
struct grad_job {
    struct hc_swiglu swiglu;
    size_t n;
    struct rows grad, origin;
    const float *weight;
    float *dweight;
    int64_t end; /* rows from here on have no gradient */
    char *dx;
    size_t item;
    hc_store_fn *store;
};

/* Rows are converted as they are read: no copy in float32 of a whole operand is made. */
static struct rows rows_of(const aclTensor *t) {
    return (struct rows){hc_data(t), (size_t)t->item_size, hc_load_for(t->dtype, HC_F32)};
}

static void load_row(const struct rows *r, size_t row, size_t n, float *to) {
    r->load(n, to, r->at + row * n * r->item, 1);
}

/* The weight's gradient is the sum over the row of the gradient times z without the weight, in double. */
static void differentiate_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct grad_job *j = ctx;
    const size_t n = j->n;
    const bool counts = (int64_t)row < j->end;
    load_row(&j->grad, row, n, spare);
    if (j->weight != NULL) {
        double sum = 0;
        load_row(&j->origin, row, n, spare + n);
        for (size_t i = 0; i < n; i++) sum += (double)spare[i] * (double)spare[n + i];
        j->dweight[row] = counts ? (float)sum : 0;
        for (size_t i = 0; i < n; i++) spare[i] *= j->weight[row];
    }
    if (counts) hc_swiglu_grad_of_row(&j->swiglu, n, x, x, spare);
    else __builtin_memset(x, 0, 2 * n * sizeof *x);
    j->store(2 * n, j->dx + row * 2 * n * j->item, 1, x);
}

/* The last row that any group has. */
static aclnnStatus read_end(const char *name, const aclTensor *groups, int64_t rows, int64_t *end) {
    *end = rows;
    if (groups == NULL) return 0;
    int64_t *ends = hc_block_take_array(hc_numel(groups), sizeof *ends);
    HC_CHECK(ends != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", name, hc_numel(groups));
    const aclnnStatus status = read_groups(name, groups, rows, ends);
    if (status == 0) *end = ends[hc_numel(groups) - 1];
    hc_block_give(ends);
    return status;
}

/* Inputs apart from both results: rows of one are written while those of others are still to be read. */
static aclnnStatus take_input(const struct hc_call *call, int s, aclTensor *view, void **owned) {
    const aclTensor *t = hc_arg(call, s), *dweight = hc_arg(call, DWEIGHT);
    const aclDataType as = s == GWEIGHT ? ACL_FLOAT : t->dtype;
    if (dweight == NULL || !hc_overlaps(dweight, t))
        return hc_contiguous_apart(t, as, hc_arg(call, DX), view, owned);
    return hc_contiguous_apart(t, as, dweight, view, owned);
}

/* As run, with rows of x as what the loop loads. */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct grad_args *a = call->args;
    const aclTensor *x = hc_arg(call, GX);
    aclTensor views[GSLOTS] = {{0}};
    void *owned[GSLOTS] = {NULL};
    struct grad_job j = {.swiglu = a->swiglu, .n = hc_quant_row_length(x) / 2};
    aclnnStatus status = read_end(call->name, hc_arg(call, GGROUPS), (int64_t)hc_quant_row_count(x), &j.end);
    for (int s = 0; s < GSLOTS && status == 0; s++) {
        const aclTensor *t = hc_arg(call, s);
        if (t == NULL || s == GGROUPS) continue;
        if (s < DX) status = take_input(call, s, &views[s], &owned[s]);
        else status = hc_contiguous_out(t, s == DX ? t->dtype : ACL_FLOAT, &views[s], &owned[s]);
    }
    if (status == 0) {
        j.grad = rows_of(&views[GRAD]);
        if (hc_arg(call, GWEIGHT) != NULL) {
            j.origin = rows_of(&views[GORIGIN]);
            j.weight = (const float *)hc_data(&views[GWEIGHT]);
            j.dweight = (float *)hc_data(&views[DWEIGHT]);
        }
        j.dx = hc_data(&views[DX]);
        j.item = (size_t)views[DX].item_size;
        j.store = hc_store_for(views[DX].dtype, HC_F32);
        status = hc_quant_rows_run(&(const struct hc_quant_rows){
            call->name, &views[GX], 2 * j.n, hc_quant_row_count(x), differentiate_row, &j});
    }
    for (int s = DX; s < GSLOTS && status == 0; s++)
        if (owned[s] != NULL) status = hc_copy(hc_arg(call, s), &views[s]);
    for (int s = 0; s < GSLOTS; s++) hc_block_give(owned[s]);
    return status;
}

/* ---- phase one ---- */

/* An empty tensor is one that was not given. */
static const aclTensor *given(const aclTensor *t) { return t != NULL && t->numel > 0 ? t : NULL; }

/* x of an even last dimension, a number for each row, and lengths of groups. */
static aclnnStatus check_inputs(const char *name, const aclTensor *x, const aclTensor *weight,
                                const aclTensor *groups, aclTensor *half) {
    HC_TRY(hc_quant_check_float(name, "x", x));
    HC_CHECK(x->rank >= 1 && x->shape[x->rank - 1] % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted an even last dimension", name, HC_SHOW(x));
    *half = *x;
    half->shape[x->rank - 1] /= 2;
    *half = hc_tensor_view(x->dtype, half->shape, x->rank, NULL);
    const int64_t rows = (int64_t)hc_quant_row_count(x);
    HC_CHECK(weight == NULL || (hc_fits_f32(weight->dtype) && weight->numel == rows), ACLNN_ERR_PARAM_INVALID,
             "%s: weightOptional is %s, wanted float32 of the %lld rows of x", name, HC_SHOW(weight),
             (long long)rows);
    HC_CHECK(groups == NULL || (groups->rank == 1 && hc_dtype_class(groups->dtype) == HC_CLASS_INT),
             ACLNN_ERR_PARAM_INVALID, "%s: groupIndexOptional is %s, wanted integers of one dimension", name,
             HC_SHOW(groups));
    return 0;
}

/* The only mode whose formula is public, and what goes with it. */
static aclnnStatus check_mode(const char *name, int64_t mode, int64_t block, bool round_scale,
                              double largest) {
    HC_CHECK(mode == 3, ACLNN_ERR_PARAM_INVALID,
             "%s: quantMode is %lld, wanted 3 (scales of groups of rows): other modes are not supported",
             name, (long long)mode);
    HC_CHECK(block == 0, ACLNN_ERR_PARAM_INVALID, "%s: blockSize is %lld, wanted 0 with quantMode 3", name,
             (long long)block);
    HC_CHECK(!round_scale, ACLNN_ERR_PARAM_INVALID, "%s: roundScale is true, wanted false with quantMode 3",
             name);
    HC_CHECK(largest > 0 && largest <= 32768, ACLNN_ERR_PARAM_INVALID,
             "%s: dstTypeMax is %g, wanted more than 0 and up to 32768", name, largest);
    return 0;
}

/* torch_npu.npu_swiglu_group_quant. Clients give a scale in this mode, too, which makes its own. */
HC_API aclnnStatus aclnnSwigluGroupQuantGetWorkspaceSize(
    const aclTensor *x, const aclTensor *weightOptional, const aclTensor *groupIndexOptional,
    __attribute__((unused)) const aclTensor *scaleOptional, int64_t dstType, int64_t quantMode,
    int64_t blockSize, bool roundScale, double clampLimit, double dstTypeMax, bool outputOrigin,
    const aclTensor *yOut, const aclTensor *yScaleOut, const aclTensor *yOriginOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnSwigluGroupQuant";
    const aclTensor *weight = given(weightOptional), *groups = given(groupIndexOptional),
                    *origin = outputOrigin ? yOriginOut : NULL;
    struct args args = {.swiglu = swiglu_of(clampLimit), .largest = (float)dstTypeMax};
    aclTensor half;
    HC_TRY(check_inputs(NAME, x, weight, groups, &half));
    HC_TRY(check_mode(NAME, quantMode, blockSize, roundScale, dstTypeMax));
    HC_TRY(hc_quant_check_target(NAME, &half, "yOut", yOut, dstType, &args.target));
    HC_CHECK(args.target.kind == HC_QUANT_HIF8, ACLNN_ERR_PARAM_INVALID, "%s: yOut is %s, wanted hifloat8",
             NAME, HC_SHOW(yOut));
    HC_CHECK(yScaleOut != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: yScaleOut is null", NAME);
    HC_CHECK(yScaleOut->dtype == ACL_FLOAT && hc_numel(yScaleOut) == group_count(groups),
             ACLNN_ERR_PARAM_INVALID, "%s: yScaleOut is %s, wanted %zu elements of float32", NAME,
             HC_SHOW(yScaleOut), group_count(groups));
    HC_CHECK(!outputOrigin || origin != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: yOriginOut is null with outputOrigin", NAME);
    HC_CHECK(origin == NULL || (hc_fits_f32(origin->dtype) && hc_same_shape(origin, &half)),
             ACLNN_ERR_PARAM_INVALID, "%s: yOriginOut is %s, wanted %s", NAME, HC_SHOW(origin),
             HC_SHOW(&half));
    const struct hc_operand operands[SLOTS] = {
        [X] = {x, NULL, HC_ROLE_IN, "x"},
        [WEIGHT] = {weight, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "weightOptional"},
        [GROUPS] = {groups, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "groupIndexOptional"},
        [Y] = {yOut, NULL, HC_ROLE_OUT, "yOut"},
        [SCALE] = {yScaleOut, NULL, HC_ROLE_OUT, "yScaleOut"},
        [ORIGIN] = {origin, NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, "yOriginOut"}};
    return hc_plan(&(const struct hc_plan){.name = NAME,
                                           .run = run,
                                           .args = &args,
                                           .args_size = sizeof args,
                                           .operands = operands,
                                           .num_operands = SLOTS},
                   workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSwigluGroupQuant)

/* torch_npu.npu_swiglu_group_quant_backward. The weight's gradient wants what SwiGLU gave without the weight.
 */
HC_API aclnnStatus aclnnSwigluGroupQuantGradGetWorkspaceSize(
    const aclTensor *gradY, const aclTensor *x, const aclTensor *weightOptional,
    const aclTensor *yOriginOptional, const aclTensor *groupIndexOptional, double clampLimit,
    const aclTensor *gradXOut, const aclTensor *gradWeightOutOptional, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnSwigluGroupQuantGrad";
    const aclTensor *weight = given(weightOptional), *groups = given(groupIndexOptional),
                    *origin = weight != NULL ? yOriginOptional : NULL,
                    *dweight = weight != NULL ? gradWeightOutOptional : NULL;
    const struct grad_args args = {swiglu_of(clampLimit)};
    aclTensor half;
    HC_TRY(hc_quant_check_float(NAME, "gradY", gradY));
    HC_TRY(check_inputs(NAME, x, weight, groups, &half));
    HC_CHECK(hc_same_shape(gradY, &half), ACLNN_ERR_PARAM_INVALID,
             "%s: gradY is %s, wanted that of half of x %s", NAME, HC_SHOW(gradY), HC_SHOW(x));
    HC_TRY(hc_quant_check_float(NAME, "gradXOut", gradXOut));
    HC_CHECK(hc_same_shape(gradXOut, x), ACLNN_ERR_PARAM_INVALID,
             "%s: gradXOut is %s, wanted the shape of x %s", NAME, HC_SHOW(gradXOut), HC_SHOW(x));
    if (weight != NULL) {
        HC_TRY(hc_quant_check_float(NAME, "yOriginOptional", origin));
        HC_TRY(hc_quant_check_float(NAME, "gradWeightOutOptional", dweight));
        HC_CHECK(hc_same_shape(origin, &half), ACLNN_ERR_PARAM_INVALID,
                 "%s: yOriginOptional is %s, wanted that of half of x %s", NAME, HC_SHOW(origin), HC_SHOW(x));
        HC_CHECK(dweight->numel == weight->numel, ACLNN_ERR_PARAM_INVALID,
                 "%s: gradWeightOutOptional is %s, wanted the shape of weightOptional %s", NAME,
                 HC_SHOW(dweight), HC_SHOW(weight));
    }
    const struct hc_operand operands[GSLOTS] = {
        [GRAD] = {gradY, NULL, HC_ROLE_IN, "gradY"},
        [GX] = {x, NULL, HC_ROLE_IN, "x"},
        [GWEIGHT] = {weight, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "weightOptional"},
        [GORIGIN] = {origin, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "yOriginOptional"},
        [GGROUPS] = {groups, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "groupIndexOptional"},
        [DX] = {gradXOut, NULL, HC_ROLE_OUT, "gradXOut"},
        [DWEIGHT] = {dweight, NULL, HC_ROLE_OUT | HC_ROLE_OPTIONAL, "gradWeightOutOptional"}};
    return hc_plan(&(const struct hc_plan){.name = NAME,
                                           .run = run_grad,
                                           .args = &args,
                                           .args_size = sizeof args,
                                           .operands = operands,
                                           .num_operands = GSLOTS},
                   workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSwigluGroupQuantGrad)
