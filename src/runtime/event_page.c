// SPDX-License-Identifier: Apache-2.0
/* Records of an event that processes share.
 *
 * Records are numbered from 1, over all processes, and numbers are never used again. A slot per number holds
 * who is to make the record and then what became of it; slots are used in turn, and one whose record is not
 * over is not taken. So a wait for a record is neither let go by a later one that another stream made first,
 * nor told of a later one's failure. The texts of the latest failures lie beside them.
 *
 * Any process that has the page may write anything into it: what is read is bounded here, never trusted.
 * Waiting is a futex, and looks up from time to time, because the recording process may die. */
#include "hc_event_page.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hc_clock.h"
#include "hc_error.h"
#include "hc_launch.h"

/* 4096 records under way: more than any queue holds. Eight texts: failures are rare, and one has many
 * waiters. */
enum { SLOTS = 4096, TEXTS = 8, TEXT_WORDS = 64, TEXT_BYTES = TEXT_WORDS * 8 };
/* Every 20 ms: an abort or a dead peer is noticed soon, and the cost is nothing. */
enum { LOOK_MS = 20 };

/* Words, so that reading while another process writes is no data race; `number` is 0 meanwhile. */
struct failure_text {
    atomic_uint number;
    atomic_ullong words[TEXT_WORDS];
};

/* `changed` is a word of its own for the futex: bumped whenever a record is over. */
struct shared {
    uint64_t id;
    atomic_uint requested; /* number of the latest record asked for */
    atomic_uint reset;     /* `requested` when the event was reset last */
    atomic_uint changed;
    atomic_uint lost; /* the latest failed record whose slot is in use again */
    atomic_uint next_text;
    atomic_ullong time_ns;
    struct failure_text texts[TEXTS];
    atomic_ullong slots[SLOTS];
};

struct hc_event_page {
    atomic_uint references;
    int32_t file;
    uint64_t id;
    struct shared *shared;
};

/* A slot: the number above, below it PENDING with the process that is to record, or the code. */
static const uint32_t PENDING = 1u << 31;
static unsigned slot_number(uint64_t slot) { return (unsigned)(slot >> 32); }
static uint32_t slot_value(uint64_t slot) { return (uint32_t)slot; }
static uint64_t make_slot(unsigned number, uint32_t value) { return (uint64_t)number << 32 | value; }

/* Numbers may wrap. */
static bool is_before(unsigned a, unsigned b) { return (int)(a - b) < 0; }

/* NULL with errno set. Takes over the file only if it succeeds. */
static struct hc_event_page *map_page(int file, int32_t keep) {
    void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    struct hc_event_page *page = p != MAP_FAILED ? malloc(sizeof *page) : NULL;
    if (page == NULL) {
        if (p != MAP_FAILED) munmap(p, sizeof(struct shared));
        return NULL;
    }
    *page = (struct hc_event_page){.file = keep, .shared = p};
    atomic_init(&page->references, 1);
    return page;
}

/* The random id tells this event from a later one with the same process and file number. */
struct hc_event_page *hc_event_page_create(void) {
    const int file = memfd_create("npu-event", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    const bool sized = file >= 0 && ftruncate(file, sizeof(struct shared)) == 0 &&
                       fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) == 0;
    struct hc_event_page *page = sized ? map_page(file, file) : NULL;
    if (page == NULL) {
        hc_fail(ACL_ERROR_RT_IPC_ERROR, "create event: no shared memory: %s", strerror(errno));
        if (file >= 0) close(file);
        return NULL;
    }
    if (getrandom(&page->id, sizeof page->id, 0) != (ssize_t)sizeof page->id) page->id = hc_now_ns();
    page->shared->id = page->id;
    return page;
}

/* Behind the end of a file that is too small, or is made smaller later, a look is a SIGBUS. */
static bool has_room(int file) {
    return (fcntl(file, F_GET_SEALS) & F_SEAL_SHRINK) != 0 &&
           lseek(file, 0, SEEK_END) >= (off_t)sizeof(struct shared);
}

