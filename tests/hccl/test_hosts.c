// SPDX-License-Identifier: Apache-2.0
/* Ranks on several hosts: results, and what is told when a process, a host or a link fails. */
#include "hccl_algorithms.h"
#include "hccl_faults.h"
#include "hccl_hosts.h"
#include "hccl_ucx.h"

/* As users run it: nothing forces UCX, the hosts do. */
#define ON_HOSTS(name, hosts, ranks, transports, ...)                                                        \
    TEST(name) {                                                                                             \
        if (!has_ucx()) SKIP("libucp.so.0 is not installed (package libucx0)");                              \
        unsetenv("MINDSPEED_HCCL_ALGO");                                                                     \
        setenv("UCX_TLS", transports, 1);                                                                    \
        setenv("HCCL_EXEC_TIMEOUT", "60", 1);                                                                \
        may_die = 0;                                                                                         \
        USE_HOSTS(hosts, ranks);                                                                             \
        const bool good = __VA_ARGS__;                                                                       \
        drop_hosts();                                                                                        \
        CHECK(good);                                                                                         \
    }

static bool deaths(uint64_t who, uint32_t ranks, int (*fn)(struct rank *)) {
    may_die = who;
    return run_ranks(ranks, 60, fn);
}

/* The link of rank `victim`'s host is cut before the collective; those on both sides are told, either because
 * the control connection falls silent or because UCX finds no way. */
static int reduce_across_cut(struct rank *self, uint32_t victim) {
    float *buffer = floats(COUNT);
    EXPECT(buffer != NULL, "memory");
    if (agree(self, buffer)) return 1;
    if (self->rank == victim) EXPECT(cut_link(victim) == 0, "the link cannot be cut");
    usleep(600000);
    EXPECT_OK(
        HcclAllReduce(buffer, buffer, COUNT, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm, self->stream));
    if (SAYS(30, "HcclAllReduce number 2", "rank")) return 1;
    const char *text = aclGetRecentErrMsg();
    EXPECT(strstr(text, "cannot be reached any more") != NULL || strstr(text, " broke: ") != NULL, "%s",
           text);
    return 0;
}
static int last_link_is_cut(struct rank *self) { return reduce_across_cut(self, 2); }
/* Of the host that answered the meeting. */
static int first_link_is_cut(struct rank *self) { return reduce_across_cut(self, 0); }

/* Large data on its way. */
static int cut_while_sending(struct rank *self) {
    enum { LARGE = 1 << 22 };
    float *buffer = floats(LARGE);
    EXPECT(buffer != NULL, "memory");
    if (agree(self, buffer)) return 1;
    for (int i = 0; i < 300; i++) {
        if (self->rank == 1 && i == 3) {
            EXPECT_OK(aclrtSynchronizeStream(self->stream));
            EXPECT(cut_link(1) == 0, "the link cannot be cut");
        }
        if (HcclAllReduce(buffer, buffer, LARGE, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, self->comm,
                          self->stream) != 0)
            break;
    }
    return SAYS(40, "HcclAllReduce number", "rank");
}

ON_HOSTS(two_hosts, 2, 1, "tcp,self", run_algorithms(2, true, false))
ON_HOSTS(two_hosts_two_ranks_each, 2, 2, "tcp,self", run_algorithms(4, false, false))
ON_HOSTS(three_hosts, 3, 1, "tcp,self", run_algorithms(3, true, false))
ON_HOSTS(three_hosts_two_ranks_each, 3, 2, "all", run_algorithms(6, true, false))
ON_HOSTS(large, 3, 1, "tcp,self", run_algorithms(3, true, true))
ON_HOSTS(killed, 3, 1, "tcp,self", deaths(4, 3, last_dies))
ON_HOSTS(killed_first, 3, 1, "tcp,self", deaths(1, 3, first_dies))
ON_HOSTS(killed_while_sending, 3, 1, "tcp,self", deaths(2, 3, dies_while_sending))
ON_HOSTS(leaves, 3, 1, "tcp,self", run_ranks(3, 60, one_leaves))
ON_HOSTS(cut, 3, 1, "tcp,self", run_ranks(3, 60, last_link_is_cut))
ON_HOSTS(cut_sending, 3, 1, "tcp,self", run_ranks(3, 60, cut_while_sending))
ON_HOSTS(cut_first, 3, 1, "tcp,self", run_ranks(3, 60, first_link_is_cut))
ON_HOSTS(exit_without_goodbye, 2, 2, "tcp,self", run_ranks(4, 60, all_go_at_once))
