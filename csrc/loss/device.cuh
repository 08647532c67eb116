/* device.cuh - the few words of the machine that the kernels of this folder speak: number formats, 16-byte vectors, warps,
 * clusters of blocks, and one way to launch.
 *
 * Everything that only a GPU understands is here and nowhere else, so that tests/loss/emulated/ can put another file of
 * this name in its place and run the kernels, unchanged, on a host without a device. */
#ifndef LF_LOSS_DEVICE_CUH
#define LF_LOSS_DEVICE_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math_constants.h>
#include <stdint.h>

#define LF_DEVICE static __device__ __forceinline__

/* Formats: the numbers in a word of 32 bits, lowest first. Packing rounds to nearest, ties to even. */
struct F32 {
    enum : uint32_t { bytes = 4, per_word = 1, minus_infinity = 0xff800000u };
    static __device__ void unpack(uint32_t word, float *x) { x[0] = __uint_as_float(word); }
    static __device__ uint32_t pack(const float *x) { return __float_as_uint(x[0]); }
    static __device__ float load(const void *p, int64_t i) { return ((const float *)p)[i]; }
    static __device__ void store(void *p, int64_t i, float x) { ((float *)p)[i] = x; }
};

struct Bf16 {
    enum : uint32_t { bytes = 2, per_word = 2, minus_infinity = 0xff80u };
    static __device__ void unpack(uint32_t word, float *x) {
        x[0] = __uint_as_float(word << 16);
        x[1] = __uint_as_float(word & 0xffff0000u);
    }
    static __device__ uint32_t pack(const float *x) {
        __nv_bfloat162 pair = __floats2bfloat162_rn(x[0], x[1]);
        return __bfloat16_as_ushort(pair.x) | (uint32_t)__bfloat16_as_ushort(pair.y) << 16;
    }
    static __device__ float load(const void *p, int64_t i) { return __bfloat162float(((const __nv_bfloat16 *)p)[i]); }
    static __device__ void store(void *p, int64_t i, float x) { ((__nv_bfloat16 *)p)[i] = __float2bfloat16_rn(x); }
};

struct F16 {
    enum : uint32_t { bytes = 2, per_word = 2, minus_infinity = 0xfc00u };
    static __device__ void unpack(uint32_t word, float *x) {
        x[0] = __half2float(__ushort_as_half((unsigned short)word));
        x[1] = __half2float(__ushort_as_half((unsigned short)(word >> 16)));
    }
    static __device__ uint32_t pack(const float *x) {
        __half2 pair = __floats2half2_rn(x[0], x[1]);
        return __half_as_ushort(pair.x) | (uint32_t)__half_as_ushort(pair.y) << 16;
    }
    static __device__ float load(const void *p, int64_t i) { return __half2float(((const __half *)p)[i]); }
    static __device__ void store(void *p, int64_t i, float x) { ((__half *)p)[i] = __float2half_rn(x); }
};

/* A row is read once, so its lines need not stay in the caches. */
LF_DEVICE uint4 load_vector(const void *p) { return __ldcs((const uint4 *)p); }
LF_DEVICE void store_vector(void *p, uint4 v) { *(uint4 *)p = v; }

/* exp of what is not above 0. The fast one has a relative error of |x| * 2^-24 + 2^-22, far below the rounding of a 16-bit
 * format; results below 2^-126 are 0. */
LF_DEVICE float exp_of(F32, float x) { return expf(x); }
LF_DEVICE float exp_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x * CUDART_L2E_F));
    return y;
}
LF_DEVICE float exp_of(Bf16, float x) { return exp_fast(x); }
LF_DEVICE float exp_of(F16, float x) { return exp_fast(x); }

/* Not contracted into multiply-adds: a merge must give the same bits whichever side is first. */
LF_DEVICE float times(float a, float b) { return __fmul_rn(a, b); }
LF_DEVICE float plus(float a, float b) { return __fadd_rn(a, b); }

