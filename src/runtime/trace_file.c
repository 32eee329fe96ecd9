// SPDX-License-Identifier: Apache-2.0
/* The file behind the trace.
 *
 * SIGKILL may end a write between two pages of the file, never within one: the kernel copies page by page
 * and looks for signals in between. So no record crosses a page boundary (4 KiB; the rest is blank), and a
 * write that stops early has left whole records in front of blank pages. What is left to do is to keep the
 * closing "]" behind everything. A write of N pages is
 *
 *   1. blanks behind the "]": N pages of them, and JSON allows any number;
 *   2. the "]" moves over the blanks to their end (walk), and leaves N blank pages in front of it;
 *   3. the records are written over these.
 *
 * Moving it from one page into the next is the one thing that no write can do at once, and neither can
 * pages that are exchanged by name without a copy of the file. But one instruction that stores across the
 * boundary of two mapped pages can: a process is killed between instructions. So the "]" walks, seven bytes
 * at a time, by stores into the mapped file. Where files cannot be mapped it is written, and a process
 * killed just then leaves an array that lacks its "]".
 *
 * That costs 0.25 ms of CPU for 256 KiB more than to write them once, 0.17 of the 1.1 us of a traced task
 * that does nothing else. */
#include "hc_trace_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "acl/acl.h"
#include "hc_error.h"
#include "hc_option.h"

/* 256 KiB are about a thousand slices: one write every few milliseconds of small operators. */
enum { PAGE = 4096, PAGES = 64, PATH_BYTES = 4096, TRIES = 1000 };

/* A path in the making; `fits` is false once something did not. */
struct path {
    char text[PATH_BYTES];
    size_t used;
    bool fits;
};

static void put(struct path *p, const char *text) {
    const size_t n = strlen(text);
    p->fits = p->fits && n < sizeof p->text - p->used;
    if (!p->fits) return;
    memcpy(p->text + p->used, text, n + 1);
    p->used += n;
}

/* The pattern's name. Where it cannot tell ranks apart and there are several, ".rank<RANK>" goes before the
 * extension; from `turn` 1 on also what makes it another name: the process id, if the pattern has none, and
 * then a number. */
static bool expand(const char *pattern, unsigned turn, struct path *p) {
    const char *base = strrchr(pattern, '/'), *dot = strrchr(base != NULL ? base : pattern, '.');
    bool has_process = false, has_rank = false;
    char tail[64] = "", number[32];
    for (const char *c = strchr(pattern, '%'); c != NULL && c[1] != '\0'; c = strchr(c + 2, '%')) {
        has_process = has_process || c[1] == 'p';
        has_rank = has_rank || c[1] == 'r';
    }
    if (!has_process && !has_rank && hc_option_int(HC_OPT_WORLD_SIZE) > 1)
        snprintf(tail, sizeof tail, ".rank%s", hc_option_text(HC_OPT_RANK));
    if (turn > 0 && !has_process)
        snprintf(tail + strlen(tail), sizeof tail - strlen(tail), ".%d", (int)getpid());
    const unsigned again = turn + has_process;
    if (turn > 0 && again > 1) snprintf(tail + strlen(tail), sizeof tail - strlen(tail), "-%u", again);
    snprintf(number, sizeof number, "%d", (int)getpid());
    *p = (struct path){.fits = true};
    for (const char *c = pattern; *c != '\0'; c++) {
        const char one[2] = {*c, '\0'};
        if (c == dot) put(p, tail);
        if (*c != '%' || c[1] == '\0') put(p, one);
        else if (*++c == 'p') put(p, number);
        else put(p, *c == 'r' ? hc_option_text(HC_OPT_RANK) : "%");
    }
    if (dot == NULL) put(p, tail);
    return p->fits;
}

/* A file without a name in the folder of `path`, so that it gets its name with its first record. Where the
 * file system has no such files, `other` gets a name that nobody else uses. -1 with errno. */
