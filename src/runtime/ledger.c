// SPDX-License-Identifier: Apache-2.0
/* The ledger is a sparse file in /dev/shm, readable by its user alone, of one account per process. It
 * outlives the processes, as an account does not: its owner holds a lock on one byte of the file, which the
 * kernel drops when the process ends, however it ends, and the next one that meets an account without a lock
 * clears it. POSIX locks, as a child of fork does not inherit them. */
#include "hc_ledger.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hc_log.h"
#include "hc_memory.h"
#include "hc_option.h"

enum { ACCOUNTS = 1024 };

struct ledger {
    atomic_int used; /* accounts from here on were never used */
    char unused[HC_PAGE - sizeof(atomic_int)];
    struct {
        _Alignas(HC_PAGE) struct hc_account account;
    } slots[ACCOUNTS];
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct ledger *g_ledger; /* NULL: not looked for, or not to be shared */
static int g_file = -1;
static _Atomic(struct hc_account *) g_own;

/* Process ids mean something within their namespace only, and releases may have accounts of another layout. A
 * name that is too long or has a slash is refused by shm_open. */
static void set_name(char *name, size_t room) {
    struct stat s;
    const unsigned long long space = stat("/proc/self/ns/pid", &s) == 0 ? (unsigned long long)s.st_ino : 0;
    snprintf(name, room, "/mindspeed-devices-%zu-%u-%llu%s", offsetof(struct hc_account, devices),
             (unsigned)geteuid(), space, hc_option_text(HC_OPT_LEDGER));
}

/* Anyone may have made a file of that name: it must be ours, ours alone, and of the right size. */
static const char *check_file(int file) {
    struct stat s;
    if (fstat(file, &s) != 0) return strerror(errno);
    if (!S_ISREG(s.st_mode) || s.st_nlink != 1) return "it is no plain file";
    if (s.st_uid != geteuid()) return "it is another user's";
    if ((s.st_mode & 077) != 0) return "others may read or write it";
    if (s.st_size == 0 && ftruncate(file, sizeof(struct ledger)) != 0) return strerror(errno);
    if (s.st_size != 0 && s.st_size != (off_t)sizeof(struct ledger)) return "it has another size";
    /* Pages that are written must exist: a full file system would end the process at the first write. */
    const int code = posix_fallocate(file, 0, HC_PAGE);
    return code != 0 ? strerror(code) : NULL;
}

/* Needs the lock. */
static bool attach(void) {
    char name[NAME_MAX];
    if (g_ledger != NULL) return true;
    set_name(name, sizeof name);
    const int file = shm_open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    const char *why = file < 0 ? strerror(errno) : check_file(file);
    void *p = why == NULL ? mmap(NULL, sizeof(struct ledger), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_NORESERVE, file, 0)
                          : MAP_FAILED;
    if (p == MAP_FAILED) {
        if (file >= 0) close(file);
        HC_LOG_WARNING("%s in shared memory cannot be used (%s): other processes' device memory is not seen",
                       name, why != NULL ? why : "no address space");
        return false;
    }
    madvise(p, sizeof(struct ledger), MADV_DONTFORK);
    g_ledger = p;
    g_file = file;
    return true;
}

static off_t offset_of(int slot) { return (off_t)((char *)&g_ledger->slots[slot] - (char *)g_ledger); }

static bool lock_slot(int slot, short type) {
    struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = offset_of(slot), .l_len = 1};
    return fcntl(g_file, F_SETLK, &l) == 0;
}

/* Of another process: locks of one's own are not seen. */
static bool is_locked(int slot) {
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = offset_of(slot), .l_len = 1};
    return fcntl(g_file, F_GETLK, &l) == 0 && l.l_type != F_UNLCK;
}

static void clear(struct hc_account *a) {
    atomic_store(&a->pid, 0);
    atomic_store(&a->promised, 0);
    atomic_store(&a->filled, 0);
    atomic_store(&a->looked_at, 0);
    atomic_store(&a->planning, 0);
    atomic_store(&a->claimed, 0);
    for (int i = 0; i < HC_ACCOUNT_HEAPS; i++) atomic_store(&a->heaps[i], 0);
    for (int i = 0; i < HC_MAX_DEVICES; i++) {
        if (atomic_load_explicit(&a->devices[i], memory_order_relaxed) != 0) atomic_store(&a->devices[i], 0);
    }
}

static void open_account(struct hc_account *a) {
    FILE *file = fopen("/proc/self/comm", "re");
    if (file == NULL || fgets(a->name, sizeof a->name, file) == NULL) strcpy(a->name, "?");
    a->name[strcspn(a->name, "\n")] = '\0';
    if (file != NULL) fclose(file);
    atomic_store(&a->pid, getpid());
}

/* Needs the lock. */
static struct hc_account *take_slot(void) {
    for (int i = 0; i < ACCOUNTS; i++) {
        struct hc_account *a = &g_ledger->slots[i].account;
        if (!lock_slot(i, F_WRLCK)) continue;
        if (posix_fallocate(g_file, offset_of(i), sizeof *a) != 0) {
            lock_slot(i, F_UNLCK);
            break;
        }
        clear(a);
        open_account(a);
        int used = atomic_load(&g_ledger->used);
        while (used <= i && !atomic_compare_exchange_weak(&g_ledger->used, &used, i + 1)) {
        }
        return a;
    }
    HC_LOG_WARNING(
        "no account is left in shared memory: other processes do not see this one's device memory");
    return NULL;
}

