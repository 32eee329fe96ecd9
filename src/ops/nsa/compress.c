// SPDX-License-Identifier: Apache-2.0
/* Blocks of keys or values compressed to one each by weights of their places, the first branch of native
 * sparse attention (arXiv 2502.11089), and the gradients:
 *
 *     output[c, h] = sum over w of weight[w, h] * input[begin(c) + w, h]
 *
 * Blocks of W tokens begin every `stride` tokens of a sequence, and end within it. Forward, a piece of work
 * is a block of one head. Of the gradients, those of inputs are made by columns of a head over all blocks,
 * those of weights by one weight over all blocks: each sum has one order, whatever the threads. */
#include <string.h>

#include "plain.h"

/* T tokens, N heads of D elements, C blocks of W tokens. */
struct compress {
    const float *x, *weight, *grad;
    float *y, *d_x, *d_weight;
    const int64_t *begin; /* of each block */
    size_t blocks, heads, size, places;
};
/* Items are blocks times heads. */
HC_KERNEL(nsa_compress, (const struct compress *c, size_t begin, size_t end))
/* Some columns of a head. */
HC_KERNEL(nsa_compress_inputs, (const struct compress *c, size_t head, size_t first, size_t n))
/* Items are places times heads. */
HC_KERNEL(nsa_compress_weights, (const struct compress *c, size_t begin, size_t end))

#ifdef HC_ISA
#include "simd_rows.h"

static size_t row_of(const struct compress *c, size_t token, size_t head) {
    return (token * c->heads + head) * c->size;
}

/* Places are added up in their order. */
void HC_FN(nsa_compress)(const struct compress *c, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
        const size_t block = i / c->heads, head = i % c->heads;
        float *y = c->y + i * c->size;
        for (size_t d = 0; d < c->size; d++) y[d] = 0;
        for (size_t w = 0; w < c->places; w++) {
            const float *x = c->x + row_of(c, (size_t)c->begin[block] + w, head);
            const float f = c->weight[w * c->heads + head];
            for (size_t d = 0; d < c->size; d++) y[d] += f * x[d];
        }
    }
}

/* Blocks overlap where the stride is below their size: they follow each other. */
void HC_FN(nsa_compress_inputs)(const struct compress *c, size_t head, size_t first, size_t n) {
    for (size_t block = 0; block < c->blocks; block++) {
        const float *grad = c->grad + row_of(c, block, head) + first;
        for (size_t w = 0; w < c->places; w++) {
            float *d_x = c->d_x + row_of(c, (size_t)c->begin[block] + w, head) + first;
            const float f = c->weight[w * c->heads + head];
            for (size_t d = 0; d < n; d++) d_x[d] += f * grad[d];
        }
    }
}

/* Sums over blocks are in double, however many there are. */
void HC_FN(nsa_compress_weights)(const struct compress *c, size_t begin, size_t end) {
    for (size_t i = begin; i < end; i++) {
        const size_t w = i / c->heads, head = i % c->heads;
        double sum = 0;
        for (size_t block = 0; block < c->blocks; block++)
            sum += vf_row_dot(c->grad + row_of(c, block, head),
                              c->x + row_of(c, (size_t)c->begin[block] + w, head), c->size);
        c->d_weight[i] = (float)sum;
    }
}

#else
enum { COLUMNS = 64 };

/* Where blocks begin travels behind the sizes: the caller's array does not outlive the call. */
struct args {
    int64_t blocks;
    int64_t begin[];
};

static void forward(void *ctx, size_t begin, size_t end) { HC_DISPATCH(nsa_compress)(ctx, begin, end); }
static void weights(void *ctx, size_t begin, size_t end) {
    HC_DISPATCH(nsa_compress_weights)(ctx, begin, end);
}

/* Items are pieces of columns of heads. */
static void inputs(void *ctx, size_t begin, size_t end) {
    const struct compress *c = ctx;
    const size_t pieces = (c->size + COLUMNS - 1) / COLUMNS;
    for (size_t i = begin; i < end; i++) {
        const size_t first = i % pieces * COLUMNS;
        HC_DISPATCH(nsa_compress_inputs)(c, i / pieces, first, hc_min_size(COLUMNS, c->size - first));
    }
}

/* Input and weight, which both directions read. */
static struct compress open_operands(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, 0), *weight = hc_arg(call, 1);
    return (struct compress){.x = hc_plain_in(p, x),
                             .weight = hc_plain_in(p, weight),
                             .begin = a->begin,
                             .blocks = (size_t)a->blocks,
                             .heads = (size_t)x->shape[1],
                             .size = (size_t)x->shape[2],
                             .places = (size_t)weight->shape[0]};
}

/* Operands input, weight, output. */
static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct compress c = open_operands(call, &p);
    c.y = hc_plain_out(&p, hc_arg(call, 2));
    if (p.status == 0) hc_parallel_for(c.blocks * c.heads, 1 + 8192 / (1 + c.size * c.places), forward, &c);
    return hc_plain_close(&p, 0);
}

/* Operands input, weight, outputGrad, inputGrad, weightGrad. A token of no block has gradient 0. */
static aclnnStatus run_grad(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct compress c = open_operands(call, &p);
    c.grad = hc_plain_in(&p, hc_arg(call, 2));
    c.d_x = hc_plain_out(&p, hc_arg(call, 3)), c.d_weight = hc_plain_out(&p, hc_arg(call, 4));
    if (p.status != 0) return hc_plain_close(&p, 0);
    memset(c.d_x, 0, hc_numel(hc_arg(call, 3)) * sizeof *c.d_x);
    hc_parallel_for(c.heads * ((c.size + COLUMNS - 1) / COLUMNS), 1, inputs, &c);
    hc_parallel_for(c.places * c.heads, 1, weights, &c);
    return hc_plain_close(&p, 0);
}

