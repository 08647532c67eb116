/* device.cuh for a host without a device: the kernels of csrc/loss run here as they are, a thread as a fiber.
 *
 * The threads of one cluster take turns, forwards or backwards, and each runs until it must wait, which is as far apart as
 * the threads of a GPU can get: what is not ordered by a barrier comes out in another order. A fault that a GPU would
 * answer with a crash or with silence is counted: a vector that is not on a line of 16 bytes, a barrier at which some wait
 * for ever, a reach into a block that has not begun or has ended. */
#ifndef LF_LOSS_DEVICE_CUH
#define LF_LOSS_DEVICE_CUH

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <stdint.h>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __launch_bounds__(...)
#define __grid_constant__
#define LF_DEVICE static inline

#define CUDART_INF_F std::numeric_limits<float>::infinity()
#define CUDART_NAN_F std::numeric_limits<float>::quiet_NaN()

enum { cudaSuccess = 0, cudaErrorInvalidValue = 1 };

struct uint4 {
    uint32_t x, y, z, w;
};
static inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }

struct Three {
    unsigned x, y;
};
static Three threadIdx, blockIdx, blockDim, gridDim;
using std::min;

/* What a test chooses and what it learns. */
struct Emulated {
    int widest_cluster; /* 1: a device before sm_90 */
    int backwards;      /* the order in which threads take turns */
    int64_t faults, launches;
    int64_t last_cluster, last_threads;
};
extern "C" Emulated lf_emulated;
Emulated lf_emulated = {16, 0, 0, 0, 0, 0};

static inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
static inline uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits;
}

