// SPDX-License-Identifier: Apache-2.0
/* Rank tables, JSON files that all ranks have:
 *
 *   {"version": "1.0", "status": "completed", "server_count": "2", "server_list": [
 *     {"server_id": "10.0.0.1", "device": [{"device_id": "0", "device_ip": "...", "rank_id": "0"}, ...]},
 * ...]}
 *
 * Keys come in any order, numbers with or without quotes, and keys that are not needed are passed over. Rank
 * 0 answers on its server's address ("host_ip", else "server_id") at HCCL_IF_BASE_PORT. The meeting's id is a
 * hash of the table, its key an HMAC of it with the ranks' secret: a table tells strangers all but that. */
#include "hc_rank_table.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_device.h"
#include "hc_error.h"
#include "hc_json.h"
#include "hc_option.h"
#include "hc_server.h"

enum { MAX_TABLE_BYTES = 16 << 20, ADDRESS_BYTES = 64 };

struct table_rank {
    uint32_t rank, device, server;
};
struct table {
    struct table_rank *ranks;
    size_t num_ranks, capacity;
    uint32_t num_servers, server_count; /* listed; as "server_count" says, UINT32_MAX where it does not */
    char status[32], version[32];
    char address[ADDRESS_BYTES]; /* of the server with rank 0 */
    /* Of the server being read. */
    char server_id[ADDRESS_BYTES], host_ip[ADDRESS_BYTES];
    bool has_first;
    struct table_rank device;
    bool has_rank, has_device;
};

static HcclResult read_table(const char *name, const char *path, char **text, size_t *length) {
    FILE *file = fopen(path, "rb");
    HC_CHECK(file != NULL, HCCL_E_OPEN_FILE_FAILURE, "%s: cannot open the rank table %s: %s", name, path,
             strerror(errno));
    char *buffer = malloc(MAX_TABLE_BYTES);
    *length = buffer != NULL ? fread(buffer, 1, MAX_TABLE_BYTES, file) : 0;
    const bool complete = buffer != NULL && !ferror(file) && fgetc(file) == EOF;
    fclose(file);
    if (!complete) {
        free(buffer);
        return hc_fail(HCCL_E_OPEN_FILE_FAILURE,
                       "%s: cannot read the rank table %s, or it has more than %d bytes", name, path,
                       MAX_TABLE_BYTES);
    }
    *text = buffer;
    return HCCL_SUCCESS;
}

static bool add_rank(struct hc_json *j, struct table *t) {
    if (!t->has_rank) return hc_json_fail(j, "a device has no \"rank_id\"");
    if (!t->has_device) return hc_json_fail(j, "rank %u has no \"device_id\"", t->device.rank);
    if (t->num_ranks == HC_MAX_RANKS) return hc_json_fail(j, "there are more than %d ranks", HC_MAX_RANKS);
    if (t->num_ranks == t->capacity) {
        const size_t capacity = t->capacity > 0 ? 2 * t->capacity : 64;
        struct table_rank *ranks = realloc(t->ranks, capacity * sizeof *ranks);
        if (ranks == NULL) return hc_json_fail(j, "out of host memory");
        t->ranks = ranks;
        t->capacity = capacity;
    }
    t->device.server = t->num_servers;
    t->ranks[t->num_ranks++] = t->device;
    t->has_first = t->has_first || t->device.rank == 0;
    return true;
}

static bool device_member(struct hc_json *j, const char *key, void *ctx) {
    struct table *t = ctx;
    if (strcmp(key, "rank_id") == 0) {
        t->has_rank = true;
        return hc_json_number(j, HC_MAX_RANKS - 1, &t->device.rank);
    }
    if (strcmp(key, "device_id") == 0) {
        t->has_device = true;
        return hc_json_number(j, INT32_MAX, &t->device.device);
    }
    return hc_json_skip(j);
}

static bool device_element(struct hc_json *j, void *ctx) {
    struct table *t = ctx;
    t->has_rank = t->has_device = false;
    return hc_json_object(j, device_member, t) && add_rank(j, t);
}

