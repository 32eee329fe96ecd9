// SPDX-License-Identifier: Apache-2.0
/* Keys that let another process map device memory: they name process, file and unit of the heap that an
 * allocation moves to when it is exported first (share.c). */
#include "hc_ipc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hc_checked.h"
#include "hc_error.h"
#include "hc_heap.h"
#include "hc_memory.h"
#include "hc_share.h"
#include "hc_stream.h"
#include "hc_vmm.h"

enum { KEY_BYTES = 65 };

struct import {
    char key[KEY_BYTES];
    struct hc_heap *heap;
    char *mapping; /* whole pages */
    size_t mapped;
    void *address; /* what the client got */
    struct hc_device *device;
    uint32_t references;
    struct import *next;
};

struct key {
    int32_t pid;
    int file;
    uint32_t unit;
    size_t offset, bytes;
};

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static struct import *g_imports;

/* Everything must match to the last byte: a key comes from another process by way of the client. */
static bool parse(const char *text, struct key *key) {
    int used = 0;
    return text != NULL && strnlen(text, KEY_BYTES) < KEY_BYTES &&
           sscanf(text, "npu1:%d:%d:%u:%zx:%zx%n", &key->pid, &key->file, &key->unit, &key->offset,
                  &key->bytes, &used) == 5 &&
           text[used] == '\0';
}

