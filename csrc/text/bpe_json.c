/* bpe_json.c - see bpe_json.h. A reader returns the place behind what it has read, NULL if that is not right. */
#include "text/bpe_json.h"

#include <string.h>

enum { MOST_DIGITS = 9, LARGEST_ID = (1 << 28) - 1, MOST_PROBES = 256 };

static inline const uint8_t *space(const uint8_t *p, const uint8_t *end) {
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++;
    return p;
}

/* A character and the white space around it. */
static inline const uint8_t *mark(const uint8_t *p, const uint8_t *end, uint8_t c) {
    p = space(p, end);
    return p < end && *p == c ? space(p + 1, end) : NULL;
}

/* Finding. */

/* From the quote that begins a string to behind the one that ends it. */
static const uint8_t *pass_string(const uint8_t *p, const uint8_t *end) {
    for (p++; p < end; p++) {
        if (*p == '"') return p + 1;
        if (*p == '\\') p++;
    }
    return NULL;
}

/* Over a value, whatever it is: to the comma or the bracket that ends it. */
static const uint8_t *pass_value(const uint8_t *p, const uint8_t *end) {
    size_t depth = 0;
    while (p < end) {
        switch (*p) {
        case '"':
            if (!(p = pass_string(p, end))) return NULL;
            continue;
        case '{':
        case '[': depth++; break;
        case '}':
        case ']':
            if (depth-- == 0) return p;
            break;
        case ',':
            if (depth == 0) return p;
            break;
        default: break;
        }
        p++;
    }
    return NULL;
}

typedef struct {
    const char *key;
    lf_span at; /* stop == 0: not found yet */
} wanted;

/* Finds keys of the object that begins at p. */
static lf_status find_in_object(const uint8_t *text, const uint8_t *p, const uint8_t *end, wanted *keys,
                                size_t n_keys) {
    if (!(p = mark(p, end, '{'))) return LF_EVALUE;
    while (p < end && *p == '"') {
        const uint8_t *key = p + 1, *value;
        if (!(p = pass_string(p, end))) return LF_EVALUE;
        const size_t n = (size_t)(p - 1 - key);
        if (!(value = mark(p, end, ':')) || !(p = pass_value(value, end))) return LF_EVALUE;
        for (size_t k = 0; k < n_keys; k++) {
            if (strlen(keys[k].key) != n || memcmp(keys[k].key, key, n) != 0) continue;
            if (keys[k].at.stop) return LF_EVALUE;
            keys[k].at = (lf_span){(size_t)(value - text), (size_t)(p - text)};
        }
        if (*p == '}') return LF_OK;
        if (!(p = mark(p, end, ','))) return LF_EVALUE;
    }
    return LF_EVALUE;
}

lf_status lf_bpe_json_find(const uint8_t *text, size_t n, lf_span *vocab, lf_span *merges) {
    wanted model[] = {{"model", {0, 0}}}, tables[] = {{"vocab", {0, 0}}, {"merges", {0, 0}}};
    if (find_in_object(text, text, text + n, model, 1) != LF_OK || !model[0].at.stop) return LF_EVALUE;
    const lf_span at = model[0].at;
    if (find_in_object(text, text + at.start, text + at.stop, tables, 2) != LF_OK) return LF_EVALUE;
    *vocab = tables[0].at, *merges = tables[1].at;
    return vocab->stop && merges->stop ? LF_OK : LF_EVALUE;
}

/* Strings. */

/* The byte that a character stands for, -1 for a character that stands for none. */
static inline int byte_of(uint32_t c) {
    if (c < 0x7F) return c > ' ' ? (int)c : -1;
    if (c < 0x100) return c > 0xA0 && c != 0xAD ? (int)c : -1;
    const uint32_t k = c - 0x100; /* of the others: 0..32, 127..160, 173 */
    return k <= 32 ? (int)k : k <= 66 ? (int)k + 94 : k == 67 ? 173 : -1;
}

/* The character of an escape at p, behind its backslash. */
static const uint8_t *read_escape(const uint8_t *p, const uint8_t *end, uint32_t *c) {
    if (p == end) return NULL;
    if (*p == '"' || *p == '\\' || *p == '/') return *c = *p, p + 1;
    if (*p != 'u' || end - p < 5) return NULL;
    *c = 0;
    for (int i = 1; i <= 4; i++) {
        const uint32_t digit = p[i] - (uint32_t)'0', letter = (p[i] | 0x20u) - 'a';
        if (digit > 9 && letter > 5) return NULL;
        *c = *c << 4 | (digit <= 9 ? digit : letter + 10);
    }
    return p + 5;
}

/* Writes the bytes of a token up to a quote or a space, of which the place is returned. */
static inline const uint8_t *read_token(const uint8_t *p, const uint8_t *end, uint8_t **out) {
    while (p < end) {
        uint32_t c = *p;
        if (c == '"' || c == ' ') return p;
        if (LF_UNLIKELY(c == '\\')) {
            if (!(p = read_escape(p + 1, end, &c))) return NULL;
        } else if (c < 0x80) {
            p++;
        } else {
            if (c < 0xC2 || c > 0xC5 || end - p < 2 || (p[1] & 0xC0) != 0x80) return NULL;
            c = (c & 0x1F) << 6 | (p[1] & 0x3F);
            p += 2;
        }
        const int byte = byte_of(c);
        if (byte < 0) return NULL;
        *(*out)++ = (uint8_t)byte;
    }
    return NULL;
}

