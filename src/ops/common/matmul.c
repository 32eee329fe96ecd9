// SPDX-License-Identifier: Apache-2.0
/* From tensors to hc_gemm: see matmul.h. Broadcasting is strides of 0, so nothing is copied. */
#include "elementwise.h"
#include "matmul.h"

/* Names of the interface, for messages. */
static const char *out_name(const struct hc_matmul *op) { return op->out_name ? op->out_name : "out"; }
static const char *self_name(const struct hc_matmul *op) { return op->self_name ? op->self_name : "self"; }

/* The planned product without addresses, which may change between runs. */
struct args {
    struct hc_gemm g;
    bool has_self, in_place;
};

/* A dimension of size 1 before dimension `at`: a vector as a matrix. */
static aclTensor insert_dim(const aclTensor *t, int32_t at) {
    aclTensor v = *t;
    for (int32_t d = v.rank; d > at; d--) v.shape[d] = v.shape[d - 1], v.stride[d] = v.stride[d - 1];
    v.shape[at] = 1;
    v.stride[at] = 0;
    v.rank++;
    return v;
}

/* The last two dimensions are the matrix, those before it the batch. */
static void set_matrix(struct hc_gemm_matrix *m, const aclTensor *view) {
    m->dtype = view->dtype;
    m->row = view->stride[view->rank - 2];
    m->col = view->stride[view->rank - 1];
    for (int32_t d = 0; d < view->rank - 2; d++) m->batch[d] = view->stride[d];
}

/* rank 0: any, as torch.matmul takes it. */
static aclnnStatus check_rank(const struct hc_matmul *op, const aclTensor *t, const char *name,
                              int32_t rank) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, name);
    HC_CHECK(rank == 0 || t->rank == rank, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %d dimensions",
             op->name, name, HC_SHOW(t), rank);
    HC_CHECK(t->rank >= (rank == 0) && t->rank < HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted 1 to %d dimensions", op->name, name, HC_SHOW(t), HC_MAX_RANK - 1);
    return 0;
}

