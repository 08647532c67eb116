/* The portable splitter: a piece at a time. */
#include "text/split_run.h"

lf_split_batch lf_split_fill_generic(lf_split_run *run, uint32_t *bounds) { return lf_split_fill_pieces(run, bounds); }
