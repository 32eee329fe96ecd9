// SPDX-License-Identifier: Apache-2.0
/* The code and text of a failure, on its way from who failed to who waits. */
#include "hc_outcome.h"

#include <stdlib.h>
#include <string.h>

#include "hc_error.h"

struct hc_outcome hc_outcome_of(aclError code) {
    return (struct hc_outcome){code, code != 0 ? strdup(hc_error_text()) : NULL};
}

struct hc_outcome hc_outcome_copy(const struct hc_outcome *o) {
    return (struct hc_outcome){o->code, o->text != NULL ? strdup(o->text) : NULL};
}

aclError hc_outcome_tell(const struct hc_outcome *o) {
    if (o->code == 0) return ACL_SUCCESS;
    return hc_fail(o->code, "%s", o->text != NULL ? o->text : "what was waited for has failed");
}

void hc_outcome_free(struct hc_outcome *o) {
    free(o->text);
    *o = (struct hc_outcome){0, NULL};
}
