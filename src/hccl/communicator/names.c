// SPDX-License-Identifier: Apache-2.0
/* Names of result codes, sizes of data types. */
#include "hc_names.h"

static const char *const KINDS[][2] = {
#define X(id, name, option) {name, option},
    HC_FOR_COLLECTIVES(X)
#undef X
};

const char *hc_kind_name(unsigned kind) { return kind < HC_OP_KINDS ? KINDS[kind][0] : "an unknown call"; }
const char *hc_kind_option(unsigned kind) { return kind < HC_OP_KINDS ? KINDS[kind][1] : ""; }

const char *hc_reduce_name(HcclReduceOp reduce) {
    static const char *const NAMES[] = {"sum", "prod", "max", "min"};
    return (unsigned)reduce < HC_ARRAY_SIZE(NAMES) ? NAMES[reduce] : "unknown";
}

size_t hc_hccl_type_size(HcclDataType type) {
    switch (type) {
#define X(name, bytes)                                                                                       \
    case HCCL_DATA_TYPE_##name: return bytes;
        HC_FOR_HCCL_TYPES(X)
#undef X
    default: return 0;
    }
}

/* As PyTorch names them, where it has the type. */
const char *hc_hccl_type_name(HcclDataType type) {
    switch (type) {
    case HCCL_DATA_TYPE_INT8: return "int8";
    case HCCL_DATA_TYPE_INT16: return "int16";
    case HCCL_DATA_TYPE_INT32: return "int32";
    case HCCL_DATA_TYPE_INT64: return "int64";
    case HCCL_DATA_TYPE_UINT8: return "uint8";
    case HCCL_DATA_TYPE_UINT16: return "uint16";
    case HCCL_DATA_TYPE_UINT32: return "uint32";
    case HCCL_DATA_TYPE_UINT64: return "uint64";
    case HCCL_DATA_TYPE_FP16: return "float16";
    case HCCL_DATA_TYPE_FP32: return "float32";
    case HCCL_DATA_TYPE_FP64: return "float64";
    case HCCL_DATA_TYPE_BFP16: return "bfloat16";
    case HCCL_DATA_TYPE_INT128: return "int128";
    case HCCL_DATA_TYPE_HIF8: return "hifloat8";
    case HCCL_DATA_TYPE_FP8E4M3: return "float8_e4m3fn";
    case HCCL_DATA_TYPE_FP8E5M2: return "float8_e5m2";
    case HCCL_DATA_TYPE_FP8E8M0: return "float8_e8m0fnu";
    default: return "no data type";
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
