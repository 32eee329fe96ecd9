// SPDX-License-Identifier: Apache-2.0
/* Operators by name (aclop): the second way to an operator beside the aclnn interface. The client gives a
 * type
 * ("Transpose"), descriptors and buffers of all operands, and attributes.
 *
 * The runtime keeps the tables and knows no operator. libopapi registers one table per family when it is
 * loaded; what a row's plan gets to see is in ops/common/by_name.h. */
#pragma once
#include "acl/acl.h"
#include "hc_util.h"

enum { HC_BY_NAME_INPUTS = 8, HC_BY_NAME_OUTPUTS = 4, HC_BY_NAME_ATTRS = 8 };

struct hc_by_name_call;
struct aclOpExecutor;

/* An input that is a list (or one number) is read when the operator is planned: a shape, a permutation. */
struct hc_by_name_input {
    const char *name;
    bool list;
};

/* One operator. Operands in the order of the call; unused places are NULL. */
struct hc_by_name {
    const char *type, *meaning;
    int (*plan)(const struct hc_by_name_call *call, uint64_t *workspaceSize, struct aclOpExecutor **executor);
    struct hc_by_name_input inputs[HC_BY_NAME_INPUTS];
    const char *outputs[HC_BY_NAME_OUTPUTS];
    const char *attrs[HC_BY_NAME_ATTRS]; /* all that it reads; others are refused, but for "_..." */
    bool no_events; /* clients leave it to the operator to wait where operands lie on several devices */
};

/* What the client passed. The numbers of operands are those of the row, and all handles are live. */
struct hc_by_name_request {
    const aclTensorDesc *const *input_desc;
    const aclDataBuffer *const *inputs;
    const aclTensorDesc *const *output_desc;
    aclDataBuffer *const *outputs;
    const aclopAttr *attr; /* NULL: none */
    aclrtStream stream;
};

/* Operators of a family and how they are launched. Static memory: it is linked into a list. */
struct hc_by_name_table {
    const char *family;
    const struct hc_by_name *ops;
    size_t count;
    int (*launch)(const struct hc_by_name *op, const struct hc_by_name_request *request);
    struct hc_by_name_table *next;
};

/* Thread-safe; for ever. A type that two tables have is the one's that was registered last. */
HC_SHARED void hc_by_name_register(struct hc_by_name_table *table);
/* For the documentation: row `index` of all tables as "family\ttype\tinputs -> outputs\tattributes\tmeaning",
 * lists in brackets. False past the last. */
HC_SHARED bool hc_by_name_describe(size_t index, char *text, size_t size);

/* An attribute that is an integer; *value stays as it is where it was not set. */
HC_SHARED aclError hc_attr_int(const aclopAttr *attr, const char *name, int64_t *value);
/* The same of other types. */
HC_SHARED aclError hc_attr_float(const aclopAttr *attr, const char *name, float *value);
HC_SHARED aclError hc_attr_bool(const aclopAttr *attr, const char *name, bool *value);
/* The first attribute that is not among `names` and does not begin with '_' (hints to the vendor's compiler);
 * NULL if there is none. */
const char *hc_attr_unknown(const aclopAttr *attr, const char *const *names, size_t count);
bool hc_attr_ok(const aclopAttr *attr);
