// SPDX-License-Identifier: Apache-2.0
/* Who may have how much of the host.
 *
 * Pages are committed when they are touched, so an allocation is a promise. It is given when
 *
 *     promised but not filled, by all processes of this user + reserve <= available
 *
 * holds with it: then whoever fills what he was promised finds memory. `Available` is measured, so what other
 * programs and this one's own objects take counts by itself. How much of a promise is filled is known from
 * the last look at the process and only grows in between, so the sum errs to the safe side; a look (smaps,
 * some milliseconds) is due only when the sum does not fit. Between two measurements a process may go on for
 * a while with a small part of what was left.
 *
 * A process that plans holds more than the host could fill. Its allocations are then no promises, and its
 * tasks claim what they fill while they run (admission.c). */
#include "hc_budget.h"

#include "hc_clock.h"
#include "hc_host_limit.h"
#include "hc_ledger.h"
#include "hc_option.h"

/* Kept for what is not device memory and grows after the promise: objects of the framework, scratch of
 * operators, page tables. */
enum { RESERVE_PART = 20, RESERVE_MOST_PART = 4 };
static const uint64_t RESERVE_LEAST = (uint64_t)256 << 20;
/* Not worth a look. */
enum { LITTLE = 1 << 20 };
/* Of what was left at the last measurement, and for how long: 64 processes may do so at once. Who plans may
 * go on with a part of what he holds. */
enum { CREDIT_PART = 64, PLAN_PART = 8, CREDIT_MS = 50 };

static pthread_mutex_t g_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_ullong g_credit, g_credit_until;
atomic_bool hc_planning;

struct state {
    uint64_t promised; /* all of these of all processes */
    uint64_t unfilled; /* of those that do not plan; with `as_planner` without this one's, too */
    uint64_t claimed;  /* of those that do */
    uint64_t own_promised, own_filled;
    uint64_t available, reserve, limit; /* 0: no MINDSPEED_HOST_MEMORY */
    bool look, as_planner;
};

static void add_account(struct hc_account *a, void *ctx) {
    struct state *s = ctx;
    const bool own = a == hc_ledger_own(), planner = own ? s->as_planner : atomic_load(&a->planning) != 0;
    /* Under a limit what a planner has filled is all that counts of it, so it must not be an old figure. */
    const bool look = s->look || (planner && s->limit > 0);
    if (look && hc_account_filled(atomic_load(&a->filled)) + LITTLE < atomic_load(&a->promised))
        hc_account_look(a);
    const uint64_t promised = atomic_load(&a->promised);
    const uint64_t filled = hc_min_size(promised, hc_account_filled(atomic_load(&a->filled)));
    s->promised += planner ? filled : promised;
    if (planner) s->claimed += atomic_load(&a->claimed);
    else s->unfilled += promised - filled;
    if (own) {
        s->own_promised = promised;
        s->own_filled = filled;
    }
}

/* Accounts first: a page touched meanwhile is then counted twice and not missed. */
static struct state measure(bool look, bool as_planner) {
    struct state s = {.look = look, .as_planner = as_planner, .limit = hc_option_bytes(HC_OPT_HOST_MEMORY)};
    hc_ledger_each(add_account, &s);
    const struct hc_host_limit host = hc_host_limit_read("");
    s.available = host.available;
    s.reserve = hc_max_size(RESERVE_LEAST, host.total / RESERVE_PART);
    s.reserve = hc_min_size(s.reserve, host.total / RESERVE_MOST_PART);
    return s;
}

/* Also under the limit, which counts promises, filled or not. */
static int64_t left_in(const struct state *s) {
    const int64_t left = (int64_t)(s->available - s->unfilled - s->claimed - s->reserve);
    return s->limit > 0 ? hc_min_i64(left, (int64_t)(s->limit - s->promised - s->claimed)) : left;
}

static struct state measure_until_fits(bool as_planner) {
    struct state s = measure(false, as_planner);
    return left_in(&s) >= 0 ? s : measure(true, as_planner);
}

static void set_planning(bool on) {
    if (hc_is_planning() == on) return;
    atomic_store(&hc_ledger_own()->planning, on);
    atomic_store(&hc_planning, on);
}

static bool use_credit(size_t bytes) {
    uint64_t credit = atomic_load_explicit(&g_credit, memory_order_relaxed);
    if (credit < bytes) return false;
    if (hc_now_ns() > atomic_load_explicit(&g_credit_until, memory_order_relaxed)) return false;
    return atomic_compare_exchange_strong(&g_credit, &credit, credit - bytes);
}

static void give_credit(uint64_t bytes) {
    atomic_store(&g_credit, bytes);
    atomic_store(&g_credit_until, hc_now_ns() + CREDIT_MS * 1000000u);
}

/* Needs the lock: whether the process plans is decided with all that its other threads were promised. */
static bool decide(size_t bytes, bool may_plan, uint64_t *left) {
    const struct state s = measure_until_fits(false);
    const int64_t fits = left_in(&s);
    if (fits >= 0) {
        set_planning(false);
        give_credit((uint64_t)fits / CREDIT_PART);
        return true;
    }
    if (may_plan && 2 * s.own_filled <= s.own_promised - bytes) {
        set_planning(true);
        give_credit(s.own_promised / PLAN_PART);
        return true;
    }
    *left = (uint64_t)hc_max_i64(0, fits + (int64_t)bytes);
    return false;
}

/* The promise is entered first and taken back when it does not fit: two processes then never both get the
 * last bytes. Both may be refused. */
bool hc_budget_take(const struct hc_device *device, size_t bytes, bool may_plan, uint64_t *left) {
    struct hc_account *own = hc_ledger_own();
    hc_account_add(own, device->physical, bytes);
    if (use_credit(bytes)) return true;
    pthread_mutex_lock(&g_lock);
    const bool given = decide(bytes, may_plan, left);
    pthread_mutex_unlock(&g_lock);
    if (!given) hc_account_subtract(own, device->physical, bytes);
    return given;
}

/* Entered first, as promises are. */
bool hc_budget_claim(size_t bytes, uint64_t *left) {
    struct hc_account *own = hc_ledger_own();
    atomic_fetch_add(&own->claimed, bytes);
    const struct state s = measure_until_fits(true);
    const int64_t fits = left_in(&s);
    if (fits >= 0) return true;
    atomic_fetch_sub(&own->claimed, bytes);
    *left = (uint64_t)hc_max_i64(0, fits + (int64_t)bytes);
    return false;
}

void hc_budget_unclaim(size_t bytes) { atomic_fetch_sub(&hc_ledger_own()->claimed, bytes); }

/* Host memory is not promised, as its pages cannot be told from those of the program. */
bool hc_budget_has(size_t bytes) { return use_credit(bytes) || bytes <= hc_host_limit_read("").available; }

void hc_budget_give(const struct hc_device *device, size_t bytes) {
    hc_account_subtract(hc_ledger_own(), device->physical, bytes);
}

uint64_t hc_budget_left(void) {
    const struct state s = measure(true, hc_is_planning());
    return (uint64_t)hc_max_i64(0, left_in(&s));
}

/* In whole huge pages, and never nothing. */
uint64_t hc_budget_capacity(void) {
    enum { UNIT = 2 << 20 };
    const struct state s = measure(true, false);
    const int64_t all = left_in(&s) + (int64_t)s.promised;
    return (uint64_t)hc_max_i64(UNIT, all / UNIT * UNIT);
}

void hc_budget_after_fork(void) {
    pthread_mutex_init(&g_lock, NULL);
    atomic_store(&g_credit, 0);
    atomic_store(&hc_planning, false);
    hc_ledger_after_fork();
}
