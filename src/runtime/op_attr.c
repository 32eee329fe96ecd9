// SPDX-License-Identifier: Apache-2.0
/* Attributes of the operator-by-name interface: named values, kept as given; operators read those they know.
 */
#include <stdlib.h>
#include <string.h>

#include "hc_by_name.h"
#include "hc_error.h"
#include "hc_handle.h"
#include "acl/acl.h"

/* A list by name: operators have a handful of attributes. */
struct attr {
    char *name;
    char kind[16]; /* "int", "list float" ... */
    void *data;
    size_t bytes, count;
    struct attr *next;
};

struct aclopAttr {
    struct hc_handle handle;
    struct attr *first;
};

static struct hc_pool g_pool = HC_POOL("operator attributes", 64, 1 << 18);

/* Members that were never set are NULL. */
static void free_attr(struct attr *a) {
    free(a->name);
    free(a->data);
    free(a);
}

/* Empty. NULL with a text when too many exist. */
aclopAttr *aclopCreateAttr(void) {
    aclopAttr *a = hc_handle_new(&g_pool);
    if (a != NULL) hc_handle_publish(&a->handle);
    return a;
}

/* NULL is allowed. */
void aclopDestroyAttr(const aclopAttr *attr) {
    aclopAttr *a = (aclopAttr *)attr;
    if (a == NULL) return;
    if (!hc_handle_ok(&g_pool, a) || !hc_handle_retire(&a->handle)) {
        hc_handle_fail(&g_pool, attr, "aclopDestroyAttr");
        return;
    }
    while (a->first != NULL) {
        struct attr *next = a->first->next;
        free_attr(a->first);
        a->first = next;
    }
    hc_handle_free(&g_pool, a);
}

bool hc_attr_ok(const aclopAttr *attr) { return attr == NULL || hc_handle_ok(&g_pool, attr); }

/* The value of an attribute of this kind into `value`, which stays as it is where the attribute was not set.
 */
static aclError read_value(const aclopAttr *attr, const char *name, const char *kind, void *value,
                           size_t bytes) {
    const struct attr *a = attr != NULL ? attr->first : NULL;
    while (a != NULL && strcmp(a->name, name) != 0) a = a->next;
    if (a == NULL) return ACL_SUCCESS;
    HC_CHECK(strcmp(a->kind, kind) == 0, ACL_ERROR_INVALID_PARAM, "attribute %s is of type %s, must be %s",
             name, a->kind, kind);
    memcpy(value, a->data, bytes);
    return ACL_SUCCESS;
}

aclError hc_attr_int(const aclopAttr *attr, const char *name, int64_t *value) {
    return read_value(attr, name, "int", value, sizeof *value);
}

aclError hc_attr_float(const aclopAttr *attr, const char *name, float *value) {
    return read_value(attr, name, "float", value, sizeof *value);
}

aclError hc_attr_bool(const aclopAttr *attr, const char *name, bool *value) {
    uint8_t byte = *value;
    HC_TRY(read_value(attr, name, "bool", &byte, sizeof byte));
    *value = byte != 0;
    return ACL_SUCCESS;
}

const char *hc_attr_unknown(const aclopAttr *attr, const char *const *names, size_t count) {
    for (const struct attr *a = attr != NULL ? attr->first : NULL; a != NULL; a = a->next) {
        size_t i = 0;
        while (i < count && names[i] != NULL && strcmp(names[i], a->name) != 0) i++;
        if ((i == count || names[i] == NULL) && a->name[0] != '_') return a->name;
    }
    return NULL;
}