/* Kinds are not mixed: PyTorch refuses that too. An integer product cannot be scaled by 0.5. */
static aclnnStatus check_dtypes(const struct hc_matmul *op) {
    const int block = hc_gemm_compute(op->a->dtype, op->b->dtype, op->out->dtype);
    HC_CHECK(block >= 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, %s %s, %s %s: wanted numbers of one kind (float32, float16 and bfloat16; "
             "float64; integers; complex)",
             op->name, op->a_name, HC_SHOW(op->a), op->b_name, HC_SHOW(op->b), out_name(op),
             HC_SHOW(op->out));
    HC_CHECK(op->self == NULL || hc_compute_block(op->self->dtype) == (enum hc_block)block,
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted the kind of number of %s, %s", op->name,
             self_name(op), HC_SHOW(op->self), op->a_name, HC_SHOW(op->a));
    const aclScalar *factors[] = {op->alpha, op->beta};
    for (int i = 0; i < 2; i++) {
        const bool real = factors[i] != NULL && !hc_dtype_is_integral(factors[i]->dtype);
        HC_CHECK(block != HC_I64 || !real, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted an integer to scale %s", op->name, i == 0 ? "alpha" : "beta",
                 hc_dtype_name(factors[i]->dtype), HC_SHOW(op->a));
    }
    return 0;
}

/* a and b as stacks of matrices; shape becomes that of the product, with both its matrix dimensions. */
static aclnnStatus matrix_views(const struct hc_matmul *op, aclTensor *a, aclTensor *b, int64_t *shape,
                                int32_t *rank) {
    *a = op->a->rank == 1 ? insert_dim(op->a, 0) : *op->a;
    *b = op->b->rank == 1 ? insert_dim(op->b, 1) : *op->b;
    const int64_t rows = a->shape[a->rank - 2], steps = a->shape[a->rank - 1], cols = b->shape[b->rank - 1];
    HC_CHECK(steps == b->shape[b->rank - 2], ACLNN_ERR_PARAM_INVALID,
             "%s: %s %s and %s %s cannot be multiplied: %lld columns, %lld rows", op->name, op->a_name,
             HC_SHOW(op->a), op->b_name, HC_SHOW(op->b), (long long)steps, (long long)b->shape[b->rank - 2]);
    aclTensor batch_a = *a, batch_b = *b;
    batch_a.rank -= 2, batch_b.rank -= 2;
    HC_CHECK(hc_broadcast_shape(&batch_a, &batch_b, shape, rank), ACLNN_ERR_PARAM_INVALID,
             "%s: the leading dimensions of %s %s and %s %s do not broadcast", op->name, op->a_name,
             HC_SHOW(op->a), op->b_name, HC_SHOW(op->b));
    aclTensor view;
    shape[*rank] = rows, shape[*rank + 1] = steps;
    hc_broadcast_to(a, shape, *rank + 2, &view);
    *a = view;
    shape[*rank] = steps, shape[*rank + 1] = cols;
    hc_broadcast_to(b, shape, *rank + 2, &view);
    *b = view;
    shape[*rank] = rows;
    *rank += 2;
    return 0;
}

/* t, which has the product's shape less the dimensions that vectors do not give, with those dimensions. */
static bool product_view(const struct hc_matmul *op, const aclTensor *t, const int64_t *shape, int32_t rank,
                         aclTensor *view) {
    const bool row = op->a->rank > 1, col = op->b->rank > 1;
    if (t->rank != rank - 2 + row + col) return false;
    *view = *t;
    if (!row) *view = insert_dim(view, rank - 2);
    if (!col) *view = insert_dim(view, rank - 1);
    for (int32_t d = 0; d < rank; d++) {
        if (view->shape[d] != shape[d]) return false;
    }
    return true;
}

/* Phase one's part: everything but addresses, which only the run knows. Broadcast batches, transposed
 * matrices and a broadcast self are strides, so no operand is copied. */
aclnnStatus hc_matmul_describe(const struct hc_matmul *op, struct hc_gemm *g) {
    HC_TRY(check_rank(op, op->a, op->a_name, op->a_rank));
    HC_TRY(check_rank(op, op->b, op->b_name, op->b_rank));
    HC_CHECK(op->out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, out_name(op));
    HC_CHECK(op->cube_math_type >= 0 && op->cube_math_type <= 4, ACLNN_ERR_PARAM_INVALID,
             "%s: cubeMathType is %d, wanted 0 to 4", op->name, op->cube_math_type);
    HC_TRY(check_dtypes(op));
    aclTensor a, b, out, self, spread;
    int64_t shape[HC_MAX_RANK + 2];
    int32_t rank;
    HC_TRY(matrix_views(op, &a, &b, shape, &rank));
    const aclTensor wanted = hc_tensor_view(op->out->dtype, shape, rank, NULL);
    HC_CHECK(product_view(op, op->out, shape, rank, &out), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of the product %s of %s %s and %s %s", op->name, out_name(op),
             HC_SHOW(op->out), HC_SHOW(&wanted), op->a_name, HC_SHOW(op->a), op->b_name, HC_SHOW(op->b));
    *g = (struct hc_gemm){.m = (size_t)shape[rank - 2],
                          .n = (size_t)shape[rank - 1],
                          .k = (size_t)a.shape[rank - 1],
                          .batch_rank = rank - 2};
    for (int32_t d = 0; d < rank - 2; d++) g->batch_shape[d] = shape[d];
    set_matrix(&g->a, &a);
    set_matrix(&g->b, &b);
    set_matrix(&g->out, &out);
    g->alpha = op->alpha != NULL ? *op->alpha : HC_GEMM_REAL(1);
    g->beta = op->beta != NULL ? *op->beta : HC_GEMM_REAL(1);
    if (op->self == NULL) return 0;
    HC_CHECK(hc_broadcast_to(op->self, op->out->shape, op->out->rank, &spread) &&
                 product_view(op, &spread, shape, rank, &self),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, which does not broadcast to %s", op->name, self_name(op),
             HC_SHOW(op->self), HC_SHOW(op->out));
    set_matrix(&g->self, &self);
    return 0;
}

/* Any common byte: the product reads a and b many times while it writes out. */
static bool overlap(const aclTensor *a, const aclTensor *b) {
    const char *a0, *a1, *b0, *b1;
    return hc_byte_range(a, &a0, &a1) && hc_byte_range(b, &b0, &b1) && a0 < b1 && b0 < a1;
}

/* Where out overlaps an operand the product goes to scratch first: blocks of out are written while others
 * still read. */
aclnnStatus hc_matmul_run(const char *name, struct hc_gemm *g, const aclTensor *out,
                          const aclTensor *const *read, size_t num_read) {
    bool overlaps = false;
    for (size_t i = 0; i < num_read; i++) overlaps |= overlap(out, read[i]);
    if (!overlaps) return hc_gemm(g);
    void *memory = hc_scratch(HC_SCRATCH_D, hc_numel(out) * (size_t)out->item_size);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for a copy of out, %s", name,
             HC_SHOW(out));
    const aclTensor copy = hc_tensor_view(out->dtype, out->shape, out->rank, memory);
    struct hc_gemm_matrix *m = &g->out;
    m->data = memory;
    m->col = 1;
    m->row = (int64_t)g->n;
    int64_t stride = (int64_t)(g->m * g->n);
    for (int d = g->batch_rank - 1; d >= 0; d--) m->batch[d] = stride, stride *= g->batch_shape[d];
    HC_TRY(hc_gemm(g));
    return hc_copy(out, &copy);
}

