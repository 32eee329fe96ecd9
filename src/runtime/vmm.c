// SPDX-License-Identifier: Apache-2.0
/* Virtual memory: address ranges are reserved without memory, physical pieces are mapped into them. A
 * piece is a stretch of the device's heap (a memfd), so mapping it at a second address, or in another
 * process, shows the same bytes. One lock for reservations and pieces: mapping is rare, as frameworks
 * grow in steps of 2 MiB or more. */
#include "hc_vmm.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hc_budget.h"
#include "hc_error.h"
#include "hc_memory.h"
#include "hc_stream.h"

/* `begin` is what the client got, `raw` what was mapped to reach the alignment. */
struct reservation {
    char *begin, *raw;
    size_t bytes, raw_bytes;
    struct reservation *next;
};

static struct hc_pool g_pool = HC_POOL("physical memory handle", 128, 1 << 20);
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct reservation *g_reservations;

/* Needs the lock. The link to the reservation that holds the whole range, NULL if none does. A client has
 * few of them (one per expandable segment), so a list is enough. */
static struct reservation **find(const void *address, size_t bytes) {
    struct reservation **at = &g_reservations;
    for (; *at != NULL; at = &(*at)->next) {
        const uintptr_t inside = (uintptr_t)address - (uintptr_t)(*at)->begin;
        if (inside < (*at)->bytes && bytes <= (*at)->bytes - inside) return at;
    }
    return NULL;
}

/* Address space only (PROT_NONE). More is taken than asked for, to reach the alignment inside; all of it
 * is given back. */
