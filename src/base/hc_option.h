// SPDX-License-Identifier: Apache-2.0
/* Options: every environment variable that MindSpeed reads, or that others read and its documents speak of.
 * This table is the only place: aclInit, `mindspeed env --list`, `mindspeed doctor`, docs/options.md and the
 * tests of wrong values are made from it, and a test fails on a variable that is read without a row.
 *
 * To add one: a row here, then `make docs`. C asks with the functions below, which know the row's range;
 * src/ calls getenv nowhere else.
 *
 * A reader on a slow path asks each time, so that a test may change the environment between two aclInit; a
 * hot path keeps its copy. */
#pragma once
#include "hc_util.h"

/* X(identifier, environment variable, readers, type, default, meaning)
 * readers: LIBRARY (src/), PACKAGE (python/), EXAMPLES, BENCHES, TESTS, PYTORCH, TORCH_NPU, joined by "|".
 *   aclInit checks what LIBRARY and PACKAGE read; of the rest `mindspeed env --list` says what is wrong.
 * type: one of the macros in hc_option.c, above its table; it says what is valid. An empty value counts as
 *   unset. */
#define HC_FOR_OPTIONS(X)                                                                                    \
    X(DEVICE, "MINDSPEED_DEVICE", LIBRARY | PACKAGE, CHOICE("host|ascend|auto"), "auto",                     \
      "these virtual devices or the vendor's CANN; auto: the vendor's where it and an NPU are there")        \
    X(LOG_LEVEL, "MINDSPEED_LOG_LEVEL", LIBRARY, CHOICE("off|error|warning|info|debug"), "off",              \
      "what is logged to stderr")                                                                            \
    X(NUM_DEVICES, "MINDSPEED_NUM_DEVICES", LIBRARY, NUMBER(1, 1024), "8", "virtual devices")                \
    X(VISIBLE_DEVICES, "ASCEND_RT_VISIBLE_DEVICES", LIBRARY, DEVICES, "",                                    \
      "the devices that this process sees as 0, 1, ...; unset: all, empty: none")                            \
    X(DEVICE_MEMORY, "MINDSPEED_DEVICE_MEMORY", LIBRARY, SIZE, "",                                           \
      "memory of one device, also beyond the host's; default: what the host has")                            \
    X(HOST_MEMORY, "MINDSPEED_HOST_MEMORY", LIBRARY, SIZE, "",                                               \
      "memory that all devices of all processes may hold together; default: what the host has")              \
    X(NUM_THREADS, "MINDSPEED_NUM_THREADS", LIBRARY | BENCHES, NUMBER(1, 1024), "",                          \
      "threads of an operator; default: OMP_NUM_THREADS, else the CPUs the process may use")                 \
    X(BATCH_INVARIANT, "MINDSPEED_BATCH_INVARIANT", LIBRARY, CHOICE("0|1"), "0",                             \
      "1: a row has the same bits whatever other rows are in the call; products of few rows are slower")     \
    X(SOC, "MINDSPEED_SOC", LIBRARY,                                                                         \
      CHOICE("Ascend910PremiumA|Ascend910ProA|Ascend910A|Ascend910ProB|Ascend910B|Ascend910B1|Ascend910B2|"  \
             "Ascend910B2C|Ascend910B3|Ascend910B4|Ascend910B4-1|Ascend910_9391|Ascend910_9392|"             \
             "Ascend910_9381|Ascend910_9382|Ascend910_9372|Ascend910_9362|Ascend310P1|Ascend310P2|"          \
             "Ascend310P3|Ascend310P4|Ascend310P5|Ascend310P7|Ascend310B1|Ascend310B2|Ascend310B3|"          \
             "Ascend310B4|Ascend950PR_9579|Ascend950PR_9589|Ascend950PR_9599|Ascend950DT_9572|"              \
             "Ascend950DT_9582|Ascend950DT_9592"),                                                           \
      "Ascend910B2", "SoC name that clients see")                                                            \
    X(TRACE, "MINDSPEED_TRACE", LIBRARY, FILE_PATTERN, "",                                                   \
      "write a Chrome trace to this file; %p: the process id, %r: the rank")                                 \
    X(HCCL_BUFFSIZE, "HCCL_BUFFSIZE", LIBRARY, NUMBER(1, 65536), "200",                                      \
      "MiB that a communicator may take for itself")                                                         \
    X(HCCL_EXEC_TIMEOUT, "HCCL_EXEC_TIMEOUT", LIBRARY, NUMBER(0, 2147483), "1836",                           \
      "seconds that a collective waits for the other ranks; 0: for ever")                                    \
    X(HCCL_CONNECT_TIMEOUT, "HCCL_CONNECT_TIMEOUT", LIBRARY, NUMBER(1, 7200), "120",                         \
      "seconds that the creation of a communicator waits for all ranks")                                     \
    X(HCCL_DETERMINISTIC, "HCCL_DETERMINISTIC", LIBRARY, CHOICE_ANY_CASE("true|false|strict"), "false",      \
      "the same bits whatever the order of arrival; sums are made so in any case")                           \
    X(HCCL_IF_IP, "HCCL_IF_IP", LIBRARY, ADDRESS, "", "address that other hosts reach this one at")          \
    X(HCCL_SOCKET_IFNAME, "HCCL_SOCKET_IFNAME", LIBRARY, INTERFACES, "",                                     \
      "network interfaces that other hosts reach this one at")                                               \
    X(HCCL_IF_BASE_PORT, "HCCL_IF_BASE_PORT", LIBRARY, NUMBER(1, 65535), "60000",                            \
      "port that rank 0 answers on when ranks come from a rank table")                                       \
    X(HCCL_SECRET_FILE, "MINDSPEED_HCCL_SECRET_FILE", LIBRARY, PATH, "",                                     \
      "file of mode 600 with the secret by which the ranks of a rank table know each other")                 \
    X(HCCL_TRANSPORT, "MINDSPEED_HCCL_TRANSPORT", LIBRARY, CHOICE("auto|shm|ucx"), "auto",                   \
      "how ranks of one host reach each other: shm is shared memory")                                        \
    X(HCCL_ALGO, "MINDSPEED_HCCL_ALGO", LIBRARY, ALGORITHMS, "", "algorithms to use where they can")         \
    X(HCCL_LINK, "MINDSPEED_HCCL_LINK", LIBRARY, LINKS, "",                                                  \
      "let collectives take what they take over links of this speed, to see on one host what overlaps")      \
    X(HCCL_EXPLAIN, "MINDSPEED_HCCL_EXPLAIN", LIBRARY, CHOICE("0|1"), "0",                                   \
      "1: print to stderr which algorithm a collective uses, and why, once per kind and size")               \
    X(LEDGER, "HC_LEDGER", LIBRARY, TEXT, "",                                                                \
      "processes with another value do not count each other's device memory; for tests")                     \
    X(ISA, "HC_ISA", LIBRARY, INSTRUCTION_SET, "", "force a weaker instruction set")                         \
    X(RANK, "RANK", LIBRARY | EXAMPLES | TESTS | PYTORCH, NUMBER(0, 1048575), "0",                           \
      "this process's rank; torchrun sets it")                                                               \
    X(WORLD_SIZE, "WORLD_SIZE", LIBRARY | EXAMPLES | TESTS | PYTORCH, NUMBER(1, 1048576), "1",               \
      "ranks in all; torchrun sets it")                                                                      \
    X(LOCAL_RANK, "LOCAL_RANK", EXAMPLES | TESTS, NUMBER(0, 1048575), "0",                                   \
      "rank within the host; torchrun sets it")                                                              \
    X(OMP_NUM_THREADS, "OMP_NUM_THREADS", LIBRARY | EXAMPLES | BENCHES | PYTORCH, NUMBERS(1, 65536), "",     \
      "threads of an operator where MINDSPEED_NUM_THREADS is not set")                                       \
    X(ASCEND_HOME_PATH, "ASCEND_HOME_PATH", PACKAGE | TORCH_NPU, PATH, "",                                   \
      "folder of the vendor's CANN; set to MindSpeed's own where that is used")                              \
    X(LD_LIBRARY_PATH, "LD_LIBRARY_PATH", PACKAGE, PATH, "",                                                 \
      "`mindspeed env` and `mindspeed run` put the libraries in front of it")                                \
    X(SEARCH_PATH, "PATH", PACKAGE, TEXT, "",                                                                \
      "the folder with msprof, which torch_npu.profiler calls, is put in front of it")                       \
    X(DEVICE_CAPABILITY, "TORCH_NPU_DEVICE_CAPABILITY", PACKAGE | TORCH_NPU, TEXT, "",                       \
      "CUDA compute capability to claim, where a program asks for one")                                      \
    X(AUTOLOAD, "TORCH_DEVICE_BACKEND_AUTOLOAD", PYTORCH, CHOICE("0|1"), "1",                                \
      "0: `import torch` loads no torch_npu")                                                                \
    X(ALLOC_CONF, "PYTORCH_NPU_ALLOC_CONF", TORCH_NPU, TEXT, "",                                             \
      "the caching allocator, such as expandable_segments:True")                                             \
    X(TASK_QUEUE, "TASK_QUEUE_ENABLE", PACKAGE | TORCH_NPU, CHOICE("0|1|2"), "0",                            \
      "how torch_npu launches: 0 from the calling thread, 1 (torch_npu's own default) and 2 from a queue")   \
    X(LAUNCH_BLOCKING, "ASCEND_LAUNCH_BLOCKING", TORCH_NPU, CHOICE("0|1"), "0",                              \
      "1: synchronise after each operator, so that an error comes from the line that made it")               \
    X(RANK_TABLE_FILE, "RANK_TABLE_FILE", TORCH_NPU, PATH, "",                                               \
      "file with the hosts and devices of all ranks, instead of a meeting")                                  \
    X(WARNING_DISABLE, "TORCH_NPU_WARNING_DISABLE", TORCH_NPU, CHOICE("0|1"), "0",                           \
      "1: hide torch_npu's warnings")                                                                        \
    X(LIB_DIR, "MINDSPEED_LIB_DIR", TESTS, PATH, "",                                                         \
      "test the libraries of this folder, not those of the installed wheel")                                 \
    X(WHEEL, "MINDSPEED_WHEEL", TESTS, PATH, "", "wheel that the start-up tests install")                    \
    X(OPERATOR_RECORD, "MINDSPEED_OPERATOR_RECORD", TESTS, PATH, "",                                         \
      "file that the operator tests write for docs/operators.md")                                            \
    X(TEST_FULL, "HC_TEST_FULL", TESTS, CHOICE("1"), "", "1: longer tests of collectives, traces")           \
    X(TEST_SEED, "HC_TEST_SEED", TESTS, NUMBER(0, INT64_MAX), "",                                            \
      "the one random program of collectives to run")                                                        \
    X(TEST_OPERATIONS, "HC_TEST_OPERATIONS", TESTS, NUMBER(1, INT64_MAX), "",                                \
      "operations of the stress test of streams")                                                            \
    X(TEST_SHOW, "HC_TEST_SHOW", TESTS, CHOICE("1"), "", "1: print the messages of failing collectives")     \
    X(EMULATED, "HC_EMULATED", TESTS, CHOICE("1"), "", "1: leave out what an emulated CPU cannot do")

