// SPDX-License-Identifier: Apache-2.0
#include "hc_finalize.h"

#include <pthread.h>

enum { MAX_FINALIZERS = 16 };
static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static void (*g_fns[MAX_FINALIZERS])(void);
static size_t g_count;

/* A 17th function is dropped in silence: the registrants are a handful of static modules of this project,
 * never clients. */
void hc_at_finalize(void (*fn)(void)) {
    pthread_mutex_lock(&g_lock);
    bool known = g_count == MAX_FINALIZERS;
    for (size_t i = 0; i < g_count; i++) known = known || g_fns[i] == fn;
    if (!known) g_fns[g_count++] = fn;
    pthread_mutex_unlock(&g_lock);
}

/* The lock is not held during the call: a finaliser may register again (a pool that starts once more) or
 * end threads that do. */
void hc_run_finalizers(void) {
    for (;;) {
        pthread_mutex_lock(&g_lock);
        void (*fn)(void) = g_count > 0 ? g_fns[--g_count] : NULL;
        pthread_mutex_unlock(&g_lock);
        if (fn == NULL) return;
        fn();
    }
}
