// SPDX-License-Identifier: Apache-2.0
/* Two processes: the second one is forked before the first uses a device, so it is a process of its own. */
#include <dirent.h>
#include <sys/socket.h>

#include "hc_error.h"
#include "hc_share.h"
#include "runtime_test.h"

enum { BYTES = 3 << 20, PIECE = 2 << 20 };

struct message {
    char key[65];
    uint64_t shareable;
    aclrtIpcEventHandle event;
    int32_t pid;
};

#define TRY(call)                                                                                            \
    do {                                                                                                     \
        if ((call) != ACL_SUCCESS) {                                                                         \
            printf("importer: %s: %s\n", #call, aclGetRecentErrMsg());                                       \
            return __LINE__ % 200 + 1;                                                                       \
        }                                                                                                    \
    } while (0)

/* Read what the exporter wrote, write an answer, record nothing; wait for the exporter's event first. */
static int importer(int file) {
    struct message m;
    char *p, *again, seen = 0;
    aclrtEvent event;
    aclrtStream stream;
    aclrtDrvMemHandle handle;
    char *va;
    int32_t pid = getpid();
    if (write(file, &pid, sizeof pid) != sizeof pid || read(file, &m, sizeof m) != sizeof m) return 1;
    TRY(aclInit(NULL));
    TRY(aclrtSetDevice(1));
    TRY(aclrtCreateStream(&stream));
    TRY(aclrtIpcMemImportByKey((void **)&p, m.key, 0));
    TRY(aclrtIpcMemImportByKey((void **)&again, m.key, 0));
    TRY(aclrtIpcOpenEventHandle(m.event, &event));
    TRY(aclrtStreamWaitEvent(stream, event));
    TRY(aclrtMemcpyAsync(&seen, 1, p + 5, 1, ACL_MEMCPY_DEVICE_TO_HOST, stream));
    if (write(file, "w", 1) != 1) return 2; /* now the exporter may record */
    TRY(aclrtSynchronizeStream(stream));
    if (seen != 77 || again != p) return 3;
    p[6] = 88;
    TRY(aclrtMemImportFromShareableHandle(m.shareable, 1, &handle));
    TRY(aclrtReserveMemAddress((void **)&va, PIECE, 0, NULL, 0));
    TRY(aclrtMapMem(va, PIECE, 0, handle, 0));
    if (va[9] != 55) return 4;
    va[9] = 56;
    TRY(aclrtIpcMemClose(m.key));
    TRY(aclrtIpcMemClose(m.key));
    if (aclrtIpcMemClose(m.key) == ACL_SUCCESS) return 5;
    TRY(aclrtDestroyEvent(event));
    TRY(aclFinalize());
    return 0;
}

static pid_t start_importer(int *file) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) return -1;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        close(pair[0]);
        const int code = importer(pair[1]);
        fflush(stdout);
        _exit(code);
    }
    close(pair[1]);
    *file = pair[0];
    return pid;
}

