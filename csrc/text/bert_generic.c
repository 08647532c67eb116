/* The portable BERT encoder; see bert.h. */
#define LF_ISA generic
#define LF_ISA_ID LF_GENERIC
#include "text/bert_body.h"
