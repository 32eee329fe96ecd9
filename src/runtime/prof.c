// SPDX-License-Identifier: Apache-2.0
/* Profiling as torch_npu.profiler starts it: the folder given to aclprofInit gets one as the vendor's
 * profiler makes it, which python/mindspeed/profiling turns into the files that the usual tools read:
 *
 *     PROF_000001_<time>_<letters>/host/data/npu_trace_<pid>.json    a trace of the launch point (trace.c)
 *     PROF_.../host/start_info, end_info                             what the clocks said then
 *     PROF_.../device_<number>                                       a folder for each device asked for
 *
 * Where MINDSPEED_TRACE is being written already, that goes on as it is and there is no npu_trace. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hc_clock.h"
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

enum { MOST_DEVICES = 64, PATH_ROOM = 3072 };

struct aclprofConfig {
    struct hc_handle handle;
    uint64_t types;
    uint32_t devices[MOST_DEVICES], num_devices;
};
struct aclprofStepInfo {
    struct hc_handle handle;
};

static struct hc_pool g_configs = HC_POOL("profiling configuration", 64, 4096);
static struct hc_pool g_steps = HC_POOL("step information", 64, 1 << 20);
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static char g_folder[PATH_ROOM], g_profile[PATH_ROOM + 128]; /* the client's, and the one in it */
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
        g_profile[0] = '\0';
        g_state = READY;
    }
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(!again, ACL_ERROR_PROF_ALREADY_RUN, "aclprofInit: profiling is initialised already");
    return ACL_SUCCESS;
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Needs the lock. Three clocks at one moment, to turn times of the trace (monotonic) into those that
 * torch_npu counts in (raw, then those of the calendar). `begin` is the key of the last. */
static aclError write_clocks(const char *file, const char *begin) {
    char path[sizeof g_profile + 64];
    snprintf(path, sizeof path, "%s/host/%s", g_profile, file);
    FILE *out = fopen(path, "w");
    HC_CHECK(out != NULL, ACL_ERROR_WRITE_FILE, "aclprof: %s cannot be written: %s", path, strerror(errno));
    fprintf(out, "{\"%s\": \"%llu\", \"clockMonotonicRaw\": \"%llu\", \"clockMonotonic\": \"%llu\"}\n", begin,
            (unsigned long long)(read_clock(CLOCK_REALTIME) / 1000),
            (unsigned long long)read_clock(CLOCK_MONOTONIC_RAW), (unsigned long long)hc_now_ns());
    HC_CHECK(fclose(out) == 0, ACL_ERROR_WRITE_FILE, "aclprof: %s cannot be written: %s", path,
             strerror(errno));
    return ACL_SUCCESS;
}

static aclError make_folder(const char *name) {
    char path[sizeof g_profile + 64];
    snprintf(path, sizeof path, "%s%s", g_profile, name);
    HC_CHECK(mkdir(path, 0700) == 0, ACL_ERROR_WRITE_FILE, "aclprofStart: %s cannot be made: %s", path,
             strerror(errno));
    return ACL_SUCCESS;
}

/* Needs the lock. Letters of the process and the moment tell profiles of one millisecond apart. */
static aclError make_profile(const struct aclprofConfig *config) {
    char stamp[32], letters[17], device[32];
    const uint64_t now = read_clock(CLOCK_REALTIME);
    const time_t seconds = (time_t)(now / 1000000000u);
    struct tm at;
    if (g_profile[0] != '\0') return ACL_SUCCESS; /* started before in this folder */
    strftime(stamp, sizeof stamp, "%Y%m%d%H%M%S", gmtime_r(&seconds, &at));
    uint64_t mixed = (now ^ (uint64_t)getpid() << 40) * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < sizeof letters - 1; i++, mixed = mixed / 26 + (mixed << 7))
        letters[i] = (char)('A' + mixed % 26);
    letters[sizeof letters - 1] = '\0';
    snprintf(g_profile, sizeof g_profile, "%s/PROF_000001_%s%03u_%s", g_folder, stamp,
             (unsigned)(now / 1000000 % 1000), letters);
    aclError code = make_folder("");
    if (code == 0) code = make_folder("/host");
    if (code == 0) code = make_folder("/host/data");
    for (uint32_t i = 0; i < config->num_devices && code == 0; i++) {
        snprintf(device, sizeof device, "/device_%u", config->devices[i]);
        code = make_folder(device);
    }
    if (code == 0) code = write_clocks("start_info", "collectionTimeBegin");
    if (code != 0) g_profile[0] = '\0';
    return code;
}

/* Needs the lock. */
static void stop(void) {
    if (g_state == RUNNING && g_own_trace) hc_trace_stop();
    if (g_state == RUNNING) write_clocks("end_info", "collectionTimeEnd"); /* the trace is there without it */
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

/* Which counters and data are wanted: the trace has all devices and what the host knows. */
aclprofConfig *aclprofCreateConfig(uint32_t *devices, uint32_t count, aclprofAicoreMetrics metrics,
                                   const aclprofAicoreEvents *events, uint64_t types) {
    (void)metrics, (void)events;
    if (count > MOST_DEVICES || (devices == NULL && count > 0)) {
        hc_fail(ACL_ERROR_INVALID_PARAM, "aclprofCreateConfig: %u devices at %p, wanted %d at most", count,
                (void *)devices, MOST_DEVICES);
        return NULL;
    }
    struct aclprofConfig *c = hc_handle_new(&g_configs);
    if (c == NULL) return NULL;
    c->types = types;
    c->num_devices = count;
    for (uint32_t i = 0; i < count; i++) c->devices[i] = devices[i];
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
static aclError start(const struct aclprofConfig *config) {
    HC_CHECK(g_state != OFF, ACL_ERROR_PROF_NOT_RUN, "aclprofStart: call aclprofInit first");
    HC_CHECK(g_state != RUNNING, ACL_ERROR_PROF_ALREADY_RUN, "aclprofStart: profiling runs already");
    HC_TRY(make_profile(config));
    g_own_trace = !hc_is_told(HC_OBSERVE_TRACE);
    if (g_own_trace) {
        char pattern[2 * sizeof g_profile + 64];
        size_t used = 0;
        for (const char *c = g_profile; *c != '\0'; c++) {
            if (*c == '%') pattern[used++] = '%'; /* no pattern of the client's */
            pattern[used++] = *c;
        }
        strcpy(pattern + used, "/host/data/npu_trace_%p.json");
        HC_TRY(hc_trace_open(pattern));
    }
    g_state = RUNNING;
    return ACL_SUCCESS;
}

aclError aclprofStart(const aclprofConfig *config) {
    if (!hc_handle_ok(&g_configs, config)) return hc_handle_fail(&g_configs, config, "aclprofStart");
    pthread_mutex_lock(&g_lock);
    const aclError code = start(config);
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
