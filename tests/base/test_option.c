// SPDX-License-Identifier: Apache-2.0
/* Readers of options, the names that look misspelt, and what both checks cost. Wrong values of every row are
 * in tests/python/test_options.py, which is made from the table. */
#include <fcntl.h>
#include <unistd.h>

#include "acl/acl.h"
#include "harness.h"
#include "hc_clock.h"
#include "hc_error.h"
#include "hc_option.h"

TEST(readers_know_default_and_range) {
    unsetenv("HCCL_BUFFSIZE");
    CHECK(!hc_option_is_set(HC_OPT_HCCL_BUFFSIZE));
    CHECK_EQ(hc_option_int(HC_OPT_HCCL_BUFFSIZE), 200);
    setenv("HCCL_BUFFSIZE", "", 1); /* as if unset */
    CHECK_EQ(hc_option_int(HC_OPT_HCCL_BUFFSIZE), 200);
    setenv("HCCL_BUFFSIZE", "65536", 1);
    CHECK_EQ(hc_option_int(HC_OPT_HCCL_BUFFSIZE), 65536);
    setenv("HCCL_BUFFSIZE", "65537", 1);
    CHECK_EQ(hc_option_int(HC_OPT_HCCL_BUFFSIZE), 200);
    unsetenv("HCCL_BUFFSIZE");
    unsetenv("MINDSPEED_NUM_THREADS"); /* no default: the least */
    CHECK_EQ(hc_option_int(HC_OPT_NUM_THREADS), 1);
}

TEST(first_of_several_numbers) {
    setenv("OMP_NUM_THREADS", "6,2", 1);
    CHECK_EQ(hc_option_check(HC_OPT_OMP_NUM_THREADS, "6,2"), 0);
    CHECK_EQ(hc_option_int(HC_OPT_OMP_NUM_THREADS), 6);
    unsetenv("OMP_NUM_THREADS");
}

TEST(sizes) {
    static const struct {
        const char *text;
        uint64_t bytes;
    } SIZES[] = {{"1024", 1024},
                 {"64G", 64ull << 30},
                 {"64GiB", 64ull << 30},
                 {"1.5t", 3ull << 39},
                 {"2kb", 2 << 10},
                 {"", 0},
                 {"0", 0},
                 {"-1", 0},
                 {"1e9", 0},
                 {"0x10", 0},
                 {"inf", 0},
                 {"nan", 0},
                 {"1.2.3", 0},
                 {"64 G", 0},
                 {" 64G", 0},
                 {"64Q", 0},
                 {"64GG", 0},
                 {"2000000T", 0}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(SIZES); i++) {
        setenv("MINDSPEED_DEVICE_MEMORY", SIZES[i].text, 1);
        CHECK_MSG(hc_option_bytes(HC_OPT_DEVICE_MEMORY) == SIZES[i].bytes, "'%s'", SIZES[i].text);
    }
    unsetenv("MINDSPEED_DEVICE_MEMORY");
}

TEST(choices_are_read_as_they_are_checked) {
    setenv("HCCL_DETERMINISTIC", "Strict", 1);
    CHECK_EQ(hc_option_check(HC_OPT_HCCL_DETERMINISTIC, "Strict"), 0);
    CHECK(hc_option_is(HC_OPT_HCCL_DETERMINISTIC, "strict"));
    unsetenv("HCCL_DETERMINISTIC");
    CHECK(hc_option_check(HC_OPT_DEVICE, "Host") != 0 && hc_option_check(HC_OPT_DEVICE, "hos") != 0 &&
          hc_option_check(HC_OPT_DEVICE, "host|ascend") != 0);
}

TEST(a_long_or_strange_value_leaves_the_message_whole) {
    char value[5000];
    memset(value, 'x', sizeof value);
    value[sizeof value - 1] = '\0';
    value[3] = '\n';
    CHECK(hc_option_check(HC_OPT_LOG_LEVEL, value) != 0);
    CHECK_MSG(strstr(hc_error_text(), "MINDSPEED_LOG_LEVEL=xxx?xxx") == hc_error_text() &&
                  strstr(hc_error_text(), "...: expected off, error, warning, info or debug") != NULL,
              "%s", hc_error_text());
}

TEST(misspelt_names) {
    static const struct {
        const char *name;
        int meant;
    } NAMES[] = {{"MINDSPEED_TRACE", -1},
                 {"MINDSPEED_TRCAE", HC_OPT_TRACE},
                 {"MINDSPEED_NUM_DEVICE", HC_OPT_NUM_DEVICES},
                 {"MINDSPEED_FLAGS", -2},
                 {"HC_IAS", HC_OPT_ISA},
                 {"HC_DEBUG", -2},
                 {"HCCL_BUFSIZE", HC_OPT_HCCL_BUFFSIZE},
                 {"HCCL_BUFFER_SIZE", -1},
                 {"HCCL_EVENT_TIMEOUT", -1},
                 {"HCCL_OP_EXPANSION_MODE", -1},
                 {"HCCL_ALGO", -1},
                 {"RNAK", -1},
                 {"PATH", -1}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(NAMES); i++)
        CHECK_MSG(hc_option_meant(NAMES[i].name) == NAMES[i].meant, "%s: %d", NAMES[i].name,
                  hc_option_meant(NAMES[i].name));
}

/* In front of all that start the runtime here: the warning comes once per process. */
TEST(warned_once_and_quickly) {
    char path[] = "/tmp/option_test_XXXXXX", text[4096] = "";
    const int file = mkstemp(path), kept = dup(STDERR_FILENO);
    char name[32];
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof name, "SOME_VARIABLE_%d", i);
        setenv(name, "value", 1);
    }
    setenv("MINDSPEED_TRCAE", "/tmp/x.json", 1);
    setenv("MINDSPEED_FLAGS", "1", 1);
    dup2(file, STDERR_FILENO);
    const uint64_t begin = hc_now_ns();
    hc_option_warn_of_names();
    const int code = hc_option_validate();
    const uint64_t took = hc_now_ns() - begin;
    hc_option_warn_of_names();
    dup2(kept, STDERR_FILENO);
    CHECK(pread(file, text, sizeof text - 1, 0) > 0);
    unlink(path);
    close(file);
    close(kept);
    CHECK_EQ(code, 0);
    const char *first =
        strstr(text, "mindspeed: MINDSPEED_TRCAE is no option and has no effect; did you mean "
                     "MINDSPEED_TRACE? (mindspeed env --list)\n");
    CHECK_MSG(first != NULL && strstr(first + 20, "MINDSPEED_TRCAE") == NULL, "%s", text);
    CHECK(strstr(text, "mindspeed: MINDSPEED_FLAGS is no option and has no effect (mindspeed env --list)\n"));
    printf("both checks with 200 variables more: %.0f us\n", (double)took / 1e3);
    CHECK_MSG(took < 20 * 1000 * 1000, "%llu ns", (unsigned long long)took); /* sanitizers, a busy machine */
    unsetenv("MINDSPEED_TRCAE");
    unsetenv("MINDSPEED_FLAGS");
}
