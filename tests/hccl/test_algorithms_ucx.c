// SPDX-License-Identifier: Apache-2.0
/* Algorithms over messages through UCX, between ranks of one host: over TCP as between hosts, and over
 * whatever UCX finds. */
#include "hccl_algorithms.h"
#include "hccl_ucx.h"

#define TEST_OVER(name, transports, num_ranks, device_memory, large)                                         \
    TEST(name) {                                                                                             \
        USE_UCX(transports);                                                                                 \
        CHECK(run_algorithms(num_ranks, device_memory, large));                                              \
    }

TEST_OVER(two_ranks, "tcp,self", 2, true, false)
TEST_OVER(three_ranks, "tcp,self", 3, false, false)
TEST_OVER(four_ranks, "tcp,self", 4, true, false)
TEST_OVER(seven_ranks, "tcp,self", 7, true, false)
TEST_OVER(eight_ranks, "all", 8, false, false)
TEST_OVER(large, "tcp,self", 4, true, true)
TEST_OVER(large_over_all, "all", 3, false, true)
