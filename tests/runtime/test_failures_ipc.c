// SPDX-License-Identifier: Apache-2.0
/* Events between processes carry failures: the other process records or waits as it is told over a socket. */
#include <fcntl.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "hc_error.h"
#include "runtime_test.h"

enum { TEXT_BYTES = 1024 };

static atomic_int g_gate;

static aclError fail(void *arg) {
    return hc_fail(ACL_ERROR_RT_AICORE_EXCEPTION, "index %d is out", (int)(intptr_t)arg);
}
static aclError wait_gate(void *arg) {
    (void)arg;
    while (!atomic_load(&g_gate) && !hc_abort_requested()) sleep_ms(1);
    return ACL_SUCCESS;
}
static aclError put(aclrtStream s, aclError (*run)(void *), intptr_t value, bool may_block) {
    return hc_launch(
        s, &(struct hc_task){.name = "aclnnTest", .may_block = may_block, .arg = (void *)value, .run = run});
}

/* What the other process does with the event, on a stream of device 1. */
enum verb { WAIT, RECORD, FAIL, HOLD, LET_GO, SYNCHRONIZE_STREAM, SYNCHRONIZE_EVENT, QUERY, RESET, DIE };
struct request {
    enum verb verb;
    int value;
};
struct reply {
    aclError code;
    aclrtEventRecordedStatus status;
    char text[TEXT_BYTES];
};

static aclError obey(const struct request *r, aclrtStream stream, aclrtEvent event,
                     aclrtEventRecordedStatus *status) {
    switch (r->verb) {
    case WAIT: return aclrtStreamWaitEvent(stream, event);
    case RECORD: return aclrtRecordEvent(event, stream);
    case FAIL: return put(stream, fail, r->value, true);
    case HOLD: atomic_store(&g_gate, 0); return put(stream, wait_gate, 0, true);
    case LET_GO: atomic_store(&g_gate, 1); return ACL_SUCCESS;
    case SYNCHRONIZE_STREAM: return aclrtSynchronizeStream(stream);
    case SYNCHRONIZE_EVENT: return aclrtSynchronizeEvent(event);
    case QUERY: return aclrtQueryEventStatus(event, status);
    case RESET: return aclrtResetEvent(event, stream);
    default: kill(getpid(), SIGKILL); return -1;
    }
}

static int serve(int file) {
    aclrtIpcEventHandle handle;
    aclrtStream stream;
    aclrtEvent event;
    struct request request;
    if (read(file, &handle, sizeof handle) != sizeof handle) return 1;
    use_device(1);
    if (aclrtCreateStream(&stream) || aclrtSetStreamFailureMode(stream, ACL_STOP_ON_FAILURE) ||
        aclrtIpcOpenEventHandle(handle, &event))
        return 2;
    while (read(file, &request, sizeof request) == sizeof request) {
        struct reply reply = {0};
        reply.code = obey(&request, stream, event, &reply.status);
        snprintf(reply.text, sizeof reply.text, "%s", reply.code != 0 ? aclGetRecentErrMsg() : "");
        if (write(file, &reply, sizeof reply) != sizeof reply) return 3;
    }
    return aclrtDestroyEvent(event) || aclFinalize() ? 4 : 0;
}

/* The event and a stream of device 0 here, the other process behind `file`. */
struct pair {
    aclrtStream stream;
    aclrtEvent event;
    pid_t pid;
    int file;
    struct reply reply; /* the latest */
};

static bool start(struct pair *p) {
    int files[2];
    aclrtIpcEventHandle handle;
    atomic_store(&g_gate, 0);
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, files) != 0) return false;
    fflush(stdout);
    p->pid = fork();
    if (p->pid == 0) {
        close(files[0]);
        _exit(serve(files[1]));
    }
    close(files[1]);
    p->file = files[0];
    use_device(0);
    return aclrtCreateStream(&p->stream) == 0 &&
           aclrtSetStreamFailureMode(p->stream, ACL_STOP_ON_FAILURE) == 0 &&
           aclrtCreateEventExWithFlag(&p->event, ACL_EVENT_IPC) == 0 &&
           aclrtIpcGetEventHandle(p->event, &handle) == 0 &&
           write(p->file, &handle, sizeof handle) == sizeof handle;
}

static aclError ask(struct pair *p, enum verb verb, int value) {
    const struct request request = {verb, value};
    const size_t bytes = sizeof p->reply;
    if (write(p->file, &request, sizeof request) != sizeof request) return -1;
    if (recv(p->file, &p->reply, bytes, MSG_WAITALL) != (ssize_t)bytes) return -2;
    return p->reply.code;
}

