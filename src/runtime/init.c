// SPDX-License-Identifier: Apache-2.0
/* Start, end and fork of the runtime, and the reset of a device: what concerns all parts at once. */
#include "hc_device.h"
#include "hc_error.h"
#include "hc_event.h"
#include "hc_finalize.h"
#include "hc_heap.h"
#include "hc_interrupt.h"
#include "hc_ipc.h"
#include "hc_share.h"
#include "hc_isa.h"
#include "hc_memory.h"
#include "hc_observe.h"
#include "hc_option.h"
#include "hc_runtime.h"
#include "hc_stream.h"

#include <stdio.h>
#include <string.h>

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static bool g_initialised;

/* Streams and devices do not survive a fork: their threads are gone and their memory is not copied. The
 * child forgets them, so that its old handles are refused instead of followed, and may start anew. Locks
 * are made anew, as a thread that does not exist in the child may hold them. The order follows who refers
 * to whom: streams before contexts, mappings before the regions that list them, devices last. */
static void after_fork_in_child(void) {
    pthread_mutex_init(&g_lock, NULL);
    if (atomic_load(&hc_stream_pool.live) > 0) hc_set_forked();
    g_initialised = false;
    hc_trace_after_fork();
    hc_stats_after_fork();
    hc_interrupt_after_fork();
    hc_stream_after_fork();
    hc_event_after_fork();
    hc_graph_after_fork();
    hc_context_after_fork();
    hc_ipc_after_fork();
    hc_share_after_fork();
    hc_vmm_after_fork();
    hc_heap_after_fork();
    hc_region_after_fork();
    hc_device_after_fork();
    hc_callback_after_fork();
    hc_value_after_fork();
}

/* Who is told of what, where the teller stands below. */
__attribute__((constructor)) static void connect(void) {
    hc_stream_on_abort(hc_wake_waits);
    pthread_atfork(NULL, NULL, after_fork_in_child);
}

/* Needs the lock. Everything is checked before anything changes, so a failed aclInit can be repeated. */
static aclError init(const char *configPath) {
    int32_t default_device = -1;
    HC_CHECK(!g_initialised, ACL_ERROR_REPEAT_INITIALIZE, "aclInit: initialised already");
    hc_option_warn_of_names();
    HC_TRY(hc_option_validate());
    HC_TRY(hc_isa_validate());
    if (hc_device_count() < 0) return hc_error_peek();
    if (configPath != NULL && configPath[0] != '\0') HC_TRY(hc_config_read(configPath, &default_device));
    if (default_device >= 0 && hc_device_get(default_device) == NULL)
        return hc_device_fail("aclInit", default_device);
    hc_settings_read();
    HC_TRY(hc_trace_start());
    hc_set_default_device(default_device);
    g_initialised = true;
    return ACL_SUCCESS;
}

aclError aclInit(const char *configPath) {
    pthread_mutex_lock(&g_lock);
    const aclError code = init(configPath);
    if (code != ACL_ERROR_REPEAT_INITIALIZE) hc_set_refusal(code == ACL_SUCCESS ? "" : hc_error_text());
    pthread_mutex_unlock(&g_lock);
    return code;
}

/* Contexts end with force: at the end of a process a stream may wait for what will never happen. */
static aclError finalize(void) {
    HC_CHECK(g_initialised, ACL_ERROR_UNINITIALIZE, "aclFinalize: not initialised, or finalised already");
    hc_streams_settle();
    hc_contexts_destroy(NULL);
    hc_streams_destroy(NULL);
    hc_events_destroy();
    hc_run_finalizers();
    hc_memory_free_all(NULL);
    hc_heap_close_own();
    hc_trace_stop();
    hc_set_default_device(-1);
    g_initialised = false;
    return ACL_SUCCESS;
}

aclError aclFinalize(void) {
    pthread_mutex_lock(&g_lock);
    const aclError code = finalize();
    pthread_mutex_unlock(&g_lock);
    return code;
}

/* Streams first: their tasks use the memory. */
aclError aclrtResetDevice(int32_t deviceId) {
    struct hc_device *device = hc_device_get(deviceId);
    if (device == NULL) return hc_device_fail("aclrtResetDevice", deviceId);
    hc_contexts_destroy(device);
    hc_streams_destroy(device);
    hc_memory_free_all(device);
    for (int i = 0; i < HC_RES_TYPES; i++) atomic_store(&device->res_limit[i], 0);
    return ACL_SUCCESS;
}
