// SPDX-License-Identifier: Apache-2.0
/* Copies of a rank's state in files of shared memory, which outlive the process: a page with a header, then
 * the bytes.
 *
 * A copy is whole or it is none. The header is wiped before the bytes change and written when all are there,
 * with their number, the step and their checksum, and a checksum of its own; a process that is killed in
 * between leaves a copy that says so. Memory is taken when the file is made (posix_fallocate), so that a full
 * file system is an error there and no signal later (SIGBUS). Files are read by nobody but their user: one
 * that belongs to somebody else, or that others may touch, is refused.
 *
 * The checksum tells damage, not forgery: eight lanes of 64 bits, each rotated and multiplied for every word
 * (the round of xxHash's XXH64, Collet 2012), so that eight products are on their way at a time. 64 bits: two
 * different states of equal length are taken for one with a chance of 5e-20. It reads as fast as memory does.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "hc_util.h"

#define PRIME_1 0x9E3779B185EBCA87u
#define PRIME_2 0xC2B2AE3D27D4EB4Fu
#define PRIME_3 0x165667B19E3779F9u

enum {
    LANES = 8,
    HEADER_BYTES = 4096, /* of the file: what follows begins with a page */
};

/* What is wrong with a copy; system errors are negative numbers of errno. Python says them in words. */
enum verdict {
    WHOLE = 0,
    NOT_PRIVATE = 1, /* no file, of another user, or open to others */
    TOO_SHORT = 2,   /* less than the header says */
    UNFINISHED = 3,  /* no header: its writer was killed, or this is something else */
    HEADER_DAMAGED = 4,
    DATA_DAMAGED = 5,
};

struct header {
    char magic[8];
    uint64_t step;
    uint64_t bytes;    /* that follow the header and are used; the file may be longer */
    uint64_t checksum; /* of these */
    uint64_t own;      /* checksum of the fields above */
};

static const char MAGIC[8] = {'M', 'S', 'K', 'E', 'P', 'T', 0, 1};

static uint64_t rotated(uint64_t x, int by) { return (x << by) | (x >> (64 - by)); }

static uint64_t mixed(uint64_t lane, uint64_t word) { return rotated(lane + word * PRIME_2, 31) * PRIME_1; }

