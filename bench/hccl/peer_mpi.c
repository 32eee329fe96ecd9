// SPDX-License-Identifier: Apache-2.0
/* The same loop as bench_collectives with MPI, for `mpicc` and `mpirun`: COLLECTIVE SECONDS BYTES... */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARM = 3, MAX_CALLS = 20000 };

static int g_ranks;

static void call(const char *what, size_t bytes, float *send, float *recv) {
    const int count = (int)(bytes / 4), part = count / g_ranks;
    if (strcmp(what, "all_reduce") == 0)
        MPI_Allreduce(MPI_IN_PLACE, send, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    else if (strcmp(what, "all_gather") == 0)
        MPI_Allgather(send, part, MPI_FLOAT, recv, part, MPI_FLOAT, MPI_COMM_WORLD);
    else if (strcmp(what, "reduce_scatter") == 0)
        MPI_Reduce_scatter_block(send, recv, part, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    else if (strcmp(what, "broadcast") == 0) MPI_Bcast(send, count, MPI_FLOAT, 0, MPI_COMM_WORLD);
    else MPI_Alltoall(send, part, MPI_FLOAT, recv, part, MPI_FLOAT, MPI_COMM_WORLD);
}

static double time_calls(const char *what, size_t bytes, float *send, float *recv, int calls) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    for (int i = 0; i < calls; i++) call(what, bytes, send, recv);
    return (MPI_Wtime() - begin) / calls;
}

int main(int argc, char **argv) {
    int rank;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &g_ranks);
    const double seconds = atof(argv[2]);
    for (int i = 3; i < argc; i++) {
        const size_t bytes = strtoull(argv[i], NULL, 10);
        float *send = calloc(1, bytes + 64), *recv = calloc(1, bytes + 64);
        memset(send, 0, bytes);
        memset(recv, 0, bytes);
        int calls = (int)(seconds / time_calls(argv[1], bytes, send, recv, WARM));
        calls = calls < 3 ? 3 : calls > MAX_CALLS ? MAX_CALLS : calls;
        MPI_Bcast(&calls, 1, MPI_INT, 0, MPI_COMM_WORLD);
        const double each = time_calls(argv[1], bytes, send, recv, calls);
        if (rank == 0) printf("%zu %.9f %.9f\n", bytes, each, each);
        fflush(stdout);
        free(send);
        free(recv);
    }
    MPI_Finalize();
    return 0;
}
