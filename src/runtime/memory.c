// SPDX-License-Identifier: Apache-2.0
/* Device memory: pages of the host that are committed when first touched, accounted against the device's
 * capacity and the host's memory (device_memory.c). */
#include "hc_memory.h"

#include <string.h>
#include <sys/mman.h>

#include "hc_error.h"
#include "hc_share.h"
#include "hc_stream.h"

/* Sizes are accounted in units of 512 bytes, the alignment that clients are promised. */
enum { UNIT = 512 };

/* Small allocations get whole pages too: the address must not be shared between allocations that are freed
 * apart. Nothing is committed here: pages appear when they are first touched, zeroed. Huge pages when the
 * kernel offers them. */
static aclError allocate(void **devPtr, size_t size, bool huge, struct hc_device *device,
                         const char *function) {
    const size_t charged = hc_align_up(size, huge ? HC_HUGE_PAGE : UNIT);
    const size_t mapped = hc_align_up(charged, HC_PAGE);
    HC_TRY(hc_device_charge(device, charged, function));
    void *p = hc_pages_map(mapped, mapped >= HC_HUGE_PAGE ? HC_HUGE_PAGE : HC_PAGE);
    const struct hc_region region = {.begin = (uintptr_t)p,
                                     .bytes = charged,
                                     .mapped = mapped,
                                     .charged = charged,
                                     .kind = HC_REGION_DEVICE,
                                     .huge = huge,
                                     .device = device};
    if (p == NULL || !hc_region_add(&region)) {
        if (p != NULL) hc_pages_unmap(p, mapped);
        hc_device_release(device, charged);
        return hc_fail(ACL_ERROR_RT_MEMORY_ALLOCATION,
                       "%s: the host has no address space for %zu bytes of device %d", function, mapped,
                       device->id);
    }
    if (mapped >= HC_HUGE_PAGE) madvise(p, mapped, MADV_HUGEPAGE); /* only faster: a kernel without is fine */
    madvise(p, mapped, MADV_DONTFORK);
    *devPtr = p;
    return ACL_SUCCESS;
}

/* The low byte is a choice, the bits above are hints about the kind of memory, which have one meaning
 * here. */
static bool known_policy(unsigned policy) {
    const unsigned base = policy & 0xff;
    const unsigned types =
        ACL_MEM_TYPE_LOW_BAND_WIDTH | ACL_MEM_TYPE_HIGH_BAND_WIDTH | ACL_MEM_ACCESS_USER_SPACE_READONLY;
    return base <= ACL_MEM_MALLOC_HUGE1G_ONLY_P2P && (policy & ~(types | 0xffu)) == 0;
}

/* "Huge first" falls back to normal pages where a huge one would be mostly empty. */
static bool wants_huge(unsigned policy, size_t size) {
    switch (policy & 0xff) {
    case ACL_MEM_MALLOC_NORMAL_ONLY:
    case ACL_MEM_MALLOC_NORMAL_ONLY_P2P: return false;
    case ACL_MEM_MALLOC_HUGE_FIRST:
    case ACL_MEM_MALLOC_HUGE_FIRST_P2P: return size > HC_HUGE_PAGE / 2;
    default: return true;
    }
}

