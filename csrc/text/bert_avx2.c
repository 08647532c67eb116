/* The AVX2 BERT encoder; see bert.h. */
#define LF_ISA avx2
#define LF_ISA_ID LF_AVX2
#include "text/bert_body.h"
