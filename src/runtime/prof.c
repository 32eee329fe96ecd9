// SPDX-License-Identifier: Apache-2.0
/* Profiling as torch_npu.profiler starts it: a trace of the launch point goes to npu_trace_<pid>.json in the
 * folder given to aclprofInit, unless MINDSPEED_TRACE is being written already. */
#include <stdio.h>
#include <string.h>

#include "hc_error.h"
#include "hc_handle.h"
#include "hc_observe.h"

HC_API aclError aclprofInit(const char *path, size_t length);
HC_API aclError aclprofFinalize(void);
HC_API aclprofConfig *aclprofCreateConfig(uint32_t *devices, uint32_t count, aclprofAicoreMetrics metrics,
                                          const aclprofAicoreEvents *events, uint64_t types);
HC_API aclError aclprofDestroyConfig(const aclprofConfig *config);
HC_API aclError aclprofStart(const aclprofConfig *config);
HC_API aclError aclprofStop(const aclprofConfig *config);
HC_API aclprofStepInfoPtr aclprofCreateStepInfo(void);
HC_API int aclprofDestroyStepInfo(aclprofStepInfoPtr info);
HC_API int aclprofGetStepTimestamp(aclprofStepInfoPtr info, aclprofStepTag tag, aclrtStream stream);

struct aclprofConfig {
    struct hc_handle handle;
    uint64_t types;
};
struct aclprofStepInfo {
    struct hc_handle handle;
};

static struct hc_pool g_configs = HC_POOL("profiling configuration", 64, 4096);
static struct hc_pool g_steps = HC_POOL("step information", 64, 1 << 20);
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static char g_folder[3072];
static enum { OFF, READY, RUNNING } g_state;
static bool g_own_trace;

/* The folder must exist when profiling starts; it is the client's. */
aclError aclprofInit(const char *path, size_t length) {
    HC_CHECK(path != NULL && length > 0 && length < sizeof g_folder, ACL_ERROR_INVALID_PARAM,
             "aclprofInit: the path has %zu bytes, must be 1 to %zu", length, sizeof g_folder - 1);
    pthread_mutex_lock(&g_lock);
    const bool again = g_state != OFF;
    if (!again) {
        snprintf(g_folder, sizeof g_folder, "%.*s", (int)length, path);
        g_state = READY;
    }
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(!again, ACL_ERROR_PROF_ALREADY_RUN, "aclprofInit: profiling is initialised already");
    return ACL_SUCCESS;
}

/* Needs the lock. */
static void stop(void) {
    if (g_state == RUNNING && g_own_trace) hc_trace_stop();
    if (g_state == RUNNING) g_state = READY;
}

/* Stops what still runs. */
aclError aclprofFinalize(void) {
    pthread_mutex_lock(&g_lock);
    const bool on = g_state != OFF;
    stop();
    g_state = OFF;
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(on, ACL_ERROR_PROF_NOT_RUN, "aclprofFinalize: profiling is not initialised");
    return ACL_SUCCESS;
}

/* Which devices, counters and data are wanted: the trace has all devices and what the host knows. */
aclprofConfig *aclprofCreateConfig(uint32_t *devices, uint32_t count, aclprofAicoreMetrics metrics,
                                   const aclprofAicoreEvents *events, uint64_t types) {
    (void)devices, (void)count, (void)metrics, (void)events;
    struct aclprofConfig *c = hc_handle_new(&g_configs);
    if (c == NULL) return NULL;
    c->types = types;
    hc_handle_publish(&c->handle);
    return c;
}

aclError aclprofDestroyConfig(const aclprofConfig *config) {
    struct aclprofConfig *c = (struct aclprofConfig *)config;
    if (!hc_handle_ok(&g_configs, c) || !hc_handle_retire(&c->handle)) {
        return hc_handle_fail(&g_configs, c, "aclprofDestroyConfig");
    }
    hc_handle_free(&g_configs, c);
    return ACL_SUCCESS;
}

/* Needs the lock. A trace that the user asked for by MINDSPEED_TRACE goes on as it is. */
static aclError start(void) {
    HC_CHECK(g_state != OFF, ACL_ERROR_PROF_NOT_RUN, "aclprofStart: call aclprofInit first");
    HC_CHECK(g_state != RUNNING, ACL_ERROR_PROF_ALREADY_RUN, "aclprofStart: profiling runs already");
    g_own_trace = !hc_is_told(HC_OBSERVE_TRACE);
    if (g_own_trace) {
        char pattern[2 * sizeof g_folder + 64];
        size_t used = 0;
        for (const char *c = g_folder; *c != '\0'; c++) {
            if (*c == '%') pattern[used++] = '%'; /* no pattern of the client's */
            pattern[used++] = *c;
        }
        strcpy(pattern + used, "/npu_trace_%p.json");
        HC_TRY(hc_trace_open(pattern));
    }
    g_state = RUNNING;
    return ACL_SUCCESS;
}

aclError aclprofStart(const aclprofConfig *config) {
    if (!hc_handle_ok(&g_configs, config)) return hc_handle_fail(&g_configs, config, "aclprofStart");
    pthread_mutex_lock(&g_lock);
    const aclError code = start();
    pthread_mutex_unlock(&g_lock);
    return code;
}

/* The trace is complete when this returns. Tasks still running are not in it. */
aclError aclprofStop(const aclprofConfig *config) {
    if (!hc_handle_ok(&g_configs, config)) return hc_handle_fail(&g_configs, config, "aclprofStop");
    pthread_mutex_lock(&g_lock);
    const bool running = g_state == RUNNING;
    stop();
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(running, ACL_ERROR_PROF_NOT_RUN, "aclprofStop: profiling does not run");
    return ACL_SUCCESS;
}

aclprofStepInfoPtr aclprofCreateStepInfo(void) {
    struct aclprofStepInfo *s = hc_handle_new(&g_steps);
    if (s != NULL) hc_handle_publish(&s->handle);
    return s;
}

int aclprofDestroyStepInfo(aclprofStepInfoPtr info) {
    if (!hc_handle_ok(&g_steps, info) || !hc_handle_retire(&info->handle)) {
        return hc_handle_fail(&g_steps, info, "aclprofDestroyStepInfo");
    }
    hc_handle_free(&g_steps, info);
    return ACL_SUCCESS;
}

/* A point in the stream where a training step starts or ends. */
int aclprofGetStepTimestamp(aclprofStepInfoPtr info, aclprofStepTag tag, aclrtStream stream) {
    if (!hc_handle_ok(&g_steps, info)) return hc_handle_fail(&g_steps, info, "aclprofGetStepTimestamp");
    return hc_launch(stream, &(struct hc_task){.name = tag == ACL_STEP_START ? "step start" : "step end",
                                               .kind = HC_TASK_CONTROL});
}