static aclError reserve(struct reservation *r, size_t size, size_t alignment, void *expect) {
    r->bytes = hc_align_up(size, HC_HUGE_PAGE);
    r->raw_bytes = r->bytes + alignment;
    r->raw = mmap(expect, r->raw_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    HC_CHECK(r->raw != MAP_FAILED, ACL_ERROR_RT_MEMORY_ALLOCATION,
             "aclrtReserveMemAddress: no address space for %zu bytes", size);
    r->begin = (char *)hc_align_up((uintptr_t)r->raw, alignment);
    return ACL_SUCCESS;
}

/* The range may be larger than the device: frameworks reserve one as large as all its memory and map
 * pieces as they grow. */
aclError aclrtReserveMemAddress(void **virPtr, size_t size, size_t alignment, void *expectPtr,
                                uint64_t flags) {
    (void)flags; /* page size: all pages can be mapped here */
    HC_CHECK(virPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtReserveMemAddress: virPtr is null");
    HC_CHECK(size > 0 && size < (size_t)1 << 46, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtReserveMemAddress: size is %zu", size);
    HC_CHECK((alignment & (alignment - 1)) == 0 && alignment <= (size_t)1 << 30, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtReserveMemAddress: alignment is %zu, must be 0 or a power of two up to 1 GiB", alignment);
    struct reservation *r = calloc(1, sizeof *r);
    HC_CHECK(r != NULL, ACL_ERROR_RT_MEMORY_ALLOCATION, "aclrtReserveMemAddress: out of host memory");
    const aclError code = reserve(r, size, hc_max_size(alignment, HC_HUGE_PAGE), expectPtr);
    if (code != 0) {
        free(r);
        return code;
    }
    pthread_mutex_lock(&g_lock);
    r->next = g_reservations;
    g_reservations = r;
    pthread_mutex_unlock(&g_lock);
    *virPtr = r->begin;
    return ACL_SUCCESS;
}

/* Refused while memory is mapped in the range: unmapping is the client's to do, and its tasks may still
 * use it. */
aclError aclrtReleaseMemAddress(void *virPtr) {
    struct hc_region region;
    aclError code = ACL_SUCCESS;
    pthread_mutex_lock(&g_lock);
    struct reservation **at = find(virPtr, 1), *r = at != NULL ? *at : NULL;
    if (r == NULL || r->begin != virPtr) {
        code = hc_fail(ACL_ERROR_RT_PARAM_INVALID,
                       "aclrtReleaseMemAddress: %p is not the start of a reserved range", virPtr);
    } else if (hc_region_next((uintptr_t)r->begin, (uintptr_t)r->begin + r->bytes, &region)) {
        code = hc_fail(ACL_ERROR_RT_PARAM_INVALID, "aclrtReleaseMemAddress: memory is still mapped at %p",
                       (void *)region.begin);
    } else {
        *at = r->next;
        munmap(r->raw, r->raw_bytes);
        free(r);
    }
    pthread_mutex_unlock(&g_lock);
    return code;
}

/* Host memory (for pinned expandable segments) belongs to no device and is not charged. */
static aclError find_device(const aclrtPhysicalMemProp *prop, struct hc_device **device) {
    *device = NULL;
    if (prop->location.type == ACL_MEM_LOCATION_TYPE_HOST ||
        prop->location.type == ACL_MEM_LOCATION_TYPE_HOST_NUMA)
        return 0;
    HC_CHECK(prop->location.type == ACL_MEM_LOCATION_TYPE_DEVICE, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMallocPhysical: there is no location type %d", (int)prop->location.type);
    *device = hc_device_get(prop->location.id);
    return *device != NULL ? ACL_SUCCESS : hc_device_fail("aclrtMallocPhysical", prop->location.id);
}

/* Capacity first, then a stretch of the heap: both can run out, with texts of their own. */
static aclError take_piece(struct hc_physical *p) {
    if (p->heap == NULL) return hc_error_peek();
    HC_CHECK(p->device != NULL || hc_budget_has(p->bytes), ACL_ERROR_RT_MEMORY_ALLOCATION,
             "aclrtMallocPhysical: the host has no %zu bytes", p->bytes);
    if (p->device != NULL) HC_TRY(hc_device_charge(p->device, p->bytes, "aclrtMallocPhysical"));
    if (hc_heap_take(p->heap, p->bytes, &p->unit)) return ACL_SUCCESS;
    if (p->device != NULL) hc_device_release(p->device, p->bytes);
    return hc_fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "aclrtMallocPhysical: no %zu bytes in a row", p->bytes);
}

/* Takes capacity now and pages when they are touched. The granularity is a huge page, as the interface
 * says. */
aclError aclrtMallocPhysical(aclrtDrvMemHandle *handle, size_t size, const aclrtPhysicalMemProp *prop,
                             uint64_t flags) {
    struct hc_device *device;
    HC_CHECK(handle != NULL && prop != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMallocPhysical: null argument");
    HC_CHECK(size > 0 && size < (size_t)1 << 46 && flags == 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMallocPhysical: size is %zu, flags is %llu (must be 0)", size, (unsigned long long)flags);
    HC_CHECK(size % HC_HUGE_PAGE == 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMallocPhysical: size is %zu, not a multiple of %d", size, HC_HUGE_PAGE);
    HC_TRY(find_device(prop, &device));
    struct hc_physical *p = hc_handle_new(&g_pool);
    if (p == NULL) return hc_error_peek();
    p->heap = hc_heap_own(device);
    p->device = device;
    p->bytes = size;
    const aclError code = take_piece(p);
    if (code != 0) {
        hc_handle_free(&g_pool, p);
        return code;
    }
    hc_handle_publish(&p->handle);
    *handle = p;
    return ACL_SUCCESS;
}

/* Needs the lock. */
static void free_if_unused(struct hc_physical *p) {
    if (!p->released || p->maps > 0) return;
    if (p->imported) {
        hc_heap_close(p->heap);
    } else {
        hc_heap_give(p->heap, p->unit, p->bytes);
        if (p->device != NULL) hc_device_release(p->device, p->bytes);
    }
    hc_handle_free(&g_pool, p);
}

/* The handle is dead at once; the memory goes with its last mapping, as the interface says. */
aclError aclrtFreePhysical(aclrtDrvMemHandle handle) {
    if (!hc_handle_ok(&g_pool, handle)) return hc_handle_fail(&g_pool, handle, "aclrtFreePhysical");
    struct hc_physical *p = handle;
    if (!hc_handle_retire(&p->handle)) return hc_handle_fail(&g_pool, handle, "aclrtFreePhysical");
    pthread_mutex_lock(&g_lock);
    p->released = true;
    free_if_unused(p);
    pthread_mutex_unlock(&g_lock);
    return ACL_SUCCESS;
}

/* Needs the lock. Checks before it replaces anything: the range is reserved, empty, and within one
 * reservation. */
static aclError map(char *virPtr, size_t size, struct hc_physical *p) {
    struct hc_region known;
    HC_CHECK(find(virPtr, size) != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMapMem: %p + %zu is not within a range of aclrtReserveMemAddress", (void *)virPtr, size);
    HC_CHECK(!hc_region_next((uintptr_t)virPtr, (uintptr_t)virPtr + size, &known), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMapMem: memory is mapped already at %p", (void *)known.begin);
    HC_CHECK(hc_heap_map(p->heap, p->unit, 0, size, virPtr) != NULL, ACL_ERROR_RT_MEMORY_ALLOCATION,
             "aclrtMapMem: the host cannot map %zu bytes at %p", size, (void *)virPtr);
    const struct hc_region r = {.begin = (uintptr_t)virPtr,
                                .bytes = size,
                                .mapped = size,
                                .kind = HC_REGION_MAPPED,
                                .huge = true,
                                .device = p->device,
                                .owner = p};
    HC_CHECK(hc_region_add(&r), ACL_ERROR_RT_MEMORY_ALLOCATION, "aclrtMapMem: out of host memory");
    p->maps++;
    return ACL_SUCCESS;
}

/* A piece may be mapped at several addresses at a time; all show the same bytes. */
aclError aclrtMapMem(void *virPtr, size_t size, size_t offset, aclrtDrvMemHandle handle, uint64_t flags) {
    if (!hc_handle_ok(&g_pool, handle)) return hc_handle_fail(&g_pool, handle, "aclrtMapMem");
    struct hc_physical *p = handle;
    HC_CHECK(offset == 0 && flags == 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMapMem: offset is %zu, flags is %llu; both must be 0", offset, (unsigned long long)flags);
    HC_CHECK(size > 0 && size <= p->bytes && size % HC_PAGE == 0 && (uintptr_t)virPtr % HC_PAGE == 0,
             ACL_ERROR_RT_PARAM_INVALID, "aclrtMapMem: size is %zu, the handle has %zu bytes; address is %p",
             size, p->bytes, virPtr);
    pthread_mutex_lock(&g_lock);
    const aclError code = map(virPtr, size, p);
    pthread_mutex_unlock(&g_lock);
    return code;
}

/* Needs the lock. The addresses stay reserved. */
static void unmap(const struct hc_region *r) {
    mmap((void *)r->begin, r->mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
         0);
    struct hc_physical *p = r->owner;
    p->maps--;
    free_if_unused(p);
}

/* Tasks that are queued may use the memory, so they are waited for (see aclrtFree). */
aclError aclrtUnmapMem(void *virPtr) {
    struct hc_region r;
    if (hc_region_find(virPtr, &r)) hc_streams_wait(r.device);
    pthread_mutex_lock(&g_lock);
    const bool found = hc_region_take(virPtr, HC_REGION_MAPPED, &r);
    if (found) unmap(&r);
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(found, ACL_ERROR_RT_PARAM_INVALID, "aclrtUnmapMem: no memory is mapped at %p", virPtr);
    return ACL_SUCCESS;
}

/* A shareable handle is a number: process (22 bits), file (20), unit (20). */
enum { FILE_BITS = 20 };

/* The handle names process, file and unit in 64 bits, so it may be sent as a number; who imports it asks
 * the kernel for the file. */
aclError aclrtMemExportToShareableHandle(aclrtDrvMemHandle handle, aclrtMemHandleType handleType,
                                         uint64_t flags, uint64_t *shareableHandle) {
    if (!hc_handle_ok(&g_pool, handle))
        return hc_handle_fail(&g_pool, handle, "aclrtMemExportToShareableHandle");
    struct hc_physical *p = handle;
    HC_CHECK(shareableHandle != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMemExportToShareableHandle: shareableHandle is null");
    HC_CHECK(handleType == ACL_MEM_HANDLE_TYPE_NONE && flags <= ACL_RT_VMM_EXPORT_FLAG_DISABLE_PID_VALIDATION,
             ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMemExportToShareableHandle: handleType is %d (must be 0), flags is 0x%llx",
             (int)handleType, (unsigned long long)flags);
    HC_CHECK(!p->imported, ACL_ERROR_FEATURE_UNSUPPORTED,
             "aclrtMemExportToShareableHandle: the memory is imported itself");
    HC_CHECK(p->heap->file < 1 << FILE_BITS, ACL_ERROR_RT_IPC_ERROR,
             "aclrtMemExportToShareableHandle: file number %d", p->heap->file);
    if (flags == ACL_RT_VMM_EXPORT_FLAG_DISABLE_PID_VALIDATION) hc_heap_allow(p->heap, p->unit, NULL, 0);
    *shareableHandle =
        ((uint64_t)getpid() << FILE_BITS | (uint64_t)p->heap->file) << HC_HEAP_UNIT_BITS | p->unit;
    return ACL_SUCCESS;
}

/* The inverse of aclrtMemExportToShareableHandle. */
static void split(uint64_t shareable, int32_t *pid, int *file, uint32_t *unit) {
    *unit = (uint32_t)(shareable & ((1u << HC_HEAP_UNIT_BITS) - 1));
    *file = (int)(shareable >> HC_HEAP_UNIT_BITS & ((1u << FILE_BITS) - 1));
    *pid = (int32_t)(shareable >> (HC_HEAP_UNIT_BITS + FILE_BITS));
}

/* Who may import. The list lies in the heap's table, where the importer looks. */
aclError aclrtMemSetPidToShareableHandle(uint64_t shareableHandle, int32_t *pid, size_t pidNum) {
    int32_t owner;
    int file;
    uint32_t unit;
    split(shareableHandle, &owner, &file, &unit);
    HC_CHECK(pid != NULL && pidNum > 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMemSetPidToShareableHandle: no process is given");
    HC_CHECK(owner == getpid(), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMemSetPidToShareableHandle: 0x%llx is no handle of this process",
             (unsigned long long)shareableHandle);
    struct hc_heap *heap = hc_heap_by_file(file);
    HC_CHECK(heap != NULL && unit < heap->units && hc_heap_allow(heap, unit, pid, pidNum),
             ACL_ERROR_RT_PARAM_INVALID,
             "aclrtMemSetPidToShareableHandle: stale handle, or more than %d processes", HC_HEAP_MAX_PIDS);
    return ACL_SUCCESS;
}

/* The size and the permission come from the exporter's table: the number itself says nothing of them. */
static aclError import(struct hc_physical *p, uint32_t unit, int32_t owner) {
    p->unit = unit;
    p->bytes = hc_heap_piece(p->heap, unit);
    HC_CHECK(p->bytes > 0, ACL_ERROR_RT_IPC_ERROR,
             "aclrtMemImportFromShareableHandle: process %d has freed that memory", owner);
    HC_CHECK(hc_heap_allowed(p->heap, unit, getpid()), ACL_ERROR_RT_NO_PERMISSION,
             "aclrtMemImportFromShareableHandle: process %d did not allow process %d "
             "(aclrtMemSetPidToShareableHandle)",
             owner, (int)getpid());
    return ACL_SUCCESS;
}

/* Not charged to the device: the exporter's process accounts for the memory. */
aclError aclrtMemImportFromShareableHandle(uint64_t shareableHandle, int32_t deviceId,
                                           aclrtDrvMemHandle *handle) {
    int32_t owner;
    int file;
    uint32_t unit;
    struct hc_device *device = hc_device_get(deviceId);
    split(shareableHandle, &owner, &file, &unit);
    HC_CHECK(handle != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtMemImportFromShareableHandle: handle is null");
    if (device == NULL) return hc_device_fail("aclrtMemImportFromShareableHandle", deviceId);
    struct hc_heap *heap = hc_heap_open(owner, file, "aclrtMemImportFromShareableHandle");
    if (heap == NULL) return ACL_ERROR_RT_IPC_ERROR;
    struct hc_physical *p = hc_handle_new(&g_pool);
    if (p == NULL) {
        hc_heap_close(heap);
        return hc_error_peek();
    }
    p->heap = heap;
    p->device = device;
    p->imported = true;
    const aclError code = import(p, unit, owner);
    if (code != 0) {
        hc_heap_close(heap);
        hc_handle_free(&g_pool, p);
        return code;
    }
    hc_handle_publish(&p->handle);
    *handle = p;
    return ACL_SUCCESS;
}

/* For hc_handle_each, with the lock held. */
static void release_one(void *object, void *device) {
    struct hc_physical *p = object;
    if ((device == NULL || p->device == device) && hc_handle_retire(&p->handle)) {
        p->released = true;
        free_if_unused(p);
    }
}

/* Mappings first, they hold the pieces; reservations only at the end of the process's use of devices. */
void hc_vmm_free_all(struct hc_device *device) {
    struct hc_region r;
    pthread_mutex_lock(&g_lock);
    for (uintptr_t at = 0; hc_region_next(at, UINTPTR_MAX, &r); at = r.begin + 1) {
        if (r.kind != HC_REGION_MAPPED || (device != NULL && r.device != device)) continue;
        if (hc_region_take((void *)r.begin, HC_REGION_MAPPED, &r)) unmap(&r);
    }
    hc_handle_each(&g_pool, release_one, device);
    while (device == NULL && g_reservations != NULL) {
        struct reservation *r0 = g_reservations;
        g_reservations = r0->next;
        munmap(r0->raw, r0->raw_bytes);
        free(r0);
    }
    pthread_mutex_unlock(&g_lock);
}

void hc_vmm_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    hc_pool_reset(&g_pool);
    g_reservations = NULL;
}
