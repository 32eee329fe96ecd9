// SPDX-License-Identifier: Apache-2.0
/* Communicators of one rank: birth, identity, options, misuse. */
#include "harness.h"
#include "hccl/hccl.h"
#include "hccl_config.h"

static bool ready(void) {
    static bool done;
    if (!done) done = aclInit(NULL) == 0 && aclrtSetDevice(0) == 0;
    return done;
}

static HcclComm make_comm(void) {
    HcclRootInfo info;
    HcclComm comm = NULL;
    if (!ready() || HcclGetRootInfo(&info) != HCCL_SUCCESS) return NULL;
    return HcclCommInitRootInfo(1, &info, 0, &comm) == HCCL_SUCCESS ? comm : NULL;
}

static bool error_says(const char *text) {
    const char *message = aclGetRecentErrMsg();
    const bool found = message != NULL && strstr(message, text) != NULL;
    if (!found) printf("the error text is: %s\n", message ? message : "(none)");
    return found;
}

TEST(comm_knows_itself) {
    HcclComm comm = make_comm();
    CHECK(comm != NULL);
    uint32_t rank = 9, size = 9;
    char name[HCCL_COMM_NAME_BYTES];
    HcclResult async = HCCL_E_INTERNAL;
    CHECK_EQ(HcclGetRankId(comm, &rank), HCCL_SUCCESS);
    CHECK_EQ(HcclGetRankSize(comm, &size), HCCL_SUCCESS);
    CHECK_EQ(HcclGetCommName(comm, name), HCCL_SUCCESS);
    CHECK_EQ(HcclGetCommAsyncError(comm, &async), HCCL_SUCCESS);
    CHECK_EQ(rank, 0);
    CHECK_EQ(size, 1);
    CHECK_EQ(async, HCCL_SUCCESS);
    CHECK(strlen(name) > 0);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
}

TEST(names_differ) {
    HcclComm a = make_comm(), b = make_comm();
    char first[HCCL_COMM_NAME_BYTES], second[HCCL_COMM_NAME_BYTES];
    CHECK(a != NULL && b != NULL);
    CHECK_EQ(HcclGetCommName(a, first), HCCL_SUCCESS);
    CHECK_EQ(HcclGetCommName(b, second), HCCL_SUCCESS);
    CHECK(strcmp(first, second) != 0);
    CHECK_EQ(HcclCommDestroy(a), HCCL_SUCCESS);
    CHECK_EQ(HcclCommDestroy(b), HCCL_SUCCESS);
}

TEST(dead_and_null_handles_are_errors) {
    HcclComm comm = make_comm();
    uint32_t rank;
    CHECK(comm != NULL);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_E_NOT_FOUND);
    CHECK(error_says("destroyed"));
    CHECK_EQ(HcclGetRankId(comm, &rank), HCCL_E_NOT_FOUND);
    CHECK_EQ(HcclGetRankId(NULL, &rank), HCCL_E_PTR);
    CHECK_EQ(HcclCommDestroy(NULL), HCCL_E_PTR);
}

TEST(interfaces_that_are_not_there_are_named) {
    HcclRootInfo info;
    CHECK(ready());
    setenv("HCCL_SOCKET_IFNAME", "=nothing7", 1);
    CHECK_EQ(HcclGetRootInfo(&info), HCCL_E_NETWORK);
    CHECK(error_says("HCCL_SOCKET_IFNAME==nothing7"));
    unsetenv("HCCL_SOCKET_IFNAME");
}

TEST(ranks_that_do_not_come_are_named) {
    HcclRootInfo info;
    HcclComm comm = NULL;
    CHECK(ready());
    CHECK_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS);
    setenv("HCCL_CONNECT_TIMEOUT", "1", 1);
    const HcclResult status = HcclCommInitRootInfo(4, &info, 1, &comm);
    unsetenv("HCCL_CONNECT_TIMEOUT");
    CHECK_EQ(status, HCCL_E_TIMEOUT);
    CHECK(error_says("rank(s) 0, 2, 3 of 4 did not come within 1 s"));
    CHECK_EQ(HcclCommInitRootInfo(1, &info, 1, &comm), HCCL_E_PARA);
    CHECK_EQ(HcclCommInitRootInfo(0, &info, 0, &comm), HCCL_E_PARA);
    CHECK(comm == NULL);
}

