/* sp_decode.h - ids to text as sentencepiece does it.
 *
 * A piece becomes its text, with a space for each marker; an unknown piece becomes the surface that stands for it, a
 * control piece nothing. Pieces of bytes next to each other become the characters they spell, and U+FFFD for each byte
 * that spells none. The marker that the normalizer put before the text goes, and with it, where the normalizer removes
 * white space, all markers that come before anything else.
 *
 * Exactness: sentencepiece 0.2.3, SentencePieceProcessor::Decode of ids, without its denormalizer. */
#ifndef LF_TEXT_SP_DECODE_H
#define LF_TEXT_SP_DECODE_H

#include "lf.h"
#include "text/sentencepiece.h"

typedef struct {
    int add_dummy_prefix, remove_extra_whitespaces;
    const uint8_t *unknown; /* what an unknown piece becomes */
    size_t n_unknown;
} lf_sp_surface;

/* Room for the text of ids. LF_EINDEX: ids[*where] is no piece. */
lf_status lf_sp_decode_bound(const lf_sp *model, const lf_sp_surface *surface, const uint32_t *ids, size_t n,
                             size_t *n_bytes, size_t *where);

/* The text of ids; returns its bytes, never more than `room`, even where the ids have changed since they were looked at. */
size_t lf_sp_decode(const lf_sp *model, const lf_sp_surface *surface, const uint32_t *ids, size_t n, uint8_t *out,
                    size_t room);

#endif
