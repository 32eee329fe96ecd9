// SPDX-License-Identifier: Apache-2.0
/* Rank tables: what is read, what is refused and how, ranks that meet by one. */
#include "harness.h"
#include "hccl_ranks.h"
#include "hc_json.h"
/* Part of the library, but not of its interface. */
#include "../../src/hccl/bootstrap/json.c"

static char g_path[] = "/tmp/test_rank_table_XXXXXX";

static bool write_table(const char *text, size_t length) {
    if (strstr(g_path, "XXXXXX") != NULL) close(mkstemp(g_path));
    FILE *file = fopen(g_path, "wb");
    const bool good = file != NULL && fwrite(text, 1, length, file) == length;
    return file != NULL && fclose(file) == 0 && good;
}

static bool ready(void) {
    static bool done;
    if (!done) done = aclInit(NULL) == 0 && aclrtSetDevice(0) == 0;
    return done;
}

static bool refused(const char *text, uint32_t rank, const char *why) {
    HcclComm comm = NULL;
    if (!ready() || !write_table(text, strlen(text))) return false;
    const HcclResult status = HcclCommInitClusterInfo(g_path, rank, &comm);
    const char *message = aclGetRecentErrMsg();
    const bool good =
        status != HCCL_SUCCESS && strstr(message, why) != NULL && strstr(message, g_path) != NULL;
    if (!good) printf("status %d: %s\n", status, message);
    return good;
}

#define DEVICE(device, rank)                                                                                 \
    "{\"device_id\":\"" device "\",\"device_ip\":\"192.168.1.8\",\"rank_id\":\"" rank "\"}"
#define SERVER(devices) "{\"server_id\":\"127.0.0.1\",\"host_nic_ip\":\"reserve\",\"device\":[" devices "]}"
#define TABLE(servers)                                                                                       \
    "{\"status\":\"completed\",\"version\":\"1.0\",\"server_count\":\"1\",\"server_list\":[" servers "]}"
/* Other order, other spelling, other keys. */
static const char FOUR_RANKS[] =
    "{ \"server_list\" : [ { \"device\" : [ { \"rank_id\" : 3 , \"device_id\" : 3 },\n"
    "  {\"rank_id\":\"1\",\"device_id\":\"1\"}, "
    "{\"device_id\":\"2\",\"rank_id\":\"2\",\"more\":[1,{\"a\":null}]},\n"
    "  {\"rank_id\":\"0\",\"device_id\":\"0\"} ], \"host_ip\":\"127.0.0.1\", \"server_id\" : \"node\\u0031\" "
    "} ],\n"
    "  \"server_count\" : 1, \"extra\" : {\"x\" : [true, false, -1.5e+3]}, \"version\":\"1.0\" }";

TEST(ranks_meet) {
    CHECK(write_table(FOUR_RANKS, strlen(FOUR_RANKS)));
    pid_t pids[4];
    fflush(stdout);
    for (uint32_t r = 0; r < 4; r++) {
        if ((pids[r] = fork()) != 0) continue;
        struct rank self_rank = {.rank = r, .num_ranks = 4}, *self = &self_rank;
        HcclComm comm;
        float *x;
        setenv("HCCL_IF_BASE_PORT", "61357", 1);
        if (r == 0) usleep(300000); /* the others may come first */
        const int failed = aclInit(NULL) != 0 || aclrtSetDevice((int32_t)r) != 0 ||
                           HcclCommInitClusterInfo(g_path, r, &comm) != 0 ||
                           aclrtMalloc((void **)&x, 64, 0) != 0;
        if (failed) printf("%s\n", aclGetRecentErrMsg());
        if (failed) _exit(1);
        *x = (float)self->rank;
        if (HcclAllReduce(x, x, 1, HCCL_DATA_TYPE_FP32, HCCL_REDUCE_SUM, comm, NULL) != 0) _exit(2);
        if (aclrtSynchronizeStream(NULL) != 0 || *x != 6) _exit(3);
        _exit(HcclCommDestroy(comm) != 0);
    }
    for (uint32_t r = 0; r < 4; r++) {
        int status = 1;
        waitpid(pids[r], &status, 0);
        CHECK_EQ(status, 0);
    }
}