TEST(foreign_root_info_is_refused) {
    HcclRootInfo info;
    HcclComm comm = NULL;
    memset(&info, 7, sizeof info);
    CHECK(ready());
    CHECK_EQ(HcclCommInitRootInfo(1, &info, 0, &comm), HCCL_E_PARA);
    CHECK_EQ(HcclCommInitRootInfo(1, NULL, 0, &comm), HCCL_E_PTR);
}

TEST(config_names_the_comm) {
    HcclRootInfo info;
    HcclCommConfig config;
    HcclComm comm;
    HcclConfigValue value = {7};
    char name[HCCL_COMM_NAME_BYTES];
    init_config(&config, sizeof config);
    strcpy(config.hcclCommName, "tensor_parallel");
    config.hcclDeterministic = 1;
    CHECK(ready());
    CHECK_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS);
    CHECK_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_SUCCESS);
    CHECK_EQ(HcclGetCommName(comm, name), HCCL_SUCCESS);
    CHECK(strcmp(name, "tensor_parallel") == 0);
    CHECK_EQ(HcclGetCommConfig(comm, HCCL_DETERMINISTIC, &value), HCCL_SUCCESS);
    CHECK_EQ(value.value, 1);
    CHECK_EQ(HcclSetCommConfig(comm, HCCL_DETERMINISTIC, (HcclConfigValue){0}), HCCL_SUCCESS);
    CHECK_EQ(HcclGetCommConfig(comm, HCCL_DETERMINISTIC, &value), HCCL_SUCCESS);
    CHECK_EQ(value.value, 0);
    CHECK_EQ(HcclGetCommConfig(comm, HCCL_CONFIG_RESERVED, &value), HCCL_E_PARA);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
}

/* Messages tell what the communicator is used for; its name stays what all ranks agree on. */
TEST(config_labels_the_comm) {
    HcclRootInfo info;
    HcclCommConfig config;
    HcclComm comm;
    char name[HCCL_COMM_NAME_BYTES];
    init_config(&config, sizeof config);
    strcpy(config.hcclCommName, "group_3");
    strcpy(config.hcclUdi, "tp");
    CHECK(ready());
    CHECK_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS);
    CHECK_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_SUCCESS);
    CHECK_EQ(HcclGetCommName(comm, name), HCCL_SUCCESS);
    CHECK(strcmp(name, "group_3") == 0);
    CHECK_EQ(HcclCommActivateCommMemory(comm, &info, 1, 0, (aclrtDrvMemHandle)&info, 0), HCCL_E_PARA);
    CHECK(strstr(aclGetRecentErrMsg(), "group_3 (tp)") != NULL);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
    memset(config.hcclUdi, 'x', sizeof config.hcclUdi);
    CHECK_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_E_PARA);
    CHECK(strstr(aclGetRecentErrMsg(), "hcclUdi has no end within 128 bytes") != NULL);
}

TEST(old_and_broken_configs) {
    HcclRootInfo info;
    HcclCommConfig config;
    HcclComm comm;
    char name[HCCL_COMM_NAME_BYTES];
    init_config(&config, 32); /* a caller that knows no names: what follows is not read */
    strcpy(config.hcclCommName, "not read");
    CHECK(ready());
    CHECK_EQ(HcclGetRootInfo(&info), HCCL_SUCCESS);
    CHECK_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_SUCCESS);
    CHECK_EQ(HcclGetCommName(comm, name), HCCL_SUCCESS);
    CHECK(strcmp(name, "not read") != 0);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
    memset(&config, 0, sizeof config);
    CHECK_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_E_PARA);
    init_config(&config, sizeof config);
    memset(config.hcclCommName, 'x', sizeof config.hcclCommName);
    CHECK_EQ(HcclCommInitRootInfoConfig(1, &info, 0, &config, &comm), HCCL_E_PARA);
}