/* A second value for a name takes the place of the first. */
static aclError set(aclopAttr *attr, const char *function, const char *name, const char *kind,
                    const void *data, size_t bytes, int count) {
    if (!hc_handle_ok(&g_pool, attr)) return hc_handle_fail(&g_pool, attr, function);
    HC_CHECK(name != NULL && count >= 0 && (data != NULL || count == 0), ACL_ERROR_INVALID_PARAM,
             "%s: name is %s, number of values is %d", function, name != NULL ? name : "null", count);
    struct attr *a = calloc(1, sizeof *a);
    if (a != NULL) {
        a->name = strdup(name);
        a->data = malloc(bytes + 1);
    }
    if (a == NULL || a->name == NULL || a->data == NULL) {
        if (a != NULL) free_attr(a);
        return hc_fail(ACL_ERROR_BAD_ALLOC, "%s: out of host memory", function);
    }
    strcpy(a->kind, kind);
    if (bytes > 0) memcpy(a->data, data, bytes);
    a->bytes = bytes;
    a->count = (size_t)count;
    struct attr **at = &attr->first;
    while (*at != NULL && strcmp((*at)->name, name) != 0) at = &(*at)->next;
    if (*at != NULL) {
        a->next = (*at)->next;
        free_attr(*at);
    }
    *at = a;
    return ACL_SUCCESS;
}

#define SCALAR(function, type, kind)                                                                         \
    aclError function(aclopAttr *attr, const char *attrName, type attrValue) {                               \
        return set(attr, #function, attrName, kind, &attrValue, sizeof attrValue, 1);                        \
    }
SCALAR(aclopSetAttrBool, uint8_t, "bool")
SCALAR(aclopSetAttrInt, int64_t, "int")
SCALAR(aclopSetAttrFloat, float, "float")
SCALAR(aclopSetAttrDataType, aclDataType, "dtype")

#define LIST(function, type, kind)                                                                           \
    aclError function(aclopAttr *attr, const char *attrName, int numValues, const type *values) {            \
        return set(attr, #function, attrName, kind, values,                                                  \
                   numValues > 0 ? (size_t)numValues * sizeof *values : 0, numValues);                       \
    }
LIST(aclopSetAttrListBool, uint8_t, "list bool")
LIST(aclopSetAttrListInt, int64_t, "list int")
LIST(aclopSetAttrListFloat, float, "list float")
LIST(aclopSetAttrListDataType, aclDataType, "list dtype")

aclError aclopSetAttrString(aclopAttr *attr, const char *attrName, const char *attrValue) {
    return set(attr, "aclopSetAttrString", attrName, "string", attrValue,
               attrValue != NULL ? strlen(attrValue) + 1 : 0, 1);
}

/* Texts one behind the other, each with its end. */
aclError aclopSetAttrListString(aclopAttr *attr, const char *attrName, int numValues, const char **values) {
    size_t bytes = 0;
    for (int i = 0; values != NULL && i < numValues; i++) bytes += strlen(values[i]) + 1;
    char *all = malloc(bytes + 1), *at = all;
    HC_CHECK(all != NULL, ACL_ERROR_BAD_ALLOC, "aclopSetAttrListString: out of host memory");
    for (int i = 0; values != NULL && i < numValues; i++) at = stpcpy(at, values[i]) + 1;
    const aclError code = set(attr, "aclopSetAttrListString", attrName, "list string",
                              values != NULL ? all : NULL, bytes, numValues);
    free(all);
    return code;
}

/* For each list its length, then its values. */
aclError aclopSetAttrListListInt(aclopAttr *attr, const char *attrName, int numLists, const int *numValues,
                                 const int64_t *const values[]) {
    size_t words = 0;
    const int lists = numValues != NULL && values != NULL ? numLists : 0;
    for (int i = 0; i < lists; i++) words += 1 + (size_t)hc_max_i64(numValues[i], 0);
    int64_t *all = malloc((words + 1) * sizeof *all), *at = all;
    HC_CHECK(all != NULL, ACL_ERROR_BAD_ALLOC, "aclopSetAttrListListInt: out of host memory");
    for (int i = 0; i < lists; i++) {
        *at++ = numValues[i];
        for (int k = 0; k < numValues[i]; k++) *at++ = values[i][k];
    }
    const aclError code = set(attr, "aclopSetAttrListListInt", attrName, "list list int",
                              lists == numLists ? all : NULL, words * sizeof *all, numLists);
    free(all);
    return code;
}
