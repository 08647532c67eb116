/* lf_cuda.h - the GPU ABI: every entry of lmfast_cuda.so, on one page.
 *
 * Plain C, so neither torch nor C++ is linked and nothing breaks when they change. An entry that works on the device
 * takes device pointers and, last, the stream to work on (NULL: the default stream); it starts the work and returns at
 * once. It never synchronises and never allocates. Except for texts, an entry answers 0 or a cudaError_t.
 *
 * `SIGNATURES` in lmfast/_cuda.py is this page for ctypes; tests/test_abi.py fails where the two differ. */
#ifndef LF_CUDA_H
#define LF_CUDA_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LF_CUDA_API __attribute__((visibility("default")))

/* CUDA's own sentence for a code that an entry returned; a constant, never NULL. Works without a device. */
LF_CUDA_API const char *lf_cuda_error_text(int code);

/* How many devices this process can use. *count is 0 whenever the answer is not 0 (no driver, no device). */
LF_CUDA_API int lf_cuda_device_count(int *count);

/* The name of a device as a C string, cut to n_bytes (at least 1) with its NUL. */
LF_CUDA_API int lf_cuda_device_name(int device, char *name, int64_t n_bytes);

/* out[0 .. n) = value. out: device memory. The smallest entry with a launch: it shows that streams and pointers of
 * another library (torch) are good here. */
LF_CUDA_API int lf_cuda_fill_u32(uint32_t *out, uint32_t value, int64_t n, void *stream);

/* Rows of logits, their labels, the options and what is wanted of each row: what csrc/loss/cross_entropy.h computes, with
 * the same formulas, on the device. Pointers are device memory and NULL where a thing is not given or not wanted. Strides
 * count elements from row to row; columns lie side by side. Fields are 8 bytes or floats in pairs: no padding anywhere. */
typedef struct {
    int64_t n_rows, n_classes; /* n_classes below 2^31; their product may be anything */
    const void *logits;
    int64_t logits_stride;
    const void *target;   /* n_rows labels, unsigned for 1 byte, else signed */
    int64_t target_bytes; /* of a label: 1, 4 or 8                           */
    const float *weight;  /* n_classes, or NULL for ones                     */
    int64_t ignore_index;
    int64_t ignore_bad_labels; /* a label out of range: 0 makes its row NaN, 1 ignores the row */
    float label_smoothing, z_loss;
    float softcap, logit_scale; /* softcap 0: none; logit_scale is above 0 */

    /* The gradient of  scale * upstream / divisor * row_scale * loss + d_lse * lse + d_logprob * logprob +
     * d_entropy * entropy  by the logits, in their dtype; it may be the logits themselves. A factor that is NULL is 1, a
     * summand that is NULL is 0. */
    void *gradient;
    int64_t gradient_stride;
    double scale;
    const float *upstream, *divisor;                        /* one number each */
    const float *row_scale, *d_lse, *d_logprob, *d_entropy; /* n_rows each     */
    float *loss, *lse, *logprob, *entropy;                  /* n_rows each     */
    uint8_t *correct; /* n_rows: 1 where the first of the largest logits is the label's */
    int32_t *n_bad;   /* one number, to which the rows whose label is out of range are added */
    int64_t plan;     /* 0: the best for this device and width; 1, 2: as LF_CUDA_ONE_BLOCK, LF_CUDA_TWO_READS say */
} lf_cuda_cross_entropy;

/* For tests and measurements: a row stays in one block even where a cluster could share it; every row is read twice. */
enum { LF_CUDA_ONE_BLOCK = 1, LF_CUDA_TWO_READS = 2 };

/* Cross-entropy, its gradient and what else `job` wants. `job` itself is host memory and may go after the call. The
 * suffix is the dtype of logits and gradient; everything else is float32, and so is the arithmetic. */
LF_CUDA_API int lf_cuda_cross_entropy_rows_f32(const lf_cuda_cross_entropy *job, void *stream);
LF_CUDA_API int lf_cuda_cross_entropy_rows_bf16(const lf_cuda_cross_entropy *job, void *stream);
LF_CUDA_API int lf_cuda_cross_entropy_rows_f16(const lf_cuda_cross_entropy *job, void *stream);

/* *divisor = the sum of the weights of the labels that are not ignored, by which a mean divides. Of `job` it reads the
 * fields about the target and the weight. Fixed order: the same bits every time. */
LF_CUDA_API int lf_cuda_cross_entropy_divide(const lf_cuda_cross_entropy *job, float *divisor, void *stream);

/* values *= *by / *known (NULL: 1), and nothing at all where the two are equal: the device decides, nobody waits. */
LF_CUDA_API int lf_cuda_rows_scale_f32(void *values, int64_t n_rows, int64_t n_columns, int64_t stride, const float *by,
                                       const float *known, void *stream);
LF_CUDA_API int lf_cuda_rows_scale_bf16(void *values, int64_t n_rows, int64_t n_columns, int64_t stride,
                                        const float *by, const float *known, void *stream);
LF_CUDA_API int lf_cuda_rows_scale_f16(void *values, int64_t n_rows, int64_t n_columns, int64_t stride, const float *by,
                                       const float *known, void *stream);

#ifdef __cplusplus
}
#endif

#endif
