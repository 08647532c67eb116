/* scale.cu - what goes with a mean and with the gradient that comes from above: the sum of the labels' weights, and a
 * product that is left out where it would change nothing. Both are decided on the device, so that nobody waits for it. */
#include "lf_cuda.h"
#include "loss/label.cuh"
#include "loss/span.cuh"

enum { THREADS = 1024, SCALE_THREADS = 256, MOST_BLOCKS = 2048 };

static __global__ void __launch_bounds__(THREADS)
    divide(const __grid_constant__ lf_cuda_cross_entropy job, float *divisor) {
    double sum = 0.0, *sums = (double *)shared_memory();
    for (int64_t row = threadIdx.x; row < job.n_rows; row += THREADS) {
        const int64_t label = label_of(job, row);
        const bool in_range = label >= 0 && label < job.n_classes;
        if (label == job.ignore_index || (!in_range && job.ignore_bad_labels)) continue;
        sum += job.weight && in_range ? job.weight[label] : 1.f;
    }
    sums[threadIdx.x] = sum;
    for (unsigned half = THREADS / 2; half > 0; half /= 2) {
        sync_block();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) *divisor = (float)sums[0];
}

int lf_cuda_cross_entropy_divide(const lf_cuda_cross_entropy *job, float *divisor, void *stream) {
    if (job->n_rows < 0 || (job->n_rows > 0 && !has_labels(job)) || !divisor) return cudaErrorInvalidValue;
    return launch(divide, {1, THREADS, 1, 1, THREADS * sizeof(double)}, stream, *job, divisor);
}

template <class T>
static __global__ void __launch_bounds__(SCALE_THREADS)
    scale(void *values, int64_t n_rows, int64_t n_columns, int64_t stride, const float *by, const float *known) {
    const float above = *by, below = known ? *known : 1.f, factor = above / below;
    if (above == below) return;
    for (int64_t row = blockIdx.x; row < n_rows; row += gridDim.x) {
        const Span<T> span(values, row, stride, n_columns);
        for (int i = (int)threadIdx.x; i < span.n_vectors; i += SCALE_THREADS) {
            float product[Span<T>::per_vector];
            const int first = span.vector_column(i);
            span.each(span.load(i), i, [&](float x, int column) { product[column - first] = x * factor; });
            Span<T>::store(span.at, first, product);
        }
        for (int j = (int)threadIdx.x; j < span.n_edges; j += SCALE_THREADS) {
            const int column = span.edge_column(j);
            T::store(span.at, column, T::load(span.at, column) * factor);
        }
    }
}

template <class T>
static int scale_rows(void *values, int64_t n_rows, int64_t n_columns, int64_t stride, const float *by,
                      const float *known, void *stream) {
    if (n_rows < 0 || n_columns < 0 || n_columns >= INT32_MAX - 64 || !by) return cudaErrorInvalidValue;
    if (n_rows == 0 || n_columns == 0) return cudaSuccess; /* CUDA refuses an empty grid */
    const int64_t blocks = n_rows < MOST_BLOCKS ? n_rows : (int64_t)MOST_BLOCKS;
    return launch(scale<T>, {blocks, SCALE_THREADS, 1, 1, 0}, stream, values, n_rows, n_columns, stride, by, known);
}

int lf_cuda_rows_scale_f32(void *values, int64_t n_rows, int64_t n_columns, int64_t stride, const float *by,
                           const float *known, void *stream) {
    return scale_rows<F32>(values, n_rows, n_columns, stride, by, known, stream);
}

int lf_cuda_rows_scale_bf16(void *values, int64_t n_rows, int64_t n_columns, int64_t stride, const float *by,
                            const float *known, void *stream) {
    return scale_rows<Bf16>(values, n_rows, n_columns, stride, by, known, stream);
}

int lf_cuda_rows_scale_f16(void *values, int64_t n_rows, int64_t n_columns, int64_t stride, const float *by,
                           const float *known, void *stream) {
    return scale_rows<F16>(values, n_rows, n_columns, stride, by, known, stream);
}
