// SPDX-License-Identifier: Apache-2.0
/* Tokens to experts and back on small cases of random shapes, strides, types and options, against plain
 * loops: the choice of experts, tokens in the experts' order, sums of the experts' results. */
#include "fuzz_tensors.h"
#include "harness.h"

enum { CASES = 6000, MOST = 512 };

/* T tokens of H, K choices each of E experts. */
struct routing {
    aclDataType dtype;
    int64_t t, h, k, e, n;
    struct fuzz_tensor x, index;
    int64_t order[MOST], place[MOST], count[MOST]; /* the choice at each place and the other way round */
};
static struct routing start(void) {
    struct routing r = {
        .dtype = fuzz_float_type(), .t = fuzz_below(30) + 1, .h = fuzz_one_in(8) ? 130 : fuzz_below(30) + 1};
    r.k = fuzz_below(4) + 1, r.e = r.k + fuzz_below(12), r.n = r.t * r.k;
    r.x = fuzz_reals(r.dtype, FUZZ_SHAPE(r.t, r.h), false);
    r.index = fuzz_integers(ACL_INT32, FUZZ_SHAPE(r.t, r.k), false, 0, r.e - 1);
    int64_t at = 0;
    for (int64_t e = 0; e < r.e; e++) {
        for (int64_t i = 0; i < r.n; i++)
            if ((int64_t)r.index.value[i] == e) r.order[at] = i, r.place[i] = at++, r.count[e]++;
    }
    return r;
}
static bool row_is(const struct routing *r, const struct fuzz_tensor *out, int64_t row, int64_t choice) {
    for (int64_t j = 0; j < r->h; j++) {
        const double want = choice < 0 ? 0 : r->x.value[choice / r->k * r->h + j];
        if (!fuzz_is(out, row * r->h + j, want, 0, 0)) return false;
    }
    return true;
}

/* Out and back, with weights. */
static bool permute(void) {
    const struct routing r = start();
    const int64_t kept = fuzz_one_in(3) ? fuzz_below(r.n) + 1 : r.n;
    const struct fuzz_tensor out = fuzz_result(r.dtype, FUZZ_SHAPE(kept, r.h), false),
                             sorted = fuzz_result(ACL_INT32, FUZZ_SHAPE(r.n), true),
                             probs = fuzz_reals(r.dtype, FUZZ_SHAPE(r.t, r.k), false),
                             back = fuzz_result(r.dtype, FUZZ_SHAPE(r.t, r.h), false);
    int code =
        FUZZ_RUN(aclnnMoeTokenPermute, r.x.tensor, r.index.tensor, kept, false, out.tensor, sorted.tensor);
    fuzz_explain("permute", code);
    for (int64_t p = 0; code == 0 && p < kept; p++)
        if (!row_is(&r, &out, p, r.order[p])) return false;
    for (int64_t i = 0; code == 0 && i < r.n; i++)
        if (!fuzz_is(&sorted, i, (double)r.place[i], 0, 0)) return false;
    if (code != 0) return false;
    code =
        FUZZ_RUN(aclnnMoeTokenUnpermute, out.tensor, sorted.tensor, probs.tensor, false, NULL, back.tensor);
    fuzz_explain("unpermute", code);
    for (int64_t i = 0; code == 0 && i < back.numel; i++) {
        const int64_t t = i / r.h;
        double want = 0, size = 0;
        for (int64_t k = 0; k < r.k; k++) {
            if (r.place[t * r.k + k] >= kept) continue;
            const double part = probs.value[t * r.k + k] * r.x.value[i];
            want += part, size += fabs(part);
        }
        if (!fuzz_is(&back, i, want, size, 2 * fuzz_error(r.dtype))) return false;
    }
    return code == 0;
}