static bool take_text(struct hc_json *j, char *text, size_t room) {
    char value[HC_JSON_TEXT];
    if (!hc_json_scalar(j, value)) return false;
    if (strlen(value) >= room) return hc_json_fail(j, "'%.80s' is too long", value);
    memcpy(text, value, strlen(value) + 1);
    return true;
}

static bool server_member(struct hc_json *j, const char *key, void *ctx) {
    struct table *t = ctx;
    if (strcmp(key, "server_id") == 0) return take_text(j, t->server_id, sizeof t->server_id);
    if (strcmp(key, "host_ip") == 0) return take_text(j, t->host_ip, sizeof t->host_ip);
    if (strcmp(key, "device") == 0) return hc_json_array(j, device_element, t);
    return hc_json_skip(j);
}

static bool server_element(struct hc_json *j, void *ctx) {
    struct table *t = ctx;
    t->server_id[0] = t->host_ip[0] = '\0';
    t->has_first = false;
    if (!hc_json_object(j, server_member, t)) return false;
    if (t->server_id[0] == '\0') return hc_json_fail(j, "a server has no \"server_id\"");
    if (t->has_first)
        memcpy(t->address, t->host_ip[0] != '\0' ? t->host_ip : t->server_id, sizeof t->address);
    t->num_servers++;
    return true;
}

static bool table_member(struct hc_json *j, const char *key, void *ctx) {
    struct table *t = ctx;
    if (strcmp(key, "server_list") == 0) return hc_json_array(j, server_element, t);
    if (strcmp(key, "server_count") == 0) return hc_json_number(j, HC_MAX_RANKS, &t->server_count);
    if (strcmp(key, "status") == 0) return take_text(j, t->status, sizeof t->status);
    if (strcmp(key, "version") == 0) return take_text(j, t->version, sizeof t->version);
    return hc_json_skip(j);
}

static HcclResult parse(const char *name, const char *path, const char *text, size_t length,
                        struct table *t) {
    struct hc_json j;
    hc_json_begin(&j, text, length);
    t->server_count = UINT32_MAX;
    const bool good = hc_json_object(&j, table_member, t) && hc_json_end(&j);
    HC_CHECK(good, HCCL_E_PARA, "%s: the rank table %s is broken: %s", name, path,
             j.error[0] != '\0' ? j.error : "it is no object");
    HC_CHECK(t->version[0] == '\0' || strcmp(t->version, "1.0") == 0, HCCL_E_NOT_SUPPORT,
             "%s: the rank table %s is of version %s, wanted 1.0", name, path, t->version);
    HC_CHECK(t->status[0] == '\0' || strcmp(t->status, "completed") == 0, HCCL_E_PARA,
             "%s: the rank table %s is not finished: its status is '%s', wanted 'completed'", name, path,
             t->status);
    HC_CHECK(t->server_count == UINT32_MAX || t->server_count == t->num_servers, HCCL_E_PARA,
             "%s: the rank table %s lists %u servers, its server_count is %u", name, path, t->num_servers,
             t->server_count);
    return HCCL_SUCCESS;
}

static int by_rank(const void *a, const void *b) {
    const struct table_rank *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}

/* Sorts; then rank i must be at i. */
static HcclResult check(const char *name, const char *path, uint32_t rank, struct table *t) {
    HC_CHECK(t->num_ranks > 0, HCCL_E_PARA, "%s: the rank table %s names no rank", name, path);
    qsort(t->ranks, t->num_ranks, sizeof *t->ranks, by_rank);
    for (size_t i = 0; i < t->num_ranks; i++) {
        HC_CHECK(i == 0 || t->ranks[i].rank != t->ranks[i - 1].rank, HCCL_E_PARA,
                 "%s: the rank table %s lists rank %u twice", name, path, t->ranks[i].rank);
        HC_CHECK(t->ranks[i].rank == i, HCCL_E_PARA, "%s: the rank table %s has %zu ranks but no rank %zu",
                 name, path, t->num_ranks, i);
    }
    HC_CHECK(rank < t->num_ranks, HCCL_E_PARA,
             "%s: rank %u is not in the rank table %s, which has ranks 0 to %zu", name, rank, path,
             t->num_ranks - 1);
    return HCCL_SUCCESS;
}