/* Exit code of the other process. */
static int finish(struct pair *p) {
    int status = -1;
    atomic_store(&g_gate, 1);
    aclrtSynchronizeStream(p->stream);
    close(p->file);
    waitpid(p->pid, &status, 0);
    aclrtDestroyEvent(p->event);
    aclrtDestroyStreamForce(p->stream);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

#define CHECK_DONE(p, verb, value) CHECK_MSG(ask(p, verb, value) == ACL_SUCCESS, "%s", (p)->reply.text)
#define CHECK_TOLD(p, verb, word)                                                                            \
    do {                                                                                                     \
        CHECK_EQ(ask(p, verb, 0), ACL_ERROR_RT_AICORE_EXCEPTION);                                            \
        CHECK_MSG(strstr((p)->reply.text, word) != NULL, "text is: %s", (p)->reply.text);                    \
    } while (0)

TEST(wait_in_another_process_fails_as_the_recording_stream_did) {
    struct pair p;
    CHECK(start(&p));
    CHECK_OK(put(p.stream, wait_gate, 0, true));
    CHECK_OK(put(p.stream, fail, 7, true));
    CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    CHECK_DONE(&p, WAIT, 0); /* before it fails */
    CHECK_DONE(&p, QUERY, 0);
    CHECK_EQ(p.reply.status, ACL_EVENT_RECORDED_STATUS_NOT_READY);
    atomic_store(&g_gate, 1);
    CHECK_TOLD(&p, SYNCHRONIZE_STREAM, "aclnnTest: index 7 is out");
    CHECK_DONE(&p, WAIT, 0); /* it has failed */
    CHECK_TOLD(&p, SYNCHRONIZE_STREAM, "aclnnTest: index 7 is out");
    CHECK_TOLD(&p, SYNCHRONIZE_EVENT, "aclnnTest: index 7 is out");
    CHECK_TOLD(&p, QUERY, "aclnnTest: index 7 is out");
    CHECK_EQ(p.reply.status, ACL_EVENT_RECORDED_STATUS_COMPLETE);
    CHECK_EQ(aclrtSynchronizeStream(p.stream), ACL_ERROR_RT_AICORE_EXCEPTION);
    CHECK_TOLD(&p, SYNCHRONIZE_EVENT, "aclnnTest: index 7 is out"); /* told in the process that recorded it */
    CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    CHECK_DONE(&p, WAIT, 0);
    CHECK_DONE(&p, SYNCHRONIZE_STREAM, 0);
    CHECK_DONE(&p, SYNCHRONIZE_EVENT, 0);
    CHECK_DONE(&p, QUERY, 0);
    CHECK_EQ(finish(&p), 0);
}

/* The other way round, and the record is of a process that has opened the event. */
TEST(failure_comes_from_the_process_that_opened_the_event) {
    struct pair p;
    CHECK(start(&p));
    CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    CHECK_DONE(&p, FAIL, 3);
    CHECK_DONE(&p, RECORD, 0);
    CHECK_OK(aclrtStreamWaitEvent(p.stream, p.event));
    CHECK_FAILS(aclrtSynchronizeStream(p.stream), ACL_ERROR_RT_AICORE_EXCEPTION, "index 3 is out");
    CHECK_FAILS(aclrtSynchronizeEvent(p.event), ACL_ERROR_RT_AICORE_EXCEPTION, "index 3 is out");
    CHECK_TOLD(&p, SYNCHRONIZE_STREAM, "index 3");
    CHECK_EQ(finish(&p), 0);
}

/* The waiting comes late: the record it is for is not the latest, and texts of later failures have come. */
TEST(late_wait_learns_of_its_own_record) {
    struct pair p;
    CHECK(start(&p));
    for (int failing = 0; failing < 2; failing++) {
        CHECK_DONE(&p, HOLD, 0);
        if (failing) CHECK_OK(put(p.stream, fail, 1, true));
        CHECK_OK(aclrtRecordEvent(p.event, p.stream));
        CHECK_DONE(&p, WAIT, 0);
        aclrtSynchronizeStream(p.stream);
        for (int i = 0; i < 12 - 6 * failing; i++) { /* six texts are kept beside the first, twelve are not */
            CHECK_OK(put(p.stream, fail, 50 + i, true));
            CHECK_OK(aclrtRecordEvent(p.event, p.stream));
            CHECK_FAILS(aclrtSynchronizeStream(p.stream), ACL_ERROR_RT_AICORE_EXCEPTION, "is out");
        }
        CHECK_DONE(&p, LET_GO, 0);
        if (failing) CHECK_TOLD(&p, SYNCHRONIZE_STREAM, "index 1 is out");
        else CHECK_DONE(&p, SYNCHRONIZE_STREAM, 0);
    }
    CHECK_EQ(finish(&p), 0);
}

TEST(a_text_that_later_failures_took_the_place_of_leaves_the_code) {
    struct pair p;
    CHECK(start(&p));
    CHECK_DONE(&p, HOLD, 0);
    CHECK_OK(put(p.stream, fail, 1, true));
    CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    CHECK_DONE(&p, WAIT, 0);
    for (int i = 0; i < 9; i++) {
        CHECK_EQ(aclrtSynchronizeStream(p.stream), ACL_ERROR_RT_AICORE_EXCEPTION);
        CHECK_OK(put(p.stream, fail, 50 + i, true));
        CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    }
    CHECK_DONE(&p, LET_GO, 0);
    CHECK_TOLD(&p, SYNCHRONIZE_STREAM, "record 1 of the event is behind");
    CHECK_EQ(finish(&p), 0);
}

/* More records than slots: of a success nothing is lost; that a failure may have been lost is an error. */
TEST(wait_that_is_thousands_of_records_late) {
    enum { SLOTS = 4096 };
    struct pair p;
    CHECK(start(&p));
    for (int failing = 0; failing < 2; failing++) {
        CHECK_DONE(&p, HOLD, 0);
        if (failing) CHECK_OK(put(p.stream, fail, 1, true));
        CHECK_OK(aclrtRecordEvent(p.event, p.stream));
        CHECK_DONE(&p, WAIT, 0);
        CHECK_EQ(aclrtSynchronizeStream(p.stream), failing ? ACL_ERROR_RT_AICORE_EXCEPTION : ACL_SUCCESS);
        for (int i = 0; i < SLOTS; i++) CHECK_OK(aclrtRecordEvent(p.event, p.stream));
        CHECK_DONE(&p, LET_GO, 0);
        CHECK_EQ(ask(&p, SYNCHRONIZE_STREAM, 0), failing ? ACL_ERROR_RT_IPC_ERROR : ACL_SUCCESS);
        CHECK_MSG(!failing || strstr(p.reply.text, "is not known any more"), "text is: %s", p.reply.text);
    }
    CHECK_OK(put(p.stream, wait_gate, 0, true));
    for (int i = 0; i < SLOTS; i++) CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    CHECK_FAILS(aclrtRecordEvent(p.event, p.stream), ACL_ERROR_RT_NO_EVENT_RESOURCE, "4096 records");
    CHECK_EQ(finish(&p), 0);
}

TEST(reset_in_one_process_counts_in_all) {
    struct pair p;
    CHECK(start(&p));
    CHECK_OK(put(p.stream, fail, 7, true));
    CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    CHECK_FAILS(aclrtSynchronizeEvent(p.event), ACL_ERROR_RT_AICORE_EXCEPTION, "index 7");
    CHECK_DONE(&p, RESET, 0);
    CHECK_DONE(&p, QUERY, 0);
    CHECK_EQ(p.reply.status, ACL_EVENT_RECORDED_STATUS_NOT_READY);
    CHECK_OK(aclrtSynchronizeEvent(p.event)); /* never recorded */
    CHECK_OK(aclrtStreamWaitEvent(p.stream, p.event));
    CHECK_OK(aclrtRecordEvent(p.event, p.stream));
    CHECK_DONE(&p, WAIT, 0);
    CHECK_DONE(&p, SYNCHRONIZE_STREAM, 0);
    CHECK_EQ(finish(&p), 0);
}

TEST(recording_process_dies) {
    struct pair p;
    CHECK(start(&p));
    CHECK_DONE(&p, HOLD, 0);
    CHECK_DONE(&p, RECORD, 0);
    CHECK_OK(aclrtStreamWaitEvent(p.stream, p.event));
    CHECK_OK(aclrtRecordEvent(p.event, p.stream)); /* behind the wait: fails with it */
    CHECK_EQ(ask(&p, DIE, 0), -2);
    waitpid(p.pid, NULL, 0);
    CHECK_FAILS(aclrtSynchronizeEvent(p.event), ACL_ERROR_RT_IPC_ERROR, "has ended");
    CHECK_OK(aclrtSynchronizeStream(p.stream));
    finish(&p);
}

/* The time-out of waits counts for events of other processes too. */
TEST(wait_for_another_process_times_out) {
    struct pair p;
    CHECK(start(&p));
    CHECK_OK(aclrtSetOpWaitTimeout(1));
    CHECK_DONE(&p, HOLD, 0);
    CHECK_DONE(&p, RECORD, 0);
    CHECK_OK(aclrtStreamWaitEvent(p.stream, p.event));
    CHECK_FAILS(aclrtSynchronizeStream(p.stream), ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, "not recorded in time");
    CHECK_OK(aclrtSetOpWaitTimeout(0));
    CHECK_DONE(&p, LET_GO, 0);
    CHECK_EQ(finish(&p), 0);
}

/* The page as event_page.c lays it out, in words of 4 bytes. */
enum { PAGE_BYTES = 36968, REQUESTED = 2, TEXTS = 10, TEXT_WORDS = 130, SLOTS_AT = 1050 };

/* An event of this process, a second handle that knows the page alone, and the page. */
struct own {
    aclrtStream stream;
    aclrtEvent event, opened;
    uint32_t *page;
    int32_t file;
};
static bool open_own(struct own *o) {
    struct {
        char magic[8];
        int32_t pid, file;
        uint64_t id;
    } h;
    aclrtIpcEventHandle handle;
    use_device(0);
    if (aclrtCreateStream(&o->stream) || aclrtCreateEventExWithFlag(&o->event, ACL_EVENT_IPC) ||
        aclrtIpcGetEventHandle(o->event, &handle) || aclrtIpcOpenEventHandle(handle, &o->opened))
        return false;
    memcpy(&h, handle.reserved, sizeof h);
    o->file = h.file;
    o->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, h.file, 0);
    return o->page != MAP_FAILED;
}
static void close_own(struct own *o) {
    munmap(o->page, PAGE_BYTES);
    aclrtDestroyEvent(o->opened);
    aclrtDestroyEvent(o->event);
    aclrtDestroyStream(o->stream);
}

