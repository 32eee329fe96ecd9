// SPDX-License-Identifier: Apache-2.0
/* The kernel's number of the calling thread. gettid() does the same, but came with glibc 2.30: wheels run
 * on 2.28. */
#pragma once
#include <sys/syscall.h>
#include <unistd.h>

static inline pid_t hc_thread_id(void) { return (pid_t)syscall(SYS_gettid); }