/* Where the memory at an address is in a heap of this process. */
static aclError locate(void *devPtr, size_t size, struct key *key, struct hc_heap **heap) {
    struct hc_region r;
    HC_CHECK(hc_region_find(devPtr, &r), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemGetExportKey: %p is no device memory", devPtr);
    const size_t inside = (uintptr_t)devPtr - r.begin;
    HC_CHECK(size > 0 && size <= r.bytes - inside, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemGetExportKey: size is %zu, but %zu bytes of the allocation lie at %p", size,
             r.bytes - inside, devPtr);
    if (r.kind == HC_REGION_MAPPED) {
        const struct hc_physical *p = r.owner;
        HC_CHECK(!p->imported, ACL_ERROR_FEATURE_UNSUPPORTED,
                 "aclrtIpcMemGetExportKey: %p is imported itself", devPtr);
        *heap = p->heap;
        *key = (struct key){getpid(), p->heap->file, p->unit, inside, size};
        return ACL_SUCCESS;
    }
    HC_CHECK(r.kind == HC_REGION_DEVICE, ACL_ERROR_FEATURE_UNSUPPORTED, "aclrtIpcMemGetExportKey: %p is %s",
             devPtr, hc_region_kind_name(r.kind));
    struct hc_share *e = r.owner;
    if (e == NULL) HC_TRY(hc_share_region(&r, "aclrtIpcMemGetExportKey", &e));
    *heap = e->heap;
    *key = (struct key){getpid(), e->heap->file, e->unit, inside, size};
    return ACL_SUCCESS;
}

/* The key is text of at most 64 characters: process, file number, unit, offset and size. It is valid until
 * the memory is freed; exporting again gives the same key. */
aclError aclrtIpcMemGetExportKey(void *devPtr, size_t size, char *key, size_t len, uint64_t flags) {
    HC_CHECK(devPtr != NULL && key != NULL, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemGetExportKey: null argument");
    HC_CHECK(flags <= ACL_RT_IPC_MEM_EXPORT_FLAG_DISABLE_PID_VALIDATION, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemGetExportKey: flags is 0x%llx", (unsigned long long)flags);
    struct key k = {0};
    struct hc_heap *heap = NULL;
    pthread_mutex_lock(&g_lock);
    const aclError code = locate(devPtr, size, &k, &heap);
    pthread_mutex_unlock(&g_lock);
    if (code != 0) return code;
    const int n = snprintf(key, len, "npu1:%d:%d:%u:%zx:%zx", k.pid, k.file, k.unit, k.offset, k.bytes);
    HC_CHECK(n > 0 && (size_t)n < len && n < KEY_BYTES, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemGetExportKey: len is %zu, a key needs %d bytes", len, KEY_BYTES);
    if (flags == ACL_RT_IPC_MEM_EXPORT_FLAG_DISABLE_PID_VALIDATION) hc_heap_allow(heap, k.unit, NULL, 0);
    return ACL_SUCCESS;
}

/* Not needed for keys made with ACL_RT_IPC_MEM_EXPORT_FLAG_DISABLE_PID_VALIDATION. */
aclError aclrtIpcMemSetImportPid(const char *key, int32_t *pid, size_t num) {
    struct key k;
    HC_CHECK(parse(key, &k), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemSetImportPid: the key is not one of this runtime");
    HC_CHECK(pid != NULL && num > 0, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemSetImportPid: no process is given");
    HC_CHECK(k.pid == getpid(), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemSetImportPid: the key is from process %d", k.pid);
    struct hc_heap *heap = hc_heap_by_file(k.file);
    HC_CHECK(heap != NULL && k.unit < heap->units && hc_heap_allow(heap, k.unit, pid, num),
             ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcMemSetImportPid: stale key, or more than %d processes",
             HC_HEAP_MAX_PIDS);
    return ACL_SUCCESS;
}

/* The exporter may have freed the memory since it made the key, and its unit may be in use for something
 * else by now. */
static aclError check_piece(const struct hc_heap *heap, const struct key *k) {
    HC_CHECK(k->bytes > 0 && hc_span_inside(k->offset, k->bytes, hc_heap_piece(heap, k->unit)),
             ACL_ERROR_RT_IPC_ERROR, "aclrtIpcMemImportByKey: process %d has freed that memory", k->pid);
    HC_CHECK(hc_heap_allowed(heap, k->unit, getpid()), ACL_ERROR_RT_NO_PERMISSION,
             "aclrtIpcMemImportByKey: process %d did not allow process %d (aclrtIpcMemSetImportPid)", k->pid,
             (int)getpid());
    return ACL_SUCCESS;
}

/* Needs the lock; takes over the reference to the heap. */
static aclError map_import(const char *text, const struct key *k, struct hc_heap *heap,
                           struct hc_device *device, struct import **out) {
    struct import *i = calloc(1, sizeof *i);
    HC_CHECK(i != NULL, ACL_ERROR_RT_IPC_ERROR, "aclrtIpcMemImportByKey: out of host memory");
    const size_t skew = k->offset % HC_PAGE;
    i->mapped = hc_align_up(skew + k->bytes, HC_PAGE);
    i->mapping = hc_heap_map(heap, k->unit, k->offset - skew, i->mapped, NULL);
    i->address = i->mapping + skew;
    i->heap = heap;
    i->device = device;
    i->references = 1;
    snprintf(i->key, sizeof i->key, "%s", text);
    const struct hc_region r = {.begin = (uintptr_t)i->address,
                                .bytes = k->bytes,
                                .mapped = i->mapped,
                                .kind = HC_REGION_IMPORTED,
                                .device = device,
                                .owner = i};
    if (i->mapping == NULL || !hc_region_add(&r)) {
        if (i->mapping != NULL) munmap(i->mapping, i->mapped);
        free(i);
        return hc_fail(ACL_ERROR_RT_IPC_ERROR, "aclrtIpcMemImportByKey: cannot map %zu bytes of process %d",
                       k->bytes, k->pid);
    }
    i->next = g_imports;
    g_imports = i;
    *out = i;
    return ACL_SUCCESS;
}

/* Needs the lock. Importing a key twice gives the same address, to be closed twice. */
static aclError import_key(const char *text, const struct key *k, struct hc_device *device, void **devPtr) {
    for (struct import *i = g_imports; i != NULL; i = i->next) {
        if (strcmp(i->key, text) == 0) {
            i->references++;
            *devPtr = i->address;
            return ACL_SUCCESS;
        }
    }
    struct hc_heap *heap = hc_heap_open(k->pid, k->file, "aclrtIpcMemImportByKey");
    if (heap == NULL) return ACL_ERROR_RT_IPC_ERROR;
    struct import *import = NULL;
    aclError code = check_piece(heap, k);
    if (code == 0) code = map_import(text, k, heap, device, &import);
    if (code != 0) hc_heap_close(heap);
    else *devPtr = import->address;
    return code;
}

/* The memory appears on the current device but is accounted for by the exporter. Other processes of the
 * same user may import; others fail when they open /proc/<pid>/fd. */
aclError aclrtIpcMemImportByKey(void **devPtr, const char *key, uint64_t flags) {
    struct key k;
    HC_CHECK(devPtr != NULL, ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcMemImportByKey: devPtr is null");
    HC_CHECK(parse(key, &k), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemImportByKey: the key is not one of this runtime");
    HC_CHECK(flags <= ACL_RT_IPC_MEM_IMPORT_FLAG_ENABLE_PEER_ACCESS, ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemImportByKey: flags is 0x%llx", (unsigned long long)flags);
    const struct hc_context *c = hc_context_current("aclrtIpcMemImportByKey");
    if (c == NULL) return ACL_ERROR_RT_CONTEXT_NULL;
    pthread_mutex_lock(&g_lock);
    const aclError code = import_key(key, &k, c->device, devPtr);
    pthread_mutex_unlock(&g_lock);
    return code;
}

/* Needs the lock. */
static void unmap_import(struct import **at) {
    struct import *i = *at;
    struct hc_region r;
    *at = i->next;
    hc_region_take(i->address, HC_REGION_IMPORTED, &r);
    munmap(i->mapping, i->mapped);
    hc_heap_close(i->heap);
    free(i);
}

/* For the exporter closing its own key there is nothing to do: the memory stays until it is freed. */
aclError aclrtIpcMemClose(const char *key) {
    struct key k;
    HC_CHECK(parse(key, &k), ACL_ERROR_RT_PARAM_INVALID,
             "aclrtIpcMemClose: the key is not one of this runtime");
    hc_streams_wait(NULL);
    pthread_mutex_lock(&g_lock);
    struct import **at = &g_imports;
    while (*at != NULL && strcmp((*at)->key, key) != 0) at = &(*at)->next;
    const bool found = *at != NULL;
    if (found && --(*at)->references == 0) unmap_import(at);
    pthread_mutex_unlock(&g_lock);
    HC_CHECK(found || k.pid == getpid(), ACL_ERROR_RT_PARAM_INVALID, "aclrtIpcMemClose: %s is not open", key);
    return ACL_SUCCESS;
}

/* Whatever the number of open imports: the device is being reset. */
void hc_ipc_close_all(struct hc_device *device) {
    pthread_mutex_lock(&g_lock);
    for (struct import **at = &g_imports; *at != NULL;) {
        if (device == NULL || (*at)->device == device) unmap_import(at);
        else at = &(*at)->next;
    }
    pthread_mutex_unlock(&g_lock);
}

void hc_ipc_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    g_imports = NULL;
}