struct hc_account *hc_ledger_own(void) {
    static struct hc_account alone;
    struct hc_account *own = atomic_load_explicit(&g_own, memory_order_acquire);
    if (HC_LIKELY(own != NULL)) return own;
    pthread_mutex_lock(&g_lock);
    own = atomic_load(&g_own);
    if (own == NULL) {
        own = attach() ? take_slot() : NULL;
        if (own == NULL) {
            own = &alone;
            clear(own);
            open_account(own);
        }
        atomic_store_explicit(&g_own, own, memory_order_release);
    }
    pthread_mutex_unlock(&g_lock);
    return own;
}

void hc_account_add(struct hc_account *a, int32_t physical, size_t bytes) {
    atomic_fetch_add(&a->devices[physical], bytes);
    atomic_fetch_add(&a->promised, bytes);
}

/* Whether the freed bytes were filled is not known: the filled ones, of which at least so many remain. */
void hc_account_subtract(struct hc_account *a, int32_t physical, size_t bytes) {
    const uint64_t pages = hc_ceil_div(bytes, HC_PAGE), low = ((uint64_t)1 << HC_FILLED_BITS) - 1;
    uint64_t old = atomic_load(&a->filled), now;
    do {
        const uint64_t filled = old & low;
        now = ((old >> HC_FILLED_BITS) + 1) << HC_FILLED_BITS | (filled - hc_min_size(filled, pages));
    } while (!atomic_compare_exchange_weak(&a->filled, &old, now));
    atomic_fetch_sub(&a->devices[physical], bytes);
    atomic_fetch_sub(&a->promised, bytes);
}

void hc_account_heap(int file, bool open) {
    struct hc_account *a = hc_ledger_own();
    for (int i = 0; i < HC_ACCOUNT_HEAPS; i++) {
        int from = open ? 0 : file + 1;
        if (atomic_compare_exchange_strong(&a->heaps[i], &from, open ? file + 1 : 0)) return;
    }
}

/* Private pages: those mapped to be absent from children ("dc"), as device memory is and next to nothing
 * else. Shared ones are counted where they lie, as peers map them too. */
static uint64_t private_bytes(int pid) {
    char path[64], line[512];
    uint64_t sum = 0, rss = 0, inode = 0;
    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long value;
        if (sscanf(line, "Rss: %llu kB", &value) == 1) rss = value;
        else if (strncmp(line, "VmFlags:", 8) == 0) sum += inode == 0 && strstr(line, " dc") ? rss : 0;
        else if (sscanf(line, "%*x-%*x %*s %*x %*s %llu", &value) == 1) inode = value;
    }
    if (file != NULL) fclose(file);
    return sum << 10;
}

static uint64_t shared_bytes(const struct hc_account *a, int pid) {
    uint64_t sum = 0;
    for (int i = 0; i < HC_ACCOUNT_HEAPS; i++) {
        char path[64];
        struct stat s;
        const int file = atomic_load(&a->heaps[i]);
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, file - 1);
        if (file > 0 && stat(path, &s) == 0) sum += (uint64_t)s.st_blocks * 512;
    }
    return sum;
}

/* Pages, 0 if not known. */
static uint64_t size_of(int pid) {
    char path[64];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "re");
    if (file != NULL && fscanf(file, "%*s %llu", &pages) != 1) pages = 0;
    if (file != NULL) fclose(file);
    return pages;
}

void hc_account_look(struct hc_account *a) {
    uint64_t old = atomic_load(&a->filled);
    const int pid = atomic_load(&a->pid);
    const uint64_t size = size_of(pid);
    if (size != 0 && atomic_exchange(&a->looked_at, size) == size) return;
    const uint64_t seen = private_bytes(pid) + shared_bytes(a, pid);
    const uint64_t pages = hc_min_size(seen, atomic_load(&a->promised)) / HC_PAGE;
    const uint64_t now = (old >> HC_FILLED_BITS) << HC_FILLED_BITS | pages;
    atomic_compare_exchange_strong(&a->filled, &old, now); /* not if something was freed meanwhile */
}

void hc_ledger_each(void (*fn)(struct hc_account *account, void *ctx), void *ctx) {
    struct hc_account *own = hc_ledger_own();
    pthread_mutex_lock(&g_lock);
    const int used = g_ledger != NULL ? (int)hc_min_size((size_t)atomic_load(&g_ledger->used), ACCOUNTS) : 0;
    for (int i = 0; i < used; i++) {
        struct hc_account *a = &g_ledger->slots[i].account;
        if (a == own || atomic_load(&a->pid) == 0) continue;
        if (is_locked(i)) {
            fn(a, ctx);
        } else if (lock_slot(i, F_WRLCK)) {
            clear(a);
            lock_slot(i, F_UNLCK);
        }
    }
    fn(own, ctx);
    pthread_mutex_unlock(&g_lock);
}

struct rows {
    struct hc_ledger_row *rows;
    int room, count;
};

static void add_rows(struct hc_account *a, void *ctx) {
    struct rows *r = ctx;
    for (int32_t d = 0; d < HC_MAX_DEVICES; d++) {
        const uint64_t bytes = atomic_load_explicit(&a->devices[d], memory_order_relaxed);
        if (bytes == 0) continue;
        if (r->count < r->room) {
            struct hc_ledger_row *row = &r->rows[r->count];
            *row = (struct hc_ledger_row){.pid = atomic_load(&a->pid), .physical = d, .bytes = bytes};
            memcpy(row->name, a->name, sizeof row->name);
            row->name[sizeof row->name - 1] = '\0';
        }
        r->count++;
    }
}

int hc_ledger_rows(struct hc_ledger_row *rows, int room) {
    struct rows r = {rows, room, 0};
    hc_ledger_each(add_rows, &r);
    return r.count;
}

/* The mapping is not in the child, the file is. */
void hc_ledger_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    if (g_file >= 0) close(g_file);
    g_file = -1;
    g_ledger = NULL;
    atomic_store(&g_own, NULL);
}
