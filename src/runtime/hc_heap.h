// SPDX-License-Identifier: Apache-2.0
/* Memory that other processes may map: one memfd per device, cut into units.
 *
 * A memfd has no name in any file system, so nothing is left when the process dies. Another process of the
 * same user opens it as /proc/<pid>/fd/<number>. It begins with a header and a table with a row per unit,
 * which says how long the piece is that starts there and which processes may map it. */
#pragma once
#include "hc_device.h"

enum { HC_HEAP_MAX_PIDS = 56, HC_HEAP_UNIT_BITS = 20 };

struct hc_heap_row {
    atomic_ullong bytes; /* of the piece that starts in this unit; 0: none */
    atomic_uint open_to_all;
    atomic_uint num_pids;
    atomic_int pids[HC_HEAP_MAX_PIDS];
    uint32_t unused[4];
};
_Static_assert(sizeof(struct hc_heap_row) == 256, "row of the table");

struct hc_heap {
    int file;
    int32_t owner_pid;   /* the process that made it: this one, or another if opened */
    int32_t device;      /* -1: host */
    uint32_t references; /* of an opened one */
    size_t unit, units, data_offset, header_bytes;
    struct hc_heap_row *table;
    void *header;
    uint64_t *used; /* a bit per unit; own heaps only */
    pthread_mutex_t lock;
    struct hc_heap *next; /* list of opened ones */
};

/* This process's heap of a device, or of the host for NULL; made on first use. NULL with a text. */
struct hc_heap *hc_heap_own(const struct hc_device *device);
/* Take a piece; false when no stretch is left. */
bool hc_heap_take(struct hc_heap *heap, size_t bytes, uint32_t *unit);
void hc_heap_give(struct hc_heap *heap, uint32_t unit, size_t bytes);
/* The heap behind file `file` of process `pid`; close it with hc_heap_close. NULL with a text. */
struct hc_heap *hc_heap_open(int32_t pid, int file, const char *function);
void hc_heap_close(struct hc_heap *heap);
/* Map [offset, offset + bytes) of the piece at `unit`, at `where` if not NULL (replacing what is there).
 * NULL: refused. */
void *hc_heap_map(const struct hc_heap *heap, uint32_t unit, size_t offset, size_t bytes, void *where);
/* Allow processes to map a piece. */
bool hc_heap_allow(struct hc_heap *heap, uint32_t unit, const int32_t *pids, size_t count);
/* Bytes of the piece at `unit` as its owner's table says; 0: none there, or not one that fits into the heap.
 */
size_t hc_heap_piece(const struct hc_heap *heap, uint32_t unit);
bool hc_heap_allowed(const struct hc_heap *heap, uint32_t unit, int32_t pid);
/* All pieces are given back: close the files of this process. */
void hc_heap_close_own(void);
void hc_heap_after_fork(void);
