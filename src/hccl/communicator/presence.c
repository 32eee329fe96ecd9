// SPDX-License-Identifier: Apache-2.0
#include "hc_presence.h"

void hc_rank_status_read(const struct hc_presence *p, struct hc_rank_status *s) {
    const uint32_t version = atomic_load(&p->version);
    *s = (struct hc_rank_status){.known = true,
                                 .stage = (enum hc_stage)atomic_load(&p->stage),
                                 .pid = atomic_load(&p->pid),
                                 .seq = atomic_load(&p->seq),
                                 .kind = atomic_load(&p->kind),
                                 .type = atomic_load(&p->type),
                                 .inside = atomic_load(&p->inside) != 0,
                                 .count = atomic_load(&p->count),
                                 .message_inside = atomic_load(&p->message_inside) != 0,
                                 .message_peer = atomic_load(&p->message_peer),
                                 .message_direction = atomic_load(&p->message_direction)};
    s->settled = version % 2 == 0 && atomic_load(&p->version) == version;
}
