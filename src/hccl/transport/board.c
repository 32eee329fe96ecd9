// SPDX-License-Identifier: Apache-2.0
#include "hc_board.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_lifeline.h"
#include "hc_option.h"

enum { PAGE = 4096, JOIN_SLICE_MS = 50 };

/* Lanes take half of the budget: HCCL_BUFFSIZE is what the user allows a communicator, and pages that no
 * message touches are never committed. */
static size_t slot_bytes(uint32_t num_ranks, uint32_t buffer_megabytes) {
    const size_t lanes = (size_t)HC_CHANNELS * num_ranks * num_ranks;
    const size_t budget = ((size_t)buffer_megabytes << 20) / 2 / lanes;
    size_t bytes = HC_SLOT_MAX;
    while (bytes > HC_SLOT_MIN && bytes * HC_LANE_SLOTS > budget) bytes /= 2;
    return bytes;
}

size_t hc_board_layout(struct hc_board *b, uint32_t num_ranks, uint32_t buffer_megabytes) {
    const size_t n = num_ranks;
    b->num_ranks = num_ranks;
    b->slot_bytes = slot_bytes(num_ranks, buffer_megabytes);
    b->lane_bytes = sizeof(struct hc_lane) + HC_LANE_SLOTS * b->slot_bytes;
    b->presence_at = hc_align_up(sizeof(struct hc_board_head), PAGE);
    b->posts_at = hc_align_up(b->presence_at + n * sizeof(struct hc_presence), PAGE);
    b->dones_at = hc_align_up(b->posts_at + n * 2 * sizeof(struct hc_post), PAGE);
    b->tables_at = hc_align_up(b->dones_at + n * sizeof(struct hc_done), PAGE);
    b->lanes_at = hc_align_up(b->tables_at + n * 2 * 2 * n * sizeof(uint64_t), PAGE);
    b->bytes = hc_align_up(b->lanes_at + HC_CHANNELS * n * n * b->lane_bytes, PAGE);
    return b->bytes;
}

/* Slots do not get smaller than HC_SLOT_MIN: many ranks need more than the least HCCL_BUFFSIZE. */
HcclResult hc_board_check(const char *caller, uint32_t num_ranks, uint32_t buffer_megabytes) {
    struct hc_board b;
    hc_board_layout(&b, num_ranks, buffer_megabytes);
    const size_t lanes = b.bytes - b.lanes_at, megabyte = (size_t)1 << 20;
    HC_CHECK(lanes <= buffer_megabytes * megabyte, HCCL_E_PARA,
             "%s: HCCL_BUFFSIZE is %u MB, wanted at least %zu MB for %u ranks of one host", caller,
             buffer_megabytes, hc_align_up(lanes, megabyte) / megabyte, num_ranks);
    return HCCL_SUCCESS;
}

int hc_board_file(const char *caller) {
    const int file = memfd_create("hccl", MFD_CLOEXEC);
    if (file < 0) hc_fail(HCCL_E_SYSCALL, "%s: cannot make shared memory: %s", caller, strerror(errno));
    return file;
}

/* The file of the lowest rank. Whoever comes first gives it its size: all compute the same. */
static int open_leaders_file(const char *caller, const struct hc_comm *c, int self) {
    const struct hc_member *leader = &c->members[0];
    if (c->rank == 0) return self;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", leader->pid, leader->board_file);
    const int file = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK); /* not to wait, whatever it is */
    if (file < 0)
        hc_fail(HCCL_E_SYSCALL, "%s: cannot open the shared memory of rank 0 (process %d): %s", caller,
                leader->pid, strerror(errno));
    return file;
}

static HcclResult map_file(const char *caller, struct hc_board *b, int file) {
    struct stat s;
    HC_CHECK(fstat(file, &s) == 0 && S_ISREG(s.st_mode), HCCL_E_REMOTE,
             "%s: what rank 0 gives as shared memory is no file", caller);
    HC_CHECK((s.st_size == 0 || (size_t)s.st_size == b->bytes), HCCL_E_PARA,
             "%s: the ranks disagree about HCCL_BUFFSIZE", caller);
    void *memory = MAP_FAILED;
    if (ftruncate(file, (off_t)b->bytes) == 0)
        memory = mmap(NULL, b->bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, file, 0);
    HC_CHECK(memory != MAP_FAILED, HCCL_E_MEMORY, "%s: cannot map %zu bytes of shared memory: %s", caller,
             b->bytes, strerror(errno));
    madvise(memory, b->bytes, MADV_DONTFORK);
    b->memory = memory;
    return HCCL_SUCCESS;
}

/* The file of rank 0 may be closed, and its process may end, only when all have it. */
static HcclResult wait_for_all(const char *caller, struct hc_comm *c) {
    const uint64_t limit = hc_now_ns() + (uint64_t)hc_option_int(HC_OPT_HCCL_CONNECT_TIMEOUT) * 1000000000u;
    struct hc_presence *self = hc_presence_of(c->board, c->rank);
    atomic_store(&self->pid, getpid());
    atomic_store(&self->stage, HC_JOINED);
    for (uint32_t r = 0; r < c->num_ranks; r++) hc_bell_add(&hc_presence_of(c->board, r)->door);
    for (uint32_t r = 0; r < c->num_ranks; r++) {
        const struct hc_presence *p = hc_presence_of(c->board, r);
        for (;;) {
            const uint32_t seen = atomic_load(&self->door.value);
            if (atomic_load(&p->stage) != HC_ABSENT) break;
            HC_CHECK(hc_now_ns() < limit, HCCL_E_TIMEOUT,
                     "%s: rank %u (process %d) came but did not map the shared memory "
                     "(HCCL_CONNECT_TIMEOUT)",
                     caller, r, c->members[r].pid);
            HC_CHECK(!hc_lifeline_ended(c->lifelines[r]) || atomic_load(&p->stage) != HC_ABSENT,
                     HCCL_E_REMOTE, "%s: rank %u (process %d on %s) came, but has ended", caller, r,
                     c->members[r].pid, c->members[r].host_name);
            hc_bell_sleep(&self->door, seen, JOIN_SLICE_MS);
        }
    }
    return HCCL_SUCCESS;
}

HcclResult hc_board_open(const char *caller, struct hc_comm *c, int self) {
    struct hc_board *b = calloc(1, sizeof *b);
    HcclResult status = b != NULL ? HCCL_SUCCESS : hc_fail(HCCL_E_MEMORY, "%s: out of host memory", caller);
    int file = -1;
    if (status == HCCL_SUCCESS) {
        hc_board_layout(b, c->num_ranks, c->members[0].buffer_megabytes);
        file = open_leaders_file(caller, c, self);
        status = file >= 0 ? map_file(caller, b, file) : HCCL_E_SYSCALL;
    }
    if (status == HCCL_SUCCESS) {
        c->board = b;
        status = wait_for_all(caller, c);
    } else {
        free(b);
    }
    if (file >= 0 && file != self) close(file);
    close(self);
    return status;
}

void hc_board_close(struct hc_comm *c) {
    struct hc_board *b = c->board;
    c->board = NULL;
    if (b == NULL) return;
    atomic_store(&hc_presence_of(b, c->rank)->stage, HC_LEFT);
    for (uint32_t r = 0; r < b->num_ranks; r++) hc_bell_add(&hc_presence_of(b, r)->door);
    munmap(b->memory, b->bytes);
    free(b);
}
