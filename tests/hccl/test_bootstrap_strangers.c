// SPDX-License-Identifier: Apache-2.0
/* Strangers at the port where ranks meet: they are not let in, and they do not keep ranks out. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "harness.h"
#include "hccl_ranks.h"

enum { PORT = 61411, STRANGERS = 2000, JOIN_S = 5 };

/* Of one test, as its processes see it. */
static struct stage {
    atomic_int ready, go;
    char text[8][512];
} *g_stage;
static char g_table[64], g_secret[64];

static const char *temporary(char *path, const char *text, mode_t mode) {
    strcpy(path, "/tmp/test_strangers_XXXXXX");
    const int file = mkstemp(path);
    const bool good = write(file, text, strlen(text)) == (ssize_t)strlen(text) && fchmod(file, mode) == 0;
    close(file);
    return good ? path : NULL;
}

/* Two ranks, rank 0's server at `address`. */
static bool set_stage(const char *address) {
    char text[400];
    snprintf(text, sizeof text,
             "{\"version\":\"1.0\",\"server_list\":[{\"server_id\":\"%s\",\"device\":["
             "{\"device_id\":\"0\",\"rank_id\":\"0\"},{\"device_id\":\"1\",\"rank_id\":\"1\"}]}]}",
             address);
    setenv("HCCL_IF_BASE_PORT", "61411", 1);
    setenv("HCCL_CONNECT_TIMEOUT", "100", 1);
    unsetenv("MINDSPEED_HCCL_SECRET_FILE");
    g_stage = mmap(NULL, sizeof *g_stage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fflush(stdout);
    return g_stage != MAP_FAILED && temporary(g_table, text, 0644) != NULL;
}

static void wait_for(atomic_int *flag, int value) {
    for (int i = 0; i < 3000 && atomic_load(flag) < value; i++) usleep(10000);
}

/* A process that is `rank`; its end tells whether it has joined. */
static int be_rank(uint32_t rank, rlim_t files) {
    HcclComm comm = NULL;
    const struct rlimit limit = {files, files};
    if (files > 0 && setrlimit(RLIMIT_NOFILE, &limit) != 0) return 1;
    if (aclInit(NULL) != 0 || aclrtSetDevice((int32_t)rank) != 0) return 2;
    const HcclResult status = HcclCommInitClusterInfo(g_table, rank, &comm);
    snprintf(g_stage->text[rank], sizeof g_stage->text[rank], "%s", status == 0 ? "" : aclGetRecentErrMsg());
    if (status != HCCL_SUCCESS) return 3;
    return HcclCommDestroy(comm) != 0 || aclFinalize() != 0 ? 4 : 0;
}

static pid_t start_rank(uint32_t rank, rlim_t files) {
    const pid_t pid = fork();
    if (pid == 0) _exit(be_rank(rank, files));
    return pid;
}

/* Exit code within `seconds`, else -1 and it is gone. */
static int end_of(pid_t pid, double seconds) {
    int status = 0;
    for (const double limit = seconds_now() + seconds; seconds_now() < limit; usleep(2000))
        if (waitpid(pid, &status, WNOHANG) == pid) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return -1;
}

static int open_to(const char *address, uint16_t port, bool block) {
    const int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (block ? 0 : SOCK_NONBLOCK), 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &to.sin_addr);
    if (connect(s, (struct sockaddr *)&to, sizeof to) == 0 || (!block && errno == EINPROGRESS)) return s;
    close(s);
    return -1;
}

static bool listens_at(const char *address, uint16_t port) {
    const int s = open_to(address, port, true);
    if (s >= 0) close(s);
    return s >= 0;
}

/* What strangers send. A beginning of a call names the greatest sizes there are. */
enum kind { IDLE, SLOW, GARBAGE, LENGTHS, RESET };

