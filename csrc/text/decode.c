/* decode.c - ids to bytes and to characters; see decode.h. */
#include "text/decode.h"

#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

enum { INLINE = 15, LONG = 255, BLOCK = 4096, AHEAD = 16, FLAGS_SHIFT = 29, TOKEN_MOST = (1 << FLAGS_SHIFT) - 1 };

static uint32_t characters_of(const uint8_t *p, uint32_t n) {
    uint32_t begun = 0, flags = 0;
    uint8_t largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        begun += !lf_utf8_continues(p[i]);
        if (p[i] > largest) largest = p[i];
    }
    if (largest >= 0x80) flags = LF_BEYOND_ASCII;
    if (largest >= 0xC4) flags |= LF_BEYOND_LATIN1;
    if (largest >= 0xF0) flags |= LF_BEYOND_BMP;
    return flags << FLAGS_SHIFT | begun;
}

lf_status lf_decoder_new(lf_decoder **decoder, const uint8_t *blob, const int64_t *offsets, const uint32_t *ids,
                         size_t n_tokens, size_t n_ids) {
    *decoder = NULL;
    lf_decoder *d = calloc(1, sizeof *d);
    if (!d) return LF_ENOMEM;
    *d = (lf_decoder){.blob = blob, .n_ids = n_ids};
    d->slots = calloc(n_ids + 1, sizeof *d->slots);
    d->lengths = calloc(n_ids + 1, sizeof *d->lengths);
    d->characters = calloc(n_ids + 1, sizeof *d->characters);
    if (!d->slots || !d->lengths || !d->characters) return lf_decoder_free(d), LF_ENOMEM;
    for (size_t i = 0; i < n_tokens; i++) {
        const uint64_t at = (uint64_t)offsets[i];
        if (offsets[i + 1] - offsets[i] > TOKEN_MOST) return lf_decoder_free(d), LF_ENOMEM;
        const uint32_t n = (uint32_t)(offsets[i + 1] - offsets[i]);
        uint8_t *slot = d->slots[ids[i]];
        d->lengths[ids[i]] = n;
        d->characters[ids[i]] = characters_of(blob + at, n);
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
    free(d->slots), free(d->lengths), free(d->characters);
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

lf_status lf_decode_measure(const lf_decoder *d, const uint32_t *ids, size_t n, lf_decoded *sum, size_t *where) {
    const uint32_t *characters = d->characters;
    size_t total = 0;
    uint32_t flags = 0;
    for (size_t i = 0; i < n; i++) {
        if (LF_UNLIKELY(ids[i] >= d->n_ids || characters[ids[i]] == 0)) return *where = i, LF_EINDEX;
        total += characters[ids[i]] & TOKEN_MOST;
        flags |= characters[ids[i]];
    }
    sum->n_characters += total;
    sum->flags |= flags >> FLAGS_SHIFT;
    return LF_OK;
}

/* The bytes of a token, wherever they lie. */
static inline const uint8_t *token(const lf_decoder *d, uint32_t id, uint32_t *n) {
    const uint8_t *slot = d->slots[id];
    uint64_t at;
    *n = d->lengths[id];
    if (slot[15] != LONG) return slot;
    memcpy(&at, slot, 8);
    return d->blob + at;
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
        uint32_t length;
        const uint8_t *bytes = token(d, ids[i], &length);
        if (LF_UNLIKELY((size_t)(end - out) < length)) break;
        memcpy(out, bytes, length);
        out += length;
    }
    return (size_t)(out - start);
}

/* The ids that are still to be written, from byte `from` of the first on. */
typedef struct {
    const uint32_t *ids;
    size_t n, from;
} rest;

/* Moves bytes of the rest to a block that has so many already, and returns how many it has then. */
static size_t fill(const lf_decoder *d, rest *r, uint8_t *block, size_t have) {
    const uint8_t (*slots)[16] = (const uint8_t (*)[16])d->slots;
    const size_t n_ids = d->n_ids;
    const uint32_t *ids = r->ids, *end = ids + r->n;
    for (; ids < end && have < BLOCK && *ids < n_ids; ids++) {
        if (end - ids > AHEAD) __builtin_prefetch(slots + ids[AHEAD]); /* the output has driven them out of the cache */
        const uint8_t *slot = slots[*ids];
        if (LF_LIKELY(slot[15] != LONG)) {
            memcpy(block + have, slot, 16);
            have += slot[15];
            continue;
        }
        uint32_t length;
        const uint8_t *bytes = token(d, *ids, &length);
        const size_t left = length - r->from, m = left < BLOCK - have ? left : BLOCK - have;
        memcpy(block + have, bytes + r->from, m);
        have += m;
        r->from = m < left ? r->from + m : 0;
        if (r->from) break;
    }
    r->ids = ids, r->n = (size_t)(end - ids);
    return have;
}

/* Whether the largest of the characters, given all their bits, is of the width that `largest` has. */
static int is_width(uint32_t bits, uint32_t largest) {
    const uint32_t least = largest > 0xFFFF ? 0x10000 : largest > 0xFF ? 0x100 : largest > 0x7F ? 0x80 : 0;
    return bits >= least && bits <= (largest | 0x7F);
}

int lf_decode_text(const lf_decoder *d, lf_utf8_reader *reader, const uint32_t *ids, size_t n, unsigned width,
                   uint32_t largest, void *out, size_t n_characters) {
    uint8_t block[BLOCK + 64]; /* room for a whole slot, and for the reader */
    rest todo = {ids, n, 0};
    size_t held = 0, done = 0; /* bytes of a character that is not complete, characters */
    lf_utf8_progress progress = {.bits = 0};
    while (todo.n) {
        const size_t have = fill(d, &todo, block, held);
        if (have == held) return 0;
        reader(block, have, width, (uint8_t *)out + done * width, n_characters - done, &progress);
        done += progress.n_written;
        held = have - progress.n_read;
        if (held > 3) return 0;
        memmove(block, block + progress.n_read, held);
    }
    return held == 0 && done == n_characters && is_width(progress.bits, largest);
}