/* What both directions are given. */
struct inputs {
    const char *name;
    const aclTensor *x, *weight;
    const aclIntArray *ends;
    const char *layout;
    int64_t size, stride, ends_type;
};

/* What the interface allows: tokens behind each other (TND), ends of sequences that do not fall. */
static aclnnStatus check(const struct inputs *in) {
    const char *name = in->name;
    HC_TRY(HC_PLAIN_CHECK(name, "input", in->x, -1, -1, -1));
    HC_CHECK(in->layout == NULL || *in->layout == '\0' || strcmp(in->layout, "TND") == 0,
             ACLNN_ERR_PARAM_INVALID, "%s: the layout is \"%s\"; TND is supported", name, in->layout);
    HC_CHECK(in->ends_type == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: actSeqLenType is %lld; 0, ends of sequences, is supported", name, (long long)in->ends_type);
    HC_CHECK(in->size >= 1 && in->stride >= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: compressBlockSize is %lld, compressStride %lld, wanted 1 or more", name,
             (long long)in->size, (long long)in->stride);
    HC_TRY(HC_PLAIN_CHECK(name, "weight", in->weight, in->size, in->x->shape[1]));
    HC_CHECK(in->ends != NULL && in->ends->size > 0, ACLNN_ERR_PARAM_NULLPTR,
             "%s: actSeqLenOptional is null, and TND has no sequences of its own", name);
    for (size_t i = 0; i < in->ends->size; i++) {
        const int64_t before = i > 0 ? in->ends->data[i - 1] : 0;
        HC_CHECK(in->ends->data[i] >= before && in->ends->data[i] <= in->x->shape[0], ACLNN_ERR_PARAM_INVALID,
                 "%s: actSeqLenOptional has %lld at %zu, wanted %lld to %lld", name,
                 (long long)in->ends->data[i], i, (long long)before, (long long)in->x->shape[0]);
    }
    return 0;
}

/* The blocks of all sequences, or only their number where begin is NULL. */
static int64_t find_blocks(const struct inputs *in, int64_t *begin) {
    int64_t count = 0;
    for (size_t i = 0; i < in->ends->size; i++) {
        const int64_t first = i > 0 ? in->ends->data[i - 1] : 0, length = in->ends->data[i] - first;
        for (int64_t at = 0; at <= length - in->size; at += in->stride, count++)
            if (begin != NULL) begin[count] = first + at;
    }
    return count;
}

/* Operands in the order of run or run_grad: the third is [blocks, N, D]. */
static aclnnStatus plan(const struct inputs *in, hc_run_fn run_fn, const char *arg,
                        const struct hc_operand *operands, size_t num_operands, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    const int64_t blocks = find_blocks(in, NULL);
    HC_TRY(HC_PLAIN_CHECK(in->name, arg, operands[2].tensor, blocks, in->x->shape[1], in->x->shape[2]));
    const size_t bytes = sizeof(struct args) + (size_t)blocks * sizeof(int64_t);
    struct args *a = hc_block_take(bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld blocks", in->name,
             (long long)blocks);
    a->blocks = find_blocks(in, a->begin);
    const aclnnStatus status = hc_plan(&(const struct hc_plan){.name = in->name,
                                                               .run = run_fn,
                                                               .args = a,
                                                               .args_size = bytes,
                                                               .operands = operands,
                                                               .num_operands = num_operands},
                                       workspaceSize, executor);
    hc_block_give(a);
    return status;
}

/* torch_npu.npu_nsa_compress. */
HC_API aclnnStatus aclnnNsaCompressGetWorkspaceSize(const aclTensor *input, const aclTensor *weight,
                                                    const aclIntArray *actSeqLenOptional,
                                                    char *layoutOptional, int64_t compressBlockSize,
                                                    int64_t compressStride, int64_t actSeqLenType,
                                                    aclTensor *output, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    const struct inputs in = {"aclnnNsaCompress", input,          weight,
                              actSeqLenOptional,  layoutOptional, compressBlockSize,
                              compressStride,     actSeqLenType};
    HC_TRY(check(&in));
    const struct hc_operand operands[] = {HC_IN(input), HC_IN(weight), HC_OUT(output)};
    return plan(&in, run, "output", operands, HC_ARRAY_SIZE(operands), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNsaCompress)

/* Both gradients. */
HC_API aclnnStatus aclnnNsaCompressGradGetWorkspaceSize(
    const aclTensor *outputGrad, const aclTensor *input, const aclTensor *weight,
    const aclIntArray *actSeqLenOptionalOptional, int64_t compressBlockSize, int64_t compressStride,
    int64_t actSeqLenType, char *layoutOptionalOptional, const aclTensor *inputGradOut,
    const aclTensor *weightGradOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct inputs in = {"aclnnNsaCompressGrad",
                              input,
                              weight,
                              actSeqLenOptionalOptional,
                              layoutOptionalOptional,
                              compressBlockSize,
                              compressStride,
                              actSeqLenType};
    HC_TRY(check(&in));
    HC_TRY(hc_plain_check(in.name, "inputGradOut", inputGradOut, input->rank, input->shape));
    HC_TRY(hc_plain_check(in.name, "weightGradOut", weightGradOut, weight->rank, weight->shape));
    const struct hc_operand operands[] = {HC_IN(input), HC_IN(weight), HC_IN(outputGrad),
                                          HC_OUT(inputGradOut), HC_OUT(weightGradOut)};
    return plan(&in, run_grad, "outputGrad", operands, HC_ARRAY_SIZE(operands), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNsaCompressGrad)
#endif
