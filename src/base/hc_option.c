// SPDX-License-Identifier: Apache-2.0
/* The rows of the table, their readers, and what each type allows. Checking is apart from reading: aclInit
 * can refuse a bad value with a text, the readers cannot. */
#include "hc_option.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "hc_error.h"
#include "hc_isa.h"
#include "hc_link_speed.h"

#define HC_FOR_READERS(X)                                                                                    \
    X(LIBRARY, "the libraries")                                                                              \
    X(PACKAGE, "the Python package")                                                                         \
    X(EXAMPLES, "the examples")                                                                              \
    X(BENCHES, "the benchmarks") X(TESTS, "the tests") X(PYTORCH, "PyTorch") X(TORCH_NPU, "torch_npu")
enum reader_number {
#define X(id, name) id##_NUMBER,
    HC_FOR_READERS(X)
#undef X
};
enum reader {
#define X(id, name) id = 1 << id##_NUMBER,
    HC_FOR_READERS(X)
#undef X
};

struct type;
typedef bool check_fn(const struct type *type, const char *value);
typedef void expect_fn(const struct type *type, char *text, size_t room);

/* `name` is for tests, which have wrong values for each. */
struct type {
    const char *name;
    check_fn *allows;
    expect_fn *expect; /* NULL: `words` says what is valid */
    const char *words;
    int64_t low, high;
};

struct option {
    const char *env;
    unsigned readers;
    struct type type;
    const char *fallback, *text;
};

static bool same(const char *a, const char *b, size_t length) { return strncmp(a, b, length) == 0; }
static bool same_but_case(const char *a, const char *b, size_t length) {
    return strncasecmp(a, b, length) == 0;
}

/* The whole text must be a number: "8x" is a typing error, not 8, and so is " 8". */
static bool parse_int(const char *text, size_t length, int64_t *out) {
    char *end = NULL;
    if (!isdigit((unsigned char)text[text[0] == '-'])) return false;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (errno != 0 || end != text + length) return false;
    *out = value;
    return true;
}

static bool allows_number(const struct type *type, const char *value) {
    int64_t n;
    return parse_int(value, strlen(value), &n) && n >= type->low && n <= type->high;
}

static bool allows_numbers(const struct type *type, const char *value) {
    for (;;) {
        const size_t length = strcspn(value, ",");
        int64_t n;
        if (!parse_int(value, length, &n) || n < type->low || n > type->high) return false;
        if (value[length] == '\0') return true;
        value += length + 1;
    }
}

static void expect_number(const struct type *type, char *text, size_t room) {
    int used = snprintf(text, room, "a whole number of at least %" PRId64, type->low);
    if (type->high != INT64_MAX)
        used = snprintf(text, room, "a whole number from %" PRId64 " to %" PRId64, type->low, type->high);
    if (type->allows == allows_numbers)
        snprintf(text + used, room - (size_t)used, ", or several with commas between them");
}

/* A positive number, a suffix that counts in 1024s, and an optional "i" and "B": 64G, 64GiB, 1.5t. Beyond
 * 2^60 bytes sizes would no longer fit the sums that are made with them. */
static bool parse_bytes(const char *text, uint64_t *out) {
    static const char SUFFIXES[] = "KMGT";
    char *end = NULL;
    const size_t digits = strspn(text, "0123456789.");
    const double value = strtod(text, &end);
    if (digits == 0 || end != text + digits || !(value > 0)) return false;
    double unit = 1;
    if (*end != '\0') {
        const char *suffix = strchr(SUFFIXES, *end & ~0x20);
        if (suffix == NULL) return false;
        for (const char *s = SUFFIXES; s <= suffix; s++) unit *= 1024;
        end++;
        if (*end == 'i') end++;
        if (*end == 'B' || *end == 'b') end++;
    }
    if (*end != '\0' || value * unit < 1 || value * unit > 0x1p60) return false;
    *out = (uint64_t)(value * unit);
    return true;
}

static bool allows_size(const struct type *type, const char *value) {
    uint64_t bytes;
    (void)type;
    return parse_bytes(value, &bytes);
}

static bool is_choice(const char *choices, const char *value,
                      bool (*equal)(const char *a, const char *b, size_t length)) {
    const size_t wanted = strlen(value);
    for (const char *c = choices;; c++) {
        const size_t length = strcspn(c, "|");
        if (length == wanted && equal(c, value, length)) return true;
        c += length;
        if (*c == '\0') return false;
    }
}
static bool allows_choice(const struct type *type, const char *value) {
    return is_choice(type->words, value, same);
}
static bool allows_choice_any_case(const struct type *type, const char *value) {
    return is_choice(type->words, value, same_but_case);
}

