// SPDX-License-Identifier: Apache-2.0
#include "hc_comm_stream.h"

/* In the device's current context, which is that of the thread that launches the operator. */
static HcclResult create(const char *caller, struct hc_comm *c) {
    HC_CHECK(aclrtCreateStream(&c->beside) == 0 && aclrtStreamGetId(c->beside, &c->beside_id) == 0,
             HCCL_E_RUNTIME, "%s: communicator %s cannot have a stream for its collectives", caller,
             c->title);
    return HCCL_SUCCESS;
}

/* Ranks of one memory would copy with the very cores that multiply; a link of a chosen speed is waited for
 * asleep, and one to another host is the network card's work. */
HcclResult hc_comm_beside(const char *caller, struct hc_comm *c, aclrtStream *stream) {
    const bool in_memory = c->num_ranks == 1 || (c->board != NULL && c->link_ns_per_byte == 0);
    HcclResult status = HCCL_SUCCESS;
    pthread_mutex_lock(&c->order_lock);
    if (!in_memory && c->beside == NULL) status = create(caller, c);
    *stream = c->beside;
    pthread_mutex_unlock(&c->order_lock);
    return status;
}

/* A device that was reset has taken it along, and its address may be another stream's by now. */
void hc_comm_end_beside(struct hc_comm *c) {
    int32_t id;
    pthread_mutex_lock(&c->order_lock);
    const aclrtStream stream = c->beside;
    c->beside = NULL;
    pthread_mutex_unlock(&c->order_lock);
    if (stream != NULL && aclrtStreamGetId(stream, &id) == 0 && id == c->beside_id)
        aclrtDestroyStream(stream);
}
