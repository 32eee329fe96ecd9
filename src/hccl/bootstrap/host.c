// SPDX-License-Identifier: Apache-2.0
#include "hc_host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_option.h"

/* Two lanes of a multiply-and-rotate hash (the constants are those of 64-bit FNV and of splitmix64). */
void hc_hash(const void *bytes, size_t length, uint64_t words[2]) {
    const unsigned char *at = bytes;
    uint64_t a = 0xcbf29ce484222325u, b = 0x9e3779b97f4a7c15u ^ length;
    for (size_t i = 0; i < length; i++) {
        a = (a ^ at[i]) * 0x100000001b3u;
        b = (b + at[i]) * 0xbf58476d1ce4e5b9u;
        b ^= b >> 29;
    }
    words[0] = a ^ b >> 32;
    words[1] = b;
}

static uint64_t inode_of(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 ? (uint64_t)s.st_ino : 0;
}

/* Processes share memory here through /proc, so they must see each other's process ids and be of one user.
 * Two network namespaces count as two hosts: whoever separates networks means separate machines. */
struct hc_host_id hc_host_self(void) {
    struct {
        char boot[64];
        uint64_t pid_namespace, net_namespace, user;
    } facts;
    memset(&facts, 0, sizeof facts);
    const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        if (read(file, facts.boot, sizeof facts.boot) < 0) facts.boot[0] = '\0';
        close(file);
    }
    facts.pid_namespace = inode_of("/proc/self/ns/pid");
    facts.net_namespace = inode_of("/proc/self/ns/net");
    facts.user = (uint64_t)geteuid();
    struct hc_host_id id;
    hc_hash(&facts, sizeof facts, id.words);
    return id;
}

bool hc_is_loopback(struct in_addr address) { return ntohl(address.s_addr) >> 24 == IN_LOOPBACKNET; }

/* HCCL_SOCKET_IFNAME: "eth0,eth1" names prefixes of interfaces, "=eth0" whole names, "^docker" the ones to
 * leave out. */
static bool wanted_interface(const char *name) {
    const char *spec = hc_option_text(HC_OPT_HCCL_SOCKET_IFNAME);
    if (spec[0] == '\0') return true;
    const bool without = spec[0] == '^';
    if (without) spec++;
    const bool whole = spec[0] == '=';
    if (whole) spec++;
    bool listed = false;
    while (*spec != '\0') {
        const size_t length = strcspn(spec, ",");
        listed = listed || (strncmp(name, spec, length) == 0 && (!whole || name[length] == '\0'));
        spec += length + (spec[length] == ',');
    }
    return listed != without;
}

bool hc_is_callable(struct in_addr a) {
    return a.s_addr != htonl(INADDR_ANY) && a.s_addr != htonl(INADDR_BROADCAST) &&
           !IN_MULTICAST(ntohl(a.s_addr));
}

HcclResult hc_host_addresses(const char *caller, struct in_addr addresses[HC_ADDRESSES], uint16_t *count) {
    const char *fixed = hc_option_text(HC_OPT_HCCL_IF_IP), *spec = hc_option_text(HC_OPT_HCCL_SOCKET_IFNAME);
    uint16_t n = 0;
    *count = 0;
    if (fixed[0] != '\0') {
        HC_CHECK(inet_pton(AF_INET, fixed, &addresses[0]) == 1 && hc_is_callable(addresses[0]), HCCL_E_PARA,
                 "%s: HCCL_IF_IP is '%s', wanted an IPv4 address of this host", caller, fixed);
        *count = 1;
        return HCCL_SUCCESS;
    }
    struct ifaddrs *all;
    HC_CHECK(getifaddrs(&all) == 0, HCCL_E_SYSCALL, "%s: cannot list the network interfaces: %s", caller,
             strerror(errno));
    for (const struct ifaddrs *i = all; i != NULL && n < HC_ADDRESSES; i = i->ifa_next) {
        if (i->ifa_addr == NULL || i->ifa_addr->sa_family != AF_INET) continue;
        if ((i->ifa_flags & IFF_UP) == 0 || !wanted_interface(i->ifa_name)) continue;
        addresses[n++] = ((const struct sockaddr_in *)(const void *)i->ifa_addr)->sin_addr;
    }
    freeifaddrs(all);
    HC_CHECK(n > 0, HCCL_E_NETWORK, "%s: no network interface with an IPv4 address is up%s%s", caller,
             spec[0] != '\0' ? " among those of HCCL_SOCKET_IFNAME=" : "", spec);
    *count = n;
    return HCCL_SUCCESS;
}