/* Tables hold physical ids: those that ASCEND_RT_VISIBLE_DEVICES lists. */
static HcclResult check_device(const char *name, const char *path, const struct table_rank *own) {
    int32_t device = -1;
    HC_CHECK(aclrtGetDevice(&device) == 0, HCCL_E_RUNTIME,
             "%s: this thread has no device; call aclrtSetDevice first", name);
    const int32_t physical = hc_device_physical_id(device);
    HC_CHECK(
        (uint32_t)physical == own->device, HCCL_E_PARA,
        "%s: the rank table %s gives rank %u device_id %u, but this thread's device %d is %d of the host",
        name, path, own->rank, own->device, device, physical);
    return HCCL_SUCCESS;
}

/* Strangers who have the table know all that a key could be made of, but for the secret. */
static HcclResult make_key(const char *name, const char *path, const struct table *t, struct hc_meeting *m) {
    unsigned char digest[HC_SHA256_BYTES];
    struct hc_sha256 s;
    bool secret;
    hc_sha256_begin(&s);
    hc_sha256_add(&s, t->ranks, t->num_ranks * sizeof *t->ranks);
    hc_sha256_add(&s, t->address, sizeof t->address);
    hc_sha256_end(&s, digest);
    HC_TRY(hc_key_shared(name, digest, sizeof digest, &m->key, &secret));
    HC_CHECK(secret || hc_is_loopback(m->addresses[0]), HCCL_E_PARA,
             "%s: the rank table %s lets rank 0 answer at %s, where others than the ranks can call: set "
             "MINDSPEED_HCCL_SECRET_FILE to a file of mode 600 with the same random bytes on all hosts",
             name, path, t->address);
    return HCCL_SUCCESS;
}

static HcclResult plan_meeting(const char *name, const char *path, uint32_t rank, const struct table *t,
                               struct hc_meeting *m) {
    memset(m, 0, sizeof *m);
    if (t->num_ranks == 1) return HCCL_SUCCESS;
    hc_hash(t->ranks, t->num_ranks * sizeof *t->ranks, m->id);
    m->port = (uint16_t)hc_option_int(HC_OPT_HCCL_IF_BASE_PORT);
    HC_CHECK(inet_pton(AF_INET, t->address, &m->addresses[0]) == 1 && hc_is_callable(m->addresses[0]),
             HCCL_E_PARA,
             "%s: the rank table %s gives rank 0's server as '%s', wanted an IPv4 address (\"host_ip\" or "
             "\"server_id\")",
             name, path, t->address);
    m->num_addresses = 1;
    HC_TRY(make_key(name, path, t, m));
    if (rank != 0) return HCCL_SUCCESS;
    m->host = hc_host_self();
    if (hc_server_answer(name, m->addresses, 1, &m->key, &m->port) == HCCL_SUCCESS) return HCCL_SUCCESS;
    char why[256];
    snprintf(why, sizeof why, "%s", hc_error_text());
    return hc_fail(HCCL_E_TCP_CONNECT, "%s (HCCL_IF_BASE_PORT, the same on all ranks, chooses another)", why);
}

HcclResult hc_rank_table_read(const char *name, const char *path, uint32_t rank, uint32_t *num_ranks,
                              struct hc_meeting *meeting) {
    char *text = NULL;
    size_t length = 0;
    struct table table = {0};
    HC_TRY(read_table(name, path, &text, &length));
    HcclResult status = parse(name, path, text, length, &table);
    if (status == HCCL_SUCCESS) status = check(name, path, rank, &table);
    if (status == HCCL_SUCCESS) status = check_device(name, path, &table.ranks[rank]);
    if (status == HCCL_SUCCESS) status = plan_meeting(name, path, rank, &table, meeting);
    *num_ranks = (uint32_t)table.num_ranks;
    free(text);
    free(table.ranks);
    return status;
}
