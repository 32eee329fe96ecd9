// SPDX-License-Identifier: Apache-2.0
/* MINDSPEED_TRACE=file.json: a Chrome trace (ui.perfetto.dev opens it). A process row per device, a thread
 * row per stream; a slice per task with its shapes, bytes and FLOPs. The first record tells whose trace it
 * is and on which clock, for `mindspeed trace merge`. trace_file.c keeps the file whole. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_device.h"
#include "hc_error.h"
#include "hc_observe.h"
#include "hc_option.h"
#include "hc_trace_file.h"

/* Where tasks are few, a write every 100 ms; and one behind each failure, as the process may be ended for
 * it. Perfetto needs no sorting by time, so lines go out as tasks end. */
enum { LINE_BYTES = HC_TRACE_LINE_BYTES, NAMED_ROWS = 4096, WRITE_NS = 100 * 1000 * 1000, FORMAT = 1 };

static struct {
    pthread_mutex_t lock;
    struct hc_trace_file out;
    uint64_t written_ns;        /* when the last task ended that made a write */
    uint64_t named[NAMED_ROWS]; /* rows whose names are written, hashed by device and stream */
} g_trace = {.lock = PTHREAD_MUTEX_INITIALIZER, .out = {.file = -1}};

/* Into a JSON string; cut where `room` ends. Names and shapes come from our own code, but what is in one
 * must not break the file: bytes that are no printable ASCII go out as numbers. */
static void quote(const char *text, char *out, size_t room) {
    size_t used = 0;
    for (; *text != '\0' && used + 7 < room; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') out[used++] = '\\';
        if (c >= 0x20 && c < 0x7f) out[used++] = *text;
        else used += (size_t)snprintf(out + used, room - used, "\\u%04x", c);
    }
    out[used] = '\0';
}

/* Two processes with the same text read the same clock: one start of one kernel, one time namespace. */
static void clock_name(char *text, size_t room) {
    char boot[64] = "unknown";
    struct stat space = {0};
    const int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file >= 0) {
        const ssize_t n = read(file, boot, sizeof boot - 1);
        if (n > 0) boot[n] = '\0';
        close(file);
    }
    boot[strcspn(boot, "\n")] = '\0';
    stat("/proc/self/ns/time", &space);
    snprintf(text, room, "%s/%llu", boot, (unsigned long long)space.st_ino);
}

/* `wall_ns` is what turns times of this clock into those of the calendar, which clocks of several hosts
 * share. */
static void describe_process(char *line, size_t room) {
    char name[100] = "", host[200], clock[100], quoted[200], rank[32] = "null";
    struct timespec wall;
    gethostname(name, sizeof name - 1);
    quote(name, host, sizeof host);
    clock_name(clock, sizeof clock);
    quote(clock, quoted, sizeof quoted);
    if (hc_option_is_set(HC_OPT_RANK))
        snprintf(rank, sizeof rank, "%lld", (long long)hc_option_int(HC_OPT_RANK));
    clock_gettime(CLOCK_REALTIME, &wall);
    const long long wall_ns = (long long)wall.tv_sec * 1000000000 + wall.tv_nsec - (long long)hc_now_ns();
    snprintf(line, room,
             "{\"ph\":\"M\",\"name\":\"mindspeed_trace\",\"pid\":0,\"tid\":0,\"args\":{\"format\":%d,"
             "\"process\":%d,"
             "\"rank\":%s,\"host\":\"%s\",\"clock\":\"%s\",\"wall_ns\":%lld}}",
             FORMAT, (int)getpid(), rank, host, quoted, wall_ns);
}

/* Needs the lock. A trace that cannot be written on must not end the training. */
static void settle(int failed) {
    if (failed == 0) return;
    fprintf(stderr, "mindspeed: the trace %s of process %d ends here: %s\n", g_trace.out.name, (int)getpid(),
            strerror(failed));
    hc_observe(HC_OBSERVE_TRACE, NULL);
    hc_trace_file_close(&g_trace.out);
}

/* Needs the lock. */
static void append(const char *line, size_t bytes) {
    if (g_trace.out.file >= 0) settle(hc_trace_file_append(&g_trace.out, line, bytes));
}
static void write_out(void) {
    if (g_trace.out.file >= 0) settle(hc_trace_file_write(&g_trace.out));
}

/* Needs the lock. */
static aclError open_file(const char *pattern) {
    char head[LINE_BYTES];
    if (g_trace.out.file >= 0) return ACL_SUCCESS;
    describe_process(head, sizeof head);
    HC_TRY(hc_trace_file_open(&g_trace.out, pattern, head));
    g_trace.written_ns = 0;
    memset(g_trace.named, 0, sizeof g_trace.named);
    return ACL_SUCCESS;
}