/* All public allocations end here: same checks, same texts. */
static aclError malloc_on_current(void **devPtr, size_t size, aclrtMemMallocPolicy policy,
                                  const char *function) {
    HC_CHECK(devPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: devPtr is null", function);
    HC_CHECK(size > 0, ACL_ERROR_RT_PARAM_INVALID, "%s: size is 0", function);
    HC_CHECK(known_policy((unsigned)policy), ACL_ERROR_RT_PARAM_INVALID, "%s: there is no policy 0x%x",
             function, (unsigned)policy);
    const struct hc_context *c = hc_context_current(function);
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    /* Rounding up must not wrap. */
    if (size > hc_device_capacity()) return hc_device_charge(c->device, size, function);
    return allocate(devPtr, size, wants_huge((unsigned)policy, size), c->device, function);
}

aclError aclrtMalloc(void **devPtr, size_t size, aclrtMemMallocPolicy policy) {
    return malloc_on_current(devPtr, size, policy, "aclrtMalloc");
}

/* The interface promises sizes rounded to 32 bytes instead of 512 more; ours need neither. */
aclError aclrtMallocAlign32(void **devPtr, size_t size, aclrtMemMallocPolicy policy) {
    return malloc_on_current(devPtr, size, policy, "aclrtMallocAlign32");
}

/* An exported allocation also has a piece of the device's heap behind it. */
static void give_back(const struct hc_region *r) {
    if (r->owner != NULL) hc_share_drop(r->owner);
    hc_pages_unmap((void *)r->begin, r->mapped);
    hc_device_release(r->device, r->charged);
}

/* The hardware is done with the memory when it is freed only if the client synchronised; here a queued task
 * would fault, so wait for the device. Idle streams, the usual case, cost nothing. */
aclError aclrtFree(void *devPtr) {
    struct hc_region r;
    HC_CHECK(devPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtFree: devPtr is null");
    HC_CHECK(hc_region_find(devPtr, &r), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtFree: %p is no device memory, or freed already", devPtr);
    HC_CHECK(r.kind == HC_REGION_DEVICE && r.begin == (uintptr_t)devPtr, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtFree: %p is not the start of an allocation but lies %zu bytes inside %s", devPtr,
             (size_t)((uintptr_t)devPtr - r.begin), hc_region_kind_name(r.kind));
    hc_streams_wait(r.device);
    HC_CHECK(hc_region_take(devPtr, HC_REGION_DEVICE, &r), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtFree: %p is freed already", devPtr);
    give_back(&r);
    return ACL_SUCCESS;
}

/* All kinds of device memory are one here: page sizes and peer access are hints. */
static bool is_device_attr(aclrtMemAttr attr) {
    switch (attr) {
    case ACL_HBM_MEM:
    case ACL_HBM_MEM_HUGE:
    case ACL_HBM_MEM_NORMAL:
    case ACL_HBM_MEM_P2P_HUGE:
    case ACL_HBM_MEM_P2P_NORMAL:
    case ACL_HBM_MEM_HUGE1G:
    case ACL_HBM_MEM_P2P_HUGE1G:
    case ACL_MEM_NORMAL:
    case ACL_MEM_HUGE:
    case ACL_MEM_HUGE1G:
    case ACL_MEM_P2P_NORMAL:
    case ACL_MEM_P2P_HUGE:
    case ACL_MEM_P2P_HUGE1G: return true;
    default: return false;
    }
}

/* The devices have one kind of memory (HBM); of the others they have none. */
aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t *free, size_t *total) {
    HC_CHECK(free != NULL && total != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtGetMemInfo: %s is null",
             free == NULL ? "free" : "total");
    HC_CHECK((int)attr >= ACL_DDR_MEM && attr <= ACL_MEM_P2P_HUGE1G, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetMemInfo: there is no memory type %d", (int)attr);
    const struct hc_context *c = hc_context_current("aclrtGetMemInfo");
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    *total = is_device_attr(attr) ? (size_t)hc_device_capacity() : 0;
    *free = *total > 0 ? (size_t)hc_device_free(c->device) : 0;
    return ACL_SUCCESS;
}

/* One entry: all the memory of the process on that device. */
aclError aclrtGetMemUsageInfo(int32_t deviceId, aclrtMemUsageInfo *memUsageInfo, size_t inputNum,
                              size_t *outputNum) {
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtGetMemUsageInfo", deviceId);
    HC_CHECK(memUsageInfo != NULL && outputNum != NULL && inputNum > 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtGetMemUsageInfo: null argument, or inputNum is 0");
    memset(memUsageInfo, 0, sizeof *memUsageInfo);
    strcpy(memUsageInfo->name, "APP");
    memUsageInfo->curMemSize = atomic_load(&device->memory_used);
    memUsageInfo->memPeakSize = atomic_load(&device->memory_peak);
    *outputNum = 1;
    return ACL_SUCCESS;
}

static enum aclrtMemLocationType location_of(const struct hc_region *r) {
    return r->device != NULL ? ACL_MEM_LOCATION_TYPE_DEVICE : ACL_MEM_LOCATION_TYPE_HOST;
}

/* Any address may be asked for; unknown ones are "unregistered", which is an answer and no error. */
aclError aclrtPointerGetAttributes(const void *ptr, aclrtPtrAttributes *attributes) {
    HC_CHECK(attributes != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtPointerGetAttributes: attributes is null");
    struct hc_region r;
    memset(attributes, 0, sizeof *attributes);
    attributes->location.type = ACL_MEM_LOCATION_TYPE_UNREGISTERED;
    if (!hc_region_find(ptr, &r)) return ACL_SUCCESS;
    attributes->location.type = location_of(&r);
    attributes->location.id = r.device != NULL ? (uint32_t)r.device->id : 0;
    attributes->pageSize = r.huge ? HC_HUGE_PAGE : HC_PAGE;
    return ACL_SUCCESS;
}

/* Goes by address, so regions that disappear meanwhile do no harm. */
static void free_regions(const struct hc_device *device, enum hc_region_kind kind) {
    struct hc_region r;
    for (uintptr_t at = 0; hc_region_next(at, UINTPTR_MAX, &r); at = r.begin + 1) {
        if (r.kind != kind || (device != NULL && r.device != device)) continue;
        if (!hc_region_take((void *)r.begin, kind, &r)) continue;
        if (kind == HC_REGION_DEVICE) give_back(&r);
        else if (kind == HC_REGION_HOST) hc_pages_unmap((void *)r.begin, r.mapped);
    }
}

/* In this order: mappings and imports are views, allocations own. */
void hc_memory_free_all(struct hc_device *device) {
    hc_vmm_free_all(device);
    hc_ipc_close_all(device);
    free_regions(device, HC_REGION_DEVICE);
    if (device != NULL) return;
    free_regions(NULL, HC_REGION_HOST);
    free_regions(NULL, HC_REGION_REGISTERED);
}
