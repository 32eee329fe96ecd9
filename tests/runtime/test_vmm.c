// SPDX-License-Identifier: Apache-2.0
#include "runtime_test.h"

enum { PIECE = 2 << 20 };

static aclrtPhysicalMemProp on_device(uint32_t id) {
    return (aclrtPhysicalMemProp){.memAttr = ACL_HBM_MEM_HUGE,
                                  .location = {id, ACL_MEM_LOCATION_TYPE_DEVICE}};
}

TEST(map_two_pieces_side_by_side) {
    use_device(0);
    char *va, back[16];
    aclrtDrvMemHandle h[2];
    size_t free, total, later;
    const aclrtPhysicalMemProp prop = on_device(0);
    CHECK_OK(aclrtGetMemInfo(ACL_HBM_MEM, &free, &total));
    CHECK_OK(aclrtReserveMemAddress((void **)&va, 64 * (size_t)PIECE, 0, NULL, 1));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(aclrtMallocPhysical(&h[i], PIECE, &prop, 0));
        CHECK_OK(aclrtMapMem(va + i * PIECE, PIECE, 0, h[i], 0));
    }
    CHECK_OK(aclrtGetMemInfo(ACL_HBM_MEM, &later, &total));
    CHECK_EQ(later, free - 2 * PIECE);
    CHECK_OK(aclrtMemset(va, 2 * PIECE, 7, 2 * PIECE)); /* across the seam */
    CHECK_OK(aclrtMemcpy(back, 16, va + PIECE - 8, 16, ACL_MEMCPY_DEVICE_TO_HOST));
    CHECK(back[0] == 7 && back[15] == 7);
    CHECK_FAILS(aclrtMemset(va, 3 * PIECE, 7, 3 * PIECE), ACL_ERROR_RT_PARAM_INVALID, "bytes left");
    CHECK_FAILS(aclrtMapMem(va, PIECE, 0, h[0], 0), ACL_ERROR_RT_PARAM_INVALID, "mapped already");
    CHECK_FAILS(aclrtMapMem(back, PIECE, 0, h[0], 0), ACL_ERROR_RT_PARAM_INVALID, "address is");
    CHECK_FAILS(aclrtReleaseMemAddress(va), ACL_ERROR_RT_PARAM_INVALID, "still mapped");
    CHECK_OK(aclrtUnmapMem(va));
    CHECK_FAILS(aclrtUnmapMem(va), ACL_ERROR_RT_PARAM_INVALID, "no memory is mapped");
    CHECK_OK(aclrtMapMem(va + 5 * PIECE, PIECE, 0, h[0], 0)); /* contents move with the handle */
    CHECK_EQ(va[5 * PIECE + 100], 7);
    CHECK_OK(aclrtFreePhysical(h[0])); /* stays until it is unmapped */
    CHECK_EQ(va[5 * PIECE + 100], 7);
    CHECK_FAILS(aclrtFreePhysical(h[0]), ACL_ERROR_RT_INVALID_HANDLE, "physical");
    CHECK_OK(aclrtUnmapMem(va + 5 * PIECE));
    CHECK_OK(aclrtUnmapMem(va + PIECE));
    CHECK_OK(aclrtFreePhysical(h[1]));
    CHECK_OK(aclrtReleaseMemAddress(va));
    CHECK_FAILS(aclrtReleaseMemAddress(va), ACL_ERROR_RT_PARAM_INVALID, "not the start");
    CHECK_OK(aclrtGetMemInfo(ACL_HBM_MEM, &later, &total));
    CHECK_EQ(later, free);
}

TEST(new_memory_is_zero_and_capacity_holds) {
    use_device(0);
    char *va;
    aclrtDrvMemHandle h, big;
    const aclrtPhysicalMemProp prop = on_device(0);
    CHECK_OK(aclrtReserveMemAddress((void **)&va, PIECE, 0, NULL, 0));
    for (int round = 0; round < 2; round++) {
        CHECK_OK(aclrtMallocPhysical(&h, PIECE, &prop, 0));
        CHECK_OK(aclrtMapMem(va, PIECE, 0, h, 0));
        CHECK_EQ(va[PIECE / 2], 0);
        va[PIECE / 2] = 1;
        CHECK_OK(aclrtUnmapMem(va));
        CHECK_OK(aclrtFreePhysical(h));
    }
    CHECK_OK(aclrtReleaseMemAddress(va));
    CHECK_FAILS(aclrtMallocPhysical(&big, (size_t)100 << 30, &prop, 0), ACL_ERROR_RT_MEMORY_ALLOCATION,
                "out of memory");
    CHECK_FAILS(aclrtMallocPhysical(&big, 1000, &prop, 0), ACL_ERROR_RT_PARAM_INVALID, "multiple");
    const aclrtPhysicalMemProp none = on_device(999);
    CHECK_FAILS(aclrtMallocPhysical(&big, PIECE, &none, 0), ACL_ERROR_RT_INVALID_DEVICEID, "999");
    CHECK_FAILS(aclrtMapMem(va, PIECE, 0, NULL, 0), ACL_ERROR_RT_PARAM_INVALID, "null");
}
