// SPDX-License-Identifier: Apache-2.0
/* Our declarations of UCP's binary interface against its headers (package libucx-dev). */
#include "harness.h"
#include "hc_ucp.h"

#if __has_include(<ucp/api/ucp.h>)
#include <ucp/api/ucp.h>
#include <ucs/debug/log_def.h>

#define SAME_FIELD(ours, theirs, field)                                                                      \
    _Static_assert(offsetof(struct ours, field) == offsetof(theirs, field) &&                                \
                       sizeof(((struct ours *)0)->field) == sizeof(((theirs *)0)->field),                    \
                   #field)
SAME_FIELD(hc_ucp_params, ucp_params_t, field_mask);
SAME_FIELD(hc_ucp_params, ucp_params_t, features);
SAME_FIELD(hc_ucp_params, ucp_params_t, mt_workers_shared);
SAME_FIELD(hc_ucp_params, ucp_params_t, name);
SAME_FIELD(hc_ucp_worker_params, ucp_worker_params_t, thread_mode);
SAME_FIELD(hc_ucp_worker_params, ucp_worker_params_t, cpu_mask);
SAME_FIELD(hc_ucp_worker_params, ucp_worker_params_t, event_fd);
SAME_FIELD(hc_ucp_worker_params, ucp_worker_params_t, flags);
SAME_FIELD(hc_ucp_ep_params, ucp_ep_params_t, address);
SAME_FIELD(hc_ucp_ep_params, ucp_ep_params_t, err_mode);
SAME_FIELD(hc_ucp_ep_params, ucp_ep_params_t, err_handler);
SAME_FIELD(hc_ucp_request_param, ucp_request_param_t, flags);
SAME_FIELD(hc_ucp_request_param, ucp_request_param_t, request);
SAME_FIELD(hc_ucp_request_param, ucp_request_param_t, cb);
SAME_FIELD(hc_ucp_request_param, ucp_request_param_t, datatype);
SAME_FIELD(hc_ucp_request_param, ucp_request_param_t, user_data);
SAME_FIELD(hc_ucp_request_param, ucp_request_param_t, memory_type);
SAME_FIELD(hc_ucp_request_param, ucp_request_param_t, recv_info);
SAME_FIELD(hc_ucp_tag_info, ucp_tag_recv_info_t, sender_tag);
SAME_FIELD(hc_ucp_tag_info, ucp_tag_recv_info_t, length);
_Static_assert(sizeof(hc_ucs_status) == sizeof(ucs_status_t), "status");

/* X(ours, theirs) */
#define FOR_NUMBERS(X)                                                                                       \
    X(HC_UCS_OK, UCS_OK)                                                                                     \
    X(HC_UCS_INPROGRESS, UCS_INPROGRESS)                                                                     \
    X(HC_UCS_MESSAGE_TRUNCATED, UCS_ERR_MESSAGE_TRUNCATED)                                                   \
    X(HC_UCS_BUSY, UCS_ERR_BUSY)                                                                             \
    X(HC_UCS_CANCELED, UCS_ERR_CANCELED)                                                                     \
    X(HC_UCP_PARAM_FEATURES, UCP_PARAM_FIELD_FEATURES)                                                       \
    X(HC_UCP_PARAM_MT_WORKERS_SHARED, UCP_PARAM_FIELD_MT_WORKERS_SHARED)                                     \
    X(HC_UCP_PARAM_NAME, UCP_PARAM_FIELD_NAME)                                                               \
    X(HC_UCP_FEATURE_TAG, UCP_FEATURE_TAG)                                                                   \
    X(HC_UCP_FEATURE_WAKEUP, UCP_FEATURE_WAKEUP)                                                             \
    X(HC_UCP_WORKER_THREAD_MODE, UCP_WORKER_PARAM_FIELD_THREAD_MODE)                                         \
    X(HC_UCP_WORKER_FLAGS, UCP_WORKER_PARAM_FIELD_FLAGS)                                                     \
    X(HC_UCP_WORKER_IGNORE_REQUEST_LEAK, UCP_WORKER_FLAG_IGNORE_REQUEST_LEAK)                                \
    X(HC_UCS_THREAD_MODE_SERIALIZED, UCS_THREAD_MODE_SERIALIZED)                                             \
    X(HC_UCP_EP_REMOTE_ADDRESS, UCP_EP_PARAM_FIELD_REMOTE_ADDRESS)                                           \
    X(HC_UCP_EP_ERR_MODE, UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE)                                              \
    X(HC_UCP_EP_ERR_HANDLER, UCP_EP_PARAM_FIELD_ERR_HANDLER)                                                 \
    X(HC_UCP_ERR_MODE_PEER, UCP_ERR_HANDLING_MODE_PEER)                                                      \
    X(HC_UCP_OP_CALLBACK, UCP_OP_ATTR_FIELD_CALLBACK)                                                        \
    X(HC_UCP_OP_USER_DATA, UCP_OP_ATTR_FIELD_USER_DATA)                                                      \
    X(HC_UCP_OP_FLAGS, UCP_OP_ATTR_FIELD_FLAGS)                                                              \
    X(HC_UCP_OP_MEMORY_TYPE, UCP_OP_ATTR_FIELD_MEMORY_TYPE)                                                  \
    X(HC_UCP_OP_NO_IMMEDIATE, UCP_OP_ATTR_FLAG_NO_IMM_CMPL)                                                  \
    X(HC_UCP_CLOSE_FORCE, UCP_EP_CLOSE_FLAG_FORCE)                                                           \
    X(HC_UCS_MEMORY_HOST, UCS_MEMORY_TYPE_HOST)                                                              \
    X(HC_UCS_LOG_FATAL, UCS_LOG_LEVEL_FATAL)                                                                 \
    X(HC_UCS_LOG_ERROR, UCS_LOG_LEVEL_ERROR)                                                                 \
    X(HC_UCS_LOG_WARN, UCS_LOG_LEVEL_WARN)                                                                   \
    X(HC_UCS_LOG_DIAG, UCS_LOG_LEVEL_DIAG)                                                                   \
    X(HC_UCS_LOG_INFO, UCS_LOG_LEVEL_INFO)

TEST(numbers) {
#define X(ours, theirs) CHECK_EQ(ours, theirs);
    FOR_NUMBERS(X)
#undef X
}

TEST(requests) {
    const intptr_t values[] = {0, 1, 4096, -1, -16, -100, -101, -200};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        void *p = (void *)values[i];
        CHECK_EQ(hc_ucs_is_request(p), UCS_PTR_IS_PTR(p));
        if (!hc_ucs_is_request(p)) CHECK_EQ(hc_ucs_immediate(p), UCS_PTR_RAW_STATUS(p));
    }
}
#else
TEST(layout) { SKIP("the headers of UCX are not installed (package libucx-dev)"); }
#endif
