/* label.cuh - the labels of a job, whatever integers hold them. */
#ifndef LF_LOSS_LABEL_CUH
#define LF_LOSS_LABEL_CUH

#include "lf_cuda.h"
#include "loss/device.cuh"

static inline bool has_labels(const lf_cuda_cross_entropy *job) {
    return job->target && (job->target_bytes == 1 || job->target_bytes == 4 || job->target_bytes == 8);
}

/* Compared in 64 bits, so that 2^32 is not taken for class 0. */
LF_DEVICE int64_t label_of(const lf_cuda_cross_entropy &job, int64_t row) {
    if (job.target_bytes == 8) return ((const int64_t *)job.target)[row];
    if (job.target_bytes == 4) return ((const int32_t *)job.target)[row];
    return ((const uint8_t *)job.target)[row];
}

#endif
