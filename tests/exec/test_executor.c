// SPDX-License-Identifier: Apache-2.0
/* Operands as an operator's run function asks for them. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"
#include "hc_executor.h"

static struct hc_call make_call(const struct hc_slot *slots, size_t num_slots, const aclTensor *tensors) {
    return (struct hc_call){.name = "aclnnAdd", .tensors = tensors, .slots = slots, .num_slots = num_slots};
}

TEST(an_operand_that_was_not_given_is_null) {
    const struct hc_slot slots[] = {
        {0, 1, HC_ROLE_IN}, {1, 0, HC_ROLE_IN}, {1, 2, HC_ROLE_IN | HC_ROLE_LIST}};
    const aclTensor tensors[3] = {{.rank = 1}, {.rank = 2}, {.rank = 3}};
    const struct hc_call call = make_call(slots, 3, tensors);
    CHECK(hc_arg(&call, 0) == &tensors[0]);
    CHECK(hc_arg(&call, 1) == NULL);
    CHECK_EQ(hc_arg_count(&call, 2), 2);
    CHECK(hc_arg_at(&call, 2, 1) == &tensors[2]);
}

/* What a child that asks for an operand says, and how it ends. */
static int ask_for(int slot, char *said, size_t size) {
    int ends[2], status = 0;
    if (pipe(ends) != 0) return -1;
    const pid_t child = fork();
    if (child == 0) {
        const struct hc_slot slots[] = {{0, 1, HC_ROLE_IN}};
        const aclTensor tensor = {.rank = 1};
        const struct hc_call call = make_call(slots, 1, &tensor);
        dup2(ends[1], STDERR_FILENO);
        _exit(hc_arg(&call, slot) == &tensor ? 0 : 1);
    }
    close(ends[1]);
    size_t used = 0;
    for (ssize_t n; used + 1 < size && (n = read(ends[0], said + used, size - 1 - used)) > 0;)
        used += (size_t)n;
    said[used] = '\0';
    close(ends[0]);
    return waitpid(child, &status, 0) == child ? status : -1;
}

TEST(an_operand_beyond_the_plan_is_a_mistake_that_is_told) {
    char said[256];
    CHECK_EQ(ask_for(0, said, sizeof said), 0);
    for (int slot = -1; slot <= 1; slot += 2) {
        char want[128];
        const int status = ask_for(slot, said, sizeof said);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        snprintf(want, sizeof want, "internal error: aclnnAdd asks for operand %d of its 1\n", slot);
        CHECK_MSG(strstr(said, want) != NULL, "%s", said);
    }
}
