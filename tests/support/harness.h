// SPDX-License-Identifier: Apache-2.0
/* A C test: TEST(name) { CHECK(...); } and nothing else; main() comes from here.
 * Exit code 0 passed, 1 failed, 77 skipped. The last line counts, as "N passed, N failed". */
#pragma once
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};
static struct test_case *test_first, **test_last = &test_first;
static int test_failures, test_skipped;

#define TEST(id)                                                                                             \
    static void test_##id(void);                                                                             \
    __attribute__((constructor)) static void test_register_##id(void) {                                      \
        static struct test_case self = {#id, test_##id, NULL};                                               \
        *test_last = &self;                                                                                  \
        test_last = &self.next;                                                                              \
    }                                                                                                        \
    static void test_##id(void)

#define CHECK(cond) CHECK_MSG(cond, "%s", "")
/* Report and leave the test. */
#define CHECK_MSG(cond, fmt, ...)                                                                            \
    do {                                                                                                     \
        if (!(cond)) {                                                                                       \
            printf("%s:%d: %s: " fmt "\n", __FILE__, __LINE__, #cond, __VA_ARGS__);                          \
            test_failures++;                                                                                 \
            return;                                                                                          \
        }                                                                                                    \
    } while (0)
#define CHECK_EQ(a, b)                                                                                       \
    CHECK_MSG((long long)(a) == (long long)(b), "%lld is not %lld", (long long)(a), (long long)(b))
#define SKIP(why)                                                                                            \
    do {                                                                                                     \
        printf("SKIP: %s\n", why);                                                                           \
        test_skipped = 1;                                                                                    \
        return;                                                                                              \
    } while (0)

/* An optional argument names the one test to run. */
int main(int argc, char **argv) {
    int passed = 0, failed = 0, skipped = 0;
    for (struct test_case *t = test_first; t != NULL; t = t->next) {
        if (argc > 1 && strcmp(argv[1], t->name) != 0) continue;
        test_failures = test_skipped = 0;
        t->run();
        if (test_failures > 0) failed++;
        else if (test_skipped) skipped++;
        else passed++;
        printf("%s %s\n", test_failures ? "FAIL" : test_skipped ? "SKIP" : "ok", t->name);
        fflush(stdout);
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed ? 1 : (passed == 0 && skipped > 0) ? 77 : 0;
}