/* self may be the very view of out (accumulation); hc_gemm reads an element of it before it writes it. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *args = call->args;
    struct hc_gemm g = args->g;
    const aclTensor *a = hc_arg(call, args->has_self), *b = hc_arg(call, args->has_self + 1);
    const aclTensor *self = args->has_self ? hc_arg(call, 0) : NULL;
    const aclTensor *out = args->in_place ? self : hc_arg(call, args->has_self + 2);
    g.a.data = hc_data(a);
    g.b.data = hc_data(b);
    g.out.data = hc_data(out);
    if (self != NULL) g.self.data = hc_data(self);
    const bool same = self != NULL && (args->in_place || !hc_overlaps_partly(out, self));
    return hc_matmul_run(call->name, &g, out, (const aclTensor *const[]){a, b, self},
                         self != NULL && !same ? 3 : 2);
}

/* The operands' order is what run() counts on: self where there is one, a, b, out. */
aclnnStatus hc_matmul_plan(const struct hc_matmul *op, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.has_self = op->self != NULL, .in_place = op->in_place};
    HC_TRY(hc_matmul_describe(op, &args.g));
    struct hc_operand operands[4];
    size_t n = 0;
    if (op->self != NULL)
        operands[n++] =
            (struct hc_operand){op->self, NULL, op->in_place ? HC_ROLE_INOUT : HC_ROLE_IN, "self"};
    operands[n++] = (struct hc_operand){op->a, NULL, HC_ROLE_IN, op->a_name};
    operands[n++] = (struct hc_operand){op->b, NULL, HC_ROLE_IN, op->b_name};
    if (!op->in_place) operands[n++] = (struct hc_operand){op->out, NULL, HC_ROLE_OUT, "out"};
    uint64_t flops = 2 * args.g.m * args.g.n * args.g.k;
    for (int d = 0; d < args.g.batch_rank; d++) flops *= (uint64_t)args.g.batch_shape[d];
    const struct hc_plan plan = {.name = op->name,
                                 .run = run,
                                 .args = &args,
                                 .args_size = sizeof args,
                                 .operands = operands,
                                 .num_operands = n,
                                 .flops = flops};
    return hc_plan(&plan, workspaceSize, executor);
}
