// SPDX-License-Identifier: Apache-2.0
/* Communicators described by a rank table: a JSON file with one object with the key "rank_id" per rank. Only
 * the number of ranks and whether ours is among them matter while a communicator has one rank. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hc_comm.h"

enum { MAX_TABLE_BYTES = 16 << 20 };

static HcclResult read_table(const char *name, const char *path, char **text) {
    FILE *file = fopen(path, "rb");
    HC_CHECK(file != NULL, HCCL_E_OPEN_FILE_FAILURE, "%s: cannot open the rank table %s", name, path);
    char *buffer = malloc(MAX_TABLE_BYTES + 1);
    const size_t length = buffer != NULL ? fread(buffer, 1, MAX_TABLE_BYTES, file) : 0;
    const bool complete = buffer != NULL && !ferror(file) && fgetc(file) == EOF;
    fclose(file);
    if (!complete) {
        free(buffer);
        return hc_fail(HCCL_E_OPEN_FILE_FAILURE,
                       "%s: cannot read the rank table %s, or it has more than %d bytes", name, path,
                       MAX_TABLE_BYTES);
    }
    buffer[length] = '\0';
    *text = buffer;
    return HCCL_SUCCESS;
}

/* The value behind the next key "rank_id" (quoted or not), or false at the end of the text. */
static bool next_rank(const char **at, unsigned long *rank) {
    static const char KEY[] = "\"rank_id\"";
    const char *p = strstr(*at, KEY);
    if (p == NULL) return false;
    p += strlen(KEY);
    p += strspn(p, " \t\r\n:\"");
    char *end;
    *rank = strtoul(p, &end, 10);
    *at = end;
    return end != p;
}

static HcclResult init(const char *name, const char *path, uint32_t rank, const HcclCommConfig *config,
                       HcclComm *comm) {
    HC_CHECK(path != NULL, HCCL_E_PTR, "%s: clusterInfo is null", name);
    char *text = NULL;
    HC_TRY(read_table(name, path, &text));
    uint32_t num_ranks = 0;
    bool listed = false;
    unsigned long found;
    for (const char *at = text; next_rank(&at, &found); num_ranks++) listed = listed || found == rank;
    free(text);
    HC_CHECK(num_ranks > 0, HCCL_E_PARA, "%s: the rank table %s names no rank (key \"rank_id\")", name, path);
    HC_CHECK(listed, HCCL_E_PARA, "%s: rank %u is not in the rank table %s", name, rank, path);
    HC_TRY(hc_comm_check_size(name, num_ranks, rank));
    HC_CHECK(num_ranks == 1, HCCL_E_NOT_SUPPORT, "%s: %u ranks; only a table of one rank works yet", name,
             num_ranks);
    struct hc_meeting meeting = {0};
    return hc_comm_join(name, &meeting, num_ranks, rank, config, comm);
}

HcclResult HcclCommInitClusterInfo(const char *clusterInfo, uint32_t rank, HcclComm *comm) {
    return init("HcclCommInitClusterInfo", clusterInfo, rank, NULL, comm);
}

HcclResult HcclCommInitClusterInfoConfig(const char *clusterInfo, uint32_t rank, HcclCommConfig *config,
                                         HcclComm *comm) {
    HC_CHECK(config != NULL, HCCL_E_PTR, "HcclCommInitClusterInfoConfig: config is null");
    return init("HcclCommInitClusterInfoConfig", clusterInfo, rank, config, comm);
}