/* All 32 lanes take part. */
LF_DEVICE float from_lane_xor(float x, int mask) { return __shfl_xor_sync(0xffffffffu, x, mask); }
LF_DEVICE void sync_warp() { __syncwarp(); }
LF_DEVICE void sync_block() { __syncthreads(); }

/* What a launch asked for as shared_bytes. */
LF_DEVICE void *shared_memory() {
    extern __shared__ uint4 lf_shared[];
    return lf_shared;
}

/* Clusters: up to 16 blocks that run at the same time and reach into each other's shared memory. Before sm_90 a block is
 * a cluster of its own. */
LF_DEVICE unsigned cluster_blocks() {
    unsigned n = 1;
#if __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_nctaid.x;" : "=r"(n));
#endif
    return n;
}

LF_DEVICE unsigned cluster_rank() {
    unsigned rank = 0;
#if __CUDA_ARCH__ >= 900
    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
#endif
    return rank;
}

/* Arriving releases what the thread has written, waiting acquires what all have. Every thread of the cluster does each once,
 * in turn; a thread that has ended counts as arrived. */
LF_DEVICE void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}

LF_DEVICE void cluster_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
}

/* *place = x in the shared memory of block `rank` of the cluster; `place` is an address in one's own. */
LF_DEVICE void store_to_rank(float *place, unsigned rank, float x) {
#if __CUDA_ARCH__ >= 900
    uint32_t mine = (uint32_t)__cvta_generic_to_shared(place), theirs;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(theirs) : "r"(mine), "r"(rank));
    asm volatile("st.shared::cluster.f32 [%0], %1;" ::"r"(theirs), "f"(x) : "memory");
#else
    *place = x;
    (void)rank;
#endif
}

/* Whether the code that this device runs of `kernel` was compiled with clusters, and the device has them. */
template <class Kernel> static bool has_clusters(Kernel *kernel) {
    int device = 0, major = 0;
    cudaFuncAttributes facts;
    if (cudaGetDevice(&device) != cudaSuccess) return false;
    if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess) return false;
    return major >= 9 && cudaFuncGetAttributes(&facts, kernel) == cudaSuccess && facts.ptxVersion >= 90;
}

/* The shape of a launch: `blocks` of `threads` x `rows`, in clusters of `cluster`, with bytes of shared memory. */
struct Launch {
    int64_t blocks;
    unsigned threads, rows, cluster, shared_bytes;
};

static inline cudaLaunchConfig_t launch_config(const Launch &shape, void *stream, cudaLaunchAttribute *attribute) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3((unsigned)shape.blocks);
    config.blockDim = dim3(shape.threads, shape.rows);
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = (cudaStream_t)stream;
    attribute->id = cudaLaunchAttributeClusterDimension;
    attribute->val.clusterDim = {shape.cluster, 1, 1};
    config.attrs = attribute;
    config.numAttrs = shape.cluster > 1;
    return config;
}

/* Whether the device can hold a cluster of this shape at all; more than 8 blocks are not promised by any. */
template <class Kernel> static bool fits(Kernel *kernel, const Launch &shape) {
    int n = 0;
    cudaLaunchAttribute attribute;
    cudaLaunchConfig_t config = launch_config(shape, nullptr, &attribute);
    bool good = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1) == cudaSuccess &&
                cudaOccupancyMaxActiveClusters(&n, kernel, &config) == cudaSuccess && n > 0;
    if (!good) (void)cudaGetLastError(); /* the answer is no, and not an error of the calls that follow */
    return good;
}

template <class... Parameters, class... Arguments>
static int launch(void (*kernel)(Parameters...), const Launch &shape, void *stream, const Arguments &...arguments) {
    cudaLaunchAttribute attribute;
    cudaLaunchConfig_t config = launch_config(shape, stream, &attribute);
    return cudaLaunchKernelEx(&config, kernel, arguments...);
}

#endif
