// SPDX-License-Identifier: Apache-2.0
/* MINDSPEED_TRACE=file.json: a Chrome trace (ui.perfetto.dev opens it). A process row per device, a thread
 * row per stream; a slice per task with its shapes, bytes and FLOPs.
 *
 * Lines gather in a buffer of fixed size. Each flush ends with "]" and the next one overwrites it, so the
 * file is valid JSON at every moment, also after a crash. In the name, %p is the process id and %r the
 * environment's RANK; where WORLD_SIZE is above 1 and the name has neither, ".rank<RANK>" goes before the
 * extension. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hc_device.h"
#include "hc_error.h"
#include "hc_log.h"
#include "hc_observe.h"
#include "hc_option.h"

/* 256 KiB are about a thousand slices: one write every few milliseconds of small operators. Where tasks are
 * few, a write every 100 ms; and one behind each failure, as the process may be ended for it.
 * Perfetto needs no sorting by time, so lines go out as tasks end. */
enum {
    BUFFER_BYTES = 1 << 18,
    LINE_BYTES = 2048,
    PATH_BYTES = 4096,
    NAMED_ROWS = 4096,
    WRITE_NS = 100 * 1000 * 1000
};

static struct {
    pthread_mutex_t lock;
    int file;   /* -1: closed */
    bool first; /* no slice written yet */
    off_t end;  /* where the closing "]" is */
    size_t used;
    char *buffer;
    uint64_t written_ns;        /* when the last task ended that made a write */
    uint64_t named[NAMED_ROWS]; /* rows whose names are written, hashed by device and stream */
} g_trace = {.lock = PTHREAD_MUTEX_INITIALIZER, .file = -1};

/* The file name for a pattern. False when it does not fit into `room` bytes, the terminator included. */
static bool expand(const char *pattern, char *path, size_t room) {
    size_t used = 0;
    bool unique = false;
    for (const char *c = pattern; *c != '\0'; c++) {
        const bool special = c[0] == '%' && (c[1] == 'p' || c[1] == 'r');
        int n;
        if (!special) n = snprintf(path + used, room - used, "%c", *c);
        else if (c[1] == 'p') n = snprintf(path + used, room - used, "%d", (int)getpid());
        else n = snprintf(path + used, room - used, "%s", hc_option_text(HC_OPT_RANK));
        if (n < 0 || (size_t)n >= room - used) return false;
        used += (size_t)n;
        unique = unique || special;
        c += special || (c[0] == '%' && c[1] == '%');
    }
    if (unique || hc_option_int(HC_OPT_WORLD_SIZE) <= 1) return true;
    char tail[64] = "";
    char *dot = strrchr(path, '.');
    if (dot != NULL && strchr(dot, '/') == NULL && strlen(dot) < sizeof tail) {
        strcpy(tail, dot);
        used = (size_t)(dot - path);
    }
    const int n = snprintf(path + used, room - used, ".rank%s%s", hc_option_text(HC_OPT_RANK), tail);
    return n >= 0 && (size_t)n < room - used;
}