TEST(memory_and_event_of_another_process) {
    int file, status;
    char go;
    int32_t pid;
    const pid_t child = start_importer(&file);
    CHECK(child > 0 && read(file, &pid, sizeof pid) == sizeof pid);
    use_device(0);
    struct message m;
    char *p, *va;
    aclrtEvent event;
    aclrtStream stream;
    aclrtDrvMemHandle handle;
    const aclrtPhysicalMemProp prop = {.location = {0, ACL_MEM_LOCATION_TYPE_DEVICE}};
    memset(&m, 0, sizeof m);
    CHECK_OK(aclrtMalloc((void **)&p, BYTES, ACL_MEM_MALLOC_HUGE_FIRST));
    CHECK_OK(aclrtMemset(p, BYTES, 11, BYTES));
    CHECK_OK(aclrtIpcMemGetExportKey(p, BYTES, m.key, sizeof m.key, 0));
    CHECK_EQ(p[BYTES - 1], 11); /* moving it kept what was there */
    CHECK_OK(aclrtIpcMemSetImportPid(m.key, &pid, 1));
    CHECK_OK(aclrtCreateStream(&stream));
    CHECK_OK(aclrtCreateEventExWithFlag(&event, ACL_EVENT_IPC));
    CHECK_OK(aclrtIpcGetEventHandle(event, &m.event));
    CHECK_OK(aclrtMallocPhysical(&handle, PIECE, &prop, 0));
    CHECK_OK(aclrtReserveMemAddress((void **)&va, PIECE, 0, NULL, 0));
    CHECK_OK(aclrtMapMem(va, PIECE, 0, handle, 0));
    va[9] = 55;
    CHECK_OK(aclrtMemExportToShareableHandle(handle, ACL_MEM_HANDLE_TYPE_NONE, 0, &m.shareable));
    CHECK_OK(aclrtMemSetPidToShareableHandle(m.shareable, &pid, 1));
    /* The record is behind a wait, so the importer's own wait has something to wait for. */
    uint64_t *flag;
    CHECK_OK(aclrtMalloc((void **)&flag, 8, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK_OK(aclrtValueWait(flag, 1, ACL_STREAM_WAIT_VALUE_EQ, stream));
    CHECK_OK(aclrtMemsetAsync(p + 5, 1, 77, 1, stream));
    CHECK_OK(aclrtRecordEvent(event, stream));
    CHECK(write(file, &m, sizeof m) == sizeof m && read(file, &go, 1) == 1);
    __atomic_store_n(flag, 1, __ATOMIC_SEQ_CST);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 0, "importer ended with %d", WEXITSTATUS(status));
    CHECK_EQ(p[6], 88);
    CHECK_EQ(va[9], 56);
    CHECK_OK(aclrtSynchronizeStream(stream));
    CHECK_OK(aclrtDestroyEvent(event));
    CHECK_OK(aclrtDestroyStream(stream));
    CHECK_OK(aclrtFree(p));
    CHECK_OK(aclrtFree(flag));
    CHECK_OK(aclrtUnmapMem(va));
    CHECK_OK(aclrtFreePhysical(handle));
    CHECK_OK(aclrtReleaseMemAddress(va));
    close(file);
}

TEST(bad_keys_and_handles) {
    use_device(0);
    void *p, *out;
    char key[65], shown[128];
    aclrtEvent plain;
    aclrtIpcEventHandle handle;
    aclrtDrvMemHandle physical;
    CHECK_OK(aclrtMalloc(&p, 4096, ACL_MEM_MALLOC_NORMAL_ONLY));
    CHECK_FAILS(aclrtIpcMemGetExportKey(p, 8192, key, 65, 0), ACL_ERROR_RT_PARAM_INVALID, "size is 8192");
    CHECK_FAILS(aclrtIpcMemGetExportKey(p, 4096, key, 4, 0), ACL_ERROR_RT_PARAM_INVALID, "len is 4");
    CHECK_FAILS(aclrtIpcMemImportByKey(&out, "nonsense", 0), ACL_ERROR_RT_PARAM_INVALID,
                "not one of this runtime");
    CHECK_FAILS(aclrtIpcMemImportByKey(&out, "npu1:1:1:1:0:1", 0), ACL_ERROR_RT_IPC_ERROR, "process 1");
    CHECK_OK(aclrtIpcMemGetExportKey(p, 4096, key, 65, 0));
    CHECK_OK(aclrtFree(p));
    snprintf(shown, sizeof shown, "process %d has freed", (int)getpid());
    CHECK_FAILS(aclrtIpcMemImportByKey(&out, key, 0), ACL_ERROR_RT_IPC_ERROR, shown);
    CHECK_OK(aclrtCreateEventExWithFlag(&plain, ACL_EVENT_SYNC));
    CHECK_FAILS(aclrtIpcGetEventHandle(plain, &handle), ACL_ERROR_RT_PARAM_INVALID, "ACL_EVENT_IPC");
    memset(&handle, 0, sizeof handle);
    CHECK_FAILS(aclrtIpcOpenEventHandle(handle, &plain), ACL_ERROR_RT_PARAM_INVALID,
                "not one of this runtime");
    CHECK_FAILS(aclrtMemImportFromShareableHandle(12345, 0, &physical), ACL_ERROR_RT_IPC_ERROR,
                "cannot open");
}

/* But for ledgers (docs/memory.md), which stay on purpose. */
static int count_files(const char *folder) {
    int count = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
        count += strncmp(e->d_name, "mindspeed-devices", 17) != 0;
    if (d != NULL) closedir(d);
    return count;
}

static int share_and_sleep(void) {
    void *p;
    char key[65];
    aclrtEvent event;
    use_device(0);
    if (aclrtMalloc(&p, BYTES, ACL_MEM_MALLOC_HUGE_FIRST) || aclrtIpcMemGetExportKey(p, BYTES, key, 65, 0) ||
        aclrtCreateEventExWithFlag(&event, ACL_EVENT_IPC))
        return 1;
    kill(getpid(), SIGKILL);
    return 2;
}

/* Where a buffer of another process lies is what that process says: no number of it may lead out of its heap,
 * and no access beyond the spans. */
TEST(spans_of_another_process_are_checked) {
    use_device(0);
    struct hc_peer_heap *heap = hc_peer_heap_open(getpid(), hc_share_file(0), "test");
    CHECK_MSG(heap != NULL, "%s", aclGetRecentErrMsg());
    const struct hc_share_span page = {0, 4096}, two[] = {{0, 4096}, {1 << 20, 4096}};
    CHECK(hc_peer_heap_at(heap, &page, 1, 4096) != NULL);
    CHECK(hc_peer_heap_at(heap, two, 2, 8192) != NULL);
    CHECK(hc_peer_heap_at(heap, &page, 1, 4097) == NULL);
    CHECK(hc_peer_heap_at(heap, two, 2, 8193) == NULL);
    CHECK(strstr(hc_error_text(), "of which 8193 bytes are wanted, lies outside") != NULL);
    const uint64_t ends[] = {UINT64_MAX, UINT64_MAX - 4095, 1ull << 63, 1ull << 62};
    for (size_t i = 0; i < HC_ARRAY_SIZE(ends); i++) {
        const struct hc_share_span far = {ends[i], 4096}, large = {4096, ends[i]};
        CHECK(hc_peer_heap_at(heap, &far, 1, 1) == NULL);
        CHECK(hc_peer_heap_at(heap, &large, 1, 1) == NULL);
    }
    hc_peer_heap_release();
    hc_peer_heap_close(heap);
}

TEST(kill_leaves_nothing) {
    const int shm = count_files("/dev/shm"), tmp = count_files("/tmp");
    CHECK_EQ(in_child(share_and_sleep, 20), -SIGKILL);
    CHECK_EQ(count_files("/dev/shm"), shm);
    CHECK_MSG(count_files("/tmp") <= tmp + 2, "%d, were %d", count_files("/tmp"),
              tmp); /* others use it too */
}
