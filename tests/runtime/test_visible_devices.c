// SPDX-License-Identifier: Apache-2.0
/* ASCEND_RT_VISIBLE_DEVICES, in children: a process reads it once. */
#include "hc_device.h"
#include "runtime_test.h"

#define FAIL_UNLESS(cond)                                                                                    \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("%d: %s: %s\n", __LINE__, #cond, aclGetRecentErrMsg());                                   \
            fflush(stdout);                                                                                  \
            return 1;                                                                                        \
        }                                                                                                    \
    } while (0)

static const char *g_list; /* NULL: unset */
static int32_t g_expected[8], g_count;

static uint64_t uuid_of(int32_t device) {
    aclrtUuid uuid;
    uint64_t words[2] = {0};
    if (aclrtDeviceGetUuid(device, &uuid) == ACL_SUCCESS) memcpy(words, uuid.bytes, sizeof words);
    return words[1];
}

static void use_list(const char *list) {
    setenv("MINDSPEED_NUM_DEVICES", "8", 1);
    if (list != NULL) setenv("ASCEND_RT_VISIBLE_DEVICES", list, 1);
    else unsetenv("ASCEND_RT_VISIBLE_DEVICES");
}

static int devices_are_as_expected(void) {
    use_list(g_list);
    uint32_t count = 99;
    FAIL_UNLESS(aclrtGetDeviceCount(&count) == ACL_SUCCESS &&
                count == (uint32_t)g_count); /* before aclInit */
    FAIL_UNLESS(aclInit(NULL) == ACL_SUCCESS);
    for (int32_t i = 0; i < g_count; i++) {
        int64_t chip = -1;
        int32_t logical = -1, now = -1, can = -1;
        FAIL_UNLESS(aclrtSetDevice(i) == ACL_SUCCESS && aclrtGetDevice(&now) == ACL_SUCCESS && now == i);
        FAIL_UNLESS(aclrtGetDeviceInfo((uint32_t)i, ACL_DEV_ATTR_PHY_CHIP_ID, &chip) == ACL_SUCCESS);
        FAIL_UNLESS(aclrtGetLogicDevIdByUserDevId(i, &logical) == ACL_SUCCESS);
        FAIL_UNLESS(chip == g_expected[i] && logical == g_expected[i]);
        FAIL_UNLESS((uuid_of(i) & 0xffffffff) == (uint64_t)g_expected[i]);
        FAIL_UNLESS(aclrtDeviceCanAccessPeer(&can, 0, i) == ACL_SUCCESS && can == (i != 0));
    }
    FAIL_UNLESS(aclrtSetDevice(g_count) == ACL_ERROR_RT_INVALID_DEVICEID);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(),
                       g_list != NULL ? "ASCEND_RT_VISIBLE_DEVICES" : "MINDSPEED_NUM_DEVICES is 8") != NULL);
    FAIL_UNLESS(hc_device_physical_count() == 8);
    return 0;
}

#define CHECK_LIST(list, ...)                                                                                \
    do {                                                                                                     \
        const int32_t expected[] = {__VA_ARGS__};                                                            \
        g_list = (list);                                                                                     \
        g_count = (int32_t)(sizeof expected / sizeof expected[0]);                                           \
        memcpy(g_expected, expected, sizeof expected);                                                       \
        CHECK_EQ(in_child(devices_are_as_expected, 20), 0);                                                  \
    } while (0)

TEST(order_and_subset) {
    CHECK_LIST(NULL, 0, 1, 2, 3, 4, 5, 6, 7);
    CHECK_LIST("0,1,2,3,4,5,6,7", 0, 1, 2, 3, 4, 5, 6, 7);
    CHECK_LIST("3", 3);
    CHECK_LIST("1,2,3", 1, 2, 3);
    CHECK_LIST("7,0,05", 7, 0, 5);
}

static int nothing_is_visible(void) {
    use_list("");
    uint32_t count = 99;
    FAIL_UNLESS(aclrtGetDeviceCount(&count) == ACL_SUCCESS && count == 0);
    FAIL_UNLESS(aclInit(NULL) == ACL_SUCCESS);
    FAIL_UNLESS(aclrtSetDevice(0) == ACL_ERROR_RT_INVALID_DEVICEID);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "ASCEND_RT_VISIBLE_DEVICES is empty") != NULL);
    return 0;
}
TEST(empty_means_none) { CHECK_EQ(in_child(nothing_is_visible, 20), 0); }

static const char *g_entry, *g_why;

static int list_is_refused(void) {
    use_list(g_list);
    char wanted[128];
    uint32_t count = 99;
    snprintf(wanted, sizeof wanted, "ASCEND_RT_VISIBLE_DEVICES=%s: '%s' %s", g_list, g_entry, g_why);
    FAIL_UNLESS(aclrtGetDeviceCount(&count) == ACL_ERROR_RT_NO_DEVICE && count == 99);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), wanted) != NULL);
    FAIL_UNLESS(aclInit(NULL) == ACL_ERROR_INVALID_PARAM);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), wanted) != NULL);
    FAIL_UNLESS(strstr(aclGetRecentErrMsg(), "ids from 0 to 7 (MINDSPEED_NUM_DEVICES is 8)") != NULL);
    int32_t id;
    FAIL_UNLESS(aclrtSetDevice(0) != ACL_SUCCESS && aclrtGetDevice(&id) != ACL_SUCCESS);
    use_list("4"); /* mended in the same process */
    FAIL_UNLESS(aclInit(NULL) == ACL_SUCCESS && hc_device_physical_id(0) == 4);
    return 0;
}

TEST(wrong_lists_are_refused_by_name) {
    static const char *const BAD[][3] = {
        {"0,1,0", "0", "is there twice"},
        {"1,01", "01", "is there twice"},
        {"0,8", "8", "is out of range"},
        {"99999999999999999999", "99999999999999999999", "is out of range"},
        {"-1", "-1", "is no device id"},
        {"0,x", "x", "is no device id"},
        {"1, 2", " 2", "is no device id"},
        {"0,", "", "is no device id"},
        {",0", "", "is no device id"},
        {"0;1", "0;1", "is no device id"},
        {"+1", "+1", "is no device id"},
        {" ", " ", "is no device id"},
    };
    for (size_t i = 0; i < HC_ARRAY_SIZE(BAD); i++) {
        g_list = BAD[i][0];
        g_entry = BAD[i][1];
        g_why = BAD[i][2];
        CHECK_MSG(in_child(list_is_refused, 20) == 0, "%s", g_list);
    }
}
