// SPDX-License-Identifier: Apache-2.0
/* Handles of events that processes share: they name process, file and a random id of the event's page. */
#include <string.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_event.h"

/* What the 64 bytes hold. */
struct event_handle {
    char magic[8];
    int32_t pid, file;
    uint64_t id;
};
static const char MAGIC[8] = "hcevent";

/* May be called any number of times, before or after the event is recorded. The event must live until it
 * is opened. */
aclError aclrtIpcGetEventHandle(aclrtEvent event, aclrtIpcEventHandle *handle) {
    struct hc_event *e = hc_event_find(event, "aclrtIpcGetEventHandle");
    if (e == NULL) return hc_error_peek();
    HC_CHECK(handle != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcGetEventHandle: handle is null");
    HC_CHECK(e->page != NULL && hc_event_page_file(e->page) >= 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcGetEventHandle: the event has flags 0x%x; only one that this process created with "
             "ACL_EVENT_IPC (0x%x) "
             "can be shared",
             e->flags, ACL_EVENT_IPC);
    struct event_handle h = {
        .pid = getpid(), .file = hc_event_page_file(e->page), .id = hc_event_page_id(e->page)};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    memset(handle, 0, sizeof *handle);
    memcpy(handle->reserved, &h, sizeof h);
    return ACL_SUCCESS;
}

/* The opened event can be recorded, waited for and queried like one's own, and must be destroyed. */
aclError aclrtIpcOpenEventHandle(aclrtIpcEventHandle handle, aclrtEvent *event) {
    struct event_handle h;
    memcpy(&h, handle.reserved, sizeof h);
    HC_CHECK(event != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcOpenEventHandle: event is null");
    HC_CHECK(memcmp(h.magic, MAGIC, sizeof MAGIC) == 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcOpenEventHandle: the handle is not one of this runtime");
    const struct hc_context *c = hc_context_current("aclrtIpcOpenEventHandle");
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    struct hc_event_page *page = hc_event_page_open(h.pid, h.file, h.id);
    return page != NULL ? hc_event_make(event, ACL_EVENT_IPC, c->device, page) : ACL_ERROR_RT_IPC_ERROR;
}
