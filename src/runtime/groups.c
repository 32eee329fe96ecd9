// SPDX-License-Identifier: Apache-2.0
#include "hc_groups.h"

#include <stdatomic.h>

#include "hc_error.h"

static _Atomic(const struct hc_group_calls *) g_calls;

void hc_groups_offer(const struct hc_group_calls *calls) { atomic_store(&g_calls, calls); }

aclError hc_group_find(const char *caller, const char *name, struct hc_group *group) {
    const struct hc_group_calls *calls = atomic_load(&g_calls);
    HC_CHECK(name != NULL, ACL_ERROR_INVALID_PARAM, "%s: group is null", caller);
    HC_CHECK(calls != NULL, ACL_ERROR_INVALID_PARAM,
             "%s: there is no group '%.128s': libhccl, which has them, is not loaded", caller, name);
    int32_t device;
    HC_TRY(aclrtGetDevice(&device));
    HC_TRY(calls->find(caller, name, device, group) == 0 ? 0 : ACL_ERROR_INVALID_PARAM);
    group->calls = calls;
    return 0;
}
