// SPDX-License-Identifier: Apache-2.0
/* Cutting rows into parts, so that the collective of one runs beside the product of the next. */
#include "mc2.h"

/* More parts hide more: of P equal ones, a P-th of the communication has no product beside it. Each costs the
 * latency of a collective and packs x2 again, a twentieth of a product of 512 rows; and it has more rows than
 * a skinny product, whose sums are made in another order (gemm_skinny.h). */
enum { LEAST_ROWS = 512, LEAST_COLS = 32, MOST_PARTS = 4 };

size_t hc_mc2_parts(const struct hc_mc2_args *args, size_t rows) {
    if (!args->beside || args->n < LEAST_COLS) return 1;
    return hc_min_size(hc_max_size(rows / LEAST_ROWS, 1), MOST_PARTS);
}

/* Equal but for one row. */
struct hc_mc2_rows hc_mc2_part(size_t rows, size_t parts, size_t part) {
    const size_t first = rows * part / parts;
    return (struct hc_mc2_rows){first, rows * (part + 1) / parts - first};
}

aclnnStatus hc_mc2_mark(const struct hc_call *call, aclrtStream stream, aclrtEvent *mark) {
    HC_CHECK(aclrtCreateEventWithFlag(mark, ACL_EVENT_SYNC) == 0, ACLNN_ERR_INNER,
             "%s: there are no more events", call->name);
    if (aclrtRecordEvent(*mark, stream) == 0) return 0;
    aclrtDestroyEvent(*mark);
    *mark = NULL;
    return ACLNN_ERR_INNER; /* its text is set */
}

/* An event that is destroyed keeps its promise to those that wait already. */
aclnnStatus hc_mc2_await(const struct hc_call *call, aclrtStream stream, aclrtEvent mark) {
    const aclError code = aclrtStreamWaitEvent(stream, mark);
    aclrtDestroyEvent(mark);
    HC_CHECK(code == 0, ACLNN_ERR_INNER, "%s: its products cannot wait for collectives: error %d", call->name,
             code);
    return 0;
}

aclnnStatus hc_mc2_order(const struct hc_call *call, aclrtStream before, aclrtStream stream) {
    aclrtEvent mark;
    HC_TRY(hc_mc2_mark(call, before, &mark));
    return hc_mc2_await(call, stream, mark);
}
