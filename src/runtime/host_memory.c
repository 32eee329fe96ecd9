// SPDX-License-Identifier: Apache-2.0
/* Host memory that devices may reach. Nothing needs to be pinned: the devices are the host. */
#include "hc_budget.h"
#include "hc_checked.h"
#include "hc_error.h"
#include "hc_memory.h"
#include "hc_stream.h"

/* Whole pages: the memory can be given back to the system, and a stray write hits no neighbour's
 * bookkeeping. */
static aclError allocate(void **hostPtr, size_t size, const char *function) {
    HC_CHECK(hostPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "%s: the result pointer is null", function);
    HC_CHECK(size > 0 && size < (size_t)1 << 60, ACL_ERROR_RT_PARAM_INVALID, "%s: size is %zu", function,
             size);
    const size_t mapped = hc_align_up(size, HC_PAGE);
    HC_CHECK(hc_budget_has(mapped), ACL_ERROR_RT_MEMORY_ALLOCATION, "%s: the host has no %zu bytes", function,
             size);
    void *p = hc_pages_map(mapped, HC_PAGE);
    const struct hc_region region = {
        .begin = (uintptr_t)p, .bytes = size, .mapped = mapped, .kind = HC_REGION_HOST};
    if (p == NULL || !hc_region_add(&region)) {
        if (p != NULL) hc_pages_unmap(p, mapped);
        return hc_fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "%s: the host has no address space for %zu bytes",
                       function, size);
    }
    *hostPtr = p;
    return ACL_SUCCESS;
}

aclError aclrtMallocHost(void **hostPtr, size_t size) { return allocate(hostPtr, size, "aclrtMallocHost"); }

/* The attributes say for whom the memory is (module, device, address space): the host's memory is for all. */
aclError aclrtMallocHostWithCfg(void **ptr, uint64_t size, aclrtMallocConfig *cfg) {
    for (size_t i = 0; cfg != NULL && i < cfg->numAttrs; i++) {
        const unsigned kind = (unsigned)cfg->attrs[i].attr;
        HC_CHECK(kind <= ACL_RT_MEM_ATTR_VA_FLAG, ACL_ERROR_RT_PARAM_INVALID,
                 "aclrtMallocHostWithCfg: there is no attribute %u", kind);
    }
    return allocate(ptr, size, "aclrtMallocHostWithCfg");
}

/* Waits for all streams, as any of them may be copying from it. */
aclError aclrtFreeHost(void *hostPtr) {
    struct hc_region r;
    HC_CHECK(hostPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtFreeHost: hostPtr is null");
    if (hc_region_find(hostPtr, &r) && r.kind == HC_REGION_HOST) hc_streams_wait(NULL);
    HC_CHECK(hc_region_take(hostPtr, HC_REGION_HOST, &r), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtFreeHost: %p is not the start of host memory of aclrtMallocHost, or freed already",
             hostPtr);
    hc_pages_unmap(hostPtr, r.mapped);
    return ACL_SUCCESS;
}

/* Memory of aclrtMallocHost is known, and devices reach it: to register a part of it (torch_npu's tensors in
 * host memory do, to have it at a device's address) adds nothing. */
static bool is_of_host(const void *ptr, uint64_t size) {
    struct hc_region known;
    return hc_region_find(ptr, &known) && known.kind == HC_REGION_HOST &&
           (uintptr_t)ptr - known.begin + size <= known.bytes;
}

/* Only remembered, so that copies can be checked and the address asked for. */
static aclError host_register(void *ptr, uint64_t size, const char *function) {
    struct hc_region known;
    HC_CHECK(ptr != NULL && size > 0, ACL_ERROR_RT_PARAM_INVALID, "%s: ptr is %p, size is %llu", function,
             ptr, (unsigned long long)size);
    HC_CHECK(hc_memory_possible(ptr, size), ACL_ERROR_RT_PARAM_INVALID,
             "%s: %llu bytes at %p end behind the address space", function, (unsigned long long)size, ptr);
    if (is_of_host(ptr, size)) return ACL_SUCCESS;
    const struct hc_region region = {.begin = (uintptr_t)ptr, .bytes = size, .kind = HC_REGION_REGISTERED};
    if (hc_region_add(&region)) return ACL_SUCCESS;
    const bool overlap =
        hc_region_next((uintptr_t)ptr, (uintptr_t)ptr + size, &known) || hc_region_find(ptr, &known);
    HC_CHECK(overlap, ACL_ERROR_RT_RESOURCE_ALLOC_FAIL, "%s: out of host memory", function);
    return hc_fail(ACL_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "%s: %p + %llu overlaps %s at %p + %zu",
                   function, ptr, (unsigned long long)size, hc_region_kind_name(known.kind),
                   (void *)known.begin, known.bytes);
}

/* The device sees host memory at the host's own address. */
aclError aclrtHostRegister(void *ptr, uint64_t size, aclrtHostRegisterType type, void **devPtr) {
    HC_CHECK(type == ACL_HOST_REGISTER_MAPPED || type == ACL_HOST_REGISTER_IOMEMORY ||
                 type == ACL_HOST_REGISTER_READONLY,
             ACL_ERROR_RT_PARAM_INVALID, "aclrtHostRegister: there is no type %d", (int)type);
    HC_CHECK(devPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtHostRegister: devPtr is null");
    HC_TRY(host_register(ptr, size, "aclrtHostRegister"));
    *devPtr = ptr;
    return ACL_SUCCESS;
}

aclError aclrtHostRegisterV2(void *ptr, uint64_t size, uint32_t flag) {
    const uint32_t known =
        (uint32_t)(ACL_HOST_REG_MAPPED | ACL_HOST_REG_IOMEMORY | ACL_HOST_REG_READONLY | ACL_HOST_REG_PINNED);
    HC_CHECK((flag & ~known) == 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtHostRegisterV2: flag is 0x%x, known bits are 0x%x", flag, known);
    return host_register(ptr, size, "aclrtHostRegisterV2");
}

/* Tasks that use the memory are the client's to wait for: the memory is not given back here. */
aclError aclrtHostUnregister(void *ptr) {
    struct hc_region r;
    if (is_of_host(ptr, 0)) return ACL_SUCCESS;
    HC_CHECK(hc_region_take(ptr, HC_REGION_REGISTERED, &r), ACL_ERROR_HOST_MEMORY_NOT_REGISTERED,
             "aclrtHostUnregister: %p is not the start of registered memory", ptr);
    return ACL_SUCCESS;
}
