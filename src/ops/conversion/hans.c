// SPDX-License-Identifier: Apache-2.0
/* What HansEncode and HansDecode have in common: ranks of values, the stream in two tensors, checks. */
#include "hans.h"

#ifndef HC_ISA
#include <string.h>

/* By falling count, equal ones by value. Insertion: 256 values, mostly in few places of `pdf`. */
void hc_hans_table(const int32_t *pdf, struct hc_hans_table *table) {
    int32_t counts[HC_HANS_VALUES]; /* read once: the memory is the caller's */
    memcpy(counts, pdf, sizeof counts);
    for (int v = 0; v < HC_HANS_VALUES; v++) {
        int at = v;
        for (; at > 0 && counts[table->value[at - 1]] < counts[v]; at--)
            table->value[at] = table->value[at - 1];
        table->value[at] = (uint8_t)v;
    }
    for (int r = 0; r < HC_HANS_VALUES; r++) table->rank[table->value[r]] = (uint8_t)r;
}

/* FNV-1a. */
uint64_t hc_hans_hash(const struct hc_hans_table *table) {
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (int r = 0; r < HC_HANS_VALUES; r++) hash = (hash ^ table->value[r]) * 0x100000001b3ULL;
    return hash;
}

static size_t bytes_of(const aclTensor *t) { return hc_numel(t) * (size_t)t->item_size; }

struct hc_hans_stream hc_hans_stream(const aclTensor *fixed, const aclTensor *var, bool only_fixed) {
    const bool has_var = !only_fixed && var->numel > 0;
    return (struct hc_hans_stream){.fixed = hc_data(fixed),
                                   .var = has_var ? hc_data(var) : NULL,
                                   .fixed_bytes = bytes_of(fixed),
                                   .var_bytes = has_var ? bytes_of(var) : 0};
}

void hc_hans_write(const struct hc_hans_stream *s, size_t at, const void *from, size_t bytes) {
    const size_t first = at < s->fixed_bytes ? hc_min_size(bytes, s->fixed_bytes - at) : 0;
    if (first > 0) memcpy(s->fixed + at, from, first);
    if (bytes > first)
        memcpy(s->var + (at + first - s->fixed_bytes), (const char *)from + first, bytes - first);
}

void hc_hans_read(const struct hc_hans_stream *s, size_t at, void *to, size_t bytes) {
    const size_t first = at < s->fixed_bytes ? hc_min_size(bytes, s->fixed_bytes - at) : 0;
    if (first > 0) memcpy(to, s->fixed + at, first);
    if (bytes > first) memcpy((char *)to + first, s->var + (at + first - s->fixed_bytes), bytes - first);
}

static aclnnStatus check_part(const char *name, const char *part_name, const aclTensor *part,
                              aclDataType dtype) {
    HC_CHECK(part->dtype == dtype && hc_is_contiguous(part), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s%s, wanted contiguous %s", name, part_name, HC_SHOW(part),
             hc_is_contiguous(part) ? "" : " with gaps", hc_dtype_name(dtype));
    return 0;
}

aclnnStatus hc_hans_check(const char *name, const char *x_name, const aclTensor *x, const aclTensor *mantissa,
                          const aclTensor *fixed, const aclTensor *var, const aclTensor *pdf) {
    HC_CHECK(x && mantissa && fixed && var && pdf, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !x          ? x_name
             : !mantissa ? "mantissa"
             : !fixed    ? "fixed"
             : !var      ? "var"
                         : "pdf");
    HC_CHECK(x->dtype == ACL_FLOAT || x->dtype == ACL_FLOAT16 || x->dtype == ACL_BF16,
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted float32, float16 or bfloat16", name, x_name,
             HC_SHOW(x));
    HC_CHECK(x->numel % HC_HANS_BLOCK == 0 && x->numel >= HC_HANS_LEAST, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %lld elements, wanted a multiple of %d that is %d or more", name, x_name,
             (long long)x->numel, HC_HANS_BLOCK, HC_HANS_LEAST);
    HC_TRY(check_part(name, "pdf", pdf, ACL_INT32));
    HC_CHECK(pdf->numel == HC_HANS_VALUES, ACLNN_ERR_PARAM_INVALID, "%s: pdf has %lld elements, wanted %d",
             name, (long long)pdf->numel, HC_HANS_VALUES);
    HC_TRY(check_part(name, "mantissa", mantissa, x->dtype));
    HC_TRY(check_part(name, "fixed", fixed, x->dtype));
    HC_TRY(check_part(name, "var", var, x->dtype));
    const size_t rest = hc_numel(x) * ((size_t)x->item_size - 1);
    HC_CHECK(bytes_of(mantissa) == rest, ACLNN_ERR_PARAM_INVALID,
             "%s: mantissa has %zu bytes, wanted %zu (all but one of each element of %s)", name,
             bytes_of(mantissa), rest, x_name);
    HC_CHECK(bytes_of(fixed) >= HC_HANS_META, ACLNN_ERR_PARAM_INVALID,
             "%s: fixed has %zu bytes, wanted %d or more", name, bytes_of(fixed), HC_HANS_META);
    return 0;
}
#endif
