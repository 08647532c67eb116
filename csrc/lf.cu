/* lf.cu - what the GPU library says about itself, and the smallest kernel that proves a launch. */
#include "lf_cuda.h"

#include <cuda_runtime.h>
#include <stdio.h>

const char *lf_cuda_error_text(int code) { return cudaGetErrorString((cudaError_t)code); }

int lf_cuda_device_count(int *count) {
    cudaError_t code = cudaGetDeviceCount(count);
    if (code != cudaSuccess) {
        *count = 0;
        (void)cudaGetLastError(); /* a machine without a device is no error for the calls that follow */
    }
    return code;
}

int lf_cuda_device_name(int device, char *name, int64_t n_bytes) {
    cudaDeviceProp prop;
    cudaError_t code = cudaGetDeviceProperties(&prop, device);
    snprintf(name, (size_t)n_bytes, "%s", code == cudaSuccess ? prop.name : "");
    return code;
}

static __global__ void fill_u32(uint32_t *out, uint32_t value, int64_t n) {
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) out[i] = value;
}

int lf_cuda_fill_u32(uint32_t *out, uint32_t value, int64_t n, void *stream) {
    const int64_t threads = 256, most_blocks = 4096; /* the kernel strides over what one grid leaves */
    if (n < 0) return cudaErrorInvalidValue;
    if (n == 0) return cudaSuccess; /* CUDA refuses an empty grid */
    int64_t blocks = (n + threads - 1) / threads;
    if (blocks > most_blocks) blocks = most_blocks;
    fill_u32<<<(unsigned)blocks, (unsigned)threads, 0, (cudaStream_t)stream>>>(out, value, n);
    return cudaGetLastError();
}
