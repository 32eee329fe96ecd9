// SPDX-License-Identifier: Apache-2.0
/* Physical memory handles, as vmm.c hands them out. */
#pragma once
#include "hc_heap.h"

/* Physical memory: a piece of a heap, mapped at any number of addresses. */
struct hc_physical {
    struct hc_handle handle;
    struct hc_heap *heap;
    struct hc_device *device; /* NULL: host */
    size_t bytes;
    uint32_t unit;
    uint32_t maps; /* guarded by the lock of vmm.c */
    bool imported; /* the heap is another process's */
    bool released; /* by the client; the piece goes with the last mapping */
};

/* This process's heap with that file number, NULL if none. */
struct hc_heap *hc_heap_by_file(int file);
