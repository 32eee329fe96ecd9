// SPDX-License-Identifier: Apache-2.0
/* Heaps as memfds: making, taking and giving pieces, opening those of other processes. Taking is first
 * fit over a bitmap, O(units); pieces are long-lived segments of a framework's allocator, so it runs a
 * few times per job. */
#include "hc_heap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hc_checked.h"
#include "hc_error.h"
#include "hc_ledger.h"
#include "hc_memory.h"
#include "hc_vmm.h"

/* First bytes of the file, read by whoever opens it. */
struct header {
    char magic[8];
    int32_t pid, device;
    uint64_t unit, units;
};
static const char MAGIC[8] = "hcheap1";
/* The offsets of pieces get fragmented, so there are twice as many as the memory that may be in use. */
enum { ROOM = 2 };
static const size_t HOST_BYTES = (size_t)1 << 40;

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct hc_heap *g_own[HC_MAX_DEVICES + 1]; /* [0] is the host's */
static struct hc_heap *g_opened;

/* Header page, table, then the data from a huge page boundary on, so that mappings of pieces can use huge
 * pages. */
static void set_layout(struct hc_heap *h, size_t unit, size_t units) {
    h->unit = unit;
    h->units = units;
    h->header_bytes = hc_align_up(HC_PAGE + units * sizeof(struct hc_heap_row), HC_PAGE);
    h->data_offset = hc_align_up(h->header_bytes, HC_HUGE_PAGE);
}

/* The whole table is mapped but only rows in use take memory: a memfd is sparse. */
static bool map_header(struct hc_heap *h) {
    void *p = mmap(NULL, h->header_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, h->file, 0);
    if (p == MAP_FAILED) return false;
    madvise(p, h->header_bytes, MADV_DONTFORK);
    h->header = p;
    h->table = (struct hc_heap_row *)((char *)p + HC_PAGE);
    return true;
}

/* Also for a heap that was made in part. errno is the caller's reason, and is kept. */
static void destroy(struct hc_heap *h) {
    const int keep = errno;
    if (h->header != NULL) munmap(h->header, h->header_bytes);
    if (h->file >= 0) close(h->file);
    pthread_mutex_destroy(&h->lock);
    free(h->used);
    free(h);
    errno = keep;
}

/* The unit grows with the capacity, so that unit numbers fit into a shareable handle. Host memory has no
 * capacity of its own: 1 TiB of room, of which only touched pages take memory. */
static struct hc_heap *create(int32_t device, size_t bytes) {
    struct hc_heap *h = calloc(1, sizeof *h);
    if (h == NULL) return NULL;
    pthread_mutex_init(&h->lock, NULL);
    size_t unit = HC_HUGE_PAGE;
    while (hc_ceil_div(bytes * ROOM, unit) > (size_t)1 << HC_HEAP_UNIT_BITS) unit *= 2;
    set_layout(h, unit, hc_ceil_div(bytes * ROOM, unit));
    h->device = device;
    h->owner_pid = getpid();
    h->used = calloc(h->units / 64 + 1, sizeof *h->used);
    h->file = memfd_create("npu", MFD_CLOEXEC);
    if (h->used == NULL || h->file < 0 ||
        ftruncate(h->file, (off_t)(h->data_offset + h->unit * h->units)) != 0 || !map_header(h)) {
        destroy(h);
        return NULL;
    }
    struct header *header = h->header;
    *header = (struct header){.pid = h->owner_pid, .device = device, .unit = h->unit, .units = h->units};
    memcpy(header->magic, MAGIC, sizeof MAGIC);
    if (device >= 0) hc_account_heap(h->file, true);
    return h;
}

/* One per device and process, kept until aclFinalize: a file number for all pieces, where one file per
 * piece would soon exceed the limit of open files (1024 by default). */
struct hc_heap *hc_heap_own(const struct hc_device *device) {
    const int32_t id = device != NULL ? device->id : -1;
    pthread_mutex_lock(&g_lock);
    if (g_own[id + 1] == NULL)
        g_own[id + 1] = create(id, device != NULL ? (size_t)hc_device_capacity() : HOST_BYTES);
    struct hc_heap *h = g_own[id + 1];
    pthread_mutex_unlock(&g_lock);
    if (h == NULL)
        hc_fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "cannot make shareable memory: %s", strerror(errno));
    return h;
}

