// SPDX-License-Identifier: Apache-2.0
/* Several hosts on one machine: a network namespace each, with one Ethernet interface, joined by a bridge in
 * a namespace of its own. Needs root and iproute2. */
#pragma once
#include <fcntl.h>
#include <stdarg.h>
#include <sched.h>

#include "harness.h"
#include "hccl_ranks.h"

enum { MAX_HOSTS = 3 };
static unsigned g_hosts, g_ranks_per_host;

static inline int shell(const char *fmt, ...) {
    char command[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(command, sizeof command, fmt, args);
    va_end(args);
    return system(command);
}

static inline void drop_hosts(void) {
    for (unsigned h = 0; h < g_hosts; h++) shell("ip netns del hccl%d_%u 2>/dev/null", (int)getpid(), h);
    shell("ip netns del hccl%d_sw 2>/dev/null", (int)getpid());
    g_hosts = 0;
}

/* Host h is hccl<pid>_h with the address 10.77.0.<h + 1>. False: not allowed here. */
static inline bool make_hosts(unsigned hosts, unsigned ranks_per_host) {
    const int id = getpid();
    g_hosts = hosts;
    g_ranks_per_host = ranks_per_host;
    int failed =
        shell("ip netns add hccl%d_sw 2>/dev/null && ip -n hccl%d_sw link add br0 type bridge 2>/dev/null && "
              "ip -n hccl%d_sw link set br0 up",
              id, id, id);
    for (unsigned h = 0; h < hosts && failed == 0; h++)
        failed =
            shell("ip netns add hccl%d_%u && "
                  "ip link add name port%u netns hccl%d_sw type veth peer name eth0 netns hccl%d_%u && "
                  "ip -n hccl%d_sw link set port%u master br0 up && "
                  "ip -n hccl%d_%u addr add 10.77.0.%u/24 dev eth0 && ip -n hccl%d_%u link set eth0 up && "
                  "ip -n hccl%d_%u link set lo up",
                  id, h, h, id, id, h, id, h, id, h, h + 1, id, h, id, h);
    if (failed != 0) drop_hosts();
    return failed == 0;
}

/* Nothing crosses the link of a host any more; its ends do not notice. */
static inline int cut_link(unsigned host) {
    return shell("ip -n hccl%d_sw link set port%u nomaster", (int)getppid(), host);
}

static inline int enter_host(uint32_t rank) {
    char path[64];
    snprintf(path, sizeof path, "/var/run/netns/hccl%d_%u", (int)getppid(), rank / g_ranks_per_host);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    const int failed = file < 0 ? -1 : setns(file, CLONE_NEWNET);
    if (failed) fprintf(stderr, "rank %u cannot enter %s\n", rank, path);
    close(file);
    return failed;
}

/* In a test: `hosts` hosts with `ranks` ranks each. Call drop_hosts at its end. */
#define USE_HOSTS(hosts, ranks)                                                                              \
    do {                                                                                                     \
        if (!make_hosts(hosts, ranks)) SKIP("no network namespaces here (root and iproute2 are needed)");    \
        before_rank = enter_host;                                                                            \
    } while (0)
