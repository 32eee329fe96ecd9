// SPDX-License-Identifier: Apache-2.0
/* A library that clients open by name and find nothing in. */
#pragma once
#include "hc_util.h"

/* A function and not data: a library without any code has no table for unwinding, and who records call stacks
 * (the memory history of torch) warns of each such library. */
#define HC_LIBRARY(name)                                                                                     \
    HC_SHARED const char *hc_library_##name(void);                                                           \
    const char *hc_library_##name(void) { return "lib" #name " of the host implementation"; }
