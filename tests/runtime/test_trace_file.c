// SPDX-License-Identifier: Apache-2.0
/* The file behind the trace, from inside: it is a whole JSON array at every moment, and it is new. Writes are
 * made page by page here, and end where the test wants, as the kernel ends them for SIGKILL. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "json_check.h"

/* A file system that can neither make files without a name nor map them. */
static bool g_poor;

static ssize_t write_pages(int file, const void *bytes, size_t count, off_t at);
static int open_or_not(const char *path, int flags, mode_t mode) {
    if (g_poor && (flags & O_TMPFILE) == O_TMPFILE) return errno = EOPNOTSUPP, -1;
    return open(path, flags, mode);
}
static void *map_or_not(void *at, size_t bytes, int protection, int flags, int file, off_t offset) {
    if (g_poor) return errno = ENODEV, MAP_FAILED;
    return mmap(at, bytes, protection, flags, file, offset);
}
#define pwrite write_pages
#define open open_or_not
#define mmap map_or_not
#include "../../src/runtime/trace_file.c"
#undef pwrite
#undef open
#undef mmap

static long g_pages_left = -1; /* that will be written; -1: all */
static int g_then_errno;       /* 0: then the process is killed */

static ssize_t write_pages(int file, const void *bytes, size_t count, off_t at) {
    size_t done = 0;
    while (done < count) {
        const off_t here = at + (off_t)done;
        const size_t room = PAGE - (size_t)(here % PAGE);
        if (g_pages_left == 0 && g_then_errno == 0) kill(getpid(), SIGKILL);
        if (g_pages_left == 0) return done > 0 ? (ssize_t)done : (errno = g_then_errno, -1);
        if (g_pages_left > 0) g_pages_left--;
        const ssize_t n = pwrite(file, (const char *)bytes + done, hc_min_size(room, count - done), here);
        if (n <= 0) return n;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static char g_folder[64], g_text[4 << 20];

static const char *in_folder(const char *name) {
    static char path[2][128];
    static int turn;
    turn = 1 - turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", g_folder, name);
    return path[turn];
}

static void make_folder(void) {
    strcpy(g_folder, "/tmp/trace_file_XXXXXX");
    if (mkdtemp(g_folder) == NULL) abort();
}
static void remove_folder(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s'", g_folder);
    if (system(command) != 0) abort();
}

/* The elements of a file's array, -1 if it is none, -2 if there is no file. */
static int elements(const char *path) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -2;
    const ssize_t n = read(file, g_text, sizeof g_text);
    close(file);
    return n < 0 ? -2 : json_array(g_text, (size_t)n);
}

/* Records of all lengths, so that pages end in all ways. */
static int append_record(struct hc_trace_file *f, int number) {
    char line[HC_TRACE_LINE_BYTES + 1];
    const int length = 30 + number * 97 % (HC_TRACE_LINE_BYTES - 30);
    const int n = snprintf(line, sizeof line, "{\"n\":%d,\"s\":\"", number);
    memset(line + n, 'x', (size_t)(length - n));
    memcpy(line + length - 2, "\"}", 2);
    return hc_trace_file_append(f, line, (size_t)length);
}

/* A write after every `every` records. */
static int write_records(const char *path, int count, int every) {
    struct hc_trace_file f;
    int failed = hc_trace_file_open(&f, path, "{\"head\":1}");
    for (int i = 0; i < count && failed == 0; i++) {
        failed = append_record(&f, i);
        if (failed == 0 && i % every == every - 1) failed = hc_trace_file_write(&f);
    }
    if (failed == 0) failed = hc_trace_file_write(&f);
    hc_trace_file_close(&f);
    return failed;
}

TEST(all_records_are_there_however_they_are_written) {
    make_folder();
    for (int every = 1; every <= 400; every = every * 3 + 1) {
        g_poor = !g_poor; /* in turn */
        CHECK_EQ(write_records(in_folder("t.json"), 500, every), 0);
        CHECK_EQ(elements(in_folder("t.json")), 501);
        for (int i = 0; i < 500; i++) {
            char part[32];
            snprintf(part, sizeof part, "{\"n\":%d,", i);
            CHECK_MSG(strstr(g_text, part) != NULL, "record %d", i);
        }
        unlink(in_folder("t.json"));
    }
    g_poor = false;
    CHECK_EQ(rmdir(g_folder), 0); /* nothing else is left */
}

/* Killed before each page that is written, from the first on; records that were whole stay. */
TEST(killed_at_any_page) {
    make_folder();
    int before = -2, pages = 0;
    for (bool killed = true; killed; pages++) {
        const pid_t pid = fork();
        if (pid == 0) {
            g_pages_left = pages;
            _exit(write_records(in_folder("t.json"), 150, 20) != 0);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        killed = WIFSIGNALED(status);
        const int now = elements(in_folder("t.json"));
        CHECK_MSG(now != -1 && now >= before, "%d elements after %d pages, %d before", now, pages, before);
        before = now;
        unlink(in_folder("t.json"));
    }
    CHECK_EQ(before, 151);
    CHECK_MSG(pages > 60, "%d pages", pages);
    remove_folder();
}

/* A disk that is full: the file keeps what it has, and the writer hears it. */
TEST(disk_is_full_at_any_page) {
    make_folder();
    for (int pages = 2; pages < 60; pages++) {
        g_pages_left = pages;
        g_then_errno = ENOSPC;
        CHECK_EQ(write_records(in_folder("t.json"), 150, 20), ENOSPC);
        g_pages_left = -1;
        g_then_errno = 0;
        CHECK_MSG(elements(in_folder("t.json")) >= 1, "%d pages", pages);
        unlink(in_folder("t.json"));
    }
    g_pages_left = 0; /* not even the head */
    g_then_errno = ENOSPC;
    CHECK(write_records(in_folder("t.json"), 1, 1) != 0 && strstr(hc_error_text(), "No space left") != NULL);
    g_pages_left = -1;
    g_then_errno = 0;
    CHECK_EQ(elements(in_folder("t.json")), -2);
    remove_folder();
}

/* One "]" among blanks. */
static bool is_one_end(const char *text, size_t bytes) {
    size_t ends = 0, blanks = 0;
    for (size_t i = 0; i < bytes; i++) ends += text[i] == ']', blanks += text[i] == ' ';
    return ends == 1 && blanks == bytes - 1;
}

/* The child walks; the parent looks after each of its instructions. */
TEST(killed_at_any_instruction_of_the_walk) {
    enum { BYTES = 3 * PAGE };
#ifdef __SANITIZE_THREAD__
    SKIP("each store is thousands of instructions here");
#endif
    for (int from = 0; from < 12; from += 5) {
        char *text = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(text != MAP_FAILED);
        memset(text, ' ', BYTES);
        text[from] = ']';
        const pid_t pid = fork();
        if (pid == 0) {
            if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) _exit(7);
            raise(SIGSTOP);
            walk(text + from, text + 2 * PAGE + 5);
            _exit(0);
        }
        int status = 0;
        long steps = 0;
        waitpid(pid, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 7) SKIP("no ptrace here");
        while (!WIFEXITED(status)) {
            CHECK_MSG(is_one_end(text, BYTES), "after %ld instructions", steps);
            if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) {
                kill(pid, SIGKILL);
                waitpid(pid, &status, 0);
                SKIP("no single steps here");
            }
            waitpid(pid, &status, 0);
            steps++;
        }
        CHECK(text[2 * PAGE + 5] == ']' && steps > 2 * PAGE / 7);
        munmap(text, BYTES);
    }
}