/* By the number that a shareable handle of this process carries; NULL if the heap is gone. */
struct hc_heap *hc_heap_by_file(int file) {
    struct hc_heap *found = NULL;
    pthread_mutex_lock(&g_lock);
    for (size_t i = 0; i < HC_ARRAY_SIZE(g_own) && found == NULL; i++) {
        if (g_own[i] != NULL && g_own[i]->file == file) found = g_own[i];
    }
    pthread_mutex_unlock(&g_lock);
    return found;
}

static bool unit_used(const struct hc_heap *h, size_t i) { return (h->used[i / 64] >> (i % 64) & 1) != 0; }

/* Needs the heap's lock. */
static void mark(struct hc_heap *h, size_t first, size_t count, bool on) {
    for (size_t i = first; i < first + count; i++) {
        if (on) h->used[i / 64] |= (uint64_t)1 << (i % 64);
        else h->used[i / 64] &= ~((uint64_t)1 << (i % 64));
    }
}

/* First fit. */
bool hc_heap_take(struct hc_heap *h, size_t bytes, uint32_t *unit) {
    const size_t want = hc_ceil_div(bytes, h->unit);
    size_t run = 0;
    bool found = false;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->units && !found; i++) {
        run = unit_used(h, i) ? 0 : run + 1;
        if (run == want) {
            *unit = (uint32_t)(i + 1 - want);
            mark(h, *unit, want, true);
            atomic_store(&h->table[*unit].bytes, bytes);
            atomic_store(&h->table[*unit].num_pids, 0);
            atomic_store(&h->table[*unit].open_to_all, 0);
            found = true;
        }
    }
    pthread_mutex_unlock(&h->lock);
    return found;
}

/* The hole gives the pages back now, whoever still maps them, and the next owner of the units finds zeros. */
void hc_heap_give(struct hc_heap *h, uint32_t unit, size_t bytes) {
    const size_t count = hc_ceil_div(bytes, h->unit);
    pthread_mutex_lock(&h->lock);
    atomic_store(&h->table[unit].bytes, 0);
    fallocate(h->file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(h->data_offset + unit * h->unit),
              (off_t)(count * h->unit));
    mark(h, unit, count, false);
    pthread_mutex_unlock(&h->lock);
}

/* What another process wrote into its header must describe the file that is there: everything is found with
 * these two numbers. */
static bool fits_file(const struct header *header, int file) {
    struct hc_heap h;
    struct stat s;
    size_t data, bytes;
    if (header->units == 0 || header->units > (size_t)1 << HC_HEAP_UNIT_BITS || header->unit < HC_HUGE_PAGE)
        return false;
    set_layout(&h, header->unit, header->units);
    return hc_mul_fits(h.unit, h.units, &data) && hc_add_fits(h.data_offset, data, &bytes) &&
           fstat(file, &s) == 0 && (size_t)s.st_size == bytes;
}

/* The magic and the process id in the header tell a heap from whatever file has that number now: process
 * ids are reused. */
static struct hc_heap *open_new(int32_t pid, int file, const char **why) {
    char path[64];
    struct header header;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, file);
    struct hc_heap *h = calloc(1, sizeof *h);
    if (h == NULL) return NULL;
    pthread_mutex_init(&h->lock, NULL);
    h->file = open(path, O_RDWR | O_CLOEXEC);
    *why = NULL;
    if (h->file >= 0 && pread(h->file, &header, sizeof header, 0) == (ssize_t)sizeof header &&
        memcmp(header.magic, MAGIC, sizeof MAGIC) == 0 && header.pid == pid && fits_file(&header, h->file)) {
        set_layout(h, header.unit, header.units);
        h->owner_pid = pid;
        h->device = header.device;
        if (map_header(h)) return h;
    } else if (h->file >= 0) {
        *why = "it holds no NPU memory (the process that exported it has ended)";
    }
    if (*why == NULL) *why = strerror(errno);
    destroy(h);
    return NULL;
}

