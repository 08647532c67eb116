/* cross_entropy.cu - the cross-entropy of rows of logits and its gradient on the GPU.
 *
 * Two ways through a row; row.cuh has the mathematics of both.
 *
 * one_read: the row is spread over the registers of a block or, on Hopper and later, of a cluster of up to 16 blocks, eight
 * 16-byte vectors a thread. Each warp sums up its part and sends it to the shared memory of every block; after one barrier
 * all threads merge all parts in the same order and write the gradient from registers. The memory sees one read and one
 * write of the row and nothing else. Two barriers belong to it: the second is the exchange, the first only makes sure
 * that the other blocks have begun, and is over before the logits arrive.
 *
 *     logits -> registers -> (max, sum) of a warp -> all blocks of the cluster -> registers -> gradient
 *
 * two_reads: for rows that no cluster holds (and for wide ones before Hopper), one block walks over the row and then, if a
 * gradient is wanted, back again, so that it begins with what the caches still have.
 *
 * Rows are taken from the last to the first: a matrix product has just written the last ones, and its successor will read
 * the first ones. A row's results are the same bits wherever it stands in the batch. */
#include "lf_cuda.h"
#include "loss/row.cuh"

enum {
    WARP = 32,
    HELD = 8,             /* vectors in the registers of a thread                     */
    FEW_THREADS = 256,    /* of a block that may share its processor with three more  */
    MOST_THREADS = 512,   /* of a block of one_read                                   */
    WALKERS = 1024,       /* threads of a block of two_reads                          */
    NARROW_ROWS = 4,      /* rows of one block, where a row needs no more than a warp */
    PORTABLE_CLUSTER = 8, /* blocks in a cluster that every device can have           */
    WIDEST_CLUSTER = 16,
};
static const int64_t ROWS_AT_ONCE = 1 << 26; /* times WIDEST_CLUSTER is less than the largest grid */

/* The sums of all threads of a row, in all of them. `parts` has room for the Stats of every warp of the cluster. */
template <bool PLAIN> LF_DEVICE Stats<PLAIN> sum_of_row(Stats<PLAIN> s, float *parts) {
    const unsigned lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, n_warps = blockDim.x / WARP;
    const unsigned rank = cluster_rank(), n_ranks = cluster_blocks(), n_parts = n_ranks * n_warps;
    enum { n = Stats<PLAIN>::n };

    auto sum_of_warp = [](Stats<PLAIN> s) {
        for (int mask = 1; mask < WARP; mask *= 2) {
            Stats<PLAIN> other;
            for (int i = 0; i < n; i++) other.of[i] = from_lane_xor(s.of[i], mask);
            s = merged(s, other);
        }
        return s;
    };
    s = sum_of_warp(s);
    if (n_parts == 1) return s;

    if (n_ranks > 1) cluster_wait(); /* the others have begun */
    if (lane < n_ranks)
        for (int i = 0; i < n; i++) store_to_rank(parts + (rank * n_warps + warp) * n + i, lane, s.of[i]);
    if (n_ranks == 1) {
        sync_block();
    } else {
        cluster_arrive();
        cluster_wait();
    }
    s = stats_of_nothing<PLAIN>();
    for (unsigned part = lane; part < n_parts; part += WARP) {
        Stats<PLAIN> other;
        for (int i = 0; i < n; i++) other.of[i] = parts[part * n + i];
        s = merged(s, other);
    }
    return sum_of_warp(s);
}

template <class T, bool PLAIN> LF_DEVICE void note(const Row<T, PLAIN> &row, bool writes) {
    if (writes && row.out_of_range && row.job.n_bad) atomicAdd(row.job.n_bad, 1);
}

/* An ignored row of which nothing is wanted but zeros is not even read. */
template <class T, bool PLAIN> LF_DEVICE void write_idle(const Row<T, PLAIN> &row, int thread, int n_threads) {
    if (thread == 0) {
        if (row.job.loss) row.job.loss[row.index] = 0.f;
        if (row.job.logprob) row.job.logprob[row.index] = 0.f;
        if (row.job.correct) row.job.correct[row.index] = 0;
    }
    if (row.g) row.store_zeros(thread, n_threads);
}

template <class T, bool PLAIN>
static __global__ void __launch_bounds__(MOST_THREADS, 2)
    one_read(const __grid_constant__ Job job, int64_t first_row, int64_t n_rows) {
    const int n_threads = (int)(cluster_blocks() * blockDim.x);
    const int thread = (int)(cluster_rank() * blockDim.x + threadIdx.x);
    const int64_t from_last = (int64_t)(blockIdx.x / cluster_blocks()) * blockDim.y + threadIdx.y;
    if (from_last >= n_rows) return; /* a whole warp, and one that waits for no other */
    Row<T, PLAIN> row(job, first_row + n_rows - 1 - from_last);
    note(row, thread == 0);
    if (row.is_idle()) return write_idle(row, thread, n_threads); /* all threads of the row, before any barrier */
    if (cluster_blocks() > 1) cluster_arrive();

    uint4 held[HELD];
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (thread + i * n_threads < row.n_vectors) held[i] = row.load(thread + i * n_threads);
    const bool has_edge = thread < row.n_edges;
    const float edge = has_edge ? row.load_edge(thread) : 0.f;
    row.look_up_label();

    Stats<PLAIN> s = stats_of_nothing<PLAIN>();
    row.template add<HELD>(s, held, thread, n_threads);
    if (has_edge) row.add_one(s, edge, row.edge_column(thread));
    sync_warp(); /* the label's logit is read, should a row have one warp and no barrier */
    const Gradient c = row.finish(sum_of_row(s, (float *)shared_memory()), thread == 0);
    if (!row.g) return;
    if (c.zero) return row.store_zeros(thread, n_threads);
#pragma unroll
    for (int i = 0; i < HELD; i++)
        if (thread + i * n_threads < row.n_vectors) row.store(held[i], thread + i * n_threads, c);
    if (has_edge) row.store_edge(edge, thread, c);
}

