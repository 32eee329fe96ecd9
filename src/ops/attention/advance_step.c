// SPDX-License-Identifier: Apache-2.0
/* The inputs of the next step of decoding from the tokens of the last one, for sequences whose keys lie in
 * pages. Of sequence q, with position p of its new token:
 *
 *     token = sampled token        position = p        length = p + 1
 *     slot  = blockTables[q, p / blockSize] * blockSize + p % blockSize
 *
 * Rows behind the sequences of a step (graphs ask for a fixed number) get token 0, position 0 and slot -1.
 * The second version has as many tokens for a sequence as were guessed, and one more. All numbers are looked
 * at before one is written. */
#include "plain.h"

enum slot { TOKENS, SAMPLED, POSITIONS, LENGTHS, SLOTS, TABLE, SPEC, ACCEPTED };

struct args {
    int64_t sequences, queries, block;
};

/* Whole tensors: what is not of the step keeps its value. */
struct step {
    const struct args *a;
    const char *name;
    const int64_t *sampled, *table, *spec, *accepted;
    int64_t *tokens, *positions, *lengths, *slots;
    int64_t width, samples, guesses; /* of a row of the table, of sampled tokens, of spec */
};

/* Row `at` goes on at position p of sequence q. */
static aclnnStatus place(const struct step *s, int64_t at, int64_t q, int64_t p) {
    const int64_t page = p >= 0 ? p / s->a->block : -1;
    HC_CHECK(page >= 0 && page < s->width, ACLNN_ERR_PARAM_INVALID,
             "%s: row %lld goes on at position %lld, blockTables has %lld pages of %lld", s->name,
             (long long)at, (long long)p, (long long)s->width, (long long)s->a->block);
    const int64_t block = s->table[q * s->width + page];
    int64_t slot;
    HC_CHECK(block >= 0 && hc_mul_i64_fits(block, s->a->block, &slot) &&
                 hc_add_i64_fits(slot, p % s->a->block, &slot),
             ACLNN_ERR_PARAM_INVALID, "%s: blockTables has %lld at [%lld,%lld], which is no page", s->name,
             (long long)block, (long long)q, (long long)page);
    s->slots[at] = slot;
    s->positions[at] = p;
    s->lengths[at] = p + 1;
    return 0;
}

/* The first version: a token for each sequence, at the end of what it has. */
static aclnnStatus advance(const struct step *s) {
    const struct args *a = s->a;
    for (int64_t q = 0; q < a->queries; q++) {
        HC_TRY(place(s, q, q, s->lengths[q]));
        s->tokens[q] = s->sampled[q];
    }
    for (int64_t q = a->queries; q < a->sequences; q++) s->tokens[q] = s->positions[q] = 0, s->slots[q] = -1;
    return 0;
}

/* The last of a row's sampled tokens, which end with the row or before the first -1. */
static aclnnStatus last_token(const struct step *s, int64_t q, int64_t *token) {
    const int64_t *row = s->sampled + q * s->samples;
    int64_t n = 0;
    while (n < s->samples && row[n] != -1) n++;
    HC_CHECK(n > 0, ACLNN_ERR_PARAM_INVALID, "%s: row %lld of sampledTokenIds has no token", s->name,
             (long long)q);
    *token = row[n - 1];
    return 0;
}

/* The second version: positions go on behind what was accepted and the token after it. */
static aclnnStatus advance_guesses(const struct step *s) {
    const int64_t each = 1 + s->guesses;
    for (int64_t at = 0; at < s->a->sequences * each; at++) {
        const int64_t q = at / each, guess = at % each;
        int64_t p;
        HC_CHECK(hc_add_i64_fits(s->positions[at], s->accepted[q], &p) && p < INT64_MAX - 1,
                 ACLNN_ERR_PARAM_INVALID, "%s: acceptedNum has %lld at %lld, wanted no more than there is",
                 s->name, (long long)s->accepted[q], (long long)q);
        HC_TRY(place(s, at, q, p + 1));
        if (guess > 0) s->tokens[at] = s->spec[q * s->guesses + guess - 1];
        else HC_TRY(last_token(s, q, &s->tokens[at]));
    }
    return 0;
}

/* A tensor's numbers, in memory of ours to be changed. */
static int64_t *take(const struct hc_call *call, struct hc_plain *p, int slot, const char *arg) {
    return (int64_t *)hc_plain_index(p, arg, hc_arg(call, slot), INT64_MIN, INT64_MAX);
}

/* Back into the tensor, in its type. */
static aclnnStatus put(const struct hc_call *call, int slot, const int64_t *values) {
    const aclTensor *t = hc_arg(call, slot);
    const aclTensor own = hc_tensor_view(ACL_INT64, t->shape, t->rank, (void *)values);
    return hc_copy(t, &own);
}