/* Inode numbers tell two heaps of one device apart, of a process before and after aclFinalize. */
static bool same_file(const struct hc_heap *a, const struct hc_heap *b) {
    struct stat x, y;
    return fstat(a->file, &x) == 0 && fstat(b->file, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

/* An open heap is shared by all imports from it; the file is opened again each time only to see that it is
 * still that one. */
struct hc_heap *hc_heap_open(int32_t pid, int file, const char *function) {
    const char *why = "out of host memory";
    pthread_mutex_lock(&g_lock);
    struct hc_heap *h = NULL;
    struct hc_heap *fresh = open_new(pid, file, &why);
    /* The same process may have several devices, and a process id may come back: compare with what is there
     * now. */
    for (h = fresh != NULL ? g_opened : NULL; h != NULL; h = h->next) {
        if (h->owner_pid == pid && h->device == fresh->device && same_file(h, fresh)) break;
    }
    if (h != NULL && fresh != NULL) {
        destroy(fresh);
        h->references++;
    } else if (fresh != NULL) {
        h = fresh;
        h->references = 1;
        h->next = g_opened;
        g_opened = h;
    }
    pthread_mutex_unlock(&g_lock);
    if (fresh == NULL) {
        hc_fail(ACL_ERROR_RT_IPC_ERROR, "%s: cannot open the memory of process %d: %s", function, pid, why);
        return NULL;
    }
    return h;
}

/* Mappings made from it stay valid without the file. */
void hc_heap_close(struct hc_heap *h) {
    pthread_mutex_lock(&g_lock);
    if (--h->references == 0) {
        struct hc_heap **at = &g_opened;
        while (*at != h) at = &(*at)->next;
        *at = h->next;
        destroy(h);
    }
    pthread_mutex_unlock(&g_lock);
}

/* DONTFORK as for all device memory: a child must neither see nor keep it. */
void *hc_heap_map(const struct hc_heap *h, uint32_t unit, size_t offset, size_t bytes, void *where) {
    void *p = mmap(where, bytes, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_NORESERVE | (where != NULL ? MAP_FIXED : 0), h->file,
                   (off_t)(h->data_offset + unit * h->unit + offset));
    if (p == MAP_FAILED) return NULL;
    if (bytes >= HC_HUGE_PAGE) madvise(p, bytes, MADV_HUGEPAGE);
    madvise(p, bytes, MADV_DONTFORK);
    return p;
}

/* NULL for `pids` allows every process of the user. False when the row has no room. */
bool hc_heap_allow(struct hc_heap *h, uint32_t unit, const int32_t *pids, size_t count) {
    struct hc_heap_row *row = &h->table[unit];
    bool fits = true;
    pthread_mutex_lock(&h->lock);
    const unsigned have = atomic_load(&row->num_pids);
    if (pids == NULL) {
        atomic_store(&row->open_to_all, 1);
    } else if (have > HC_HEAP_MAX_PIDS || count > HC_HEAP_MAX_PIDS - have) {
        fits = false;
    } else {
        for (size_t i = 0; i < count; i++) atomic_store(&row->pids[have + i], pids[i]);
        atomic_store(&row->num_pids, have + (unsigned)count);
    }
    pthread_mutex_unlock(&h->lock);
    return fits;
}

size_t hc_heap_piece(const struct hc_heap *h, uint32_t unit) {
    if (unit >= h->units) return 0;
    const size_t bytes = atomic_load(&h->table[unit].bytes);
    return bytes <= (h->units - unit) * h->unit ? bytes : 0;
}

/* The exporter itself always may. */
bool hc_heap_allowed(const struct hc_heap *h, uint32_t unit, int32_t pid) {
    const struct hc_heap_row *row = &h->table[unit];
    if (atomic_load(&row->open_to_all) != 0 || pid == h->owner_pid) return true;
    const unsigned count = atomic_load(&row->num_pids);
    for (unsigned i = 0; i < count && i < HC_HEAP_MAX_PIDS; i++) {
        if (atomic_load(&row->pids[i]) == pid) return true;
    }
    return false;
}

/* Called when every piece has been given back; importers in other processes keep their mappings, of holes. */
void hc_heap_close_own(void) {
    pthread_mutex_lock(&g_lock);
    for (size_t i = 0; i < HC_ARRAY_SIZE(g_own); i++) {
        if (g_own[i] == NULL) continue;
        hc_account_heap(g_own[i]->file, false);
        destroy(g_own[i]);
        g_own[i] = NULL;
    }
    pthread_mutex_unlock(&g_lock);
}

/* The child must not keep the parent's memory alive. */
void hc_heap_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    for (size_t i = 0; i < HC_ARRAY_SIZE(g_own); i++) {
        if (g_own[i] == NULL) continue;
        close(g_own[i]->file);
        free(g_own[i]->used);
        free(g_own[i]);
        g_own[i] = NULL;
    }
    while (g_opened != NULL) {
        struct hc_heap *next = g_opened->next;
        close(g_opened->file);
        free(g_opened);
        g_opened = next;
    }
}