struct hc_event_page *hc_event_page_open(int32_t pid, int32_t number, uint64_t id) {
    char path[64];
    struct hc_event_page *page = NULL;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
    const int file = open(path, O_RDWR | O_CLOEXEC);
    const int why = errno;
    if (file >= 0 && has_room(file)) page = map_page(file, -1);
    if (file >= 0) close(file);
    if (file < 0) {
        hc_fail(ACL_ERROR_RT_IPC_ERROR, "aclrtIpcOpenEventHandle: cannot open the event of process %d: %s",
                pid, strerror(why));
        return NULL;
    }
    if (page == NULL || page->shared->id != id) {
        hc_event_page_release(page);
        hc_fail(ACL_ERROR_RT_IPC_ERROR, "aclrtIpcOpenEventHandle: process %d has destroyed the event", pid);
        return NULL;
    }
    page->id = id;
    return page;
}

struct hc_event_page *hc_event_page_retain(struct hc_event_page *page) {
    atomic_fetch_add(&page->references, 1);
    return page;
}

void hc_event_page_release(struct hc_event_page *page) {
    if (page == NULL || atomic_fetch_sub(&page->references, 1) != 1) return;
    munmap(page->shared, sizeof(struct shared));
    if (page->file >= 0) close(page->file);
    free(page);
}

int32_t hc_event_page_file(const struct hc_event_page *page) { return page->file; }
uint64_t hc_event_page_id(const struct hc_event_page *page) { return page->id; }
uint64_t hc_event_page_time(const struct hc_event_page *page) { return atomic_load(&page->shared->time_ns); }

static bool has_ended(pid_t process) { return kill(process, 0) != 0 && errno == ESRCH; }

static pid_t recorder_of(uint64_t slot) { return (pid_t)(slot_value(slot) & ~PENDING); }

/* Of a slot that is about to be used again. What is forgotten of a success is nothing. */
static void remember_loss(struct shared *s, uint64_t slot) {
    unsigned lost = atomic_load(&s->lost);
    if (slot_value(slot) == 0) return;
    while (is_before(lost, slot_number(slot)) &&
           !atomic_compare_exchange_weak(&s->lost, &lost, slot_number(slot))) {
    }
}

/* Who has taken the slot of the next number owns that number; whoever comes next sees that and moves
 * `requested` on for him, should he have been stopped, or have died, in between. */
aclError hc_event_page_request(struct hc_event_page *page, unsigned *number) {
    struct shared *s = page->shared;
    for (;;) {
        unsigned before = atomic_load(&s->requested);
        const unsigned n = before + 1 != 0 ? before + 1 : 1;
        atomic_ullong *place = &s->slots[n % SLOTS];
        unsigned long long slot = atomic_load(place);
        if (slot_number(slot) != n) {
            HC_CHECK(
                (slot_value(slot) & PENDING) == 0 || has_ended(recorder_of(slot)),
                ACL_ERROR_RT_NO_EVENT_RESOURCE,
                "aclrtRecordEvent: %d records of this event are under way, the limit for one that processes "
                "share: synchronize it now and then",
                SLOTS);
            remember_loss(s, slot);
            const uint64_t mine = make_slot(n, PENDING | (uint32_t)getpid());
            if (!atomic_compare_exchange_strong(place, &slot, mine)) continue;
            atomic_compare_exchange_strong(&s->requested, &before, n);
            *number = n;
            return ACL_SUCCESS;
        }
        atomic_compare_exchange_strong(&s->requested, &before, n);
    }
}

/* The eldest text goes. Two failures that meet in one place leave a mixture, of which no harm comes. */
static void write_text(struct shared *s, unsigned number, const char *text) {
    struct failure_text *to = &s->texts[atomic_fetch_add(&s->next_text, 1) % TEXTS];
    char bytes[TEXT_BYTES] = "";
    unsigned long long word;
    snprintf(bytes, sizeof bytes, "%s", text);
    atomic_store(&to->number, 0);
    for (int i = 0; i < TEXT_WORDS; i++) {
        memcpy(&word, bytes + i * 8, 8);
        atomic_store(&to->words[i], word);
    }
    atomic_store(&to->number, number);
}

/* False where it is no longer there. Ends after TEXT_BYTES whatever is in the page, and shows nothing that is
 * not plain text. */
