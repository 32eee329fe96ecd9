// SPDX-License-Identifier: Apache-2.0
/* Operators by name: a family has a file by_name.c with a table of them, which HC_BY_NAME_TABLE registers
 * when the library is loaded. A plan turns the operands into views and plans the kernels that aclnn operators
 * use; the text of an error need not name the operator, that is added. */
#pragma once
#include "hc_by_name.h"
#include "op.h"

struct hc_by_name_list {
    size_t count;
    int64_t values[HC_MAX_RANK];
};

/* What a plan gets: operand i of the table's row. Tensors are contiguous, as described; storage_numel is what
 * the buffer holds. */
struct hc_by_name_call {
    const struct hc_by_name *op;
    aclTensor in[HC_BY_NAME_INPUTS];
    struct hc_by_name_list list[HC_BY_NAME_INPUTS];
    aclTensor out[HC_BY_NAME_OUTPUTS];
    const aclopAttr *attr;
};

/* Reads the operands, plans, launches. */
aclnnStatus hc_by_name_launch(const struct hc_by_name *op, const struct hc_by_name_request *request);

/* The memory of t, which is contiguous, in another shape of as many elements. */
aclTensor hc_by_name_shaped(const aclTensor *t, const int64_t *shape, int32_t rank);

/* In a table's row: a tensor, a list. */
#define HC_BY_NAME_TENSOR(name) {(name), false}
#define HC_BY_NAME_LIST(name) {(name), true}

#define HC_BY_NAME_TABLE(family_name, rows)                                                                  \
    __attribute__((constructor)) static void register_by_name(void) {                                        \
        static struct hc_by_name_table table = {.family = (family_name),                                     \
                                                .ops = (rows),                                               \
                                                .count = HC_ARRAY_SIZE(rows),                                \
                                                .launch = hc_by_name_launch};                                \
        hc_by_name_register(&table);                                                                         \
    }