template <class T, bool PLAIN>
static __global__ void __launch_bounds__(WALKERS, 1)
    two_reads(const __grid_constant__ Job job, int64_t first_row, int64_t n_rows) {
    const int thread = threadIdx.x;
    Row<T, PLAIN> row(job, first_row + n_rows - 1 - blockIdx.x);
    note(row, thread == 0);
    if (row.is_idle()) return write_idle(row, thread, WALKERS);
    row.look_up_label();

    enum { AT_ONCE = 4 };
    Stats<PLAIN> s = stats_of_nothing<PLAIN>();
    int first = thread;
    for (; first < row.n_vectors; first += AT_ONCE * WALKERS) {
        uint4 v[AT_ONCE];
#pragma unroll
        for (int i = 0; i < AT_ONCE; i++)
            if (first + i * WALKERS < row.n_vectors) v[i] = row.load(first + i * WALKERS);
        row.template add<AT_ONCE>(s, v, first, WALKERS);
    }
    const bool has_edge = thread < row.n_edges;
    const float edge = has_edge ? row.load_edge(thread) : 0.f;
    if (has_edge) row.add_one(s, edge, row.edge_column(thread));
    const Gradient c = row.finish(sum_of_row(s, (float *)shared_memory()), thread == 0);
    if (!row.g) return;
    if (c.zero) return row.store_zeros(thread, WALKERS);
    for (int i = thread + (row.n_vectors - 1 - thread) / WALKERS * WALKERS; i >= thread; i -= WALKERS)
        if (i < row.n_vectors) row.store(row.load(i), i, c);
    if (has_edge) row.store_edge(edge, thread, c);
}

/* How the rows of a job are laid over the device. */
struct Plan {
    bool one_read;
    Launch shape;      /* of a launch for `rows_of_block` rows */
    int rows_of_block; /* or of a cluster                      */
};

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* A row goes to the fewest blocks of FEW_THREADS that hold it; if those are too many, to larger blocks; if it fits no
 * cluster at all, it is read twice. */
template <class T, bool PLAIN> static Plan plan_for(const Job *job) {
    enum { stats_bytes = Stats<PLAIN>::n * sizeof(float) };
    const Plan two = {false, {1, WALKERS, 1, 1, WALKERS / WARP * stats_bytes}, 1};
    const int64_t n_vectors = job->n_classes * T::bytes / 16, n_held = ceil_div(n_vectors, HELD);
    if (job->plan == LF_CUDA_TWO_READS || n_held > WIDEST_CLUSTER * MOST_THREADS) return two;

    unsigned cluster = 1;
    if (n_held > FEW_THREADS && job->plan != LF_CUDA_ONE_BLOCK && has_clusters(one_read<T, PLAIN>)) {
        while (cluster < PORTABLE_CLUSTER && cluster * FEW_THREADS < n_held) cluster *= 2;
        if (cluster * MOST_THREADS < n_held) cluster = WIDEST_CLUSTER;
    }
    if (cluster * MOST_THREADS < n_held) return two;
    const unsigned threads = n_held ? (unsigned)ceil_div(ceil_div(n_held, cluster), WARP) * WARP : 1u * WARP;
    const unsigned rows = cluster == 1 && threads == WARP ? NARROW_ROWS : 1;
    const Plan one = {true, {cluster, threads, rows, cluster, cluster * threads / WARP * stats_bytes}, (int)rows};
    return cluster <= PORTABLE_CLUSTER || fits(one_read<T, PLAIN>, one.shape) ? one : two;
}

static bool is_sound(const Job *job) {
    return job->n_rows >= 0 && job->n_classes > 0 && job->n_classes < INT32_MAX - 64 && job->logits &&
           has_labels(job) && job->logit_scale > 0.f && job->softcap >= 0.f;
}

template <class T, bool PLAIN> static int run(const Job *job, void *stream) {
    const Plan plan = plan_for<T, PLAIN>(job);
    int code = cudaSuccess;
    for (int64_t first = 0; first < job->n_rows && code == cudaSuccess; first += ROWS_AT_ONCE) {
        const int64_t rest = job->n_rows - first, n = rest < ROWS_AT_ONCE ? rest : ROWS_AT_ONCE;
        Launch shape = plan.shape;
        shape.blocks *= ceil_div(n, plan.rows_of_block);
        code = launch(plan.one_read ? one_read<T, PLAIN> : two_reads<T, PLAIN>, shape, stream, *job, first, n);
    }
    return code;
}

template <class T> static int run(const Job *job, void *stream) {
    if (job->n_rows == 0) return cudaSuccess; /* CUDA refuses an empty grid */
    if (!is_sound(job)) return cudaErrorInvalidValue;
    const bool plain = job->softcap == 0.f && !(job->weight && job->label_smoothing != 0.f) && !job->entropy &&
                       !job->d_entropy && !job->correct;
    return plain ? run<T, true>(job, stream) : run<T, false>(job, stream);
}

int lf_cuda_cross_entropy_rows_f32(const Job *job, void *stream) { return run<F32>(job, stream); }
int lf_cuda_cross_entropy_rows_bf16(const Job *job, void *stream) { return run<Bf16>(job, stream); }
int lf_cuda_cross_entropy_rows_f16(const Job *job, void *stream) { return run<F16>(job, stream); }
