// SPDX-License-Identifier: Apache-2.0
#include "hc_ranks.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hc_board.h"
#include "hc_device.h"
#include "hc_failure.h"
#include "hc_net.h"
#include "hc_option.h"
#include "hc_share.h"
#include "hc_transport_shm.h"
#include "hc_transport_ucx.h"

/* How long a wait polls: many times what a message takes between two cores (about 50 us), then yielding the
 * core, which costs about 1 us where nobody else wants it. Sleeping and being woken costs 10 us and more, so
 * with fewer yields ranks that share a core fall asleep in every collective. Measured with bench/hccl. */
enum { SPINS = 2000, YIELDS = 500 };

static uint64_t hash_options(void) {
    char text[512];
    uint64_t words[2];
    const int length = snprintf(text, sizeof text, "%s;%s", hc_option_text(HC_OPT_HCCL_ALGO),
                                hc_option_text(HC_OPT_HCCL_TRANSPORT));
    hc_hash(text, hc_min_size((size_t)length, sizeof text), words);
    return words[0];
}

static HcclResult introduce(const char *caller, const struct hc_comm *c, struct hc_member *self) {
    memset(self, 0, sizeof *self);
    self->rank = c->rank;
    self->pid = getpid();
    self->device = hc_device_physical_id(c->device);
    self->buffer_megabytes = c->buffer_megabytes;
    self->options = hash_options();
    self->host = hc_host_self();
    gethostname(self->host_name, sizeof self->host_name - 1);
    snprintf(self->comm_name, sizeof self->comm_name, "%s", c->name);
    self->heap_file = hc_share_file(c->device);
    HC_CHECK(self->heap_file >= 0, HCCL_E_MEMORY, "%s: device %d has no shareable memory", caller, c->device);
    self->board_file = hc_board_file(caller);
    return self->board_file >= 0 ? HCCL_SUCCESS : HCCL_E_SYSCALL;
}

static bool same_host(const struct hc_member *a, const struct hc_member *b) {
    return memcmp(&a->host, &b->host, sizeof a->host) == 0;
}

static bool on_one_host(const struct hc_comm *c) {
    for (uint32_t r = 1; r < c->num_ranks; r++)
        if (!same_host(&c->members[r], &c->members[0])) return false;
    return true;
}

static bool is_spread(const struct hc_comm *c) {
    for (uint32_t r = 0; r < c->num_ranks; r++)
        for (uint32_t k = 0; k < r; k++)
            if (same_host(&c->members[r], &c->members[k])) return false;
    return true;
}

/* Two ranks on one device would wait for each other there; the interface refuses them too. */
static HcclResult check_devices(const char *caller, const struct hc_comm *c) {
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const struct hc_member *m = &c->members[r];
        for (uint32_t k = 0; k < r; k++)
            HC_CHECK(
                m->device != c->members[k].device || !same_host(m, &c->members[k]), HCCL_E_PARA,
                "%s: ranks %u and %u of host %.63s are both on device %d; each rank needs one of its own "
                "(aclrtSetDevice, ASCEND_RT_VISIBLE_DEVICES)",
                caller, k, r, m->host_name, m->device);
    }
    return HCCL_SUCCESS;
}

/* A name given on some ranks only would split what uses it as a key; algorithms and their chunks must be the
 * same on all ranks. */
static HcclResult compare(const char *caller, const struct hc_comm *c) {
    for (uint32_t r = 1; r < c->num_ranks; r++) {
        HC_CHECK(c->members[r].buffer_megabytes == c->members[0].buffer_megabytes, HCCL_E_PARA,
                 "%s: HCCL_BUFFSIZE is %u on rank 0 and %u on rank %u", caller,
                 c->members[0].buffer_megabytes, c->members[r].buffer_megabytes, r);
        HC_CHECK(
            c->members[r].options == c->members[0].options, HCCL_E_PARA,
            "%s: ranks 0 and %u have different values of MINDSPEED_HCCL_ALGO or MINDSPEED_HCCL_TRANSPORT",
            caller, r);
        HC_CHECK(strcmp(c->members[r].comm_name, c->members[0].comm_name) == 0, HCCL_E_PARA,
                 "%s: rank 0 names the communicator '%s', rank %u '%s'", caller, c->members[0].comm_name, r,
                 c->members[r].comm_name);
    }
    return HCCL_SUCCESS;
}

/* Ranks that share cores must not poll: the one they wait for may need the core. */
static void set_patience(struct hc_comm *c) {
    cpu_set_t cores;
    const int count = sched_getaffinity(0, sizeof cores, &cores) == 0 ? CPU_COUNT(&cores) : 1;
    uint32_t here = 0;
    for (uint32_t r = 0; r < c->num_ranks; r++) here += same_host(&c->members[r], &c->members[c->rank]);
    c->spins = here > (uint32_t)count ? 0 : SPINS;
    c->yields = YIELDS;
}

HcclResult hc_ranks_meet(const char *caller, struct hc_comm *c) {
    struct hc_member self;
    int connection = -1;
    HC_TRY(introduce(caller, c, &self));
    const uint32_t limit = (uint32_t)hc_option_int(HC_OPT_HCCL_CONNECT_TIMEOUT);
    HcclResult status =
        hc_meeting_join(caller, &c->meeting, c->num_ranks, &self, limit, &c->members, &connection);
    if (status == HCCL_SUCCESS) status = compare(caller, c);
    if (status == HCCL_SUCCESS) status = check_devices(caller, c);
    if (status == HCCL_SUCCESS && hc_option_is(HC_OPT_HCCL_TRANSPORT, "shm") && !on_one_host(c))
        status = hc_fail(HCCL_E_NOT_SUPPORT,
                         "%s: MINDSPEED_HCCL_TRANSPORT=shm, but the ranks are on several hosts", caller);
    const bool shared =
        status == HCCL_SUCCESS && on_one_host(c) && !hc_option_is(HC_OPT_HCCL_TRANSPORT, "ucx");
    if (connection >= 0 && (shared || status != HCCL_SUCCESS)) close(connection);
    if (!shared) close(self.board_file);
    if (status != HCCL_SUCCESS) return status;
    set_patience(c);
    c->spread = is_spread(c);
    const struct hc_transport *transport = shared ? &hc_transport_shm : &hc_transport_ucx;
    status = shared ? hc_shm_open(caller, c, self.board_file) : hc_net_open(caller, c, connection);
    if (status == HCCL_SUCCESS) c->transport = transport;
    else transport->close(c);
    return status;
}

HcclResult hc_ranks_meet_again(const char *caller, struct hc_comm *c) {
    hc_comm_disconnect(c);
    free(c->members);
    c->members = NULL;
    c->meeting.id[0]++; /* a meeting of its own, the same on all ranks */
    c->next_seq = 1;
    c->posts = 0;
    atomic_store(&c->turn.value, 1);
    memset(c->lanes, 0, (size_t)HC_CHANNELS * HC_DIRECTIONS * c->num_ranks * sizeof *c->lanes);
    atomic_store(&c->failed, HCCL_SUCCESS);
    const HcclResult status = hc_ranks_meet(caller, c);
    return status == HCCL_SUCCESS ? status : hc_comm_fail(c, status, "%s", hc_error_text());
}
