// SPDX-License-Identifier: Apache-2.0
/* Algorithms over messages through UCX, between ranks of one host: over TCP as between hosts, and over
 * whatever UCX finds. */
#include <dlfcn.h>

#include "hccl_algorithms.h"

/* Whether the package is there; it is looked for in a process of its own, as ranks are forked from this one.
 */
static bool has_ucx(void) {
    const pid_t pid = fork();
    if (pid == 0) _exit(dlopen("libucp.so.0", RTLD_NOW) != NULL ? 0 : 1);
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0;
}

#define TEST_OVER(name, transports, num_ranks, device_memory, large)                                         \
    TEST(name) {                                                                                             \
        if (!has_ucx()) SKIP("libucp.so.0 is not installed (package libucx0)");                              \
        setenv("MINDSPEED_HCCL_TRANSPORT", "ucx", 1);                                                        \
        setenv("UCX_TLS", transports, 1);                                                                    \
        CHECK(run_algorithms(num_ranks, device_memory, large));                                              \
    }

TEST_OVER(two_ranks, "tcp,self", 2, true, false)
TEST_OVER(three_ranks, "tcp,self", 3, false, false)
TEST_OVER(four_ranks, "tcp,self", 4, true, false)
TEST_OVER(seven_ranks, "tcp,self", 7, true, false)
TEST_OVER(eight_ranks, "all", 8, false, false)
TEST_OVER(large, "tcp,self", 4, true, true)
TEST_OVER(large_over_all, "all", 3, false, true)
