// SPDX-License-Identifier: Apache-2.0
/* Copies between ranks. */
#pragma once
#include "hc_util.h"

/* memcpy on the threads of operators where that pays; nothing where both are the same place. */
void hc_copy(char *to, const char *from, size_t bytes);
/* One of the copies that write `all` bytes together: those of all ranks compete for the caches. */
void hc_copy_part(char *to, const char *from, size_t bytes, size_t all);
