// SPDX-License-Identifier: Apache-2.0
/* Communicators described by a rank table. */
#include "hc_comm_init.h"
#include "hc_rank_table.h"

static HcclResult init(const char *name, const char *path, uint32_t rank, const HcclCommConfig *config,
                       HcclComm *comm) {
    uint32_t num_ranks;
    struct hc_meeting meeting;
    HC_CHECK(path != NULL, HCCL_E_PTR, "%s: clusterInfo is null", name);
    HC_TRY(hc_rank_table_read(name, path, rank, &num_ranks, &meeting));
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
