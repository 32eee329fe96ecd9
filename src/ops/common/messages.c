// SPDX-License-Identifier: Apache-2.0
/* The names are a table generated from the interface's, sorted by operator. */
#include "messages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names end with a zero each, the list with one more. */
struct names {
    const char *op, *tensors, *scalars;
};
static const struct names NAMES[] = {
#include "argument_names.inc"
};

static int compare_op(const void *op, const void *row) { return strcmp(op, ((const struct names *)row)->op); }

static int count_names(const char *list) {
    int n = 0;
    for (; *list != '\0'; list += strlen(list) + 1) n++;
    return n;
}

/* Operators by name have no row, and say what they call it themselves. */
static const char *name_of(const char *list, int k, const char *unnamed) {
    const int count = list != NULL ? count_names(list) : 0;
    if (k < 0) k += count;
    if (k < 0 || k >= count) return unnamed;
    for (; k > 0; k--) list += strlen(list) + 1;
    return list;
}

static const struct names *find(const char *op) {
    return bsearch(op, NAMES, HC_ARRAY_SIZE(NAMES), sizeof *NAMES, compare_op);
}

const char *hc_tensor_name(const char *op, int k) {
    const struct names *row = find(op);
    return name_of(row ? row->tensors : NULL, k, "a tensor");
}

const char *hc_scalar_name(const char *op, int k) {
    const struct names *row = find(op);
    return name_of(row ? row->scalars : NULL, k, "a scalar");
}

aclnnStatus hc_fail_dim(const char *op, const char *dim, int64_t value, const char *name,
                        const aclTensor *t) {
    const int rank = t->rank > 0 ? t->rank : 1; /* a scalar counts as a line of one */
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: %s is %lld, %s %s allows [%d, %d]", op, dim,
                   (long long)value, name, HC_SHOW(t), -rank, rank - 1);
}

const char *hc_supported_types(const void *const *kernels, char *buf, size_t size) {
    const struct {
        const char *name;
        bool have;
    } kinds[] = {{"floating point", kernels[HC_F32] || kernels[HC_F64]},
                 {"integer", kernels[HC_I64]},
                 {"complex", kernels[HC_C128]},
                 {"bool", kernels[HC_B8]}};
    size_t used = 0;
    for (size_t i = 0; i < HC_ARRAY_SIZE(kinds) && used < size; i++) {
        if (kinds[i].have)
            used += (size_t)snprintf(buf + used, size - used, "%s%s", used > 0 ? " or " : "", kinds[i].name);
    }
    return buf;
}