TEST(process_options) {
    HcclConfigValue value = {7};
    CHECK_EQ(HcclSetConfig(HCCL_DETERMINISTIC, (HcclConfigValue){1}), HCCL_SUCCESS);
    CHECK_EQ(HcclGetConfig(HCCL_DETERMINISTIC, &value), HCCL_SUCCESS);
    CHECK_EQ(value.value, 1);
    CHECK_EQ(HcclSetConfig(HCCL_DETERMINISTIC, (HcclConfigValue){0}), HCCL_SUCCESS);
    CHECK_EQ(HcclSetConfig(HCCL_CONFIG_RESERVED, value), HCCL_E_PARA);
    CHECK(HcclGetCommConfigCapability() > HCCL_COMM_CONFIG_COMM_NAME);
    CHECK(strcmp(HcclGetErrorString(HCCL_E_PARA), "invalid argument") == 0);
}

TEST(sub_communicator) {
    HcclComm comm = make_comm(), sub = NULL;
    HcclCommConfig config;
    uint32_t ranks[] = {0}, wrong[] = {3};
    init_config(&config, sizeof config);
    CHECK(comm != NULL);
    CHECK_EQ(HcclCreateSubCommConfig(&comm, 1, ranks, 5, 0, &config, &sub), HCCL_SUCCESS);
    CHECK_EQ(HcclCommDestroy(sub), HCCL_SUCCESS);
    CHECK_EQ(HcclCreateSubCommConfig(&comm, 1, wrong, 5, 0, &config, &sub), HCCL_E_PARA);
    CHECK_EQ(HcclCreateSubCommConfig(&comm, 2, (uint32_t[]){0, 1}, 5, 0, &config, &sub), HCCL_E_PARA);
    CHECK(error_says("rankIds[1] is 1, wanted 0 to 0"));
    CHECK_EQ(HcclCreateSubCommConfig(&comm, 1, ranks, 5, 1, &config, &sub), HCCL_E_PARA);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
}

TEST(rank_table) {
    char path[] = "/tmp/test_comm_table_XXXXXX";
    const int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    HcclComm comm;
    CHECK(ready() && file != NULL);
    fputs("{\"server_list\":[{\"server_id\":\"127.0.0.1\",\"device\":[{\"device_id\":\"0\",\"rank_id\" : "
          "\"0\"}]}]}",
          file);
    fclose(file);
    CHECK_EQ(HcclCommInitClusterInfo(path, 0, &comm), HCCL_SUCCESS);
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
    CHECK_EQ(HcclCommInitClusterInfo(path, 1, &comm), HCCL_E_PARA);
    remove(path);
    CHECK_EQ(HcclCommInitClusterInfo(path, 0, &comm), HCCL_E_OPEN_FILE_FAILURE);
    CHECK(error_says(path));
}

TEST(memory_windows) {
    static char memory[4096];
    HcclComm comm = make_comm();
    void *handle = NULL;
    uint32_t self = 0, other = 1;
    int token;
    CHECK(comm != NULL);
    CHECK_EQ(HcclCommRegister(comm, memory, 1024, &handle, 0), HCCL_SUCCESS);
    CHECK_EQ(HcclCommRegister(comm, memory, 1024, &handle, 0), HCCL_E_PARA);
    CHECK_EQ(HcclCommExchangeMem(comm, handle, &self, 1), HCCL_SUCCESS);
    CHECK_EQ(HcclCommExchangeMem(comm, handle, &other, 1), HCCL_E_PARA);
    CHECK_EQ(HcclCommDeregister(comm, handle), HCCL_SUCCESS);
    CHECK_EQ(HcclCommDeregister(comm, handle), HCCL_E_NOT_FOUND);
    CHECK_EQ(HcclCommSetMemoryRange(comm, memory, 4096, 0, 0), HCCL_SUCCESS);
    CHECK_EQ(HcclCommActivateCommMemory(comm, memory + 1024, 3072, 0, &token, 0), HCCL_SUCCESS);
    CHECK_EQ(HcclCommActivateCommMemory(comm, memory + 2048, 3072, 0, &token, 0), HCCL_E_PARA);
    CHECK_EQ(HcclCommDeactivateCommMemory(comm, memory + 1024), HCCL_SUCCESS);
    CHECK_EQ(HcclCommUnsetMemoryRange(comm, memory), HCCL_SUCCESS);
    CHECK_EQ(HcclCommUnsetMemoryRange(comm, memory), HCCL_E_NOT_FOUND);
    CHECK_EQ(HcclCommRegister(comm, memory, 1024, &handle, 0), HCCL_SUCCESS); /* destroy frees what is left */
    CHECK_EQ(HcclCommDestroy(comm), HCCL_SUCCESS);
}