/* Inputs are read once; tensors are written when every row has its place. */
static aclnnStatus compute(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const aclTensor *spec = hc_arg(call, SPEC), *sampled = hc_arg(call, SAMPLED);
    struct step s = {.a = a, .name = call->name, .width = hc_arg(call, TABLE)->shape[1]};
    s.sampled = take(call, p, SAMPLED, "sampledTokenIds");
    s.table = take(call, p, TABLE, "blockTables");
    s.tokens = take(call, p, TOKENS, "inputTokens");
    s.positions = take(call, p, POSITIONS, "inputPositions");
    s.lengths = take(call, p, LENGTHS, "seqLens");
    s.slots = take(call, p, SLOTS, "slotMapping");
    if (spec != NULL) {
        s.spec = take(call, p, SPEC, "specToken");
        s.accepted = take(call, p, ACCEPTED, "acceptedNum");
        s.guesses = spec->shape[1];
        s.samples = sampled->shape[1];
    }
    if (p->status != 0) return p->status;
    HC_TRY(spec != NULL ? advance_guesses(&s) : advance(&s));
    HC_TRY(put(call, TOKENS, s.tokens));
    HC_TRY(put(call, POSITIONS, s.positions));
    HC_TRY(put(call, LENGTHS, s.lengths));
    return put(call, SLOTS, s.slots);
}

static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    return hc_plain_close(&p, compute(call, &p));
}

/* ---- phase one ---- */

/* Numbers of the step, then the four tensors of so many rows that it changes, and the table. */
static aclnnStatus check(const char *name, const struct args *a, int64_t rows, const aclTensor *tokens,
                         const aclTensor *positions, const aclTensor *lengths, const aclTensor *slots,
                         const aclTensor *table) {
    HC_CHECK(a->queries >= 0 && a->queries <= a->sequences, ACLNN_ERR_PARAM_INVALID,
             "%s: numQueries is %lld, numSeqs %lld, wanted 0 to numSeqs", name, (long long)a->queries,
             (long long)a->sequences);
    HC_CHECK(a->block > 0, ACLNN_ERR_PARAM_INVALID, "%s: blockSize is %lld, wanted more than 0", name,
             (long long)a->block);
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "inputTokens", tokens, rows));
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "inputPositions", positions, rows));
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "seqLens", lengths, rows));
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "slotMapping", slots, rows));
    return HC_PLAIN_CHECK_INDEX(name, "blockTables", table, a->sequences, -1);
}

/* torch_npu.npu_advance_step_flashattn. inputTokens, inputPositions, seqLens and
 * slotMapping are changed in place. */
HC_API aclnnStatus aclnnAdvanceStepGetWorkspaceSize(
    const aclTensor *inputTokens, const aclTensor *sampledTokenIds, const aclTensor *inputPositions,
    const aclTensor *seqLens, const aclTensor *slotMapping, const aclTensor *blockTables, int64_t numSeqs,
    int64_t numQueries, int64_t blockSize, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnAdvanceStep";
    const struct args args = {numSeqs, numQueries, blockSize};
    const aclTensor *specToken = NULL, *acceptedNum = NULL;
    HC_TRY(check(NAME, &args, numSeqs, inputTokens, inputPositions, seqLens, slotMapping, blockTables));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "sampledTokenIds", sampledTokenIds, numQueries, 1));
    return HC_PLAN(NAME, run, &args, HC_INOUT(inputTokens), HC_IN(sampledTokenIds), HC_INOUT(inputPositions),
                   HC_INOUT(seqLens), HC_INOUT(slotMapping), HC_IN(blockTables), HC_IN_OPT(specToken),
                   HC_IN_OPT(acceptedNum));
}
HC_OP_LAUNCH(aclnnAdvanceStep)

/* With guesses, of which some were accepted. */
HC_API aclnnStatus aclnnAdvanceStepV2GetWorkspaceSize(
    const aclTensor *inputTokens, const aclTensor *sampledTokenIds, const aclTensor *inputPositions,
    const aclTensor *seqLens, const aclTensor *slotMapping, const aclTensor *blockTables,
    const aclTensor *specToken, const aclTensor *acceptedNum, int64_t numSeqs, int64_t numQueries,
    int64_t blockSize, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnAdvanceStepV2";
    const struct args args = {numSeqs, numQueries, blockSize};
    int64_t rows;
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "specToken", specToken, numSeqs, -1));
    HC_CHECK(hc_mul_i64_fits(numSeqs, 1 + specToken->shape[1], &rows), ACLNN_ERR_PARAM_INVALID,
             "%s: specToken is %s, numSeqs %lld: too many rows", NAME, HC_SHOW(specToken),
             (long long)numSeqs);
    HC_TRY(check(NAME, &args, rows, inputTokens, inputPositions, seqLens, slotMapping, blockTables));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "sampledTokenIds", sampledTokenIds, numSeqs, -1));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "acceptedNum", acceptedNum, numSeqs));
    HC_CHECK(numQueries == numSeqs, ACLNN_ERR_PARAM_INVALID, "%s: numQueries is %lld, wanted numSeqs %lld",
             NAME, (long long)numQueries, (long long)numSeqs);
    return HC_PLAN(NAME, run, &args, HC_INOUT(inputTokens), HC_IN(sampledTokenIds), HC_INOUT(inputPositions),
                   HC_INOUT(seqLens), HC_INOUT(slotMapping), HC_IN(blockTables), HC_IN(specToken),
                   HC_IN(acceptedNum));
}
HC_OP_LAUNCH(aclnnAdvanceStepV2)