/* What stderr got while a file was opened under this name. */
static const char *told(const char *pattern, struct hc_trace_file *f, int *code) {
    static char text[2048];
    const char *log = in_folder("stderr");
    const int kept = dup(STDERR_FILENO), file = open(log, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(file, STDERR_FILENO);
    *code = hc_trace_file_open(f, pattern, "{}");
    dup2(kept, STDERR_FILENO);
    const ssize_t n = pread(file, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    close(file);
    close(kept);
    unlink(log);
    return text;
}

TEST(a_name_that_is_taken_is_left_alone_and_told) {
    struct hc_trace_file f;
    struct stat s;
    char expected[512], own[64];
    int code;
    make_folder();
    umask(0);
    CHECK_EQ(strlen(told(in_folder("t.json"), &f, &code)), 0);
    hc_trace_file_close(&f);
    CHECK(code == 0 && stat(in_folder("t.json"), &s) == 0 && S_ISREG(s.st_mode) &&
          (s.st_mode & 0777) == 0600);
    snprintf(own, sizeof own, "t.%d.json", (int)getpid());
    snprintf(expected, sizeof expected,
             "mindspeed: %s exists and is left alone; the trace of process %d goes to %s\n",
             in_folder("t.json"), (int)getpid(), in_folder(own));
    const char *text = told(in_folder("t.json"), &f, &code);
    hc_trace_file_close(&f);
    CHECK_MSG(code == 0 && strcmp(text, expected) == 0, "%s", text);
    CHECK_EQ(elements(in_folder(own)), 1);
    told(in_folder("t.json"), &f, &code);
    hc_trace_file_close(&f);
    snprintf(own, sizeof own, "t.%d-2.json", (int)getpid());
    CHECK(code == 0 && elements(in_folder(own)) == 1);
    remove_folder();
}

/* Dangling links too: what they point at would be made. */
static void follow_no_link(void) {
    struct hc_trace_file f;
    struct stat s;
    char own[64];
    int code;
    make_folder();
    CHECK(symlink(in_folder("victim"), in_folder("t.json")) == 0);
    CHECK(strstr(told(in_folder("t.json"), &f, &code), "exists and is left alone") != NULL);
    hc_trace_file_close(&f);
    CHECK(code == 0 && stat(in_folder("victim"), &s) != 0);
    snprintf(own, sizeof own, "t.%d.json", (int)getpid());
    CHECK(lstat(in_folder(own), &s) == 0 && S_ISREG(s.st_mode) && (s.st_mode & 0777) == 0600);
    remove_folder();
}
TEST(symbolic_links_are_not_followed) {
    follow_no_link();
    g_poor = true;
    follow_no_link();
    g_poor = false;
}

TEST(names_from_patterns) {
    static const struct {
        const char *pattern, *rank, *world, *first, *second; /* @ is the process id */
    } CASES[] = {
        {"a/t.json", NULL, NULL, "a/t.json", "a/t.@.json"},
        {"a.b/t", NULL, NULL, "a.b/t", "a.b/t.@"},
        {"%p.json", "1", "2", "@.json", "@-2.json"},
        {"%r.json", "1", "2", "1.json", "1.@.json"},
        {"t.json", "1", "2", "t.rank1.json", "t.rank1.@.json"},
        {"t.json", "0", "1", "t.json", "t.@.json"},
        {"t%%%%p.json", NULL, NULL, "t%%p.json", "t%%p.@.json"},
        {"t.%r.%p", "3", "4", "t.3.@", "t.3-2.@"},
    };
    for (size_t i = 0; i < HC_ARRAY_SIZE(CASES); i++) {
        struct path p;
        if (CASES[i].rank != NULL) setenv("RANK", CASES[i].rank, 1), setenv("WORLD_SIZE", CASES[i].world, 1);
        else unsetenv("RANK"), unsetenv("WORLD_SIZE");
        for (unsigned turn = 0; turn < 2; turn++) {
            char expected[128], *to = expected;
            for (const char *c = turn ? CASES[i].second : CASES[i].first; *c != '\0'; c++)
                to += *c == '@' ? sprintf(to, "%d", (int)getpid()) : sprintf(to, "%c", *c);
            CHECK_MSG(expand(CASES[i].pattern, turn, &p) && strcmp(p.text, expected) == 0, "%s: %s", expected,
                      p.text);
        }
    }
    unsetenv("RANK"), unsetenv("WORLD_SIZE");
    char longest[PATH_BYTES + 2];
    struct path p;
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    CHECK(!expand(longest, 0, &p));
}

/* All at once under one name: one gets it, each of the others another. */
TEST(many_processes_under_one_name) {
    enum { COUNT = 12 };
    pid_t pids[COUNT];
    make_folder();
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC), kept = dup(STDERR_FILENO);
    dup2(null, STDERR_FILENO);
    for (int i = 0; i < COUNT; i++) {
        pids[i] = fork();
        if (pids[i] == 0) _exit(write_records(in_folder("t.json"), 50, 7) != 0);
    }
    int good = 0;
    for (int i = 0; i < COUNT; i++) {
        int status;
        waitpid(pids[i], &status, 0);
        good += status == 0;
    }
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(null);
    CHECK_EQ(good, COUNT);
    CHECK_EQ(elements(in_folder("t.json")), 51);
    int others = 0;
    for (int i = 0; i < COUNT; i++) {
        char own[64];
        snprintf(own, sizeof own, "t.%d.json", (int)pids[i]);
        others += elements(in_folder(own)) == 51;
    }
    CHECK_EQ(others, COUNT - 1);
    remove_folder();
}