static void annoy(int s, enum kind kind, unsigned round) {
    unsigned char bytes[4096];
    size_t length = kind == SLOW ? 1 : sizeof bytes;
    if (kind == IDLE || (kind != SLOW && round > 0)) return;
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (unsigned char)(i * 2654435761u >> 13);
    if (kind != GARBAGE) {
        memset(bytes, 0xff, sizeof bytes);
        memcpy(bytes, "hcclcal\0\3\0\0", 12);
        bytes[0] = kind == SLOW ? (unsigned char)"hcclcal"[round % 8] : bytes[0];
        length = kind == LENGTHS ? 12 + round % 4000 + 500 : length;
    }
    if (send(s, bytes, length, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) return;
}

/* Keep `count` connections busy for ever; whoever is thrown out comes again. */
static void be_strangers(enum kind kind, int count) {
    static int sockets[STRANGERS];
    static unsigned rounds[STRANGERS];
    const struct rlimit limit = {STRANGERS + 100, STRANGERS + 100};
    const struct linger reset = {1, 0};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(1);
    memset(sockets, -1, sizeof sockets);
    for (unsigned pass = 0;; pass++, usleep(10000)) {
        for (int i = 0; i < count; i++) {
            char ignored[256];
            if (sockets[i] >= 0 && (kind == RESET || recv(sockets[i], ignored, sizeof ignored, 0) == 0 ||
                                    (errno != EAGAIN && errno != 0))) {
                if (kind == RESET) setsockopt(sockets[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
                close(sockets[i]);
                sockets[i] = -1;
            }
            errno = 0;
            if (sockets[i] < 0) sockets[i] = open_to("127.0.0.1", PORT, false), rounds[i] = 0;
            if (sockets[i] >= 0) annoy(sockets[i], kind, rounds[i]++);
        }
        if (pass == 10) atomic_store(&g_stage->ready, 1);
    }
}

/* Rank 0 waits, strangers come, then rank 1: it must not take longer than JOIN_S. */
static bool ranks_join_among(enum kind kind, int strangers) {
    struct rlimit limit;
    if (!set_stage("127.0.0.1")) return false;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max < STRANGERS + 100) {
        strangers = (int)limit.rlim_max - 100;
        printf("only %d strangers: the limit of open files is %d\n", strangers, (int)limit.rlim_max);
    }
    const pid_t first = start_rank(0, 512);
    for (int i = 0; i < 500 && !listens_at("127.0.0.1", PORT); i++) usleep(10000);
    const pid_t crowd = fork();
    if (crowd == 0) be_strangers(kind, strangers);
    wait_for(&g_stage->ready, 1);
    const double start = seconds_now();
    const pid_t second = start_rank(1, 0);
    const int b = end_of(second, JOIN_S), a = end_of(first, JOIN_S);
    printf("joined among %d strangers after %.2f s\n", strangers, seconds_now() - start);
    kill(crowd, SIGKILL);
    waitpid(crowd, NULL, 0);
    remove(g_table);
    if (a != 0 || b != 0) printf("%d: %s\n%d: %s\n", a, g_stage->text[0], b, g_stage->text[1]);
    return a == 0 && b == 0;
}

TEST(idle_strangers) { CHECK(ranks_join_among(IDLE, STRANGERS)); }
TEST(slow_strangers) { CHECK(ranks_join_among(SLOW, STRANGERS)); }
TEST(strangers_send_garbage) { CHECK(ranks_join_among(GARBAGE, STRANGERS)); }
TEST(strangers_send_lengths) { CHECK(ranks_join_among(LENGTHS, STRANGERS)); }
TEST(strangers_reset) { CHECK(ranks_join_among(RESET, STRANGERS)); }

/* The port at which something listens on `address` (in the notation of /proc/net/tcp), 0: none. */
static unsigned listening_port(const char *address) {
    char line[512], at[9];
    unsigned port = 0, state, found = 0;
    FILE *file = fopen("/proc/self/net/tcp", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, " %*d: %8[0-9A-F]:%X %*8[0-9A-F]:%*X %X", at, &port, &state) == 3 && state == 10 &&
            strcmp(at, address) == 0)
            found = port;
    if (file != NULL) fclose(file);
    return found;
}

static double cpu_seconds(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What the other threads of this process use while this one uses `seconds`: as much if one of them never
 * waits, however busy the machine is. */
static double used_meanwhile(double seconds) {
    const double own = cpu_seconds(CLOCK_THREAD_CPUTIME_ID), all = cpu_seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - own < seconds) {
    }
    return cpu_seconds(CLOCK_PROCESS_CPUTIME_ID) - all - (cpu_seconds(CLOCK_THREAD_CPUTIME_ID) - own);
}

/* Rank 0's process has no file left while others call: it waits without using a core, and recovers. */
static int starve(void) {
    HcclRootInfo info;
    HcclComm comm;
    static int files[1024];
    const struct rlimit limit = {256, 256};
    int count = 0;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || aclInit(NULL) != 0 || aclrtSetDevice(0) != 0) return 1;
    if (HcclGetRootInfo(&info) != 0) return 2;
    memcpy(&g_stage->text, &info, sizeof info < sizeof g_stage->text ? sizeof info : sizeof g_stage->text);
    while ((files[count] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0) count++;
    atomic_store(&g_stage->ready, 1);
    wait_for(&g_stage->go, 1);
    usleep(200000); /* rank 1 calls now */
    const double used = used_meanwhile(0.3);
    while (count > 0) close(files[--count]);
    if (used > 0.1) printf("%.2f s of CPU time while there were no files\n", used);
    if (HcclCommInitRootInfo(2, &info, 0, &comm) != 0) printf("%s\n", aclGetRecentErrMsg());
    else return used > 0.1 ? 4 : HcclCommDestroy(comm);
    return 3;
}

static int join_starved(void) {
    HcclRootInfo info;
    HcclComm comm;
    wait_for(&g_stage->ready, 1);
    memcpy(&info, &g_stage->text, sizeof info < sizeof g_stage->text ? sizeof info : sizeof g_stage->text);
    if (aclInit(NULL) != 0 || aclrtSetDevice(1) != 0) return 1;
    atomic_store(&g_stage->go, 1);
    if (HcclCommInitRootInfo(2, &info, 1, &comm) != 0) printf("%s\n", aclGetRecentErrMsg());
    else return HcclCommDestroy(comm);
    return 3;
}

TEST(no_files_left) {
    CHECK(set_stage("127.0.0.1"));
    _Static_assert(sizeof g_stage->text <= sizeof(HcclRootInfo), "the root info's begin is what counts");
    const pid_t first = fork();
    if (first == 0) _exit(starve());
    const pid_t second = fork();
    if (second == 0) _exit(join_starved());
    CHECK_EQ(end_of(first, 30), 0);
    CHECK_EQ(end_of(second, 30), 0);
    remove(g_table);
}

/* A child of rank 0's process keeps the connections that its parent closes: they still wake who watches them.
 */
static int drop_shared_connection(void) {
    HcclRootInfo info;
    unsigned char bytes[4096] = "hcclcal";
    setenv("HCCL_IF_IP", "127.0.0.3", 1);
    if (aclInit(NULL) != 0 || aclrtSetDevice(0) != 0 || HcclGetRootInfo(&info) != 0) return 1;
    const int s = open_to("127.0.0.3", (uint16_t)listening_port("0300007F"), true);
    if (s < 0) return 2;
    usleep(100000); /* it is accepted */
    const pid_t child = fork();
    if (child == 0) {
        usleep(20000000);
        _exit(0);
    }
    for (int i = 0; i < 3; i++, usleep(100000))
        if (send(s, bytes, sizeof bytes, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) break;
    const double used = used_meanwhile(0.2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return used > 0.1 ? 4 : aclFinalize();
}

TEST(forked_children_hold_connections) {
    const pid_t pid = fork();
    if (pid == 0) _exit(drop_shared_connection());
    CHECK_EQ(end_of(pid, 20), 0);
}

/* As rank 1, with the public rank table and `secret` (NULL: none). */
static bool is_refused(const char *secret) {
    if (secret != NULL) setenv("MINDSPEED_HCCL_SECRET_FILE", secret, 1);
    else unsetenv("MINDSPEED_HCCL_SECRET_FILE");
    const bool refused = end_of(start_rank(1, 0), 10) == 3;
    const bool says = strstr(g_stage->text[1], "knows another secret") != NULL;
    if (!refused || !says) printf("refused: %d: %s\n", refused, g_stage->text[1]);
    return refused && says;
}

TEST(strangers_have_no_secret) {
    char other[64];
    CHECK(set_stage("127.0.0.1"));
    CHECK(temporary(g_secret, "the secret of this job\n", 0600) != NULL);
    CHECK(temporary(other, "the secret of that job", 0600) != NULL);
    setenv("MINDSPEED_HCCL_SECRET_FILE", g_secret, 1);
    const pid_t first = start_rank(0, 0);
    for (int i = 0; i < 500 && !listens_at("127.0.0.1", PORT); i++) usleep(10000);
    CHECK(is_refused(NULL));
    CHECK(is_refused(other));
    setenv("MINDSPEED_HCCL_SECRET_FILE", g_secret, 1);
    CHECK_EQ(end_of(start_rank(1, 0), 10), 0);
    CHECK_EQ(end_of(first, 10), 0);
    remove(g_secret);
    remove(g_table);
    remove(other);
}

TEST(only_the_address_asked_for) {
    CHECK(set_stage("127.0.0.2"));
    const pid_t first = start_rank(0, 0);
    for (int i = 0; i < 500 && !listens_at("127.0.0.2", PORT); i++) usleep(10000);
    CHECK(listens_at("127.0.0.2", PORT));
    CHECK(!listens_at("127.0.0.1", PORT));
    CHECK_EQ(end_of(start_rank(1, 0), 10), 0);
    CHECK_EQ(end_of(first, 10), 0);
    remove(g_table);
}

static int make_root_info_at(const char *address) {
    HcclRootInfo info;
    setenv("HCCL_IF_IP", address, 1);
    if (aclInit(NULL) != 0 || aclrtSetDevice(0) != 0 || HcclGetRootInfo(&info) != 0) {
        snprintf(g_stage->text[0], sizeof g_stage->text[0], "%s", aclGetRecentErrMsg());
        return 3;
    }
    const unsigned port = listening_port("0300007F");
    return port > 0 && listens_at("127.0.0.3", (uint16_t)port) && !listens_at("127.0.0.1", (uint16_t)port)
               ? aclFinalize()
               : 4;
}

static int try_root_info_at(const char *address) {
    const pid_t pid = fork();
    if (pid == 0) _exit(make_root_info_at(address));
    return end_of(pid, 10);
}

TEST(a_root_info_has_the_address_asked_for) {
    CHECK(set_stage("127.0.0.1"));
    CHECK_EQ(try_root_info_at("127.0.0.3"), 0);
    CHECK_EQ(try_root_info_at("0.0.0.0"), 3);
    CHECK_MSG(strstr(g_stage->text[0], "HCCL_IF_IP") != NULL && strstr(g_stage->text[0], "0.0.0.0") != NULL,
              "%s", g_stage->text[0]);
    CHECK_EQ(try_root_info_at("192.0.2.7"), 3);
    CHECK(strstr(g_stage->text[0], "192.0.2.7, port 0: ") != NULL);
    CHECK(strstr(g_stage->text[0], "no address of this host") != NULL);
    unsetenv("HCCL_IF_IP");
    remove(g_table);
}

/* From here on in this process: nothing is forked any more. */
static bool rank_says(uint32_t rank, const char *why) {
    static bool ready;
    HcclComm comm;
    if (!ready) ready = aclInit(NULL) == 0 && aclrtSetDevice(0) == 0;
    if (!ready || aclrtSetDevice((int32_t)rank) != 0) return false;
    const HcclResult status = HcclCommInitClusterInfo(g_table, rank, &comm);
    const bool good = status != HCCL_SUCCESS && strstr(aclGetRecentErrMsg(), why) != NULL;
    if (!good) printf("%d: %s\nwanted: %s\n", (int)status, aclGetRecentErrMsg(), why);
    return good;
}

TEST(no_secret_no_network) {
    CHECK(set_stage("192.0.2.7"));
    CHECK(rank_says(0, "set MINDSPEED_HCCL_SECRET_FILE to a file of mode 600"));
    CHECK(rank_says(1, "set MINDSPEED_HCCL_SECRET_FILE to a file of mode 600"));
    CHECK(temporary(g_secret, "the secret of this job", 0600) != NULL);
    setenv("MINDSPEED_HCCL_SECRET_FILE", g_secret, 1);
    CHECK(rank_says(0, "no address of this host"));
    remove(g_secret);
    remove(g_table);
}

TEST(files_that_keep_no_secret) {
    char link[80], text[5000];
    CHECK(set_stage("127.0.0.1"));
    CHECK(temporary(g_secret, "the secret of this job", 0600) != NULL);
    setenv("MINDSPEED_HCCL_SECRET_FILE", g_secret, 1);
    static const mode_t MODES[] = {0640, 0604, 0620, 0602, 0610, 0601, 0666};
    for (size_t i = 0; i < sizeof MODES / sizeof MODES[0]; i++) {
        char why[64];
        snprintf(why, sizeof why, "has the mode %03o; ", (unsigned)MODES[i]);
        CHECK(chmod(g_secret, MODES[i]) == 0 && rank_says(1, why));
    }
    CHECK(chmod(g_secret, 0600) == 0);
    snprintf(link, sizeof link, "%s_link", g_secret);
    CHECK(symlink(g_secret, link) == 0 && setenv("MINDSPEED_HCCL_SECRET_FILE", link, 1) == 0);
    if (geteuid() == 0) {
        CHECK(chown(g_secret, 12345, 0) == 0 &&
              rank_says(1, "belongs to user 12345, this process to user 0"));
        CHECK(chown(g_secret, 0, 0) == 0);
    }
    remove(g_secret);
    CHECK(rank_says(1, "cannot open MINDSPEED_HCCL_SECRET_FILE="));
    CHECK(mkfifo(g_secret, 0600) == 0 && rank_says(1, "is no regular file"));
    remove(g_secret);
    remove(link);
    memset(text, 'x', sizeof text);
    text[15] = '\n', text[16] = '\0';
    CHECK(temporary(g_secret, text, 0600) != NULL && setenv("MINDSPEED_HCCL_SECRET_FILE", g_secret, 1) == 0);
    CHECK(rank_says(1, "has less than 16 bytes"));
    remove(g_secret);
    text[16] = 'x', text[4097] = '\0';
    CHECK(temporary(g_secret, text, 0600) != NULL && setenv("MINDSPEED_HCCL_SECRET_FILE", g_secret, 1) == 0);
    CHECK(rank_says(1, "has more than 4096 bytes"));
    remove(g_secret);
    remove(g_table);
}
