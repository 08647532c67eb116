/* lf.c - which instruction set this machine runs. */
#include "lf.h"

lf_isa lf_isa_best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init(); /* __builtin_cpu_supports also checks that the system saves the wide registers */
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi") &&
        __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512bitalg") &&
        __builtin_cpu_supports("gfni") && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("bmi2"))
        return LF_AVX512; /* Ice Lake, Zen 4 and later; every such processor also has VAES */
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt"))
        return LF_AVX2;
#endif
    return LF_GENERIC;
}