/* Out by the second version, with a capacity or without, and back by the second version of that. */
static bool route(void) {
    const struct routing r = start();
    const bool pad = fuzz_one_in(2);
    const int64_t capacity = fuzz_below(r.t) + 1, rows = pad ? r.e * capacity : r.n,
                  flag = pad ? 0 : fuzz_below(3);
    const struct fuzz_tensor out = pad ? fuzz_result(r.dtype, FUZZ_SHAPE(r.e, capacity, r.h), true)
                                       : fuzz_result(r.dtype, FUZZ_SHAPE(rows, r.h), false),
                             where = fuzz_result(ACL_INT32, FUZZ_SHAPE(r.n), true),
                             counts = fuzz_result(ACL_INT32, FUZZ_SHAPE(r.e), true),
                             before = fuzz_result(ACL_INT32, FUZZ_SHAPE(r.e), true),
                             scales = fuzz_reals(r.dtype, FUZZ_SHAPE(r.t, r.k), false),
                             back = fuzz_result(r.dtype, FUZZ_SHAPE(r.t, r.h), false);
    const bool tells = pad && fuzz_one_in(2);
    int code = FUZZ_RUN(aclnnMoeInitRoutingV2, r.x.tensor, r.index.tensor, 0, pad ? capacity : 0, r.e, pad,
                        flag, tells, out.tensor, where.tensor, flag > 0 ? counts.tensor : NULL,
                        tells ? before.tensor : NULL);
    fuzz_explain("route", code);
    if (code != 0) return false;
    int64_t source[MOST * 8], place[MOST], first = 0;
    if (rows > MOST * 8) abort();
    for (int64_t p = 0; p < rows; p++) source[p] = -1;
    for (int64_t e = 0; e < r.e; first += r.count[e++]) {
        for (int64_t i = 0; i < r.count[e]; i++) {
            const int64_t choice = r.order[first + i], row = pad ? e * capacity + i : first + i;
            place[choice] = pad && i >= capacity ? -1 : row;
            if (place[choice] >= 0) source[row] = choice;
        }
        if (flag > 0 && !fuzz_is(&counts, e, (double)(flag == 1 ? first + r.count[e] : r.count[e]), 0, 0))
            return false;
        if (tells && !fuzz_is(&before, e, (double)r.count[e], 0, 0)) return false;
    }
    for (int64_t p = 0; p < rows; p++)
        if (!row_is(&r, &out, p, source[p])) return false;
    for (int64_t i = 0; i < r.n; i++)
        if (!fuzz_is(&where, i, (double)place[i], 0, 0)) return false;
    code = FUZZ_RUN(aclnnMoeFinalizeRoutingV2, out.tensor, where.tensor, NULL, NULL, NULL, scales.tensor,
                    r.index.tensor, pad ? 3 : 2, back.tensor);
    fuzz_explain("finalize", code);
    for (int64_t i = 0; code == 0 && i < back.numel; i++) {
        const int64_t t = i / r.h;
        double want = 0, size = 0;
        for (int64_t k = 0; k < r.k; k++) {
            if (place[t * r.k + k] < 0) continue;
            const double part = scales.value[t * r.k + k] * r.x.value[i];
            want += part, size += fabs(part);
        }
        if (!fuzz_is(&back, i, want, size, 2 * fuzz_error(r.dtype))) return false;
    }
    return code == 0;
}

/* The K largest of a row's softmax, in order. */
static bool choose(void) {
    const aclDataType type = fuzz_float_type();
    const int64_t t = fuzz_below(20) + 1, e = fuzz_one_in(6) ? 200 : fuzz_below(30) + 1;
    const int64_t k = fuzz_below(e < 8 ? e : 8) + 1;
    const struct fuzz_tensor x = fuzz_reals(type, FUZZ_SHAPE(t, e), false),
                             y = fuzz_result(type, FUZZ_SHAPE(t, k), false),
                             index = fuzz_result(ACL_INT32, FUZZ_SHAPE(t, k), true),
                             row = fuzz_result(ACL_INT32, FUZZ_SHAPE(t, k), true);
    const int code =
        FUZZ_RUN(aclnnMoeGatingTopKSoftmax, x.tensor, NULL, k, y.tensor, index.tensor, row.tensor);
    fuzz_explain("choose", code);
    for (int64_t i = 0; code == 0 && i < t; i++) {
        const double *v = x.value + i * e;
        bool taken[256] = {false};
        double sum = 0;
        for (int64_t j = 0; j < e; j++) sum += exp(v[j]);
        for (int64_t c = 0; c < k; c++) {
            int64_t best = -1;
            for (int64_t j = 0; j < e; j++)
                if (!taken[j] && (best < 0 || v[j] > v[best])) best = j;
            const int64_t got = (int64_t)fuzz_load(ACL_INT32, fuzz_place(&index, i * k + c));
            /* Of equal ones any may come first. */
            if (got < 0 || got >= e || taken[got] || v[got] != v[best]) return false;
            taken[got] = true;
            if (!fuzz_is(&y, i * k + c, exp(v[best]) / sum, 0, 4 * fuzz_error(type))) return false;
        }
    }
    return code == 0;
}

static const struct fuzz_operator OPERATORS[] = {{"permute", permute}, {"route", route}, {"choose", choose}};

TEST(experts) {
    CHECK(aclInit(NULL) == 0 && aclrtSetDevice(0) == 0);
    CHECK(fuzz_all(OPERATORS, sizeof OPERATORS / sizeof OPERATORS[0], CASES));
    CHECK(aclFinalize() == 0);
}
