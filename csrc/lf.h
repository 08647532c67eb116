/* lf.h - the words every kernel shares: status, instruction set, a few macros.
 *
 * A kernel is a pure function of its arguments: no Python, no I/O, no threads, no changing globals. The caller owns
 * memory; the only allocating pairs are lf_x_new / lf_x_free. Counts and offsets are 64 bits wide everywhere. */
#ifndef LF_H
#define LF_H

#include <stddef.h>
#include <stdint.h>

/* What a kernel answers. On failure it writes the place (an index, an offset) to *where. */
typedef enum {
    LF_OK = 0,
    LF_ENOMEM, /* memory could not be had                                  */
    LF_EINDEX, /* an index or id outside its range; *where is its position */
    LF_EVALUE, /* a value that is not allowed; *where is its position      */
    LF_EUTF8,  /* bytes that are not UTF-8; *where is the byte offset      */
} lf_status;

/* Instruction sets, each containing the ones before it on its architecture. A file's suffix picks its flags. */
typedef enum { LF_GENERIC = 0, LF_AVX2 = 1, LF_AVX512 = 2, LF_N_ISA } lf_isa;

/* The best instruction set that both this build and this machine have. Reads cpuid (and the system's word on wide
 * registers) and nothing else. */
lf_isa lf_isa_best(void);

#define LF_LIKELY(x) __builtin_expect(!!(x), 1)
#define LF_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
