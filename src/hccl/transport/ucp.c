// SPDX-License-Identifier: Apache-2.0
/* libucp, loaded when the first communicator between hosts is made, and its one context per process.
 *
 * Two of its habits do not fit into someone else's process and are stopped here: it installs handlers for
 * SIGSEGV and the like while it is loaded, and it logs to standard output. */
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_log.h"
#include "hc_ucp.h"

static const char LIBRARY[] = "libucp.so.0";
enum { MIN_MAJOR = 1, MIN_MINOR = 10 };

static struct {
    pthread_mutex_t lock;
    void *library;
    pid_t owner; /* a child cannot use its parent's context */
    struct hc_ucp ucp;
} g_ucp = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Only what ends the process is printed without being asked for. */
static int write_log(const char *file, unsigned line, const char *function, int level, const void *settings,
                     const char *format, va_list args) {
    char text[512];
    (void)settings;
    vsnprintf(text, sizeof text, format, args);
    const int ours = level <= HC_UCS_LOG_ERROR  ? HC_LOG_LEVEL_ERROR
                     : level == HC_UCS_LOG_WARN ? HC_LOG_LEVEL_WARNING
                     : level <= HC_UCS_LOG_INFO ? HC_LOG_LEVEL_INFO
                                                : HC_LOG_LEVEL_DEBUG;
    if (level == HC_UCS_LOG_FATAL) fprintf(stderr, "UCX: %s (%s:%u)\n", text, file, line);
    else if (hc_log_enabled(ours)) hc_log(ours, function, file, (int)line, "UCX: %s", text);
    return 0; /* no other handler */
}

static const int FAULTS[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGTRAP};

static void *open_quietly(void) {
    struct sigaction before[HC_ARRAY_SIZE(FAULTS)];
    for (size_t i = 0; i < HC_ARRAY_SIZE(FAULTS); i++) sigaction(FAULTS[i], NULL, &before[i]);
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < HC_ARRAY_SIZE(FAULTS); i++) sigaction(FAULTS[i], &before[i], NULL);
    return library;
}

static HcclResult find_functions(const char *caller, void *library) {
#define X(name, result, arguments)                                                                           \
    *(void **)(void *)&g_ucp.ucp.name = dlsym(library, "ucp_" #name);                                        \
    HC_CHECK(g_ucp.ucp.name != NULL, HCCL_E_NOT_SUPPORT, "%s: %s has no function ucp_" #name, caller,        \
             LIBRARY);
    HC_FOR_UCP(X)
#undef X
    *(void **)(void *)&g_ucp.ucp.status_string = dlsym(library, "ucs_status_string");
    HC_CHECK(g_ucp.ucp.status_string != NULL, HCCL_E_NOT_SUPPORT, "%s: %s has no function ucs_status_string",
             caller, LIBRARY);
    unsigned major = 0, minor = 0, release = 0;
    g_ucp.ucp.get_version(&major, &minor, &release);
    HC_CHECK(major == MIN_MAJOR && minor >= MIN_MINOR, HCCL_E_NOT_SUPPORT,
             "%s: %s is of UCX %u.%u.%u, wanted %d.%d or a later 1.x", caller, LIBRARY, major, minor, release,
             MIN_MAJOR, MIN_MINOR);
    void (*push)(hc_ucs_log_fn *);
    *(void **)(void *)&push = dlsym(library, "ucs_log_push_handler");
    if (push != NULL) push(write_log);
    return HCCL_SUCCESS;
}

static HcclResult make_context(const char *caller) {
    struct hc_ucp *u = &g_ucp.ucp;
    void *config = NULL, *context = NULL;
    const struct hc_ucp_params params = {.field_mask = HC_UCP_PARAM_FEATURES |
                                                       HC_UCP_PARAM_MT_WORKERS_SHARED | HC_UCP_PARAM_NAME,
                                         .features = HC_UCP_FEATURE_TAG | HC_UCP_FEATURE_WAKEUP,
                                         .mt_workers_shared = 1, /* workers of one context, a thread each */
                                         .name = "mindspeed"};
    hc_ucs_status status = u->config_read(NULL, NULL, &config);
    if (status == HC_UCS_OK) {
        status = u->init_version(MIN_MAJOR, MIN_MINOR, &params, config, &context);
        u->config_release(config);
    }
    HC_CHECK(status == HC_UCS_OK, HCCL_E_NETWORK,
             "%s: UCX does not start: %s (its options are the variables UCX_*)", caller,
             u->status_string(status));
    u->context = context;
    g_ucp.owner = getpid();
    return HCCL_SUCCESS;
}

static HcclResult load(const char *caller) {
    if (g_ucp.library == NULL) {
        g_ucp.library = open_quietly();
        HC_CHECK(g_ucp.library != NULL, HCCL_E_NOT_SUPPORT,
                 "%s: ranks on several hosts, or MINDSPEED_HCCL_TRANSPORT=ucx, need UCX: %s (Debian's and "
                 "Ubuntu's package libucx0, elsewhere ucx)",
                 caller, dlerror());
    }
    if (g_ucp.ucp.context != NULL && g_ucp.owner == getpid()) return HCCL_SUCCESS;
    g_ucp.ucp.context = NULL; /* a parent's, if any */
    if (g_ucp.ucp.request_free == NULL) HC_TRY(find_functions(caller, g_ucp.library));
    return make_context(caller);
}

const struct hc_ucp *hc_ucp_get(const char *caller) {
    pthread_mutex_lock(&g_ucp.lock);
    const HcclResult status = load(caller);
    pthread_mutex_unlock(&g_ucp.lock);
    return status == HCCL_SUCCESS ? &g_ucp.ucp : NULL;
}

void hc_ucp_close(void) {
    pthread_mutex_lock(&g_ucp.lock);
    if (g_ucp.ucp.context != NULL && g_ucp.owner == getpid()) g_ucp.ucp.cleanup(g_ucp.ucp.context);
    g_ucp.ucp.context = NULL;
    pthread_mutex_unlock(&g_ucp.lock);
}
