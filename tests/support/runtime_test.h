// SPDX-License-Identifier: Apache-2.0
/* What the tests of the runtime share. */
#pragma once
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "acl/acl.h"
#include "harness.h"
#include "hc_launch.h"

/* What is free is then exact, and not what the host happens to have. */
__attribute__((constructor)) static inline void set_capacity(void) {
    setenv("MINDSPEED_DEVICE_MEMORY", "1G", 1);
}

/* Start the runtime on device 0, once. */
static inline void use_device(int32_t id) {
    const aclError code = aclInit(NULL);
    if ((code != ACL_SUCCESS && code != ACL_ERROR_REPEAT_INITIALIZE) || aclrtSetDevice(id) != ACL_SUCCESS) {
        printf("cannot use device %d: %s\n", id, aclGetRecentErrMsg());
        exit(1);
    }
}

static inline void sleep_ms(long ms) {
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

#define CHECK_OK(call) CHECK_MSG((call) == ACL_SUCCESS, "%s", aclGetRecentErrMsg())
/* The call fails with `code`, and its text holds `word`. */
#define CHECK_FAILS(call, code, word)                                                                        \
    do {                                                                                                     \
        CHECK_EQ(call, code);                                                                                \
        CHECK_MSG(strstr(aclGetRecentErrMsg(), word) != NULL, "text is: %s", aclGetRecentErrMsg());          \
    } while (0)

/* Exit code of fn in a child process; -signal if it was killed, -1000 if it did not end within `seconds`. */
static inline int in_child(int (*fn)(void), int seconds) {
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) _exit(fn());
    for (int i = 0; i < seconds * 100; i++) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
        sleep_ms(10);
    }
    kill(pid, 9);
    waitpid(pid, NULL, 0);
    return -1000;
}