/* Needs the lock. A trace that cannot be written is ended with a log line: it must not end the training. */
static void flush(void) {
    static const char TAIL[] = "\n]\n";
    if (g_trace.file < 0 || g_trace.used == 0) return;
    memcpy(g_trace.buffer + g_trace.used, TAIL, sizeof TAIL - 1);
    const size_t bytes = g_trace.used + sizeof TAIL - 1;
    size_t at = 0;
    while (at < bytes) {
        const ssize_t n = pwrite(g_trace.file, g_trace.buffer + at, bytes - at, g_trace.end + (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            HC_LOG_ERROR("trace: cannot write: %s; tracing ends", strerror(errno));
            atomic_fetch_and(&hc_observers, ~(unsigned)HC_OBSERVE_TRACE);
            break;
        }
        at += (size_t)n;
    }
    g_trace.end += (off_t)g_trace.used;
    g_trace.used = 0;
}

/* Needs the lock. One element of the array, with what separates it from the last; 8 bytes are kept for
 * the tail. */
static void append(const char *line, size_t bytes) {
    if (g_trace.file < 0) return;
    if (g_trace.used + bytes + 8 > BUFFER_BYTES) flush();
    const char *separator = g_trace.first ? "[\n" : ",\n";
    g_trace.first = false;
    memcpy(g_trace.buffer + g_trace.used, separator, 2);
    memcpy(g_trace.buffer + g_trace.used + 2, line, bytes);
    g_trace.used += bytes + 2;
}

/* Needs the lock; 0 or errno. */
static int open_file(const char *path) {
    if (g_trace.file >= 0) return 0;
    if (g_trace.buffer == NULL) g_trace.buffer = malloc(BUFFER_BYTES + 64);
    if (g_trace.buffer == NULL) return ENOMEM;
    g_trace.file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (g_trace.file < 0 || pwrite(g_trace.file, "[\n]\n", 4, 0) != 4) return errno;
    g_trace.first = true;
    g_trace.end = 0;
    g_trace.used = 0;
    g_trace.written_ns = 0;
    memset(g_trace.named, 0, sizeof g_trace.named);
    return 0;
}

/* The file is completed at exit, whoever opened it. */
aclError hc_trace_open(const char *path) {
    static atomic_bool at_exit;
    pthread_mutex_lock(&g_trace.lock);
    const int failed = open_file(path);
    pthread_mutex_unlock(&g_trace.lock);
    HC_CHECK(failed == 0, ACL_ERROR_WRITE_FILE, "cannot write the trace %s: %s", path, strerror(failed));
    if (!atomic_exchange(&at_exit, true)) atexit(hc_trace_stop);
    atomic_fetch_or(&hc_observers, HC_OBSERVE_TRACE);
    return ACL_SUCCESS;
}

aclError hc_trace_start(void) {
    const char *pattern = hc_option_text(HC_OPT_TRACE);
    char path[PATH_BYTES];
    if (pattern[0] == '\0') return ACL_SUCCESS;
    HC_CHECK(expand(pattern, path, sizeof path), ACL_ERROR_INVALID_PARAM,
             "%s: the name is longer than %d bytes", hc_option_env_name(HC_OPT_TRACE), PATH_BYTES - 1);
    return hc_trace_open(path);
}

/* Also runs at exit. Tasks still running are not in the trace. */
void hc_trace_stop(void) {
    atomic_fetch_and(&hc_observers, ~(unsigned)HC_OBSERVE_TRACE);
    pthread_mutex_lock(&g_trace.lock);
    if (g_trace.file >= 0) {
        if (g_trace.first) append("{}", 2);
        flush();
        close(g_trace.file);
        g_trace.file = -1;
    }
    free(g_trace.buffer);
    g_trace.buffer = NULL;
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

/* Into a JSON string; cut where `room` ends. Names and shapes come from our own code, but a quote in one
 * must not break the file. */
static void quote(const char *text, char *out, size_t room) {
    size_t used = 0;
    for (; *text != '\0' && used + 7 < room; text++) {
        if (*text == '"' || *text == '\\') out[used++] = '\\';
        if ((unsigned char)*text >= 0x20) out[used++] = *text;
        else used += (size_t)snprintf(out + used, room - used, "\\u%04x", (unsigned)*text);
    }
    out[used] = '\0';
}

/* Formats before it takes the lock. Times are microseconds with three decimals, on the clock that events
 * use. */
void hc_trace_add(int32_t device, int32_t stream, const struct hc_task *task, const struct hc_task_info *info,
                  uint64_t begin_ns, uint64_t end_ns, aclError code) {
    static const char *const KINDS[HC_TASK_KIND_COUNT] = {"operator", "copy", "collective", "callback",
                                                          "control"};
    char line[LINE_BYTES], name[160], shapes[HC_LAUNCH_TEXT_BYTES + 64];
    quote(task->name, name, sizeof name);
    quote(info->shapes, shapes, sizeof shapes);
    const uint64_t lasted = end_ns - begin_ns;
    const int n = snprintf(
        line, sizeof line,
        "{\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%llu.%03u,\"dur\":"
        "%llu.%03u,\"args\":{\"shapes\":\"%s\",\"bytes\":%llu,\"flops\":%llu,\"code\":%d}}",
        name, KINDS[task->kind], device + 1, stream + 1, (unsigned long long)(begin_ns / 1000),
        (unsigned)(begin_ns % 1000), (unsigned long long)(lasted / 1000), (unsigned)(lasted % 1000), shapes,
        (unsigned long long)info->bytes, (unsigned long long)info->flops, code);
    pthread_mutex_lock(&g_trace.lock);
    name_row(device, stream);
    append(line, (size_t)n);
    if (code != 0 || end_ns - g_trace.written_ns >= WRITE_NS) {
        flush();
        g_trace.written_ns = end_ns;
    }
    pthread_mutex_unlock(&g_trace.lock);
}

void hc_trace_write(void) {
    pthread_mutex_lock(&g_trace.lock);
    flush();
    pthread_mutex_unlock(&g_trace.lock);
}

/* The file belongs to the parent. */
void hc_trace_after_fork(void) {
    pthread_mutex_init(&g_trace.lock, NULL);
    if (g_trace.file >= 0) close(g_trace.file);
    g_trace.file = -1;
    atomic_fetch_and(&hc_observers, ~(unsigned)HC_OBSERVE_TRACE);
}
