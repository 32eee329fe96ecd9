// SPDX-License-Identifier: Apache-2.0
/* Results that no cache can keep are written past them (simd_past_caches.h): a block of the first-level cache
 * takes them first, as kernels store as they like. */
#pragma once
#include "hc_kernel.h"

#include <stdbool.h>
#include <stddef.h>

/* Elements of a block: while one is written the next one is read, which longer ones would do by turns. */
enum { HC_PAST_CACHES_BLOCK = 256 };

typedef void hc_copy_past_caches_fn(char *to, const char *from, size_t bytes, bool last);
/* Copies; with the last of a thread's blocks, others see all of them. */
hc_copy_past_caches_fn *hc_copy_past_caches_for(void);
/* Whether results of so many bytes, at this address, gain by it: they are more than the last cache holds, and
 * start with a line. */
bool hc_goes_past_caches(const void *to, size_t bytes);
