/* The AVX-512 BERT encoder; see bert.h. */
#define LF_ISA avx512
#define LF_ISA_ID LF_AVX512
#include "text/bert_body.h"