/* "a, b or c" */
static void expect_choice(const struct type *type, char *text, size_t room) {
    size_t used = 0;
    for (const char *c = type->words; *c != '\0' && used + 8 < room; c++) {
        if (*c != '|') text[used++] = *c;
        else used += (size_t)snprintf(text + used, room - used, "%s", strchr(c + 1, '|') ? ", " : " or ");
    }
    text[used] = '\0';
}

/* No address of a host: 0.0.0.0/8, and from 224.0.0.0 on groups, reserved ones and broadcast. */
static bool allows_address(const struct type *type, const char *value) {
    struct in_addr a;
    (void)type;
    if (inet_pton(AF_INET, value, &a) != 1) return false;
    const uint32_t first = ntohl(a.s_addr) >> 24;
    return first != 0 && first < 224;
}

static bool allows_interfaces(const struct type *type, const char *value) {
    (void)type;
    if (*value == '^') value++;
    if (*value == '=') value++;
    for (;;) {
        const size_t length = strcspn(value, ",");
        if (length == 0 || length >= IFNAMSIZ) return false;
        for (size_t i = 0; i < length; i++)
            if (!isgraph((unsigned char)value[i]) || strchr("/^=", value[i]) != NULL) return false;
        if (value[length] == '\0') return true;
        value += length + 1;
    }
}

