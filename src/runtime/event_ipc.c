// SPDX-License-Identifier: Apache-2.0
/* Events that processes share: a page of shared memory with the number of the latest record and of the latest
 * one that has happened. The handle names process, file and a random id. Waiting is a futex on that page,
 * woken by whoever records; it looks up from time to time, because the recording process may die. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_error.h"
#include "hc_event.h"
#include "hc_memory.h"

/* Both processes write it, so every member but the id is atomic. `changed` is a word of its own for the
 * futex, as `done` may wrap back to a value that a waiter has seen. */
struct hc_event_page {
    uint64_t id;
    atomic_uint requested; /* records asked for */
    atomic_uint done;      /* of them, the latest that happened */
    atomic_uint changed;   /* futex word: bumped at each change of `done` */
    atomic_int recorder;   /* process of the latest request */
    atomic_ullong time_ns;
};

struct page_task {
    struct hc_event_page *page; /* a mapping of its own: the event may be destroyed first */
    unsigned number;
};

/* Every 20 ms: an abort or a dead peer is noticed soon, and the cost is nothing. */
enum { LOOK_MS = 20 };

/* NULL with errno set. */
static struct hc_event_page *map_page(int file) {
    void *p = mmap(NULL, HC_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    return p != MAP_FAILED ? p : NULL;
}

/* The random id tells this event from a later one with the same process and file number. */
aclError hc_event_page_create(struct hc_event *e) {
    e->file = memfd_create("npu-event", MFD_CLOEXEC);
    HC_CHECK(e->file >= 0 && ftruncate(e->file, HC_PAGE) == 0 && (e->page = map_page(e->file)) != NULL,
             ACL_ERROR_RT_IPC_ERROR, "create event: no shared memory: %s", strerror(errno));
    if (getrandom(&e->page_id, sizeof e->page_id, 0) != (ssize_t)sizeof e->page_id) e->page_id = hc_now_ns();
    e->page->id = e->page_id;
    return ACL_SUCCESS;
}

/* Tasks under way have mappings of their own. */
void hc_event_page_close(struct hc_event *e) {
    munmap(e->page, HC_PAGE);
    if (e->file >= 0) close(e->file);
    e->page = NULL;
}

/* The number is that of the record to make or to wait for. */
static struct page_task *new_task(const struct hc_event *e, unsigned number) {
    struct page_task *t = malloc(sizeof *t);
    if (t == NULL) return NULL;
    /* MREMAP of length 0 makes a second mapping of shared pages. */
    void *again = mremap(e->page, 0, HC_PAGE, MREMAP_MAYMOVE);
    if (again == MAP_FAILED) {
        free(t);
        return NULL;
    }
    *t = (struct page_task){again, number};
    return t;
}

/* Records may end out of order when they are made on several streams: `done` only grows. Signed
 * difference, so that the numbers may wrap. */
static void finish(struct page_task *t) {
    if ((int)(t->number - atomic_load(&t->page->done)) > 0) {
        atomic_store(&t->page->time_ns, hc_now_ns());
        atomic_store(&t->page->done, t->number);
        atomic_fetch_add(&t->page->changed, 1);
        syscall(SYS_futex, &t->page->changed, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    }
}

static aclError run_record(void *arg) {
    finish(arg);
    return ACL_SUCCESS;
}

/* A dropped record counts as passed, as for events within a process. */
static void release_record(void *arg) {
    struct page_task *t = arg;
    finish(t);
    munmap(t->page, HC_PAGE);
    free(t);
}

/* The number is taken when the record is asked for: that is what a wait in any process captures. */
aclError hc_event_page_record(struct hc_event *e, aclrtStream stream) {
    struct page_task *t = new_task(e, atomic_fetch_add(&e->page->requested, 1) + 1);
    HC_CHECK(t != NULL, ACL_ERROR_RT_NO_EVENT_RESOURCE, "aclrtRecordEvent: out of host memory");
    atomic_store(&e->page->recorder, (int)getpid());
    return hc_launch(stream, &(struct hc_task){.name = "record event",
                                               .kind = HC_TASK_CONTROL,
                                               .arg = t,
                                               .run = run_record,
                                               .release = release_record});
}

static bool passed(const struct hc_event_page *page, unsigned number) {
    return (int)(atomic_load(&page->done) - number) >= 0;
}

/* Reads the futex word before it looks at the condition, so a change in between makes the futex return at
 * once. */
static aclError await(struct hc_event_page *page, unsigned number, const char *what) {
    const struct timespec look = {0, LOOK_MS * 1000000L};
    while (!passed(page, number)) {
        const unsigned changed = atomic_load(&page->changed);
        if (passed(page, number)) break;
        HC_CHECK(!hc_abort_requested(), ACL_ERROR_RT_STREAM_ABORT, "%s: the stream was aborted", what);
        syscall(SYS_futex, &page->changed, FUTEX_WAIT, changed, &look, NULL, 0);
        const int recorder = atomic_load(&page->recorder);
        HC_CHECK(passed(page, number) || kill(recorder, 0) == 0 || errno != ESRCH, ACL_ERROR_RT_IPC_ERROR,
                 "%s: process %d, which was to record the event, has ended", what, recorder);
    }
    return ACL_SUCCESS;
}

/* Parked, as a wait within the process is. */
static aclError run_wait(void *arg) {
    struct page_task *t = arg;
    hc_stream_park(true);
    const aclError code = await(t->page, t->number, "wait event");
    hc_stream_park(false);
    return code;
}

static void release_wait(void *arg) {
    struct page_task *t = arg;
    munmap(t->page, HC_PAGE);
    free(t);
}

/* What is captured is the latest record that any process has asked for. */
aclError hc_event_page_wait(struct hc_event *e, aclrtStream stream) {
    const unsigned number = atomic_load(&e->page->requested);
    if (passed(e->page, number)) return ACL_SUCCESS;
    struct page_task *t = new_task(e, number);
    HC_CHECK(t != NULL, ACL_ERROR_RT_NO_EVENT_RESOURCE, "aclrtStreamWaitEvent: out of host memory");
    return hc_launch(stream, &(struct hc_task){.name = "wait event",
                                               .kind = HC_TASK_CONTROL,
                                               .may_block = true,
                                               .arg = t,
                                               .run = run_wait,
                                               .release = release_wait});
}

/* The time is that of the latest record that happened, which is the one asked for unless it was recorded
 * again since. */
bool hc_event_page_done(const struct hc_event *e, uint64_t *time_ns) {
    const unsigned number = atomic_load(&e->page->requested);
    if (number == 0 || !passed(e->page, number)) return false;
    *time_ns = atomic_load(&e->page->time_ns);
    return true;
}

aclError hc_event_page_synchronize(struct hc_event *e) {
    return await(e->page, atomic_load(&e->page->requested), "aclrtSynchronizeEvent");
}

/* For all processes that share the event. */
void hc_event_page_reset(struct hc_event *e) {
    atomic_store(&e->page->done, 0);
    atomic_store(&e->page->requested, 0);
}

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
    HC_CHECK(e->page != NULL && e->file >= 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcGetEventHandle: the event has flags 0x%x; only one that this process created with "
             "ACL_EVENT_IPC (0x%x) "
             "can be shared",
             e->flags, ACL_EVENT_IPC);
    struct event_handle h = {.pid = getpid(), .file = e->file, .id = e->page_id};
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    memset(handle, 0, sizeof *handle);
    memcpy(handle->reserved, &h, sizeof h);
    return ACL_SUCCESS;
}

/* The opened event can be recorded, waited for and queried like one's own, and must be destroyed. */
aclError aclrtIpcOpenEventHandle(aclrtIpcEventHandle handle, aclrtEvent *event) {
    struct event_handle h;
    char path[64];
    memcpy(&h, handle.reserved, sizeof h);
    HC_CHECK(event != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcOpenEventHandle: event is null");
    HC_CHECK(memcmp(h.magic, MAGIC, sizeof MAGIC) == 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcOpenEventHandle: the handle is not one of this runtime");
    const struct hc_context *c = hc_context_current("aclrtIpcOpenEventHandle");
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", h.pid, h.file);
    const int file = open(path, O_RDWR | O_CLOEXEC);
    struct hc_event_page *page = file >= 0 ? map_page(file) : NULL;
    const int why = errno;
    if (file >= 0) close(file);
    HC_CHECK(page != NULL, ACL_ERROR_RT_IPC_ERROR,
             "aclrtIpcOpenEventHandle: cannot open the event of process %d: %s", h.pid, strerror(why));
    struct hc_event *e = page->id == h.id ? hc_handle_new(&hc_event_pool) : NULL;
    if (e == NULL) {
        munmap(page, HC_PAGE);
        return hc_fail(ACL_ERROR_RT_IPC_ERROR, "aclrtIpcOpenEventHandle: process %d has destroyed the event",
                       h.pid);
    }
    e->flags = ACL_EVENT_IPC;
    e->device = c->device;
    e->page = page;
    e->file = -1;
    e->page_id = h.id;
    hc_handle_publish(&e->handle);
    *event = e;
    return ACL_SUCCESS;
}