enum hc_option {
#define X(id, ...) HC_OPT_##id,
    HC_FOR_OPTIONS(X)
#undef X
        HC_OPT_COUNT
};

/* The value as text; the default where the variable is unset or empty. Never NULL; valid until the
 * environment changes. */
HC_SHARED const char *hc_option_text(enum hc_option option);
/* Of a number, or the first of several: the value; the default where it is not valid, or else the least that
 * is. aclInit has refused such values. */
HC_SHARED int64_t hc_option_int(enum hc_option option);
/* As bytes ("64G", "512M", "1024"); 0 if it is not a size. */
HC_SHARED uint64_t hc_option_bytes(enum hc_option option);
/* Whether a choice is this one. */
HC_SHARED bool hc_option_is(enum hc_option option, const char *choice);
HC_SHARED bool hc_option_is_set(enum hc_option option);
/* What the environment has, where "" means something else than nothing: NULL if unset. */
HC_SHARED const char *hc_option_raw(enum hc_option option);

/* 0 if the row allows the value, or it is empty; otherwise sets the error text (variable, value, what is
 * valid) and returns non-zero. */
HC_SHARED int hc_option_check(enum hc_option option, const char *value);
/* A layer that knows more of what is valid: called with values that have the row's form, returns as
 * hc_option_check. Before main, or with no other thread running. */
HC_SHARED void hc_option_refine(enum hc_option option, int (*check)(const char *value));
/* Check what the library and the package read. */
HC_SHARED int hc_option_validate(void);
/* One line on stderr per variable whose name looks like a misspelt one; once per process. */
HC_SHARED void hc_option_warn_of_names(void);

/* For who lists the rows (python/mindspeed/options.py). `expected` is what is valid, in words; valid until
 * the thread asks again. */
HC_SHARED int hc_option_count(void);
HC_SHARED const char *hc_option_env_name(enum hc_option option);
HC_SHARED const char *hc_option_default(enum hc_option option);
HC_SHARED const char *hc_option_meaning(enum hc_option option);
HC_SHARED const char *hc_option_readers(enum hc_option option);
HC_SHARED const char *hc_option_type(enum hc_option option);
HC_SHARED const char *hc_option_expected(enum hc_option option);
/* The row that a variable of that name was meant for; -1 if it is one, or does not look like any; -2 if the
 * name is reserved for MindSpeed but near none. */
HC_SHARED int hc_option_meant(const char *name);
