/* The portable encoder; see encode.h. */
#define LF_ISA generic
#define LF_ISA_ID LF_GENERIC
#include "text/encode_body.h"