static int make_nameless(const struct path *path, struct path *other) {
    struct path folder = *path;
    char *slash = strrchr(folder.text, '/');
    if (slash == NULL) strcpy(folder.text, ".");
    else slash[slash == folder.text] = '\0';
    other->text[0] = '\0';
    const int file = open(folder.text, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (file >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return file;
    *other = *path;
    char mark[32];
    snprintf(mark, sizeof mark, ".%d.new", (int)getpid());
    put(other, mark);
    if (!other->fits) return errno = ENAMETOOLONG, -1;
    return open(other->text, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* link() takes no name that exists, whatever has it. */
static int give_name(int file, const struct path *other, const struct path *path) {
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", file);
    if (other->text[0] == '\0') return linkat(AT_FDCWD, self, AT_FDCWD, path->text, AT_SYMLINK_FOLLOW);
    return link(other->text, path->text);
}

static int write_at(int file, const char *bytes, size_t count, off_t at) {
    while (count > 0) {
        const ssize_t n = pwrite(file, bytes, count, at);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : EIO;
        bytes += n;
        count -= (size_t)n;
        at += n;
    }
    return 0;
}

/* The first page and the "]" behind it. */
static int write_head(struct hc_trace_file *f, const char *head) {
    const size_t used = (size_t)snprintf(f->buffer, PAGE, "[\n%s\n", head);
    if (used >= PAGE) return EMSGSIZE;
    memset(f->buffer + used, ' ', PAGE - used);
    memcpy(f->buffer + PAGE, "]\n", 2);
    f->used = f->written = used;
    f->begin = 0;
    f->end = PAGE;
    return write_at(f->file, f->buffer, PAGE + 2, 0);
}

/* 0 or errno. `name` becomes the name that was free. */
static int make_file(struct hc_trace_file *f, const char *pattern, const char *head, struct path *name) {
    struct path other, taken;
    if (!expand(pattern, 0, name)) return ENAMETOOLONG;
    taken = *name;
    f->file = make_nameless(name, &other);
    if (f->file < 0) return errno;
    int failed = write_head(f, head);
    for (unsigned turn = 1; failed == 0 && give_name(f->file, &other, name) != 0; turn++) {
        failed = errno != EEXIST ? errno : turn == TRIES ? EEXIST : 0;
        if (failed == 0 && !expand(pattern, turn, name)) failed = ENAMETOOLONG;
    }
    if (other.text[0] != '\0') unlink(other.text);
    if (failed == 0 && strcmp(taken.text, name->text) != 0)
        fprintf(stderr, "mindspeed: %s exists and is left alone; the trace of process %d goes to %s\n",
                taken.text, (int)getpid(), name->text);
    return failed;
}

int hc_trace_file_open(struct hc_trace_file *f, const char *pattern, const char *head) {
    struct path name = {.text = ""};
    *f = (struct hc_trace_file){.file = -1, .buffer = malloc(PAGES * PAGE)};
    const int failed = f->buffer != NULL ? make_file(f, pattern, head, &name) : ENOMEM;
    f->name = failed == 0 ? strdup(name.text) : NULL;
    if (f->name != NULL) return ACL_SUCCESS;
    hc_trace_file_close(f);
    return hc_fail(ACL_ERROR_WRITE_FILE, "cannot write the trace %.900s: %s",
                   name.fits && name.used > 0 ? name.text : pattern, strerror(failed != 0 ? failed : ENOMEM));
}

void hc_trace_file_close(struct hc_trace_file *f) {
    if (f->file >= 0) close(f->file);
    free(f->buffer);
    free(f->name);
    *f = (struct hc_trace_file){.file = -1};
}

/* A record goes to the next page where this one has no room for it. */
int hc_trace_file_append(struct hc_trace_file *f, const char *line, size_t bytes) {
    const size_t room = PAGE - f->used % PAGE;
    if (bytes + 2 > room) {
        memset(f->buffer + f->used, ' ', room);
        f->used += room;
    }
    if (f->used == PAGES * PAGE) {
        const int failed = hc_trace_file_write(f);
        if (failed != 0) return failed;
    }
    f->buffer[f->used] = ',';
    memcpy(f->buffer + f->used + 1, line, bytes);
    f->buffer[f->used + 1 + bytes] = '\n';
    f->used += bytes + 2;
    return 0;
}

/* One instruction each, at any address. */
typedef uint64_t __attribute__((aligned(1), may_alias)) loose_u64;
typedef uint16_t __attribute__((aligned(1), may_alias)) loose_u16;

/* Both kinds of machines are little-endian: the last byte is the highest. */
static void walk(char *at, const char *to) {
    static const uint64_t BLANKS_AND_END = 0x5d20202020202020u;
    static const uint16_t BLANK_AND_END = 0x5d20u;
    for (; (to - at) % 7 != 0; at++) *(volatile loose_u16 *)at = BLANK_AND_END;
    for (; at < to; at += 7) *(volatile loose_u64 *)at = BLANKS_AND_END;
}

/* The pages are made writable first: a store that faults on its second page alone might have made its first
 * half. MADV_POPULATE_WRITE says so where the file system has no room for that, instead of SIGBUS; kernels
 * before 5.14 do not know it (EINVAL). */
static bool walk_mapped(int file, off_t from, off_t to) {
    const off_t unit = sysconf(_SC_PAGESIZE), begin = from / unit * unit;
    const size_t bytes = (size_t)(to + 1 - begin);
    char *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, begin);
    if (map == MAP_FAILED) return false;
    if (madvise(map, bytes, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
        munmap(map, bytes);
        return false;
    }
    for (size_t at = 0; at < bytes; at += PAGE) *(volatile char *)(map + at) = *(volatile char *)(map + at);
    walk(map + (from - begin), map + (to - begin));
    munmap(map, bytes);
    return true;
}

/* From page to page within what one write may do, see above. */
static int walk_written(int file, off_t from, off_t to) {
    for (off_t at = from; at < to; at += PAGE) {
        char page[PAGE + 1];
        memset(page, ' ', PAGE);
        page[PAGE] = ']';
        const int failed = write_at(file, page, sizeof page, at);
        if (failed != 0) return failed;
    }
    return 0;
}

/* Steps 1 and 2. The blanks go to a file that ends with "]" and a newline. */
static int move_end(struct hc_trace_file *f, off_t to) {
    static const char BLANKS[PAGE] = {[0 ... PAGE - 1] = ' '};
    for (off_t at = f->end + 2; at < to + 2; at += PAGE) {
        const int failed = write_at(f->file, BLANKS, PAGE, at);
        if (failed != 0) return failed;
    }
    const int failed = walk_mapped(f->file, f->end, to) ? 0 : walk_written(f->file, f->end, to);
    if (failed == 0) f->end = to;
    return failed;
}

/* A page that is full in part stays in the buffer, and is written again with what comes to it. */
int hc_trace_file_write(struct hc_trace_file *f) {
    if (f->used == f->written) return 0;
    const size_t pages = hc_ceil_div(f->used, PAGE), kept = f->used % PAGE;
    int failed = 0;
    memset(f->buffer + f->used, ' ', pages * PAGE - f->used);
    if (f->begin + (off_t)(pages * PAGE) > f->end) failed = move_end(f, f->begin + (off_t)(pages * PAGE));
    if (failed == 0) failed = write_at(f->file, f->buffer, pages * PAGE, f->begin);
    if (failed != 0) return failed;
    if (kept > 0) memmove(f->buffer, f->buffer + (pages - 1) * PAGE, PAGE);
    f->begin += (off_t)((pages - (kept > 0)) * PAGE);
    f->used = f->written = kept;
    return 0;
}
