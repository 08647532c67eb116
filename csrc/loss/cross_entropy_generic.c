/* The portable rows of cross-entropy; see cross_entropy.h. */
#define LF_ISA generic
#define LF_ISA_ID LF_GENERIC
#include "loss/lanes_generic.h"

#include "loss/cross_entropy_body.h"
