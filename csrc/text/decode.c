/* decode.c - ids to bytes; see decode.h. */
#include "text/decode.h"

#include <stdlib.h>
#include <string.h>

enum { INLINE = 15, LONG = 255 };

lf_status lf_decoder_new(lf_decoder **decoder, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                         size_t n_tokens, size_t n_ids) {
    *decoder = NULL;
    lf_decoder *d = calloc(1, sizeof *d);
    if (!d) return LF_ENOMEM;
    *d = (lf_decoder){.blob = blob, .n_ids = n_ids};
    d->slots = calloc(n_ids + 1, sizeof *d->slots);
    d->lengths = calloc(n_ids + 1, sizeof *d->lengths);
    if (!d->slots || !d->lengths) return lf_decoder_free(d), LF_ENOMEM;
    for (size_t i = 0; i < n_tokens; i++) {
        const uint64_t at = (uint64_t)offsets[i];
        const uint32_t n = (uint32_t)(offsets[i + 1] - offsets[i]);
        uint8_t *slot = d->slots[ids[i]];
        d->lengths[ids[i]] = n;
        memset(slot, 0, 16);
        if (n <= INLINE) {
            memcpy(slot, blob + at, n);
            slot[15] = (uint8_t)n;
        } else {
            memcpy(slot, &at, 8);
            memcpy(slot + 8, &n, 4);
            slot[15] = LONG;
        }
    }
    *decoder = d;
    return LF_OK;
}

void lf_decoder_free(lf_decoder *d) {
    if (!d) return;
    free(d->slots), free(d->lengths);
    free(d);
}

lf_status lf_decode_size(const lf_decoder *d, const uint32_t *ids, size_t n, size_t *n_bytes, size_t *where) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (LF_UNLIKELY(ids[i] >= d->n_ids || d->lengths[ids[i]] == 0)) return *where = i, LF_EINDEX;
        total += d->lengths[ids[i]];
    }
    *n_bytes = total;
    return LF_OK;
}

size_t lf_decode(const lf_decoder *d, const uint32_t *ids, size_t n, uint8_t *out, size_t n_bytes) {
    const uint8_t *start = out, *end = out + n_bytes;
    for (size_t i = 0; i < n; i++) {
        if (LF_UNLIKELY(ids[i] >= d->n_ids)) break;
        const uint8_t *slot = d->slots[ids[i]];
        if (LF_LIKELY(slot[15] != LONG && end - out >= 16)) { /* a whole slot, however short the token */
            memcpy(out, slot, 16);
            out += slot[15];
            continue;
        }
        uint64_t at;
        const uint32_t length = d->lengths[ids[i]];
        if (LF_UNLIKELY((size_t)(end - out) < length)) break;
        memcpy(&at, slot, 8);
        memcpy(out, slot[15] == LONG ? d->blob + at : slot, length);
        out += length;
    }
    return (size_t)(out - start);
}
