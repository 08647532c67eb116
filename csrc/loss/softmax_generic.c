/* The portable rows of softmax; see softmax.h. */
#define LF_ISA generic
#define LF_ISA_ID LF_GENERIC
#include "loss/lanes_generic.h"

#include "loss/softmax_body.h"
