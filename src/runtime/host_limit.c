// SPDX-License-Identifier: Apache-2.0
/* Available memory: MemAvailable of /proc/meminfo, and for the memory control group of this process and each
 * of its parents, of version 1 or 2, limit - usage + file pages that can be dropped. The smallest counts: a
 * process is ended for the first of them that is full. */
#include "hc_host_limit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, LINE_BYTES = 4096, GROUP_BYTES = 1024 };

/* Of the two versions: where its hierarchies are listed, and its files. */
struct version {
    const char *type; /* of the file system */
    bool controllers; /* several hierarchies, of which one has memory */
    const char *limit, *usage;
    const char *inactive, *active; /* of memory.stat: this group and those below */
};
static const struct version VERSIONS[] = {
    {"cgroup", true, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
     "total_active_file"},
    {"cgroup2", false, "memory.max", "memory.current", "inactive_file", "active_file"},
};

static FILE *open_below(const char *root, const char *path) {
    char full[PATH_BYTES];
    const int n = snprintf(full, sizeof full, "%s%s", root, path);
    return n > 0 && (size_t)n < sizeof full ? fopen(full, "re") : NULL;
}

/* The number behind `key` and blanks or a colon at the start of a line; false if there is none. */
static bool find_number(FILE *file, const char *key, uint64_t *value) {
    char line[LINE_BYTES];
    const size_t length = strlen(key);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, length) != 0 || strchr(": ", line[length]) == NULL) continue;
        return sscanf(line + length + 1, "%" SCNu64, value) == 1;
    }
    return false;
}

static bool number_of(const char *root, const char *path, const char *key, uint64_t *value) {
    FILE *file = open_below(root, path);
    if (file == NULL) return false;
    const bool found = find_number(file, key, value);
    fclose(file);
    return found;
}

/* "max" of version 2 is no number: no limit. */
static bool whole_number(const char *root, const char *folder, const char *name, uint64_t *value) {
    char path[PATH_BYTES];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) return false;
    FILE *file = open_below(root, path);
    if (file == NULL) return false;
    const bool found = fscanf(file, "%" SCNu64, value) == 1;
    fclose(file);
    return found;
}

/* Half of the active file pages, as dropping all of them would leave no program in memory. */
static uint64_t droppable(const char *root, const char *folder, const struct version *v) {
    char path[PATH_BYTES];
    uint64_t inactive = 0, active = 0;
    if ((size_t)snprintf(path, sizeof path, "%s/memory.stat", folder) >= sizeof path) return 0;
    number_of(root, path, v->inactive, &inactive);
    number_of(root, path, v->active, &active);
    return inactive + active / 2;
}

/* One group: a limit beyond the machine's memory (how version 1 writes "none") changes nothing. */
static void apply_group(const char *root, const char *folder, const struct version *v,
                        struct hc_host_limit *out) {
    uint64_t limit = 0, usage = 0;
    if (!whole_number(root, folder, v->limit, &limit) || limit >= out->total) return;
    out->total = limit;
    if (!whole_number(root, folder, v->usage, &usage)) return;
    const uint64_t used = usage - hc_min_size(usage, droppable(root, folder, v));
    out->available = hc_min_size(out->available, limit - hc_min_size(limit, used));
}

/* From the process's group up to where the hierarchy is mounted. */
static void apply_groups(const char *root, char *folder, size_t mount_length, const struct version *v,
                         struct hc_host_limit *out) {
    struct hc_host_limit all = *out;
    for (;;) {
        struct hc_host_limit one = *out;
        apply_group(root, folder, v, &one);
        all.total = hc_min_size(all.total, one.total);
        all.available = hc_min_size(all.available, one.available);
        char *slash = strrchr(folder, '/');
        if (slash == NULL || (size_t)(slash - folder) < mount_length) break;
        *slash = '\0';
    }
    *out = all;
}

/* The line of /proc/self/cgroup is "number:controllers:group"; version 2 has number 0 and no controllers. */
static bool own_group(const char *root, const struct version *v, char group[GROUP_BYTES]) {
    char line[LINE_BYTES], controllers[256];
    bool found = false;
    FILE *file = open_below(root, "/proc/self/cgroup");
    while (file != NULL && !found && fgets(line, sizeof line, file) != NULL) {
        char *first = strchr(line, ':'), *second = first != NULL ? strchr(first + 1, ':') : NULL;
        if (second == NULL) continue;
        line[strcspn(line, "\n")] = '\0';
        snprintf(controllers, sizeof controllers, ",%.*s,", (int)(second - first - 1), first + 1);
        if (v->controllers ? strstr(controllers, ",memory,") == NULL : strcmp(controllers, ",,") != 0)
            continue;
        found = snprintf(group, GROUP_BYTES, "%s", second + 1) < GROUP_BYTES;
    }
    if (file != NULL) fclose(file);
    return found;
}

/* A mount of that type from a line of /proc/self/mountinfo: "id parent dev ROOT POINT options ... - TYPE
 * source SUPER". */
static bool parse_mount(const char *line, const struct version *v, char root[GROUP_BYTES],
                        char point[GROUP_BYTES]) {
    char type[32], super[1024], list[1032];
    const char *tail = strstr(line, " - ");
    if (tail == NULL || sscanf(tail, " - %31s %*s %1023s", type, super) != 2 || strcmp(type, v->type) != 0)
        return false;
    snprintf(list, sizeof list, ",%s,", super);
    if (v->controllers && strstr(list, ",memory,") == NULL) return false;
    return sscanf(line, "%*s %*s %*s %1023s %1023s", root, point) == 2;
}

/* In a container the mount may show only a part of the hierarchy, and the group's name may begin with the
 * part's or not be below it: then the mount itself is the nearest group that can be read. */
static void apply_version(const char *root, const struct version *v, struct hc_host_limit *out) {
    char group[GROUP_BYTES], line[LINE_BYTES], part[GROUP_BYTES], point[GROUP_BYTES];
    FILE *file = own_group(root, v, group) ? open_below(root, "/proc/self/mountinfo") : NULL;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char folder[2 * GROUP_BYTES];
        if (!parse_mount(line, v, part, point)) continue;
        const size_t length = strcmp(part, "/") == 0 ? 0 : strlen(part);
        const bool below =
            strncmp(group, part, length) == 0 && (group[length] == '/' || group[length] == '\0');
        snprintf(folder, sizeof folder, "%s%s", point,
                 below && strcmp(group, "/") != 0 ? group + length : "");
        apply_groups(root, folder, strlen(point), v, out);
    }
    if (file != NULL) fclose(file);
}

struct hc_host_limit hc_host_limit_read(const char *root) {
    uint64_t total = 0, available = 0;
    struct hc_host_limit out;
    if (number_of(root, "/proc/meminfo", "MemTotal", &total) &&
        number_of(root, "/proc/meminfo", "MemAvailable", &available)) {
        out = (struct hc_host_limit){total << 10, available << 10};
    } else {
        const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        out = (struct hc_host_limit){(uint64_t)sysconf(_SC_PHYS_PAGES) * page,
                                     (uint64_t)sysconf(_SC_AVPHYS_PAGES) * page};
    }
    for (size_t i = 0; i < HC_ARRAY_SIZE(VERSIONS); i++) apply_version(root, &VERSIONS[i], &out);
    return out;
}