static uint64_t word_at(const unsigned char *data) {
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

static uint64_t checksum(const unsigned char *data, uint64_t bytes) {
    uint64_t lanes[LANES];
    for (unsigned i = 0; i < LANES; i++) lanes[i] = PRIME_1 + i * PRIME_2;
    const uint64_t stride = LANES * sizeof(uint64_t);
    uint64_t at = 0;
    for (; at + stride <= bytes; at += stride)
        for (unsigned i = 0; i < LANES; i++) lanes[i] = mixed(lanes[i], word_at(data + at + 8 * i));
    uint64_t sum = bytes * PRIME_3;
    for (unsigned i = 0; i < LANES; i++) sum = mixed(sum, lanes[i]);
    for (; at < bytes; at++) sum = mixed(sum, data[at]);
    sum ^= sum >> 33; /* each bit of the last words reaches all others */
    sum *= PRIME_2;
    return sum ^ (sum >> 29);
}

static uint64_t own_checksum(const struct header *h) {
    return checksum((const unsigned char *)h, offsetof(struct header, own));
}

static int is_private(const struct stat *found) {
    return S_ISREG(found->st_mode) && found->st_uid == geteuid() && (found->st_mode & 077) == 0;
}

/* Opens the file, new if there is none. A file with a second name (a copy that is a neighbour's as well)
 * keeps what it has under that, and this name gets a file of its own. Returns the descriptor, or a negative
 * errno. */
static int open_own(const char *path) {
    for (int attempt = 0;; attempt++) {
        struct stat found;
        const int file = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (file < 0 || fstat(file, &found) != 0) return -errno;
        if (found.st_nlink <= 1 || attempt > 0) return file;
        close(file);
        if (unlink(path) != 0) return -errno;
    }
}

static int make_room(int file, uint64_t bytes) {
    struct stat found;
    if (fstat(file, &found) != 0) return -errno;
    if (!is_private(&found)) return NOT_PRIVATE;
    if ((uint64_t)found.st_size > bytes && ftruncate(file, (off_t)bytes) != 0) return -errno;
    return -posix_fallocate(file, 0, (off_t)bytes);
}

/* Makes room for a copy of up to `bytes` bytes, unfinished whatever was there, and maps it: *map is the
 * header, the bytes begin 4096 behind it. The caller unmaps with hc_kept_close(*map, bytes). Returns 0, a
 * verdict or a negative errno (ENOSPC: the file system is full). Thread safe; blocks as the file system does.
 */
HC_API int32_t hc_kept_create(const char *path, uint64_t bytes, void **map) {
    if (bytes > INT64_MAX - HEADER_BYTES) return -EFBIG;
    const uint64_t all = bytes + HEADER_BYTES;
    const int file = open_own(path);
    if (file < 0) return file;
    int result = make_room(file, all);
    if (result == 0) {
        void *found = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (found == MAP_FAILED) {
            result = -errno;
        } else {
            memset(found, 0, sizeof(struct header));
            *map = found;
        }
    }
    close(file);
    return result;
}

/* From here on the copy is unfinished, until it is sealed. */
HC_API int32_t hc_kept_begin(void *map) {
    memset(map, 0, sizeof(struct header));
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* in this order: what a killed process has done is a prefix */
    return 0;
}

/* The first `bytes` bytes are there and are those of `step`. Returns 0, and their checksum. */
HC_API int32_t hc_kept_seal(void *map, uint64_t step, uint64_t bytes, uint64_t *sum) {
    struct header header = {.step = step, .bytes = bytes};
    memcpy(header.magic, MAGIC, sizeof MAGIC);
    header.checksum = checksum((const unsigned char *)map + HEADER_BYTES, bytes);
    header.own = own_checksum(&header);
    *sum = header.checksum;
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* whoever finds the header finds the bytes */
    memcpy(map, &header, sizeof header);
    return 0;
}

static int32_t judge(const unsigned char *map, uint64_t size, struct header *header) {
    memcpy(header, map, sizeof *header);
    if (memcmp(header->magic, MAGIC, sizeof MAGIC) != 0) return UNFINISHED;
    if (header->own != own_checksum(header)) return HEADER_DAMAGED;
    if (header->bytes > size - HEADER_BYTES) return TOO_SHORT;
    return checksum(map + HEADER_BYTES, header->bytes) == header->checksum ? WHOLE : DATA_DAMAGED;
}

/* Maps a copy to be read, after a look at all of it: a whole one returns 0 and has *map, which the caller
 * unmaps with hc_kept_close(*map, *room), *bytes, *step and *sum. Otherwise a verdict or a negative errno,
 * and nothing is mapped. */
HC_API int32_t hc_kept_open(const char *path, void **map, uint64_t *room, uint64_t *bytes, uint64_t *step,
                            uint64_t *sum) {
    struct stat found;
    const int file = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0) return -errno;
    int32_t result = fstat(file, &found) != 0                  ? -errno
                     : !is_private(&found)                     ? NOT_PRIVATE
                     : (uint64_t)found.st_size <= HEADER_BYTES ? TOO_SHORT
                                                               : WHOLE;
    const size_t size = result == WHOLE ? (size_t)found.st_size : 0;
    void *mapped = result == WHOLE ? mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
    if (result == WHOLE && mapped == MAP_FAILED) result = -errno;
    close(file);
    if (result != WHOLE) return result;
    struct header header;
    result = judge(mapped, size, &header);
    if (result != WHOLE) {
        munmap(mapped, size);
        return result;
    }
    *map = mapped, *room = size - HEADER_BYTES;
    *bytes = header.bytes, *step = header.step, *sum = header.checksum;
    return WHOLE;
}

/* Unmaps what hc_kept_create or hc_kept_open has mapped; the file stays. Nothing of it may be used any more.
 */
HC_API int32_t hc_kept_close(void *map, uint64_t room) {
    return munmap(map, room + HEADER_BYTES) == 0 ? 0 : -errno;
}

/* Returns 1 where the folder lies in memory, 0 where it is on a disk or elsewhere, or a negative errno. */
HC_API int32_t hc_kept_in_memory(const char *folder) {
    struct statfs found;
    if (statfs(folder, &found) != 0) return -errno;
    const uint32_t kind = (uint32_t)found.f_type;
    return kind == TMPFS_MAGIC || kind == RAMFS_MAGIC || kind == HUGETLBFS_MAGIC;
}
