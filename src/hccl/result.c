// SPDX-License-Identifier: Apache-2.0
/* Names of result codes, sizes of data types. */
#include "hc_comm.h"

size_t hc_hccl_type_size(HcclDataType type) {
    switch (type) {
#define X(name, bytes)                                                                                       \
    case HCCL_DATA_TYPE_##name: return bytes;
        HC_FOR_HCCL_TYPES(X)
#undef X
    default: return 0;
    }
}

/* X(code, text) */
#define FOR_RESULTS(X)                                                                                       \
    X(HCCL_SUCCESS, "success")                                                                               \
    X(HCCL_E_PARA, "invalid argument")                                                                       \
    X(HCCL_E_PTR, "null pointer")                                                                            \
    X(HCCL_E_MEMORY, "out of memory")                                                                        \
    X(HCCL_E_INTERNAL, "internal error")                                                                     \
    X(HCCL_E_NOT_SUPPORT, "not supported")                                                                   \
    X(HCCL_E_NOT_FOUND, "not found")                                                                         \
    X(HCCL_E_UNAVAIL, "resource unavailable")                                                                \
    X(HCCL_E_SYSCALL, "system call failed")                                                                  \
    X(HCCL_E_TIMEOUT, "timed out")                                                                           \
    X(HCCL_E_OPEN_FILE_FAILURE, "cannot open a file")                                                        \
    X(HCCL_E_TCP_CONNECT, "TCP connection failed")                                                           \
    X(HCCL_E_ROCE_CONNECT, "RoCE connection failed")                                                         \
    X(HCCL_E_TCP_TRANSFER, "TCP transfer failed")                                                            \
    X(HCCL_E_ROCE_TRANSFER, "RoCE transfer failed")                                                          \
    X(HCCL_E_RUNTIME, "runtime call failed")                                                                 \
    X(HCCL_E_DRV, "driver call failed")                                                                      \
    X(HCCL_E_PROFILING, "profiling call failed")                                                             \
    X(HCCL_E_CCE, "CCE call failed")                                                                         \
    X(HCCL_E_NETWORK, "network failed")                                                                      \
    X(HCCL_E_AGAIN, "try again")                                                                             \
    X(HCCL_E_REMOTE, "error of a remote rank")                                                               \
    X(HCCL_E_SUSPENDING, "communicator is suspended")                                                        \
    X(HCCL_E_OPRETRY_FAIL, "retry failed")                                                                   \
    X(HCCL_E_OOM, "out of device memory")

const char *HcclGetErrorString(HcclResult code) {
    switch (code) {
#define X(name, text)                                                                                        \
    case name: return text;
        FOR_RESULTS(X)
#undef X
    default: return "unknown result code";
    }
}