TEST(what_is_wrong_is_said) {
    CHECK(refused("", 0, "the text ends where an object is wanted"));
    CHECK(refused("[]", 0, "line 1: an object is wanted, not '['"));
    CHECK(refused(TABLE(SERVER(DEVICE("0", "0"))) "x", 0, "there is text behind the value"));
    CHECK(refused(TABLE(SERVER(DEVICE("0", "0") "," DEVICE("1", "0"))), 0, "lists rank 0 twice"));
    CHECK(refused(TABLE(SERVER(DEVICE("0", "0") "," DEVICE("1", "2"))), 0, "has 2 ranks but no rank 1"));
    CHECK(
        refused(TABLE(SERVER(DEVICE("0", "0") "," DEVICE("1", "1"))), 2, "rank 2 is not in the rank table"));
    CHECK(refused(TABLE(SERVER(DEVICE("0", "x"))), 0, "'x' is no whole number from 0 to 65535"));
    CHECK(refused(TABLE(SERVER(DEVICE("0", "-1"))), 0, "'-1' is no whole number"));
    CHECK(refused(TABLE(SERVER("{\"device_id\":\"0\"}")), 0, "a device has no \"rank_id\""));
    CHECK(refused(TABLE(SERVER("{\"rank_id\":\"0\"}")), 0, "rank 0 has no \"device_id\""));
    CHECK(refused(TABLE("{\"device\":[]}"), 0, "a server has no \"server_id\""));
    CHECK(refused(TABLE(SERVER("")), 0, "names no rank"));
    CHECK(
        refused("{\"server_list\":[],\"server_count\":\"2\"}", 0, "lists 0 servers, its server_count is 2"));
    CHECK(refused("{\"status\":\"initializing\"}", 0, "its status is 'initializing', wanted 'completed'"));
    CHECK(refused("{\"version\":\"7\"}", 0, "is of version 7, wanted 1.0"));
    CHECK(refused("{\"a\":01}", 0, "'01' is no value"));
    CHECK(refused("{\"a\":\"\n\"}", 0, "control character"));
    CHECK(refused("{\n\n\"a\" 1}", 0, "line 3: ':' is wanted, not '1'"));
    CHECK(refused(
        "{\"server_list\":[{\"server_id\":\"here\",\"device\":[" DEVICE("1", "0") "," DEVICE("0", "1") "]}]}",
        1, "gives rank 0's server as 'here', wanted an IPv4 address"));
    CHECK(refused(TABLE(SERVER("{\"device_id\":\"0\",\"rank_id\":\"0\",\"rank_id\":\"1\"}")), 0,
                  "the key \"rank_id\" comes twice"));
    CHECK(refused("{\"a\":{\"b\":1,\"\\u0062\":2}}", 0, "the key \"b\" comes twice"));
    static const char *const NUMBERS[] = {"65536",
                                          "4294967296",
                                          "18446744073709551616",
                                          "1e3",
                                          "1.0",
                                          "+1",
                                          "0x1",
                                          "-0",
                                          " 1",
                                          "1 ",
                                          "",
                                          "null",
                                          "999999999999999999999999999999999999999999999999"};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof NUMBERS[0]; i++) {
        char text[300], why[200];
        snprintf(text, sizeof text, TABLE(SERVER(DEVICE("0", "%s"))), NUMBERS[i]);
        snprintf(why, sizeof why, "'%s' is no whole number from 0 to 65535", NUMBERS[i]);
        CHECK(refused(text, 0, why));
    }
    CHECK(refused(TABLE(SERVER(DEVICE("3", "0"))), 0,
                  "gives rank 0 device_id 3, but this thread's device 0 is 0 of the host"));
    remove(g_path);
    CHECK(refused("x", 0, "is broken"));
}

/* Every beginning of a good table is refused. */
TEST(truncated_tables) {
    static const char TEXT[] = TABLE(SERVER(DEVICE("0", "0")));
    HcclComm comm;
    CHECK(ready());
    for (size_t length = 0; length < strlen(TEXT); length++) {
        CHECK(write_table(TEXT, length));
        CHECK_EQ(HcclCommInitClusterInfo(g_path, 0, &comm), HCCL_E_PARA);
        CHECK(strstr(aclGetRecentErrMsg(), "is broken: line 1: ") != NULL);
    }
    CHECK(write_table(TEXT, strlen(TEXT)));
    CHECK_EQ(HcclCommInitClusterInfo(g_path, 0, &comm), HCCL_SUCCESS);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
    remove(g_path);
}

/* Damaged text in memory that ends with it, so that a reader beyond the end is seen by the address sanitizer:
 * it ends, either way, and an error says why. */
TEST(damaged_text) {
    uint32_t state = 1;
    for (int round = 0; round < 20000; round++) {
        const size_t length = strlen(FOUR_RANKS);
        char *text = malloc(length);
        CHECK(text != NULL);
        memcpy(text, FOUR_RANKS, length);
        for (int i = 0; i < 3; i++) {
            state = state * 1664525u + 1013904223u;
            text[(state >> 8) % length] = "{}[]\",:\\u0-\n\0a"[(state >> 4) % 14];
        }
        struct hc_json j;
        hc_json_begin(&j, text, length);
        const bool good = hc_json_skip(&j) && hc_json_end(&j);
        CHECK(good == (j.error[0] == '\0'));
        free(text);
    }
    struct hc_json j;
    char many[1000] = "{";
    for (int i = 0; i <= HC_JSON_KEYS; i++)
        snprintf(many + strlen(many), 20, "%s\"%d\":0", i > 0 ? "," : "", i);
    hc_json_begin(&j, many, strlen(many));
    CHECK(!hc_json_skip(&j) && strstr(j.error, "more than 64 keys") != NULL);
    char deep[200];
    memset(deep, '[', sizeof deep);
    hc_json_begin(&j, deep, sizeof deep);
    CHECK(!hc_json_skip(&j) && strstr(j.error, "nested") != NULL);
}
