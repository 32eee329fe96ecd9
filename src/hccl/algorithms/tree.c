// SPDX-License-Identifier: Apache-2.0
/* Binomial trees. Data goes through them in chunks, so that a node passes one chunk on while it receives the
 * next: log2(N) steps for small data; for large data a node with k children sends all of it k times. */
#include <string.h>

#include "hc_tree.h"

enum { MAX_CHILDREN = 17, CHUNK_BYTES = 512 << 10 }; /* ranks are at most 2^16 */

struct tree {
    struct hc_op *op;
    bool has_parent;
    uint32_t parent, num_children, children[MAX_CHILDREN]; /* nearest first */
};

static struct tree plant(struct hc_op *op, uint32_t root) {
    const uint32_t n = op->comm->num_ranks, v = (op->comm->rank + n - root) % n;
    struct tree t = {.op = op, .has_parent = v != 0, .parent = ((v & (v - 1)) + root) % n};
    for (uint32_t bit = 1; bit < n && (v & bit) == 0; bit <<= 1)
        if (v + bit < n) t.children[t.num_children++] = (v + bit + root) % n;
    return t;
}

/* Chunk number `index` of `total`. */
static size_t chunk_at(size_t total, size_t chunk, size_t index) {
    return hc_min_size(chunk, total - index * chunk);
}

/* The farthest child has the most below it: it gets the data first. */
static HcclResult pass_down(struct tree *t, struct hc_message *out, const char *buffer, size_t bytes) {
    HC_TRY(hc_exchange_finish(t->op, out, t->num_children));
    for (uint32_t i = 0; i < t->num_children; i++)
        out[i] = hc_message_to(t->children[t->num_children - 1 - i], buffer, bytes, t->op->type);
    return hc_exchange_start(t->op, out, t->num_children);
}

static HcclResult finish_both(struct tree *t, struct hc_message out[2][MAX_CHILDREN], size_t sets) {
    for (size_t i = 0; i < sets; i++) HC_TRY(hc_exchange_finish(t->op, out[i], t->num_children));
    return HCCL_SUCCESS;
}

static void clear(struct hc_message out[2][MAX_CHILDREN]) {
    memset(out, 0, 2 * sizeof *out);
    for (size_t i = 0; i < MAX_CHILDREN; i++) out[0][i].stage = out[1][i].stage = HC_MESSAGE_OVER;
}

HcclResult hc_tree_broadcast(struct hc_op *op, uint32_t root, char *buffer, size_t bytes) {
    struct tree t = plant(op, root);
    struct hc_message in[2], out[2][MAX_CHILDREN];
    const size_t chunks = hc_ceil_div(bytes, CHUNK_BYTES);
    clear(out);
    for (size_t i = 0; i < chunks + 1; i++) {
        if (t.has_parent && i < chunks) {
            in[i % 2] = hc_message_from(t.parent, buffer + i * CHUNK_BYTES, chunk_at(bytes, CHUNK_BYTES, i),
                                        op->type);
            HC_TRY(hc_exchange_start(op, &in[i % 2], 1));
        }
        if (i == 0) continue;
        if (t.has_parent) HC_TRY(hc_exchange_finish(op, &in[(i - 1) % 2], 1));
        HC_TRY(
            pass_down(&t, out[i % 2], buffer + (i - 1) * CHUNK_BYTES, chunk_at(bytes, CHUNK_BYTES, i - 1)));
    }
    return finish_both(&t, out, 2);
}

/* State of a reduction towards the root: two chunks are on their way. */
struct reduction {
    struct tree tree;
    struct hc_partial partial;
    size_t chunk;  /* elements */
    char *scratch; /* [2][num_children + 1] chunks: from each child, and combined */
    struct hc_message in[2][MAX_CHILDREN], out[2];
};

static char *place(const struct reduction *r, size_t index, uint32_t which) {
    const size_t bytes = r->chunk * r->partial.element;
    return r->scratch + ((index % 2) * (r->tree.num_children + 1) + which) * bytes;
}

static HcclResult start_children(struct reduction *r, size_t index) {
    const struct tree *t = &r->tree;
    const size_t bytes = chunk_at(t->op->count, r->chunk, index) * r->partial.element;
    struct hc_message *in = r->in[index % 2];
    for (uint32_t k = 0; k < t->num_children; k++)
        in[k] = hc_message_from(t->children[k], place(r, index, k), bytes, r->partial.type);
    return hc_exchange_start(t->op, in, t->num_children);
}

static HcclResult combine(struct reduction *r, size_t index, char *recv) {
    const struct tree *t = &r->tree;
    const size_t count = chunk_at(t->op->count, r->chunk, index);
    const size_t at = index * r->chunk * t->op->element;
    char *sum = place(r, index, t->num_children);
    HC_TRY(
        hc_exchange_finish(t->op, &r->out[index % 2], 1)); /* of the chunk before the last: it used `sum` */
    hc_partial_load(t->op, sum, t->op->send + at, count);
    for (uint32_t k = 0; k < t->num_children; k++) {
        HC_TRY(hc_exchange_finish(t->op, &r->in[index % 2][k], 1));
        hc_partial_merge(t->op, sum, sum, place(r, index, k), count);
    }
    if (!t->has_parent) {
        hc_partial_store(t->op, recv + at, sum, count);
        return HCCL_SUCCESS;
    }
    r->out[index % 2] = hc_message_to(t->parent, sum, count * r->partial.element, r->partial.type);
    return hc_exchange_start(t->op, &r->out[index % 2], 1);
}

HcclResult hc_tree_reduce(struct hc_op *op, uint32_t root, char *recv) {
    struct reduction r = {.tree = plant(op, root), .partial = hc_partial_of(op)};
    const size_t pieces = 2 * (MAX_CHILDREN + 1); /* the same on all ranks, whatever their place */
    r.chunk = hc_steps_fit(op, pieces, r.partial.element, CHUNK_BYTES);
    const size_t chunks = hc_ceil_div(op->count, r.chunk);
    r.scratch = hc_steps_scratch(op, 2 * (r.tree.num_children + 1) * hc_min_size(r.chunk, op->count + 1) *
                                         r.partial.element);
    if (r.scratch == NULL) return HCCL_E_MEMORY;
    r.chunk = hc_min_size(r.chunk, op->count + 1);
    r.out[0].stage = r.out[1].stage = HC_MESSAGE_OVER;
    for (size_t i = 0; i < chunks + 1; i++) {
        if (i < chunks) HC_TRY(start_children(&r, i));
        if (i > 0) HC_TRY(combine(&r, i - 1, recv));
    }
    return hc_exchange_finish(op, r.out, 2);
}
