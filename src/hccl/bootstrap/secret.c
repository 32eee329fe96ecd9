// SPDX-License-Identifier: Apache-2.0
#include "hc_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hc_error.h"
#include "hc_option.h"

enum { MIN_SECRET = 16, MAX_SECRET = 4096 };

HcclResult hc_key_random(const char *caller, struct hc_key *key) {
    HC_CHECK(getrandom(key, sizeof *key, 0) == (ssize_t)sizeof *key, HCCL_E_SYSCALL,
             "%s: the system gave no random bytes", caller);
    return HCCL_SUCCESS;
}

uint64_t hc_key_name(const struct hc_key *key) {
    struct hc_hmac h;
    unsigned char code[HC_SHA256_BYTES];
    uint64_t name;
    hc_hmac_begin(&h, key, sizeof *key);
    hc_hmac_add(&h, "name", 5);
    hc_hmac_end(&h, code);
    memcpy(&name, code, sizeof name);
    return name;
}

/* The file is judged when it is open: what a name leads to may change. */
static HcclResult check_file(const char *caller, const char *path, int file) {
    static const char WANTED[] = "wanted a file of your own that no one else can read: chmod 600";
    struct stat s;
    HC_CHECK(fstat(file, &s) == 0, HCCL_E_SYSCALL, "%s: MINDSPEED_HCCL_SECRET_FILE=%s: %s", caller, path,
             strerror(errno));
    HC_CHECK(S_ISREG(s.st_mode), HCCL_E_PARA, "%s: MINDSPEED_HCCL_SECRET_FILE=%s is no regular file", caller,
             path);
    HC_CHECK(s.st_uid == geteuid(), HCCL_E_PARA,
             "%s: MINDSPEED_HCCL_SECRET_FILE=%s belongs to user %u, this process to user %u; %s", caller,
             path, (unsigned)s.st_uid, (unsigned)geteuid(), WANTED);
    HC_CHECK((s.st_mode & 077) == 0, HCCL_E_PARA, "%s: MINDSPEED_HCCL_SECRET_FILE=%s has the mode %03o; %s",
             caller, path, (unsigned)s.st_mode & 0777, WANTED);
    return HCCL_SUCCESS;
}

/* Line ends at the end do not count: editors add them. */
static HcclResult read_secret(const char *caller, const char *path, int file, unsigned char *text,
                              size_t *length) {
    ssize_t n = 0;
    *length = 0;
    while (*length <= MAX_SECRET && (n = read(file, text + *length, MAX_SECRET + 1 - *length)) > 0)
        *length += (size_t)n;
    HC_CHECK(n >= 0, HCCL_E_SYSCALL, "%s: cannot read MINDSPEED_HCCL_SECRET_FILE=%s: %s", caller, path,
             strerror(errno));
    const size_t all = *length;
    while (*length > 0 && (text[*length - 1] == '\n' || text[*length - 1] == '\r')) --*length;
    HC_CHECK(*length >= MIN_SECRET && all <= MAX_SECRET, HCCL_E_PARA,
             "%s: MINDSPEED_HCCL_SECRET_FILE=%s has %s %d bytes, wanted %d to %d, random ones", caller, path,
             *length < MIN_SECRET ? "less than" : "more than", *length < MIN_SECRET ? MIN_SECRET : MAX_SECRET,
             MIN_SECRET, MAX_SECRET);
    return HCCL_SUCCESS;
}

HcclResult hc_key_shared(const char *caller, const void *facts, size_t length, struct hc_key *key,
                         bool *secret) {
    const char *path = hc_option_text(HC_OPT_HCCL_SECRET_FILE);
    unsigned char text[MAX_SECRET + 1];
    size_t bytes = 0;
    *secret = path[0] != '\0';
    if (*secret) {
        /* Not to wait at a pipe. */
        const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        HC_CHECK(file >= 0, HCCL_E_OPEN_FILE_FAILURE, "%s: cannot open MINDSPEED_HCCL_SECRET_FILE=%s: %s",
                 caller, path, strerror(errno));
        HcclResult status = check_file(caller, path, file);
        if (status == HCCL_SUCCESS) status = read_secret(caller, path, file, text, &bytes);
        close(file);
        if (status != HCCL_SUCCESS) return status;
    }
    struct hc_hmac h;
    hc_hmac_begin(&h, text, bytes);
    hc_hmac_add(&h, facts, length);
    hc_hmac_end(&h, key->bytes);
    explicit_bzero(text, sizeof text);
    return HCCL_SUCCESS;
}