static const uint8_t *read_id(const uint8_t *p, const uint8_t *end, uint32_t *id) {
    const uint8_t *start = p;
    uint32_t value = 0;
    for (; p < end && *p - (uint32_t)'0' <= 9; p++) {
        if (p - start == MOST_DIGITS) return NULL;
        value = 10 * value + (*p - (uint32_t)'0');
    }
    *id = value;
    return p == start || (*start == '0' && p - start > 1) || value > LARGEST_ID ? NULL : p;
}

lf_status lf_bpe_json_vocab(const uint8_t *text, size_t n, uint8_t *blob, int64_t *offsets, uint32_t *ids,
                            size_t *n_tokens) {
    const uint8_t *end = text + n, *p = mark(text, end, '{');
    uint8_t *out = blob;
    for (*n_tokens = 0; p && p < end && *p == '"';) {
        const size_t i = (*n_tokens)++;
        offsets[i] = out - blob;
        if (!(p = read_token(p + 1, end, &out)) || *p != '"' || out - blob == offsets[i]) break;
        if (!(p = mark(p + 1, end, ':')) || !(p = read_id(p, end, &ids[i]))) break;
        if (i && ids[i] <= ids[i - 1]) break;
        p = space(p, end);
        if (p < end && *p == '}') {
            offsets[i + 1] = out - blob;
            return space(p + 1, end) == end ? LF_OK : LF_EVALUE;
        }
        p = mark(p, end, ',');
    }
    return LF_EVALUE;
}

/* Tokens. */

static inline uint64_t hash_of(const uint8_t *p, size_t n) {
    uint64_t h = n;
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 32;
    }
    uint64_t last = 0;
    for (size_t i = 0; i < n; i++) last = last << 8 | p[i];
    h = (h ^ last) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 32;
}

static inline int is_token(const lf_bpe_json_tokens *t, uint32_t i, const uint8_t *bytes, size_t n) {
    return (size_t)(t->offsets[i + 1] - t->offsets[i]) == n && !memcmp(t->blob + t->offsets[i], bytes, n);
}

/* The place of a token or of one to come. NULL where it would be far from home: no such token is in the table, and none goes
 * there, so a file whose tokens were made to meet takes no longer than another. */
static inline uint32_t *slot_of(const lf_bpe_json_tokens *t, const uint8_t *bytes, size_t n) {
    const size_t home = (size_t)hash_of(bytes, n);
    for (size_t i = 0; i < MOST_PROBES; i++) {
        uint32_t *slot = &t->slots[(home + i) & (t->n_slots - 1)];
        if (!*slot || is_token(t, *slot - 1, bytes, n)) return slot;
    }
    return NULL;
}

/* One more than its number, 0 if there is none. */
static inline uint32_t find(const lf_bpe_json_tokens *t, const uint8_t *bytes, size_t n) {
    const uint32_t *slot = slot_of(t, bytes, n);
    return slot ? *slot : 0;
}

lf_status lf_bpe_json_index(const lf_bpe_json_tokens *t, size_t n_tokens) {
    for (size_t i = 0; i < n_tokens; i++) {
        uint32_t *slot = slot_of(t, t->blob + t->offsets[i], (size_t)(t->offsets[i + 1] - t->offsets[i]));
        if (!slot || *slot) return LF_EVALUE;
        *slot = (uint32_t)i + 1;
    }
    return LF_OK;
}

int64_t lf_bpe_json_token(const lf_bpe_json_tokens *t, const uint8_t *bytes, size_t n) {
    return (int64_t)find(t, bytes, n) - 1;
}

/* Two tokens, in one string or in two; their bytes follow one another. */
static const uint8_t *read_pair(const uint8_t *p, const uint8_t *end, int strings, uint8_t **middle, uint8_t **out) {
    const uint8_t between = strings ? '"' : ' ';
    if (strings && !(p = mark(p, end, '['))) return NULL;
    if (p == end || *p != '"' || !(p = read_token(p + 1, end, out)) || *p++ != between) return NULL;
    *middle = *out;
    if (strings && (!(p = mark(p, end, ',')) || p == end || *p++ != '"')) return NULL;
    if (!(p = read_token(p, end, out)) || *p++ != '"') return NULL;
    return strings ? mark(p, end, ']') : space(p, end);
}

lf_status lf_bpe_json_merges(const lf_bpe_json_tokens *t, size_t n_tokens, const uint8_t *text, size_t n,
                             uint8_t *scratch, uint32_t *pairs, uint32_t *made, size_t *n_merges) {
    const uint8_t *end = text + n, *p = mark(text, end, '[');
    *n_merges = 0;
    if (p && p < end && *p == ']') return space(p + 1, end) == end ? LF_OK : LF_EVALUE;
    const int strings = p && p < end && *p == '[';
    for (size_t i = 0, next = 0; p; i++) {
        uint8_t *middle, *out = scratch;
        if (!(p = read_pair(p, end, strings, &middle, &out)) || p == end) break;
        const size_t left = (size_t)(middle - scratch), whole = (size_t)(out - scratch);
        const uint32_t a = find(t, scratch, left), b = find(t, middle, whole - left);
        /* Tokens mostly stand in the order of the merges that make them. */
        const uint32_t c = next < n_tokens && is_token(t, (uint32_t)next, scratch, whole) ? (uint32_t)next + 1
                                                                                          : find(t, scratch, whole);
        if (!a || !b || !c) break;
        pairs[2 * i] = a - 1, pairs[2 * i + 1] = b - 1, made[i] = c - 1;
        next = c, *n_merges = i + 1;
        if (*p == ']') return space(p + 1, end) == end ? LF_OK : LF_EVALUE;
        p = mark(p, end, ',');
    }
    return LF_EVALUE;
}
