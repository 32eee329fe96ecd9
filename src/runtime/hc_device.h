// SPDX-License-Identifier: Apache-2.0
/* Virtual devices and contexts. A context is a device plus a default stream; a thread has one current
 * context. */
#pragma once
#include "acl/acl.h"
#include "hc_handle.h"

enum { HC_MAX_DEVICES = 1024, HC_RES_TYPES = 2 /* cube and vector cores */ };

struct hc_stream;
struct hc_context;

struct hc_device {
    int32_t id;       /* as clients of this process count */
    int32_t physical; /* as the host counts: the same device has the same one in every process */
    atomic_size_t memory_used, memory_peak;
    _Atomic(struct hc_context *) primary;
    atomic_uint res_limit[HC_RES_TYPES]; /* 0: none set */
    atomic_ullong retired_busy;          /* ticks that destroyed streams were busy */
    pthread_mutex_t rate_lock;
    uint64_t rate_busy, rate_time; /* at the last call of aclrtGetDeviceUtilizationRate */
    atomic_int abandoned;          /* code, once the client launches nothing more (client_queue.c) */
    char abandoned_text[512];
};

struct hc_context {
    struct hc_handle handle;
    struct hc_device *device;
    struct hc_stream *default_stream;
    bool primary;
};

/* Devices that this process sees; constant once it is not -1: ASCEND_RT_VISIBLE_DEVICES is wrong, with a
 * text. */
int32_t hc_device_count(void);
/* Devices of the host, seen or not. */
HC_SHARED int32_t hc_device_physical_count(void);
/* The host's number of one of ours, -1 if there is none. */
HC_SHARED int32_t hc_device_physical_id(int32_t id);
/* Physical ids by ASCEND_RT_VISIBLE_DEVICES; `ids` has room for `total`. ACL_ERROR_INVALID_PARAM with a text.
 */
int hc_visible_devices(int32_t total, int32_t *ids, int32_t *count);
/* NULL if `id` is none of them. */
struct hc_device *hc_device_get(int64_t id);
/* ACL_ERROR_RT_INVALID_DEVICEID with a text. */
int hc_device_fail(const char *function, int64_t id);
/* Memory of a device; constant once asked for. */
uint64_t hc_device_capacity(void);
/* Charge and give back memory; ACL_ERROR_RT_MEMORY_ALLOCATION with a text when it does not fit. */
int hc_device_charge(struct hc_device *device, size_t bytes, const char *function);
void hc_device_release(struct hc_device *device, size_t bytes);
/* What can be charged now. */
uint64_t hc_device_free(const struct hc_device *device);
/* Cores that operators of the device may count on, before limits. */
uint32_t hc_device_cores(int type);

extern struct hc_pool hc_context_pool;
/* This thread's context, made for the configured default device if it has none yet; NULL with a text
 * otherwise. */
struct hc_context *hc_context_current(const char *function);
/* The same without text and without making one. */
struct hc_context *hc_context_peek(void);
/* The default device of the configuration file given to aclInit, -1 if none. */
void hc_set_default_device(int32_t id);
/* Why aclInit failed, "" if it did not: what threads without a device are told. */
void hc_set_refusal(const char *text);
/* Destroy every context (of `device`, or of all if NULL) with its streams. */
void hc_contexts_destroy(struct hc_device *device);
void hc_device_after_fork(void);
void hc_device_memory_after_fork(void);
void hc_context_after_fork(void);
