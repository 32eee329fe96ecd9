// SPDX-License-Identifier: Apache-2.0
/* Memory that the runtime knows: device, pinned host, registered host, mapped and imported ranges. */
#pragma once
#include "hc_device.h"

enum hc_region_kind {
    HC_REGION_DEVICE,     /* aclrtMalloc */
    HC_REGION_HOST,       /* aclrtMallocHost */
    HC_REGION_REGISTERED, /* aclrtHostRegister: the caller's own memory */
    HC_REGION_MAPPED,     /* aclrtMapMem: a piece of physical memory */
    HC_REGION_IMPORTED,   /* aclrtIpcMemImportByKey */
};

struct hc_region {
    uintptr_t begin;
    size_t bytes;   /* as asked for */
    size_t mapped;  /* address space, a whole number of pages */
    size_t charged; /* device memory accounted for it */
    enum hc_region_kind kind;
    bool huge;
    struct hc_device *device; /* NULL: host */
    void *owner;              /* MAPPED: the physical handle; IMPORTED: its import; DEVICE: its export */
};

/* The table, sorted by address. False when out of host memory or if it overlaps a known range. */
bool hc_region_add(const struct hc_region *region);
/* The region that holds `address`. */
bool hc_region_find(const void *address, struct hc_region *out);
/* Remove the region of that kind that begins at `address`. */
bool hc_region_take(const void *address, enum hc_region_kind kind, struct hc_region *out);
/* Set the owner of the region that begins at `address`. */
bool hc_region_set_owner(const void *address, void *owner);
/* First region at or above `address`, below `end`. */
bool hc_region_next(uintptr_t address, uintptr_t end, struct hc_region *out);

enum hc_span { HC_SPAN_UNKNOWN, HC_SPAN_INSIDE, HC_SPAN_BEYOND };
/* Whether [address, address + bytes) lies in known memory; neighbouring ranges count as one. BEYOND: it
 * starts inside and leaves it; then *available says after how many bytes. */
enum hc_span hc_region_span(const void *address, size_t bytes, size_t *available);

const char *hc_region_kind_name(enum hc_region_kind kind);
/* Give back everything of a device (or of all devices and the host, if NULL). */
void hc_memory_free_all(struct hc_device *device);
void hc_vmm_free_all(struct hc_device *device);
void hc_ipc_close_all(struct hc_device *device);
void hc_region_after_fork(void);
void hc_vmm_after_fork(void);

/* Anonymous pages at an address that is a multiple of `alignment`; nothing is committed. NULL if refused. */
void *hc_pages_map(size_t bytes, size_t alignment);
void hc_pages_unmap(void *address, size_t bytes);
enum { HC_PAGE = 4096, HC_HUGE_PAGE = 2 << 20 };

/* Held (shared) by copies that no stream knows, and exclusively while memory moves. */
void hc_copy_gate_enter(void);
void hc_copy_gate_leave(void);
void hc_copy_gate_close(void);
void hc_copy_gate_open(void);
