// SPDX-License-Identifier: Apache-2.0
/* Ctrl-C while the interpreter waits in a call from C.
 *
 * Python's handler of SIGINT only makes a note; KeyboardInterrupt is raised when its main thread is back
 * between two instructions. If that thread waits for a full queue, or for a collective whose peers never
 * come, that may be never. So a handler in front of Python's wakes a thread of ours, which first asks the
 * interpreter for a sign of life (a pending call). If none comes within GRACE_MS, everything queued is
 * dropped and so is what is launched next: the call returns, whichever it is, and the interpreter raises. The
 * running operator may end, but for long ones, which are cut short after another GRACE_MS.
 *
 * To the main thread a synchronise then reports success: it sees KeyboardInterrupt before any result. Other
 * threads get an error. The handler is only in place while SIGINT would raise: a handler that a program
 * installs replaces it, and nothing is ever dropped. A second SIGINT, while the first is still waiting, ends
 * the process. So does the first where ranks meet at a store of torch (c10d): that wait, in which nothing is
 * queued, takes no notice of anything for as long as half an hour. */
#include "hc_interrupt.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_interrupted.h"
#include "hc_stream.h"
#include "hc_thread.h"

/* GRACE: far below the second that a person waits, far above an instruction of Python. AGAIN: a launcher
 * passes on the signal that the terminal has sent already. */
enum {
    GRACE_MS = 300,
    AGAIN_MS = 250,
    RETRY_MS = 10,
    LOOK_MS = 1000,
    TELL_MS = 400,
    LOOKS = 50,
    MOST_FRAMES = 64
};

/* std::type_info, as far as it is fixed. */
struct type_info {
    const void *table;
    const char *name;
};

static struct {
    pthread_mutex_t lock; /* dropping begins and ends one at a time */
    bool installed;
    pid_t process, thread;
    hc_add_call add_call;
    struct sigaction before;
    sem_t arrived, noticed, looked;
    atomic_bool pending, ending, seen, look; /* look: the next signal asks the main thread where it is */
    void *frames[MOST_FRAMES];
    int num_frames;
    const struct type_info *(*caught)(void); /* of the exception that this thread handles, or NULL */
    const char *handled;                     /* the name of the main thread's */
    atomic_ullong since_ns;
} g = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Delivered when the handler returns, which unblocks it. */
static void end_process(void) {
    signal(SIGINT, SIG_DFL);
    raise(SIGINT);
}

static void call_before(int number, siginfo_t *info, void *context) {
    if ((g.before.sa_flags & SA_SIGINFO) != 0) g.before.sa_sigaction(number, info, context);
    else if (g.before.sa_handler != SIG_IGN && g.before.sa_handler != SIG_DFL) g.before.sa_handler(number);
}

/* The main thread's stack, taken by itself, and the exception in whose handler it is. */
static bool was_asked(void) {
    if (hc_thread_id() != g.thread || !atomic_exchange(&g.look, false)) return false;
    g.num_frames = backtrace(g.frames, MOST_FRAMES);
    const struct type_info *type = g.caught != NULL ? g.caught() : NULL;
    g.handled = type != NULL ? type->name : NULL;
    sem_post(&g.looked);
    return true;
}

/* Only what is async-signal-safe, and backtrace(), whose library is loaded beforehand. The child of a fork
 * has the handler but not the thread. */
static void on_sigint(int number, siginfo_t *info, void *context) {
    const int error = errno;
    if (getpid() == g.process) {
        if (was_asked()) {
            errno = error;
            return;
        }
        const uint64_t now = hc_now_ns();
        const bool waiting = atomic_load(&g.pending);
        if (atomic_load(&g.ending) ||
            (waiting && now - atomic_load(&g.since_ns) > (uint64_t)AGAIN_MS * 1000000u)) {
            end_process();
            return;
        }
        if (!waiting) {
            atomic_store(&g.since_ns, now);
            atomic_store(&g.seen, true);
            atomic_store(&g.pending, true);
            sem_post(&g.arrived);
        }
    }
    call_before(number, info, context);
    errno = error;
}

/* In the interpreter's main thread, right behind its own handling of the signal. */
static int on_noticed(void *arg) {
    (void)arg;
    pthread_mutex_lock(&g.lock);
    atomic_store(&g.pending, false);
    if (!atomic_load(&g.ending) && hc_interrupt_over()) hc_streams_interrupt(false);
    pthread_mutex_unlock(&g.lock);
    sem_post(&g.noticed);
    return 0;
}

/* Looks a thousand times a second: a semaphore's own timed wait goes by the time of day, which may be set, up
 * to glibc 2.30. */