/* Another process can write anything into the page; who reads a text ends it, and shows plain characters
 * only. */
TEST(text_that_does_not_end) {
    struct own o;
    CHECK(open_own(&o));
    CHECK_EQ(lseek(o.file, 0, SEEK_END), PAGE_BYTES);
    CHECK_EQ(ftruncate(o.file, 0), -1); /* a look behind the end would be the end of the reader */
    CHECK_OK(put(o.stream, fail, 7, false));
    CHECK_OK(aclrtRecordEvent(o.event, o.stream));
    CHECK_FAILS(aclrtSynchronizeEvent(o.opened), ACL_ERROR_RT_AICORE_EXCEPTION, "index 7 is out");
    for (int i = 0; i < 8; i++) {
        uint32_t *text = o.page + TEXTS + i * TEXT_WORDS;
        memset(text + 2, 0xf0, 512);
        text[0] = o.page[REQUESTED];
    }
    CHECK_FAILS(aclrtSynchronizeEvent(o.opened), ACL_ERROR_RT_AICORE_EXCEPTION, "??????");
    CHECK_EQ(strspn(aclGetRecentErrMsg(), "?"), 512);
    CHECK_EQ(strlen(aclGetRecentErrMsg()), 512);
    aclrtSynchronizeStream(o.stream);
    close_own(&o);
}

