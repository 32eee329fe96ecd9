// SPDX-License-Identifier: Apache-2.0
/* hypot by its first name in the C library. glibc 2.35 gave the same arithmetic a second version, which
 * differs in how errno is set; a library linked to that one does not load on older systems. */
#pragma once
#include <math.h>

#if defined(__GLIBC__) && defined(__x86_64__)
__asm__(".symver hypot, hypot@GLIBC_2.2.5");
#elif defined(__GLIBC__) && defined(__aarch64__)
__asm__(".symver hypot, hypot@GLIBC_2.17");
#endif