static void add(const struct hc_observation *o);

/* The file is completed at exit, whoever opened it. */
aclError hc_trace_open(const char *pattern) {
    static atomic_bool at_exit;
    pthread_mutex_lock(&g_trace.lock);
    const aclError code = open_file(pattern);
    pthread_mutex_unlock(&g_trace.lock);
    HC_TRY(code);
    if (!atomic_exchange(&at_exit, true)) atexit(hc_trace_stop);
    hc_observe(HC_OBSERVE_TRACE, add);
    return ACL_SUCCESS;
}

aclError hc_trace_start(void) {
    return hc_option_is_set(HC_OPT_TRACE) ? hc_trace_open(hc_option_text(HC_OPT_TRACE)) : ACL_SUCCESS;
}

/* Also runs at exit. Tasks still running are not in the trace. */
void hc_trace_stop(void) {
    hc_observe(HC_OBSERVE_TRACE, NULL);
    pthread_mutex_lock(&g_trace.lock);
    write_out();
    hc_trace_file_close(&g_trace.out);
    pthread_mutex_unlock(&g_trace.lock);
}

/* Needs the lock. A row's name is written once; on a hash collision again, which does no harm. */
static void name_row(int32_t device, int32_t stream) {
    const uint64_t key = ((uint64_t)(uint32_t)device << 32 | (uint32_t)stream) + 1;
    uint64_t *slot = &g_trace.named[(key * 0x9e3779b97f4a7c15u) >> 52];
    if (*slot == key) return;
    *slot = key;
    char line[LINE_BYTES];
    const int pid = device + 1, tid = stream + 1;
    int n = snprintf(line, sizeof line,
                     "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"NPU %d\"}}",
                     pid, device);
    if (device < 0) {
        n = snprintf(line, sizeof line,
                     "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":\"host\"}}", pid);
    }
    append(line, (size_t)n);
    n = snprintf(
        line, sizeof line,
        "{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":\"stream %d\"}}",
        pid, tid, stream);
    if (stream < 0) {
        n = snprintf(line, sizeof line,
                     "{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":%d,\"tid\":%d,\"args\":{\"name\":"
                     "\"synchronous copies\"}}",
                     pid, tid);
    }
    append(line, (size_t)n);
}

/* Formats before it takes the lock. Times are microseconds with three decimals, on the clock that events
 * use. */
static void add(const struct hc_observation *o) {
    static const char *const KINDS[HC_TASK_KIND_COUNT] = {"operator", "copy", "collective", "callback",
                                                          "control"};
    char line[LINE_BYTES], name[160], shapes[HC_LAUNCH_TEXT_BYTES + 64];
    quote(o->task->name, name, sizeof name);
    quote(o->info->shapes, shapes, sizeof shapes);
    const uint64_t lasted = o->end_ns - o->begin_ns,
                   launched = o->task->queued_ns != 0 ? o->task->queued_ns : o->begin_ns;
    const int n = snprintf(
        line, sizeof line,
        "{\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%llu.%03u,\"dur\":"
        "%llu.%03u,\"args\":{\"shapes\":\"%s\",\"bytes\":%llu,\"flops\":%llu,\"code\":%d,\"roles\":\"%s\","
        "\"launch\":%llu.%03u}}",
        name, KINDS[o->task->kind], o->device + 1, o->stream + 1, (unsigned long long)(o->begin_ns / 1000),
        (unsigned)(o->begin_ns % 1000), (unsigned long long)(lasted / 1000), (unsigned)(lasted % 1000),
        shapes, (unsigned long long)o->info->bytes, (unsigned long long)o->info->flops, o->code,
        o->info->roles, (unsigned long long)(launched / 1000), (unsigned)(launched % 1000));
    pthread_mutex_lock(&g_trace.lock);
    name_row(o->device, o->stream);
    append(line, (size_t)n);
    if (o->code != 0 || o->end_ns - g_trace.written_ns >= WRITE_NS) {
        write_out();
        g_trace.written_ns = o->end_ns;
    }
    pthread_mutex_unlock(&g_trace.lock);
}

void hc_trace_write(void) {
    pthread_mutex_lock(&g_trace.lock);
    write_out();
    pthread_mutex_unlock(&g_trace.lock);
}

/* The file belongs to the parent. */
void hc_trace_after_fork(void) {
    pthread_mutex_init(&g_trace.lock, NULL);
    hc_trace_file_close(&g_trace.out);
    hc_observe(HC_OBSERVE_TRACE, NULL);
}
