// SPDX-License-Identifier: Apache-2.0
/* UCP, the messages of UCX, as far as this library uses it: the binary interface of libucp.so.0 from 1.10 on,
 * declared here so that building needs no package. tests/hccl/test_ucp_layout.c compares it with the real
 * headers where they are installed.
 *
 * UCX only ever adds fields, and reads those that a mask names: a structure may end with the last field used.
 */
#pragma once
#include <stdarg.h>
#include <sys/socket.h>

#include "hc_util.h"
#include "hccl/hccl.h"

typedef signed char hc_ucs_status; /* one byte: the interface packs its enum */
enum hc_ucs_code {
    HC_UCS_OK = 0,
    HC_UCS_INPROGRESS = 1,
    HC_UCS_MESSAGE_TRUNCATED = -9,
    HC_UCS_BUSY = -15,
    HC_UCS_CANCELED = -16,
};
/* Requests are pointers; the last 100 addresses are error codes, and NULL is success at once. */
typedef void *hc_ucs_request;
static inline bool hc_ucs_is_request(hc_ucs_request r) { return (uintptr_t)r - 1 < (uintptr_t)-100 - 1; }
static inline hc_ucs_status hc_ucs_immediate(hc_ucs_request r) { return (hc_ucs_status)(intptr_t)r; }

struct hc_ucp_params {
    uint64_t field_mask, features;
    size_t request_size;
    void (*request_init)(void *);
    void (*request_cleanup)(void *);
    uint64_t tag_sender_mask;
    int mt_workers_shared;
    size_t estimated_num_eps, estimated_num_ppn;
    const char *name;
};
enum {
    HC_UCP_PARAM_FEATURES = 1 << 0,
    HC_UCP_PARAM_MT_WORKERS_SHARED = 1 << 5,
    HC_UCP_PARAM_NAME = 1 << 8,
    HC_UCP_FEATURE_TAG = 1 << 0,
    HC_UCP_FEATURE_WAKEUP = 1 << 4,
};

struct hc_ucp_worker_params {
    uint64_t field_mask;
    unsigned thread_mode;
    struct {
        unsigned long bits[1024 / (8 * sizeof(unsigned long))];
    } cpu_mask;
    unsigned events;
    void *user_data;
    int event_fd;
    uint64_t flags;
};
enum {
    HC_UCP_WORKER_THREAD_MODE = 1 << 0,
    HC_UCP_WORKER_FLAGS = 1 << 5,
    HC_UCP_WORKER_IGNORE_REQUEST_LEAK = 1 << 0,
    HC_UCS_THREAD_MODE_SERIALIZED = 1, /* any thread, one at a time */
};

typedef void hc_ucp_error_fn(void *arg, void *ep, hc_ucs_status status);
struct hc_ucp_ep_params {
    uint64_t field_mask;
    const void *address;
    unsigned err_mode;
    struct {
        hc_ucp_error_fn *cb;
        void *arg;
    } err_handler;
};
enum {
    HC_UCP_EP_REMOTE_ADDRESS = 1 << 0,
    HC_UCP_EP_ERR_MODE = 1 << 1,
    HC_UCP_EP_ERR_HANDLER = 1 << 2,
    HC_UCP_ERR_MODE_PEER = 1,
};

struct hc_ucp_tag_info {
    uint64_t sender_tag;
    size_t length;
};
struct hc_ucp_request_param {
    uint32_t op_attr_mask, flags;
    void *request;
    union {
        void (*send)(void *request, hc_ucs_status status, void *user_data);
        void (*recv)(void *request, hc_ucs_status status, const struct hc_ucp_tag_info *info,
                     void *user_data);
    } cb;
    uint64_t datatype;
    void *user_data;
    void *reply_buffer;
    unsigned memory_type;
    union {
        size_t *length;
        struct hc_ucp_tag_info *tag_info;
    } recv_info;
    void *memh;
};
enum {
    HC_UCP_OP_CALLBACK = 1 << 1,
    HC_UCP_OP_USER_DATA = 1 << 2,
    HC_UCP_OP_FLAGS = 1 << 4,
    HC_UCP_OP_MEMORY_TYPE = 1 << 6,
    HC_UCP_OP_NO_IMMEDIATE = 1 << 16, /* always complete by callback */
    HC_UCP_CLOSE_FORCE = 1 << 0,
    HC_UCS_MEMORY_HOST = 0,
};

/* X(name, result, arguments); looked up as ucp_<name>. */
#define HC_FOR_UCP(X)                                                                                        \
    X(get_version, void, (unsigned *major, unsigned *minor, unsigned *release))                              \
    X(config_read, hc_ucs_status, (const char *prefix, const char *file, void **config))                     \
    X(config_release, void, (void *config))                                                                  \
    X(init_version, hc_ucs_status,                                                                           \
      (unsigned major, unsigned minor, const struct hc_ucp_params *params, const void *config,               \
       void **context))                                                                                      \
    X(cleanup, void, (void *context))                                                                        \
    X(worker_create, hc_ucs_status,                                                                          \
      (void *context, const struct hc_ucp_worker_params *params, void **worker))                             \
    X(worker_destroy, void, (void *worker))                                                                  \
    X(worker_get_address, hc_ucs_status, (void *worker, void **address, size_t *length))                     \
    X(worker_release_address, void, (void *worker, void *address))                                           \
    X(worker_get_efd, hc_ucs_status, (void *worker, int *file))                                              \
    X(worker_arm, hc_ucs_status, (void *worker))                                                             \
    X(worker_progress, unsigned, (void *worker))                                                             \
    X(worker_flush_nbx, hc_ucs_request, (void *worker, const struct hc_ucp_request_param *param))            \
    X(ep_create, hc_ucs_status, (void *worker, const struct hc_ucp_ep_params *params, void **ep))            \
    X(ep_close_nbx, hc_ucs_request, (void *ep, const struct hc_ucp_request_param *param))                    \
    X(tag_send_nbx, hc_ucs_request,                                                                          \
      (void *ep, const void *buffer, size_t count, uint64_t tag, const struct hc_ucp_request_param *param))  \
    X(tag_send_sync_nbx, hc_ucs_request,                                                                     \
      (void *ep, const void *buffer, size_t count, uint64_t tag, const struct hc_ucp_request_param *param))  \
    X(tag_recv_nbx, hc_ucs_request,                                                                          \
      (void *worker, void *buffer, size_t count, uint64_t tag, uint64_t mask,                                \
       const struct hc_ucp_request_param *param))                                                            \
    X(request_cancel, void, (void *worker, void *request))                                                   \
    X(request_check_status, hc_ucs_status, (void *request))                                                  \
    X(request_free, void, (void *request))

/* Handler of log lines, as libucs takes them: the first four arguments, the component's settings, a format.
 */
typedef int hc_ucs_log_fn(const char *file, unsigned line, const char *function, int level,
                          const void *settings, const char *format, va_list args);
enum { HC_UCS_LOG_FATAL, HC_UCS_LOG_ERROR, HC_UCS_LOG_WARN, HC_UCS_LOG_DIAG, HC_UCS_LOG_INFO };

struct hc_ucp {
#define X(name, result, arguments) result(*name) arguments;
    HC_FOR_UCP(X)
#undef X
    const char *(*status_string)(hc_ucs_status status);
    void *context;
};

/* The library, loaded and its context made at the first call; NULL with a text that begins with `caller` and
 * names what needed it. */
const struct hc_ucp *hc_ucp_get(const char *caller);
/* End the context, and UCX's own thread with it, as the process ends; no worker may be left. */
void hc_ucp_close(void);
