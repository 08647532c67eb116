/* decode.c - ids to bytes and to characters; see decode.h. */
#include "text/decode.h"

#include <stdlib.h>
#include <string.h>

#include "text/utf8.h"

enum { INLINE = 15, LONG = 255, BLOCK = 4096, AHEAD = 16, FLAGS_SHIFT = 29, TOKEN_MOST = (1 << FLAGS_SHIFT) - 1 };

/* What characters need, given the largest of their bytes. */
static uint32_t flags_of(uint8_t largest) {
    return (largest >= 0x80 ? LF_BEYOND_ASCII : 0u) | (largest >= 0xC4 ? LF_BEYOND_LATIN1 : 0u) |
           (largest >= 0xF0 ? LF_BEYOND_BMP : 0u);
}

static uint32_t characters_of(const uint8_t *p, uint32_t n) {
    uint32_t begun = 0;
    uint8_t largest = 0;
    for (uint32_t i = 0; i < n; i++) {
        begun += !lf_utf8_continues(p[i]);
        if (p[i] > largest) largest = p[i];
    }
    return flags_of(largest) << FLAGS_SHIFT | begun;
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

lf_status lf_decode_some(const lf_decoder *d, const uint32_t *ids, size_t n, uint8_t *out, size_t room, size_t *n_done,
                         size_t *n_bytes) {
    const uint8_t (*slots)[16] = (const uint8_t (*)[16])d->slots;
    const size_t n_ids = d->n_ids;
    uint8_t *at = out, *end = out + room;
    size_t i = 0;
    for (; i < n && end - at >= 16; i++) {
        if (LF_UNLIKELY(ids[i] >= n_ids)) break;
        const uint8_t *slot = slots[ids[i]];
        size_t length = slot[15];
        memcpy(at, slot, 16);
        if (LF_UNLIKELY(length - 1 >= INLINE)) {
            if (length == 0) break;
            uint32_t n_token;
            const uint8_t *bytes = token(d, ids[i], &n_token);
            if ((size_t)(end - at) < (size_t)n_token + 16) return *n_done = i, *n_bytes = (size_t)(at - out), LF_OK;
            memcpy(at, bytes, n_token);
            length = n_token;
        }
        at += length;
    }
    *n_done = i, *n_bytes = (size_t)(at - out);
    return i < n && end - at >= 16 ? LF_EINDEX : LF_OK;
}

void lf_decode_measure_bytes(const uint8_t *bytes, size_t n, lf_decoded *sum) {
    enum { LANES = 32, MOST = 255 };
    uint8_t largest[LANES] = {0}, all = 0;
    size_t at = 0, total = 0;
    while (n - at >= LANES) { /* counts of a byte, added up before they overflow */
        uint8_t begun[LANES] = {0};
        for (int round = 0; round < MOST && n - at >= LANES; round++, at += LANES)
            for (int i = 0; i < LANES; i++) {
                begun[i] += (uint8_t)((int8_t)bytes[at + (size_t)i] >= -0x40);
                largest[i] = bytes[at + (size_t)i] > largest[i] ? bytes[at + (size_t)i] : largest[i];
            }
        for (int i = 0; i < LANES; i++) total += begun[i];
    }
    for (int i = 0; i < LANES; i++) all = largest[i] > all ? largest[i] : all;
    for (; at < n; at++) {
        total += !lf_utf8_continues(bytes[at]);
        all = bytes[at] > all ? bytes[at] : all;
    }
    sum->n_characters += total;
    sum->flags |= flags_of(all);
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

int lf_decode_bytes_text(lf_utf8_reader *reader, const uint8_t *bytes, size_t n, unsigned width, uint32_t largest,
                         void *out, size_t n_characters) {
    lf_utf8_progress progress = {.bits = 0};
    reader(bytes, n, width, out, n_characters, &progress);
    return progress.n_read == n && progress.n_written == n_characters && is_width(progress.bits, largest);
}
