// SPDX-License-Identifier: Apache-2.0
/* What became of work that others wait for, kept until the last of them has been told. */
#pragma once
#include "acl/acl.h"

struct hc_outcome {
    aclError code; /* 0: it was done */
    char *text;    /* NULL if it was done, or if there was no memory for the text */
};

/* A code with this thread's text. The caller frees it. */
struct hc_outcome hc_outcome_of(aclError code);
struct hc_outcome hc_outcome_copy(const struct hc_outcome *outcome);
/* Fail as the work did, with its code and text; 0 if it was done. */
aclError hc_outcome_tell(const struct hc_outcome *outcome);
void hc_outcome_free(struct hc_outcome *outcome);