/* Nothing in the page is an index or a size; whatever it says, calls return. */
TEST(page_that_is_written_over) {
    struct own o;
    aclrtEventRecordedStatus status;
    CHECK(open_own(&o));
    CHECK_OK(aclrtSetOpWaitTimeout(1));
    for (unsigned fill = 0; fill < 256; fill += 5) {
        memset(o.page + REQUESTED, (int)fill, PAGE_BYTES - 8);
        o.page[REQUESTED + 1] = fill; /* not the same number, which would mean "reset" */
        aclrtQueryEventStatus(o.opened, &status);
        aclrtQueryEventStatus(o.event, &status);
        CHECK_EQ(aclrtSynchronizeStream(o.stream), ACL_SUCCESS);
        aclrtRecordEvent(o.event, o.stream);
        aclrtRecordEvent(o.opened, o.stream);
    }
    o.page[REQUESTED] = 5; /* asked for, and nobody is to make it */
    o.page[SLOTS_AT + 5 * 2] = o.page[SLOTS_AT + 5 * 2 + 1] = 0;
    CHECK_OK(aclrtStreamWaitEvent(o.stream, o.opened));
    CHECK_FAILS(aclrtSynchronizeStream(o.stream), ACL_ERROR_RT_EVENT_SYNC_TIMEOUT, "not recorded in time");
    CHECK_OK(aclrtSetOpWaitTimeout(0));
    close_own(&o);
}
