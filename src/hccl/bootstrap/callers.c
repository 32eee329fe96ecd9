// SPDX-License-Identifier: Apache-2.0
#include "hc_callers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static void append(struct hc_caller_list *list, struct hc_caller *c) {
    c->next = NULL;
    c->previous = list->last;
    *(list->last != NULL ? &list->last->next : &list->first) = c;
    list->last = c;
    list->count++;
}

static void take_out(struct hc_caller_list *list, struct hc_caller *c) {
    *(c->previous != NULL ? &c->previous->next : &list->first) = c->next;
    *(c->next != NULL ? &c->next->previous : &list->last) = c->previous;
    list->count--;
}

static struct hc_caller_list *list_of(struct hc_callers *all, const struct hc_caller *c) {
    return c->stage == HC_CALLER_STRANGER ? &all->strangers : &all->known;
}

struct hc_caller *hc_callers_add(struct hc_callers *all, int socket, uint64_t deadline) {
    struct hc_caller *c = calloc(1, sizeof *c);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (c == NULL || epoll_ctl(all->epoll, EPOLL_CTL_ADD, socket, &event) != 0) {
        free(c);
        close(socket);
        return NULL;
    }
    c->socket = socket;
    c->deadline = deadline;
    append(&all->strangers, c);
    return c;
}

void hc_callers_identify(struct hc_callers *all, struct hc_caller *c) {
    take_out(&all->strangers, c);
    c->stage = HC_CALLER_KNOWN;
    append(&all->known, c);
}

/* Closing does not end the watch where a forked child has the socket, too. */
void hc_callers_drop(struct hc_callers *all, struct hc_caller *c) {
    epoll_ctl(all->epoll, EPOLL_CTL_DEL, c->socket, NULL);
    take_out(list_of(all, c), c);
    c->stage = HC_CALLER_GONE;
    close(c->socket);
    append(&all->gone, c);
}

bool hc_callers_drop_oldest(struct hc_callers *all) {
    if (all->strangers.first == NULL) return false;
    hc_callers_drop(all, all->strangers.first);
    return true;
}

void hc_callers_sweep(struct hc_callers *all) {
    while (all->gone.first != NULL) {
        struct hc_caller *c = all->gone.first;
        take_out(&all->gone, c);
        free(c->blob);
        explicit_bzero(&c->key, sizeof c->key);
        free(c);
    }
}

enum hc_intake hc_caller_receive(struct hc_caller *c, void *to, size_t length) {
    while (c->have < length) {
        const ssize_t n = recv(c->socket, (char *)to + c->have, length - c->have, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return HC_INTAKE_MORE;
        if (n == 0) errno = 0;
        if (n <= 0) return HC_INTAKE_END;
        c->have += (size_t)n;
    }
    c->have = 0;
    return HC_INTAKE_WHOLE;
}