/* To nearest, ties to even, from float to a format of 16 bits with `fraction` bits after the point, by exact steps. */
static inline uint32_t round_to_bf16(float x) {
    uint32_t bits = bits_of(x);
    if (x != x) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
static inline uint32_t round_to_f16(float x) {
    uint32_t sign = bits_of(x) >> 16 & 0x8000;
    if (x != x) return 0x7fff;
    double size = std::fabs((double)x);
    if (size >= 65520.0) return sign | 0x7c00;
    int exponent = size < 0x1p-14 ? -14 : std::ilogb(size);
    double units = std::nearbyint(std::ldexp(size, 10 - exponent)); /* of the last place */
    if (exponent == -14) return sign | (uint32_t)units;             /* 1024 units are the smallest normal number */
    return sign | ((uint32_t)(exponent + 14) * 1024 + (uint32_t)units);
}
static inline float float_of_f16(uint32_t half) {
    uint32_t exponent = half >> 10 & 31, fraction = half & 1023;
    float size = exponent == 31  ? (fraction ? CUDART_NAN_F : CUDART_INF_F)
                 : exponent == 0 ? std::ldexp((float)fraction, -24)
                                 : std::ldexp((float)(fraction + 1024), (int)exponent - 25);
    return half & 0x8000 ? -size : size;
}

struct F32 {
    enum : uint32_t { bytes = 4, per_word = 1, minus_infinity = 0xff800000u };
    static void unpack(uint32_t word, float *x) { x[0] = float_of(word); }
    static uint32_t pack(const float *x) { return bits_of(x[0]); }
    static float load(const void *p, int64_t i) { return ((const float *)p)[i]; }
    static void store(void *p, int64_t i, float x) { ((float *)p)[i] = x; }
};

struct Bf16 {
    enum : uint32_t { bytes = 2, per_word = 2, minus_infinity = 0xff80u };
    static void unpack(uint32_t word, float *x) { x[0] = float_of(word << 16), x[1] = float_of(word & 0xffff0000u); }
    static uint32_t pack(const float *x) { return round_to_bf16(x[0]) | round_to_bf16(x[1]) << 16; }
    static float load(const void *p, int64_t i) { return float_of((uint32_t)((const uint16_t *)p)[i] << 16); }
    static void store(void *p, int64_t i, float x) { ((uint16_t *)p)[i] = (uint16_t)round_to_bf16(x); }
};

struct F16 {
    enum : uint32_t { bytes = 2, per_word = 2, minus_infinity = 0xfc00u };
    static void unpack(uint32_t word, float *x) { x[0] = float_of_f16(word & 0xffff), x[1] = float_of_f16(word >> 16); }
    static uint32_t pack(const float *x) { return round_to_f16(x[0]) | round_to_f16(x[1]) << 16; }
    static float load(const void *p, int64_t i) { return float_of_f16(((const uint16_t *)p)[i]); }
    static void store(void *p, int64_t i, float x) { ((uint16_t *)p)[i] = (uint16_t)round_to_f16(x); }
};

static inline void need_line(const void *p) { lf_emulated.faults += (uintptr_t)p % 16 != 0; }
static inline uint4 load_vector(const void *p) {
    uint4 v;
    need_line(p);
    memcpy(&v, p, 16);
    return v;
}
static inline void store_vector(void *p, uint4 v) {
    need_line(p);
    memcpy(p, &v, 16);
}

/* As the device's fast one: the product is rounded, and results below the normal numbers are 0. */
static inline float exp_of(F32, float x) { return std::exp(x); }
static inline float exp_fast(float x) {
    float y = std::exp2(x * 1.442695041f);
    return y < 0x1p-126f ? 0.f : y;
}
static inline float exp_of(Bf16, float x) { return exp_fast(x); }
static inline float exp_of(F16, float x) { return exp_fast(x); }
static inline float times(float a, float b) { return a * b; }
static inline float plus(float a, float b) { return a + b; }

template <class N> static N atomicAdd(N *at, N x) {
    N before = *at;
    *at += x;
    return before;
}

/* A barrier that `n` threads reach again and again. */
struct Barrier {
    int n = 0, arrived = 0, round = 0;
    int arrive() {
        int mine = round;
        if (++arrived == n) arrived = 0, round++;
        return mine;
    }
};

struct Warp {
    Barrier barrier;
    float lane[32];
};

struct Block {
    Barrier barrier;
    std::vector<uint4> shared;
    int begun = 0, ended = 0, n = 0;
};

struct Fiber {
    ucontext_t context;
    Block *block;
    Warp *warp;
    Three thread, block_at;
    unsigned rank;
    int lane, cluster_round = -1;
    const Barrier *waits = nullptr;
    int waits_round = 0;
    bool begun = false, ended = false;
};

/* The cluster that runs now. Shared memory is copied in and out as blocks take turns, so that its address is one. */
struct Cluster {
    ucontext_t scheduler;
    std::vector<Block> blocks;
    std::vector<Warp> warps;
    Barrier barrier;
    Fiber *now = nullptr;
    Block *in_place = nullptr;
    std::vector<uint4> shared;
    const std::function<void()> *body = nullptr;
};
static Cluster cluster;

static inline void wait_for(const Barrier &barrier, int round) {
    Fiber *me = cluster.now;
    me->waits = &barrier, me->waits_round = round;
    if (barrier.round == round) swapcontext(&me->context, &cluster.scheduler);
    me->waits = nullptr;
}
static inline void meet(Barrier &barrier) { wait_for(barrier, barrier.arrive()); }

static inline float from_lane_xor(float x, int mask) {
    Fiber *me = cluster.now;
    me->warp->lane[me->lane] = x;
    meet(me->warp->barrier);
    float theirs = me->warp->lane[me->lane ^ mask];
    meet(me->warp->barrier);
    return theirs;
}
static inline void sync_warp() { meet(cluster.now->warp->barrier); }
static inline void sync_block() { meet(cluster.now->block->barrier); }
static inline void *shared_memory() { return cluster.shared.data(); }
static inline unsigned cluster_blocks() { return (unsigned)cluster.blocks.size(); }
static inline unsigned cluster_rank() { return cluster.now->rank; }
static inline void cluster_arrive() { cluster.now->cluster_round = cluster.barrier.arrive(); }
static inline void cluster_wait() { wait_for(cluster.barrier, cluster.now->cluster_round); }

static inline void store_to_rank(float *place, unsigned rank, float x) {
    Block &block = cluster.blocks[rank];
    lf_emulated.faults += block.begun < block.n || block.ended > 0;
    size_t at = (size_t)((char *)place - (char *)cluster.shared.data());
    if (at + sizeof x > block.shared.size() * sizeof(uint4)) {
        lf_emulated.faults++;
        return;
    }
    char *memory = (char *)(&block == cluster.in_place ? cluster.shared : block.shared).data();
    memcpy(memory + at, &x, sizeof x);
}

struct Launch {
    int64_t blocks;
    unsigned threads, rows, cluster, shared_bytes;
};

template <class Kernel> static bool has_clusters(Kernel *) { return lf_emulated.widest_cluster > 1; }
template <class Kernel> static bool fits(Kernel *, const Launch &shape) {
    return (int)shape.cluster <= lf_emulated.widest_cluster;
}

static void start_fiber() {
    Fiber *me = cluster.now;
    (*cluster.body)();
    me->ended = true;
    me->block->ended++;
    swapcontext(&me->context, &cluster.scheduler);
}

static void resume(Fiber &fiber) {
    if (cluster.in_place != fiber.block) {
        if (cluster.in_place) cluster.in_place->shared = cluster.shared;
        std::copy(fiber.block->shared.begin(), fiber.block->shared.end(), cluster.shared.begin());
        cluster.in_place = fiber.block;
    }
    if (!fiber.begun) fiber.begun = true, fiber.block->begun++;
    cluster.now = &fiber;
    threadIdx = fiber.thread, blockIdx = fiber.block_at;
    swapcontext(&cluster.scheduler, &fiber.context);
}

static void run_cluster(const Launch &shape, int64_t first_block) {
    enum { STACK = 1 << 16 };
    static std::vector<std::unique_ptr<char[]>> stacks;
    const unsigned n_of_block = shape.threads * shape.rows, n = n_of_block * shape.cluster;
    std::vector<Fiber> fibers(n);
    cluster.blocks.assign(shape.cluster, Block());
    cluster.warps.assign((n + 31) / 32, Warp());
    cluster.barrier = Barrier();
    cluster.barrier.n = (int)n;
    cluster.in_place = nullptr;
    cluster.shared.assign(shape.shared_bytes / sizeof(uint4) + 1,
                          uint4{0x7fc00000u, 0x7fc00000u, 0x7fc00000u, 0x7fc00000u});
    while (stacks.size() < n) stacks.emplace_back(new char[STACK]);
    for (unsigned i = 0; i < n; i++) {
        Fiber &fiber = fibers[i];
        const unsigned in_block = i % n_of_block;
        fiber.rank = i / n_of_block;
        fiber.block = &cluster.blocks[fiber.rank];
        fiber.block->n = fiber.block->barrier.n = (int)n_of_block;
        fiber.block->shared = cluster.shared;
        fiber.warp = &cluster.warps[i / 32];
        fiber.warp->barrier.n++;
        fiber.lane = (int)(i % 32);
        fiber.thread = {in_block % shape.threads, in_block / shape.threads};
        fiber.block_at = {(unsigned)first_block + fiber.rank, 0};
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = stacks[i].get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, start_fiber, 0);
    }
    for (bool moved = true; moved;) {
        moved = false;
        for (unsigned i = 0; i < n; i++) {
            Fiber &fiber = fibers[lf_emulated.backwards ? n - 1 - i : i];
            if (fiber.ended || (fiber.waits && fiber.waits->round == fiber.waits_round)) continue;
            moved = true;
            resume(fiber);
        }
    }
    for (Fiber &fiber : fibers) lf_emulated.faults += !fiber.ended;
}

template <class... Parameters, class... Arguments>
static int launch(void (*kernel)(Parameters...), const Launch &shape, void *, const Arguments &...arguments) {
    lf_emulated.launches++;
    lf_emulated.last_cluster = shape.cluster, lf_emulated.last_threads = shape.threads;
    const std::function<void()> body = [&] { kernel(arguments...); };
    cluster.body = &body;
    blockDim = {shape.threads, shape.rows};
    gridDim = {(unsigned)shape.blocks, 1};
    for (int64_t block = 0; block < shape.blocks; block += shape.cluster) run_cluster(shape, block);
    return cudaSuccess;
}

#endif
