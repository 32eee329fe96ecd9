// SPDX-License-Identifier: Apache-2.0
/* What each process of this user has promised to allocations of device memory: an account per process, in
 * memory that they share. */
#pragma once
#include <stdatomic.h>

#include "hc_device.h"

enum { HC_ACCOUNT_HEAPS = 24 };

struct hc_account {
    atomic_int pid; /* 0: free */
    char name[16];
    atomic_ullong promised; /* bytes of allocations, filled or not */
    /* How much of it was seen to be filled, in pages, at least; above it a count of what was freed, so that a
     * look at the process does not undo a free (see hc_account_filled). */
    atomic_ullong filled;
    atomic_ullong looked_at; /* pages that the process had at the last look */
    atomic_int planning;   /* holds more than the host could fill: its promises are none, its claims count */
    atomic_ullong claimed; /* what its running tasks may fill */
    atomic_int heaps[HC_ACCOUNT_HEAPS];    /* file numbers + 1 of its shareable memory; 0: none */
    atomic_ullong devices[HC_MAX_DEVICES]; /* bytes by physical id */
};

enum { HC_FILLED_BITS = 44 };
static inline uint64_t hc_account_filled(uint64_t word) {
    return (word & (((uint64_t)1 << HC_FILLED_BITS) - 1)) * 4096;
}

/* This process's account, made now if it has none yet; never NULL. Where memory cannot be shared, or is not
 * to be trusted, the account is this process's alone (logged as a warning). */
struct hc_account *hc_ledger_own(void);
/* Enter and strike out `bytes` of a device. */
void hc_account_add(struct hc_account *account, int32_t physical, size_t bytes);
void hc_account_subtract(struct hc_account *account, int32_t physical, size_t bytes);
/* Note a file with shareable memory, or that it is gone. */
void hc_account_heap(int file, bool open);
/* Call fn for the account of every process that lives; one thread at a time. */
void hc_ledger_each(void (*fn)(struct hc_account *account, void *ctx), void *ctx);
/* Look at the process: how much of its promise is filled. Slow, some 10 ms, unless its size is what it was.
 */
void hc_account_look(struct hc_account *account);
void hc_ledger_after_fork(void);

/* For displays: what processes hold, a row for each device of each; returns how many there are. */
struct hc_ledger_row {
    int32_t pid, physical;
    uint64_t bytes;
    char name[16];
};
HC_SHARED int hc_ledger_rows(struct hc_ledger_row *rows, int room);
