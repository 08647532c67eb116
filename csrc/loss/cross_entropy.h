/* cross_entropy.h - the cross-entropy of rows of logits and its gradient, each row read once.
 *
 * With z = logit_scale * cap(x), cap(x) = softcap * tanh(x / softcap) or x, p = softmax(z) and lse = log(sum(exp(z))), the
 * loss of a row whose label is y is
 *
 *     (1 - s) * w[y] * (lse - z[y])  +  s / V * sum_c w[c] * (lse - z[c])  +  z_loss * lse^2        s = label_smoothing
 *
 * and of a row whose target is a distribution q over the classes, with q' = (1 - s) * q + s / V,
 *
 *     sum_c w[c] * q'[c] * (lse - z[c])  +  z_loss * lse^2.
 *
 * The gradient that is written is that of  scale * loss + d_lse * lse + d_logprob * logprob + d_entropy * entropy  by the row's logits.
 *
 * Exactness: see README.md. A row's results depend on the row alone: they are the same bits for any number of threads and
 * any place in the batch. Memory: lf_cross_entropy_scratch(job) bytes for each thread. */
#ifndef LF_LOSS_CROSS_ENTROPY_H
#define LF_LOSS_CROSS_ENTROPY_H

#include "lf.h"
#include "loss/float.h"

/* What to do with a label that is neither a class nor ignore_index. */
typedef enum { LF_LABEL_RAISE, LF_LABEL_NAN, LF_LABEL_IGNORE } lf_bad_label;

/* Rows and options, then what is wanted of each row. A stride is the number of elements from one row to the next. */
typedef struct {
    lf_float dtype; /* of logits, soft targets and gradient */
    size_t n_rows, n_classes;
    const void *logits;
    int64_t logits_stride;

    const int64_t *target; /* n_rows labels; NULL with soft targets */
    const void *soft;      /* a distribution for each row; NULL with labels */
    int64_t soft_stride;
    const void *weight; /* n_classes of float (of double for LF_F64), or NULL for ones */
    int64_t ignore_index;
    lf_bad_label on_bad_label;
    double label_smoothing, z_loss;
    double softcap;     /* 0 for none */
    double logit_scale; /* above 0; 1 for none */

    void *gradient; /* NULL where none is wanted; may be the logits themselves, with their stride */
    int64_t gradient_stride;
    double scale;            /* of every row's loss in the gradient, ...             */
    const double *row_scale; /* ... and of each row's, NULL for ones                 */
    const double *d_lse;     /* n_rows, or NULL for zeros                            */
    const double *d_logprob; /* n_rows, or NULL for zeros; of rows with labels        */
    const double *d_entropy; /* n_rows, or NULL for zeros                            */

    double *loss; /* n_rows each, or NULL where not wanted. Of an ignored row: 0 */
    double *lse;  /* of an ignored row too                                       */
    double *logprob;
    double *entropy;  /* -sum(p * log(p)) in nats, of an ignored row too         */
    uint8_t *correct; /* 1 where the first of the largest logits is the label's  */
} lf_cross_entropy;

/* Checks the labels. *n_valid is how many rows are not ignored, *divisor the sum of their weights, by which a mean
 * divides; soft targets all count and weigh 1. LF_EINDEX: the label of row *where is out of range and is to raise. */
lf_status lf_cross_entropy_labels(const lf_cross_entropy *job, size_t *n_valid, double *divisor, size_t *where);

/* Bytes of scratch that one thread needs, on a line of 64 bytes. */
size_t lf_cross_entropy_scratch(const lf_cross_entropy *job);

typedef struct {
    lf_isa isa;
    /* Rows [from, to) of an lf_cross_entropy. A label out of range that is to raise is LF_EINDEX, the first such row *where;
     * the other rows are done. */
    lf_status (*rows)(const void *job, size_t from, size_t to, void *scratch, size_t *where);
} lf_cross_entropy_ops;

/* The functions for an instruction set, NULL where this build has none. */
const lf_cross_entropy_ops *lf_cross_entropy_ops_for(lf_isa isa);

#endif
