// SPDX-License-Identifier: Apache-2.0
/* Device memory that other processes reach: where it lies in the device's heap, and the heaps of others.
 *
 * Shared by IPC keys (ipc.c) and by the collectives, whose ranks read and write each other's buffers. */
#pragma once
#include "hc_util.h"

struct hc_heap;
struct hc_region;

/* A stretch of a heap's data: `offset` bytes from where the data begins. */
struct hc_share_span {
    uint64_t offset, bytes;
};

/* What stands behind an exported allocation (the owner of its region). */
struct hc_share {
    struct hc_heap *heap;
    uint32_t unit;
    size_t bytes;
};

/* The share of an ordinary allocation, made now if it has none: its pages then move, at their addresses,
 * into the heap, once; streams and synchronous copies are held meanwhile. Returns an ACL code with a text
 * that begins with `caller`. */
int hc_share_region(const struct hc_region *region, const char *caller, struct hc_share **share);
/* Give up the shared copy behind an allocation that is being freed. */
void hc_share_drop(void *share);

/* Where [address, address + bytes) lies in the heap of `device`, as few spans as possible in order of
 * addresses. Moves private memory (see above). *count is 0, with success, where that memory cannot be
 * shared: it is no device memory, of another device, imported, or in more than `max` spans. Thread-safe. */
HC_SHARED int hc_share_locate(int32_t device, const void *address, size_t bytes, const char *caller,
                              struct hc_share_span *spans, size_t max, size_t *count);
/* File number of this process's heap of `device`, for hc_peer_heap_open in another process; -1 with a text.
 */
HC_SHARED int hc_share_file(int32_t device);

/* The heap of a device of another process of this user, or of this one, mapped whole: pages appear when they
 * are touched, and stay valid memory whatever its owner frees. NULL with a text. Opening the same heap again
 * gives the same object; close as often as opened. */
struct hc_peer_heap;
HC_SHARED struct hc_peer_heap *hc_peer_heap_open(int32_t pid, int file, const char *caller);
HC_SHARED void hc_peer_heap_close(struct hc_peer_heap *heap);
/* The address here of `count` spans as one stretch, valid until this thread calls hc_peer_heap_release; spans
 * that are not neighbours are mapped side by side, and remembered as long as they are among the latest used.
 * NULL with a text: a span lies outside the heap, all of them are less than the `bytes` that will be used, or
 * there is no address space. */
HC_SHARED void *hc_peer_heap_at(struct hc_peer_heap *heap, const struct hc_share_span *spans, size_t count,
                                size_t bytes);
/* This thread is done with all addresses that it got. */
HC_SHARED void hc_peer_heap_release(void);
void hc_share_after_fork(void);
void hc_peer_heap_after_fork(void);
