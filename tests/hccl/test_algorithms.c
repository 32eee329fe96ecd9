// SPDX-License-Identifier: Apache-2.0
/* Algorithms over messages through shared memory. */
#include "harness.h"
#include "hccl_algorithms.h"

TEST(two_ranks_host_memory) { CHECK(run_algorithms(2, false, false)); }
TEST(three_ranks) { CHECK(run_algorithms(3, true, false)); }
TEST(four_ranks_host_memory) { CHECK(run_algorithms(4, false, false)); }
TEST(five_ranks) { CHECK(run_algorithms(5, true, false)); }
TEST(six_ranks) { CHECK(run_algorithms(6, true, false)); }
TEST(seven_ranks_host_memory) { CHECK(run_algorithms(7, false, false)); }
TEST(eight_ranks) { CHECK(run_algorithms(8, true, false)); }
TEST(large_device_memory) { CHECK(run_algorithms(3, true, true)); }
TEST(large_host_memory) { CHECK(run_algorithms(4, false, true)); }
