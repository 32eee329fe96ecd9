// SPDX-License-Identifier: Apache-2.0
/* Options of the operator compiler: kept and given back. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "acl/acl.h"
#include "hc_error.h"

/* Values are short texts: names of folders, of modes. */
enum { NUM_OPTS = ACL_OP_DEBUG_OPTION + 1, VALUE_BYTES = 512 };
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static char g_values[NUM_OPTS][VALUE_BYTES];

/* Kept to be asked for again: nothing is compiled here. */
aclError aclSetCompileopt(aclCompileOpt opt, const char *value) {
    HC_CHECK((unsigned)opt < NUM_OPTS, ACL_ERROR_INVALID_PARAM, "aclSetCompileopt: there is no option %d",
             (int)opt);
    HC_CHECK(value != NULL && strlen(value) < VALUE_BYTES, ACL_ERROR_INVALID_PARAM,
             "aclSetCompileopt: the value of option %d is null or has more than %d bytes", (int)opt,
             VALUE_BYTES - 1);
    pthread_mutex_lock(&g_lock);
    strcpy(g_values[opt], value);
    pthread_mutex_unlock(&g_lock);
    return ACL_SUCCESS;
}

size_t aclGetCompileoptSize(aclCompileOpt opt) {
    if ((unsigned)opt >= NUM_OPTS) return 0;
    pthread_mutex_lock(&g_lock);
    const size_t bytes = strlen(g_values[opt]) + 1;
    pthread_mutex_unlock(&g_lock);
    return bytes;
}

aclError aclGetCompileopt(aclCompileOpt opt, char *value, size_t length) {
    HC_CHECK((unsigned)opt < NUM_OPTS && value != NULL, ACL_ERROR_INVALID_PARAM,
             "aclGetCompileopt: there is no option %d, or value is null", (int)opt);
    pthread_mutex_lock(&g_lock);
    const int n = snprintf(value, length, "%s", g_values[opt]);
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(n >= 0 && (size_t)n < length, ACL_ERROR_INVALID_PARAM,
             "aclGetCompileopt: length is %zu, needed %d", length, n + 1);
    return ACL_SUCCESS;
}

/* How operators are compiled at run time: everything is compiled already. */
aclError aclopSetCompileFlag(aclOpCompileFlag flag) {
    HC_CHECK(flag == ACL_OP_COMPILE_DEFAULT || flag == ACL_OP_COMPILE_FUZZ, ACL_ERROR_INVALID_PARAM,
             "aclopSetCompileFlag: there is no flag %d", flag);
    return ACL_SUCCESS;
}
