// SPDX-License-Identifier: Apache-2.0
/* Tests of ranks of one host that UCX connects. */
#pragma once
#include <dlfcn.h>

#include "harness.h"
#include "hccl_ranks.h"

/* Whether the package is there; it is looked for in a process of its own, as ranks are forked from this one.
 */
static inline bool has_ucx(void) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    setenv("UCX_MEM_MMAP_HOOK_MODE", "none", 1); /* its hooks and theirs do not go together */
#endif
    const pid_t pid = fork();
    if (pid == 0) _exit(dlopen("libucp.so.0", RTLD_NOW) != NULL ? 0 : 1);
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0;
}

/* In a test: connect its ranks by UCX over these transports of it. */
#define USE_UCX(transports)                                                                                  \
    do {                                                                                                     \
        if (!has_ucx()) SKIP("libucp.so.0 is not installed (package libucx0)");                              \
        setenv("MINDSPEED_HCCL_TRANSPORT", "ucx", 1);                                                        \
        setenv("UCX_TLS", transports, 1);                                                                    \
    } while (0)
