// SPDX-License-Identifier: Apache-2.0
/* SIGINT while the interpreter's main thread waits. The interpreter is played by this program: its handler
 * makes a note, and `turn` is the moment between two instructions. Each test is a process of its own. */
#include <pthread.h>
#include <stdatomic.h>

#include "hc_clock.h"
#include "hc_error.h"
#include "hc_interrupt.h"
#include "hc_runtime.h"
#include "runtime_test.h"

static atomic_int g_noted, g_ran;
static _Atomic(int (*)(void *)) g_call;

static void note(int number) {
    (void)number;
    atomic_fetch_add(&g_noted, 1);
}
static int add_call(int (*call)(void *), void *arg) {
    (void)arg;
    atomic_store(&g_call, call);
    return 0;
}
/* The interpreter gets to what is pending. */
static void turn(void) {
    int (*call)(void *);
    while ((call = atomic_exchange(&g_call, NULL)) == NULL) sleep_ms(1);
    call(NULL);
}

static aclError peer(void *arg) {
    (void)arg;
    while (!hc_abort_requested()) sleep_ms(1);
    return hc_fail(ACL_ERROR_RT_STREAM_ABORT, "peer never came");
}
static aclError count(void *arg) {
    (void)arg;
    atomic_fetch_add(&g_ran, 1);
    return ACL_SUCCESS;
}
static void put(aclrtStream s, aclError (*run)(void *), bool may_block) {
    hc_launch(s, &(struct hc_task){.name = "task", .may_block = may_block, .run = run});
}

static aclrtStream start(void) {
    aclrtStream s;
    use_device(0);
    aclrtCreateStream(&s);
    aclrtSetStreamFailureMode(s, ACL_STOP_ON_FAILURE);
    signal(SIGINT, note);
    if (hc_interrupt_watch(getpid(), add_call) != 0) _exit(99);
    return s;
}

static void *interrupt_soon(void *arg) {
    sleep_ms((long)(intptr_t)arg);
    kill(getpid(), SIGINT);
    return NULL;
}
static void interrupt_in(long ms) {
    pthread_t thread;
    pthread_create(&thread, NULL, interrupt_soon, (void *)(intptr_t)ms);
    pthread_detach(thread);
}

/* A full queue behind a collective whose peer never comes: what every call of the main thread waits for ends.
 */
static int waiting(void) {
    aclrtStream s = start();
    aclrtEvent event;
    aclrtCreateEventExWithFlag(&event, ACL_EVENT_SYNC);
    put(s, peer, true);
    for (int i = 0; i < 200; i++) put(s, count, false);
    aclrtRecordEvent(event, s);
    const uint64_t begin = hc_now_ns();
    interrupt_in(50);
    if (aclrtSynchronizeStream(s) != 0) return 1;
    if (hc_now_ns() - begin > 1000000000u) return 2;
    if (aclrtSynchronizeEvent(event) != 0 || aclrtSynchronizeDevice() != 0) return 3;
    put(s, count, false); /* dropped as well, until the interpreter has raised */
    if (aclrtSynchronizeStream(s) != 0 || g_ran != 0 || g_noted != 1) return 4;
    turn();
    put(s, count, false);
    if (aclrtSynchronizeStream(s) != 0 || g_ran != 1 || !hc_interrupted()) return 5;
    return 0;
}
TEST(waits_of_the_main_thread_end) { CHECK_EQ(in_child(waiting, 20), 0); }

static void *synchronize(void *stream) { return (void *)(intptr_t)aclrtSynchronizeStream(stream); }

/* Results are missing, and no exception is on its way to another thread. */
static int other_thread(void) {
    aclrtStream s = start();
    put(s, peer, true);
    put(s, count, false);
    pthread_t thread;
    void *code;
    pthread_create(&thread, NULL, synchronize, s);
    interrupt_in(50);
    pthread_join(thread, &code);
    turn();
    return code == NULL ? 1 : 0;
}
TEST(other_threads_get_an_error) { CHECK_EQ(in_child(other_thread, 20), 0); }

/* The interpreter was not waiting: KeyboardInterrupt may be caught and the work goes on. */
static int in_time(void) {
    aclrtStream s = start();
    put(s, count, true);
    kill(getpid(), SIGINT);
    turn();
    sleep_ms(700);
    put(s, count, true);
    return aclrtSynchronizeStream(s) == 0 && g_ran == 2 && !hc_interrupted() ? 0 : 1;
}
TEST(nothing_is_dropped_for_an_interpreter_in_time) { CHECK_EQ(in_child(in_time, 20), 0); }

static int other_handler(void) {
    aclrtStream s = start();
    signal(SIGINT, note); /* the program's own */
    put(s, count, true);
    kill(getpid(), SIGINT);
    sleep_ms(700);
    put(s, count, true);
    return aclrtSynchronizeStream(s) == 0 && g_ran == 2 && g_noted == 1 ? 0 : 1;
}
TEST(a_handler_of_the_program_drops_nothing) { CHECK_EQ(in_child(other_handler, 20), 0); }

/* The same signal from a terminal and a launcher is one; a second one, of a person, is another. */
static int twice(void) {
    start();
    kill(getpid(), SIGINT);
    sleep_ms(20);
    kill(getpid(), SIGINT);
    if (g_noted != 2) return 1;
    sleep_ms(400);
    kill(getpid(), SIGINT);
    sleep_ms(5000);
    return 2;
}
TEST(the_second_ends_the_process) { CHECK_EQ(in_child(twice, 20), -SIGINT); }

/* After an interrupt nobody waits for what is left at the end. */
static int ending(void) {
    aclrtStream s = start();
    put(s, peer, true);
    put(s, count, false);
    kill(getpid(), SIGINT);
    turn();
    const uint64_t begin = hc_now_ns();
    hc_interrupt_ending();
    if (aclrtSynchronizeStream(s) != 0 || aclFinalize() != 0) return 1;
    return hc_now_ns() - begin < 1000000000u && g_ran == 0 ? 0 : 2;
}
TEST(the_end_does_not_wait) { CHECK_EQ(in_child(ending, 20), 0); }

static int without(void) {
    aclrtStream s = start();
    put(s, count, true);
    hc_interrupt_ending();
    return aclrtSynchronizeStream(s) == 0 && g_ran == 1 ? 0 : 1;
}
TEST(the_end_waits_if_there_was_no_interrupt) { CHECK_EQ(in_child(without, 20), 0); }
