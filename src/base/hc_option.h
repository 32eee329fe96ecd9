// SPDX-License-Identifier: Apache-2.0
/* Options: one row each, read from the environment. docs/options.md lists them. A reader on a slow path
 * asks each time, so that a test may change the environment between two aclInit; a hot path keeps its
 * copy. */
#pragma once
#include "hc_util.h"

/* X(identifier, environment variable, default, meaning) */
#define HC_FOR_OPTIONS(X)                                                                                    \
    X(DEVICE, "MINDSPEED_DEVICE", "auto",                                                                    \
      "host, ascend or auto: these virtual devices or the vendor's CANN")                                    \
    X(LOG_LEVEL, "MINDSPEED_LOG_LEVEL", "off", "off, error, warning, info or debug: log to stderr")          \
    X(NUM_DEVICES, "MINDSPEED_NUM_DEVICES", "8", "virtual devices, 1 to 1024")                               \
    X(VISIBLE_DEVICES, "ASCEND_RT_VISIBLE_DEVICES", "",                                                      \
      "ids of the devices that this process sees as 0, 1, ...: 2,0,1; unset: all, empty: none")              \
    X(DEVICE_MEMORY, "MINDSPEED_DEVICE_MEMORY", "",                                                          \
      "memory of one device, also beyond the host's; suffix K, M, G or T; default: what the host has")       \
    X(HOST_MEMORY, "MINDSPEED_HOST_MEMORY", "",                                                              \
      "memory that all devices of all processes may hold together; default: what the host has")              \
    X(NUM_THREADS, "MINDSPEED_NUM_THREADS", "", "threads of an operator; default OMP_NUM_THREADS, else all") \
    X(SOC, "MINDSPEED_SOC", "Ascend910B2", "SoC name that clients see")                                      \
    X(TRACE, "MINDSPEED_TRACE", "", "write a Chrome trace to this file at exit")                             \
    X(HCCL_BUFFSIZE, "HCCL_BUFFSIZE", "200", "MiB that a communicator may take for itself, 1 to 65536")      \
    X(HCCL_EXEC_TIMEOUT, "HCCL_EXEC_TIMEOUT", "1836",                                                        \
      "seconds that a collective waits for the other ranks; 0: for ever")                                    \
    X(HCCL_CONNECT_TIMEOUT, "HCCL_CONNECT_TIMEOUT", "120",                                                   \
      "seconds that the creation of a communicator waits for all ranks")                                     \
    X(HCCL_DETERMINISTIC, "HCCL_DETERMINISTIC", "false",                                                     \
      "true, false or strict: the same bits whatever the order of arrival")                                  \
    X(HCCL_IF_IP, "HCCL_IF_IP", "", "address that other hosts reach this one at")                            \
    X(HCCL_SOCKET_IFNAME, "HCCL_SOCKET_IFNAME", "",                                                          \
      "network interfaces to use: eth (prefix), =eth0 (name), ^docker (all others)")                         \
    X(HCCL_IF_BASE_PORT, "HCCL_IF_BASE_PORT", "60000",                                                       \
      "port that rank 0 answers on when ranks come from a rank table")                                       \
    X(HCCL_SECRET_FILE, "MINDSPEED_HCCL_SECRET_FILE", "",                                                    \
      "file of mode 600 with the secret by which the ranks of a rank table know each other")                 \
    X(HCCL_TRANSPORT, "MINDSPEED_HCCL_TRANSPORT", "auto",                                                    \
      "auto, shm (shared memory) or ucx: how ranks of one host reach each other")                            \
    X(HCCL_ALGO, "MINDSPEED_HCCL_ALGO", "",                                                                  \
      "algorithms to use where they can: all_reduce=ring,broadcast=tree")                                    \
    X(HCCL_EXPLAIN, "MINDSPEED_HCCL_EXPLAIN", "0",                                                           \
      "1: print to stderr which algorithm a collective uses, and why, once per kind and size")               \
    X(LEDGER, "HC_LEDGER", "",                                                                               \
      "processes with another value do not count each other's device memory; for tests")                     \
    X(ISA, "HC_ISA", "", "force a weaker instruction set: scalar, avx2, avx512, avx512bf16 or neon")         \
    X(DEBUG, "HC_DEBUG", "1", "0 to 3: how much the library checks itself")

enum hc_option {
#define X(id, env, def, text) HC_OPT_##id,
    HC_FOR_OPTIONS(X)
#undef X
        HC_OPT_COUNT
};

/* The value as text; the default where the variable is unset or empty. Never NULL; valid for ever. */
HC_SHARED const char *hc_option_text(enum hc_option option);
/* As an integer within [low, high]; the default for a value that is none, or else `low`. hc_option_validate
 * reports such values once, in aclInit. */
HC_SHARED int64_t hc_option_int(enum hc_option option, int64_t low, int64_t high);
/* As bytes ("64G", "512M", "1024"); 0 if it is not a size. */
HC_SHARED uint64_t hc_option_bytes(enum hc_option option);
HC_SHARED const char *hc_option_env_name(enum hc_option option);
/* Check every option; on a bad one sets the error text (name, value, what is allowed) and returns non-zero.
 */
HC_SHARED int hc_option_validate(void);