static bool posted_within(sem_t *posted, int64_t ms) {
    const uint64_t end = hc_now_ns() + (uint64_t)ms * 1000000u;
    while (sem_trywait(posted) != 0) {
        if (hc_now_ns() >= end) return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return true;
}

static bool noticed_within(int64_t ms) { return posted_within(&g.noticed, ms); }

/* A member of a class of torch's namespace c10d that is a store. */
static bool is_of_store(void *address) {
    Dl_info found;
    if (dladdr(address, &found) == 0 || found.dli_sname == NULL) return false;
    return strstr(found.dli_sname, "4c10d") != NULL && strstr(found.dli_sname, "Store") != NULL;
}

/* Between two attempts to connect the store waits where it handles the first one's failure: that part of its
 * code lies apart, without a name. */
static bool has_failed_to_connect(void) {
    return g.handled != NULL && strstr(g.handled, "c10") != NULL && strstr(g.handled, "DistNetwork") != NULL;
}

/* A signal that comes late is still the one that asks: `look` waits for it. */
static bool ranks_meet(void) {
    while (sem_trywait(&g.looked) == 0) continue;
    atomic_store(&g.look, true);
    if (syscall(SYS_tgkill, g.process, g.thread, SIGINT) != 0) {
        atomic_store(&g.look, false);
        return false;
    }
    if (!posted_within(&g.looked, LOOK_MS)) return false;
    if (has_failed_to_connect()) return true;
    for (int i = 0; i < g.num_frames; i++)
        if (is_of_store(g.frames[i])) return true;
    return false;
}

static void begin_to_drop(void) {
    pthread_mutex_lock(&g.lock);
    if (atomic_load(&g.pending) && hc_interrupt_drop(g.thread)) hc_streams_interrupt(true);
    pthread_mutex_unlock(&g.lock);
}

static void begin_to_cut(void) {
    pthread_mutex_lock(&g.lock);
    if (atomic_load(&g.pending)) hc_interrupt_cut();
    pthread_mutex_unlock(&g.lock);
}

static void tell(const char *text) {
    const ssize_t written = write(STDERR_FILENO, text, strlen(text));
    (void)written;
}

/* By a signal to the process: this thread takes none. Looked for again and again: a wait may begin late. */
static void end_where_ranks_meet(void) {
    if (!ranks_meet()) return;
    tell("\nmindspeed: interrupted while ranks meet at torch's store, which waits on: the process ends.\n");
    signal(SIGINT, SIG_DFL);
    kill(getpid(), SIGINT);
}

static void handle_one(void) {
    while (g.add_call(on_noticed, NULL) != 0) usleep(RETRY_MS * 1000); /* its queue is short, and full */
    if (noticed_within(GRACE_MS)) return;
    begin_to_drop();
    if (noticed_within(GRACE_MS)) return;
    begin_to_cut();
    end_where_ranks_meet();
    if (noticed_within(TELL_MS)) return;
    /* A library computes, or waits for what we do not know. */
    tell("\nmindspeed: interrupted, but the program is in a call that goes on. Ctrl-C again ends it at "
         "once.\n");
    for (int i = 0; i < LOOKS; i++) {
        if (noticed_within(TELL_MS)) return;
        end_where_ranks_meet();
    }
    while (sem_wait(&g.noticed) != 0) continue;
}

static void *watch(void *arg) {
    (void)arg;
    for (;;) {
        while (sem_wait(&g.arrived) != 0) continue;
        handle_one();
    }
    return NULL;
}

static int start_thread(void) {
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) return failed;
    pthread_setname_np(thread, "npu-interrupt");
    return pthread_detach(thread);
}

/* The library of C++ is the process's own, if it has one. Asked once, so that what it keeps per thread exists
 * before a handler asks: in a thread's first question memory is taken. */
static void find_caught(pid_t thread) {
    void *library = hc_thread_id() == thread ? dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD) : NULL;
    void *found = library != NULL ? dlsym(library, "__cxa_current_exception_type") : NULL;
    if (found == NULL) return;
    memcpy(&g.caught, &found, sizeof found);
    g.caught();
}

/* The flags stay as they are: the interpreter relies on system calls being broken off. */
static int install(pid_t thread, hc_add_call add_call) {
    if (g.installed) return 0;
    struct sigaction action;
    if (sem_init(&g.arrived, 0, 0) != 0 || sem_init(&g.noticed, 0, 0) != 0 ||
        sem_init(&g.looked, 0, 0) != 0 || sigaction(SIGINT, NULL, &g.before) != 0)
        return errno;
    g.process = getpid();
    g.thread = thread;
    g.add_call = add_call;
    backtrace(g.frames, MOST_FRAMES); /* loads its library */
    find_caught(thread);
    const int failed = start_thread();
    if (failed != 0) return failed;
    action = g.before;
    action.sa_flags |= SA_SIGINFO;
    action.sa_sigaction = on_sigint;
    if (sigaction(SIGINT, &action, NULL) != 0) return errno;
    g.installed = true;
    return 0;
}

int hc_interrupt_watch(pid_t thread, hc_add_call add_call) {
    pthread_mutex_lock(&g.lock);
    const int failed = install(thread, add_call);
    pthread_mutex_unlock(&g.lock);
    return failed;
}

void hc_interrupt_ending(void) {
    if (!atomic_load(&g.seen)) return;
    pthread_mutex_lock(&g.lock);
    atomic_store(&g.ending, true);
    if (hc_interrupt_drop(g.thread)) hc_streams_interrupt(true);
    hc_interrupt_cut();
    pthread_mutex_unlock(&g.lock);
}

void hc_interrupt_after_fork(void) {
    pthread_mutex_init(&g.lock, NULL);
    atomic_store(&g.pending, false);
    hc_interrupt_over();
}
