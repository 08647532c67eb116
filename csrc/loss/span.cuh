/* span.cuh - numbers that lie side by side from any address on, to be read and written 16 bytes at a time.
 *
 *     at               a line of 16 bytes                                        at + n
 *     | edge elements  | vector 0 | vector 1 | ... | vector n_vectors - 1 | edge elements |
 *       fewer than a vector                                                 fewer than a vector
 *
 * Edge element j counts those at the beginning first, then those at the end. Rows of an odd vocabulary begin at every
 * possible place; all of them are read in whole vectors this way. */
#ifndef LF_LOSS_SPAN_CUH
#define LF_LOSS_SPAN_CUH

#include "loss/device.cuh"

template <class T> struct Span {
    enum { per_vector = 16 / T::bytes, words = 4 };

    char *at;
    int n, head, n_vectors, n_edges;

    __device__ Span(const void *from, int64_t row, int64_t stride, int64_t n_columns)
        : at((char *)from + row * stride * T::bytes), n((int)n_columns) {
        head = min(n, (int)(-(uintptr_t)at % 16 / T::bytes));
        n_vectors = (n - head) / per_vector;
        n_edges = n - n_vectors * per_vector;
    }

    __device__ int vector_column(int i) const { return head + i * per_vector; }
    __device__ int edge_column(int j) const { return j < head ? j : n_vectors * per_vector + j; }
    __device__ uint4 load(int i) const { return load_vector(at + (int64_t)vector_column(i) * T::bytes); }

    /* f(element, column) for every element of vector i, whose bits are v. */
    template <class F> __device__ void each(const uint4 &v, int i, F f) const {
        const uint32_t word[words] = {v.x, v.y, v.z, v.w};
        const int column = vector_column(i);
#pragma unroll
        for (int w = 0; w < words; w++) {
            float x[T::per_word];
            T::unpack(word[w], x);
#pragma unroll
            for (int j = 0; j < (int)T::per_word; j++) f(x[j], column + w * (int)T::per_word + j);
        }
    }

    /* Stores per_vector numbers at `column` of `to`: at once where that is at a line of 16 bytes. */
    static __device__ void store(void *to, int column, const float *x) {
        enum { step = T::per_word };
        char *place = (char *)to + (int64_t)column * T::bytes;
        if ((uintptr_t)place % 16 == 0) {
            store_vector(place,
                         make_uint4(T::pack(x), T::pack(x + step), T::pack(x + 2 * step), T::pack(x + 3 * step)));
        } else {
#pragma unroll
            for (int j = 0; j < per_vector; j++) T::store(to, column + j, x[j]);
        }
    }
};

#endif