/* The names are checked by who knows them (hc_option_refine), as are the ids of devices. */
static bool allows_algorithms(const struct type *type, const char *value) {
    static const char NAME[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
    (void)type;
    for (;;) {
        const size_t kind = strspn(value, NAME);
        if (kind == 0 || value[kind] != '=') return false;
        value += kind + 1;
        const size_t name = strspn(value, NAME);
        if (name == 0 || (value[name] != '\0' && value[name] != ',')) return false;
        if (value[name] == '\0') return true;
        value += name + 1;
    }
}

static bool allows_links(const struct type *type, const char *value) {
    struct hc_link_speed speed;
    (void)type;
    return hc_link_speed_of(value, "", &speed);
}

static bool allows_isa(const struct type *type, const char *value) {
    (void)type;
#define X(name)                                                                                              \
    if (strcmp(value, #name) == 0) return true;
    HC_FOR_ISAS(X)
#undef X
    return false;
}

static bool allows_text(const struct type *type, const char *value) {
    (void)type;
    for (const char *c = value; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c)) return false;
    return true;
}

/* The file's name is the part behind the last "/". */
static bool allows_file_pattern(const struct type *type, const char *value) {
    for (const char *c = strchr(value, '%'); c != NULL; c = strchr(c + 2, '%'))
        if (c[1] == '\0' || strchr("pr%", c[1]) == NULL) return false;
    return allows_text(type, value) && value[strlen(value) - 1] != '/';
}

#define NUMBER(low_, high_) {"number", allows_number, expect_number, NULL, low_, high_}
#define NUMBERS(low_, high_) {"numbers", allows_numbers, expect_number, NULL, low_, high_}
#define SIZE {"size", allows_size, NULL, "a size such as 64G, 512M or 1048576", 0, 0}
#define CHOICE(words_) {"choice", allows_choice, expect_choice, words_, 0, 0}
#define CHOICE_ANY_CASE(words_) {"choice", allows_choice_any_case, expect_choice, words_, 0, 0}
#define DEVICES                                                                                              \
    {"devices", allows_text,                                                                                 \
     NULL,      "ids of devices below MINDSPEED_NUM_DEVICES, each once, with commas between them",           \
     0,         0}
#define ADDRESS {"address", allows_address, NULL, "an IPv4 address of a host, such as 192.168.1.2", 0, 0}
#define INTERFACES                                                                                           \
    {"interfaces",                                                                                           \
     allows_interfaces,                                                                                      \
     NULL,                                                                                                   \
     "names of interfaces: eth0,ib (these and what begins so), =eth0 (these alone), ^docker (all others)",   \
     0,                                                                                                      \
     0}
#define ALGORITHMS                                                                                           \
    {"algorithms",                                                                                           \
     allows_algorithms,                                                                                      \
     NULL,                                                                                                   \
     "collective=algorithm, several with commas between them, such as all_reduce=ring,broadcast=tree",       \
     0,                                                                                                      \
     0}
#define LINKS                                                                                                \
    {"links",                                                                                                \
     allows_links,                                                                                           \
     NULL,                                                                                                   \
     "GB/s of a rank's link, a comma and the microseconds of a message, such as 12.5,10; for one group of "  \
     "ranks with its name, several with semicolons between them: tp=50,2;12.5,10",                           \
     0,                                                                                                      \
     0}
#define INSTRUCTION_SET                                                                                      \
    {"instruction set",                                                                                      \
     allows_isa,                                                                                             \
     NULL,                                                                                                   \
     "scalar, avx2, avx512, avx512vnni, avx512bf16 or amx on x86-64, neon on aarch64; the CPU must have it", \
     0,                                                                                                      \
     0}
#define FILE_PATTERN                                                                                         \
    {"file pattern",                                                                                         \
     allows_file_pattern,                                                                                    \
     NULL,                                                                                                   \
     "the name of a file, in which %p is the process id, %r the rank and %% a %",                            \
     0,                                                                                                      \
     0}
#define PATH {"path", allows_text, NULL, "a path without control characters", 0, 0}
#define TEXT {"text", allows_text, NULL, "a text without control characters", 0, 0}

static const struct option OPTIONS[HC_OPT_COUNT] = {
#define X(id, env_name, readers_, type_, fallback_, text_)                                                   \
    [HC_OPT_##id] = {env_name, readers_, type_, fallback_, text_},
    HC_FOR_OPTIONS(X)
#undef X
};

static int (*g_refined[HC_OPT_COUNT])(const char *value);

int hc_option_count(void) { return HC_OPT_COUNT; }
const char *hc_option_env_name(enum hc_option option) { return OPTIONS[option].env; }
const char *hc_option_default(enum hc_option option) { return OPTIONS[option].fallback; }
const char *hc_option_meaning(enum hc_option option) { return OPTIONS[option].text; }
const char *hc_option_type(enum hc_option option) { return OPTIONS[option].type.name; }

const char *hc_option_readers(enum hc_option option) {
    static const char *const NAMES[] = {
#define X(id, name) name,
        HC_FOR_READERS(X)
#undef X
    };
    static _Thread_local char text[128];
    size_t used = 0;
    for (size_t i = 0; i < HC_ARRAY_SIZE(NAMES); i++)
        if (OPTIONS[option].readers & 1u << i)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", used ? ", " : "", NAMES[i]);
    return text;
}

const char *hc_option_expected(enum hc_option option) {
    static _Thread_local char text[600];
    const struct type *t = &OPTIONS[option].type;
    if (t->expect == NULL) return t->words;
    t->expect(t, text, sizeof text);
    return text;
}

const char *hc_option_raw(enum hc_option option) { return getenv(OPTIONS[option].env); }

bool hc_option_is_set(enum hc_option option) {
    const char *value = hc_option_raw(option);
    return value != NULL && value[0] != '\0';
}

const char *hc_option_text(enum hc_option option) {
    return hc_option_is_set(option) ? hc_option_raw(option) : OPTIONS[option].fallback;
}

int64_t hc_option_int(enum hc_option option) {
    const struct option *o = &OPTIONS[option];
    const char *text = hc_option_text(option);
    int64_t value = 0;
    if (o->type.allows(&o->type, text) && parse_int(text, strcspn(text, ","), &value)) return value;
    return parse_int(o->fallback, strlen(o->fallback), &value) ? value : o->type.low;
}

uint64_t hc_option_bytes(enum hc_option option) {
    uint64_t bytes = 0;
    return parse_bytes(hc_option_text(option), &bytes) ? bytes : 0;
}

bool hc_option_is(enum hc_option option, const char *choice) {
    return strcasecmp(hc_option_text(option), choice) == 0;
}

void hc_option_refine(enum hc_option option, int (*check)(const char *value)) { g_refined[option] = check; }

/* A long value is cut, and what cannot be printed shows as "?": the message must keep its end. */
int hc_option_check(enum hc_option option, const char *value) {
    enum { BAD_OPTION = 100000 /* ACL_ERROR_INVALID_PARAM */ };
    const struct option *o = &OPTIONS[option];
    char shown[100];
    if (value[0] == '\0') return 0;
    const int length = snprintf(shown, sizeof shown, "%s", value);
    for (char *c = shown; *c != '\0'; c++)
        if (iscntrl((unsigned char)*c)) *c = '?';
    HC_CHECK(o->type.allows(&o->type, value), BAD_OPTION, "%s=%s%s: expected %s", o->env, shown,
             length >= (int)sizeof shown ? "..." : "", hc_option_expected(option));
    return g_refined[option] != NULL ? g_refined[option](value) : 0;
}

/* All options at once, also those of parts that may never run: a typing error should not surface after a
 * day of training. Of what Python reads too, as its start-up hook must not fail. */
int hc_option_validate(void) {
    for (enum hc_option i = 0; i < HC_OPT_COUNT; i++)
        if (OPTIONS[i].readers & (LIBRARY | PACKAGE)) HC_TRY(hc_option_check(i, hc_option_text(i)));
    return 0;
}