static bool read_text(const struct shared *s, unsigned number, char text[TEXT_BYTES + 1]) {
    for (int t = 0; t < TEXTS; t++) {
        const struct failure_text *from = &s->texts[t];
        if (atomic_load(&from->number) != number) continue;
        for (int i = 0; i < TEXT_WORDS; i++) {
            const unsigned long long word = atomic_load(&from->words[i]);
            memcpy(text + i * 8, &word, 8);
        }
        text[TEXT_BYTES] = '\0';
        for (char *c = text; *c != '\0'; c++) {
            if (*c < ' ' || *c > '~') *c = '?';
        }
        if (atomic_load(&from->number) == number) return true;
    }
    return false;
}

/* Text first, then the slot: who finds the failure finds its text. */
void hc_event_page_finish(struct hc_event_page *page, unsigned number, const struct hc_outcome *outcome,
                          uint64_t time_ns) {
    struct shared *s = page->shared;
    uint32_t code = (uint32_t)outcome->code & ~PENDING;
    if (outcome->code != 0 && code == 0) code = ACL_ERROR_RT_INTERNAL_ERROR;
    if (code != 0 && outcome->text != NULL) write_text(s, number, outcome->text);
    if (atomic_load(&s->requested) == number) atomic_store(&s->time_ns, time_ns);
    atomic_store(&s->slots[number % SLOTS], make_slot(number, code));
    atomic_fetch_add(&s->changed, 1);
    syscall(SYS_futex, &s->changed, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

unsigned hc_event_page_latest(const struct hc_event_page *page) {
    const unsigned number = atomic_load(&page->shared->requested);
    return number != atomic_load(&page->shared->reset) ? number : 0;
}

/* For all processes; waits that are under way still wait for their record. */
void hc_event_page_reset(struct hc_event_page *page) {
    atomic_store(&page->shared->reset, atomic_load(&page->shared->requested));
}

/* A slot is taken again only when its record is over. */
bool hc_event_page_over(const struct hc_event_page *page, unsigned number) {
    const uint64_t slot = atomic_load(&page->shared->slots[number % SLOTS]);
    if (slot_number(slot) == number) return (slot_value(slot) & PENDING) == 0;
    return is_before(number, slot_number(slot));
}

aclError hc_event_page_result(const struct hc_event_page *page, unsigned number) {
    const struct shared *s = page->shared;
    const uint64_t slot = atomic_load(&s->slots[number % SLOTS]);
    char text[TEXT_BYTES + 1];
    if (slot_number(slot) != number) {
        HC_CHECK(is_before(atomic_load(&s->lost), number), ACL_ERROR_RT_IPC_ERROR,
                 "record %u of the event is more than %d records ago, and one since has failed: whether this "
                 "one did "
                 "is not known any more",
                 number, SLOTS);
        return ACL_SUCCESS;
    }
    const int code = (int)slot_value(slot);
    if (code == 0) return ACL_SUCCESS;
    if (read_text(s, number, text)) return hc_fail(code, "%s", text);
    return hc_fail(code, "what record %u of the event is behind has failed with code %d", number, code);
}

/* Reads the futex word before it looks at the condition, so a change in between makes the futex return at
 * once. */
aclError hc_event_page_await(const struct hc_event_page *page, unsigned number, uint64_t deadline,
                             const char *caller) {
    const struct shared *s = page->shared;
    const struct timespec look = {0, LOOK_MS * 1000000L};
    while (!hc_event_page_over(page, number)) {
        const unsigned changed = atomic_load(&s->changed);
        const uint64_t slot = atomic_load(&s->slots[number % SLOTS]);
        const pid_t recorder = slot_number(slot) == number ? recorder_of(slot) : getpid();
        if (hc_event_page_over(page, number)) break;
        HC_CHECK(!hc_abort_requested(), ACL_ERROR_RT_STREAM_ABORT, "%s: the stream was aborted", caller);
        HC_CHECK(deadline == 0 || hc_now_ns() < deadline, ACL_ERROR_RT_EVENT_SYNC_TIMEOUT,
                 "%s: the event was not recorded in time", caller);
        syscall(SYS_futex, &s->changed, FUTEX_WAIT, changed, &look, NULL, 0);
        HC_CHECK(!has_ended(recorder) || hc_event_page_over(page, number), ACL_ERROR_RT_IPC_ERROR,
                 "%s: process %d, which was to record the event, has ended", caller, (int)recorder);
    }
    return hc_event_page_result(page, number);
}
