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

#ifdef __cplusplus
}
#endif

#endif
