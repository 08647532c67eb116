/* staged.h - text to ids where tables cut the pieces: encode.h for byte-level BPE with a split pattern of its own.
 *
 *     document -> added tokens cut out -> NFC if asked for -> added tokens again -> stages -> pieces -> ids
 *                 added.h                 normalize.h                              stack.h   encode_pieces of encode.h
 *
 * The functions keep the promises of encode.h, and the doors need not know which of both they call. A workspace here has
 * one of the instruction set's own inside.
 *
 * Time: as stack.h and encode.h. Memory: besides theirs a copy of the longest stretch between added tokens. */
#ifndef LF_TEXT_STAGED_H
#define LF_TEXT_STAGED_H

#include "text/encode.h"
#include "text/stack.h"

/* The functions for a text with `stages`, on top of those for an instruction set; NULL where this build has none. LF_EINDEX
 * from `end` and `encode`: a stretch of text is longer than LF_SP_MOST. */
const lf_text_ops *lf_staged_ops_for(lf_isa isa);

#endif
