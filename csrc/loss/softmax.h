/* softmax.h - softmax and log-softmax of rows, and their gradients by the rows.
 *
 *     forward    y = exp(x) / sum(exp(x))             or  y = x - log(sum(exp(x)))
 *     backward   dx = y * (g - sum(g * y))            or  dx = g - exp(y) * sum(g)
 *
 * Exactness: float32 to 2e-6 of the value, log-softmax to 1e-6 and 2 ulp; float64 to 1e-14; bfloat16 and float16 rounded once
 * after that. A row with a NaN, with +inf or of nothing but -inf is NaN. Memory: lf_softmax_scratch(job) for each thread. */
#ifndef LF_LOSS_SOFTMAX_H
#define LF_LOSS_SOFTMAX_H

#include "lf.h"
#include "loss/float.h"

/* Rows of one format; a stride is the number of elements from one row to the next. */
typedef struct {
    lf_float dtype;
    int log;
    size_t n_rows, n_classes;
    const void *x; /* the input; backward: what forward gave */
    int64_t x_stride;
    const void *g; /* backward only: the gradient by y; NULL asks for forward */
    int64_t g_stride;
    void *out; /* may be x or g, with its stride */
    int64_t out_stride;
} lf_softmax;

/* Bytes of scratch that one thread needs, on a line of 64 bytes. */
size_t lf_softmax_scratch(const lf_softmax *job);

typedef struct {
    lf_isa isa;
    lf_status (*rows)(const void *job, size_t from, size_t to, void *scratch,
                      size_t *where); /* of an lf_softmax; LF_OK */
} lf_softmax_ops;

/* The functions for an instruction set, NULL where this build has none. */
const lf_softmax_ops *lf_softmax_ops_for(lf_isa isa);

#endif
