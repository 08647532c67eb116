/* characters.c - see characters.h. */
#include "text/characters.h"

#include <stdlib.h>
#include <string.h>

static const uint32_t USUAL = LF_CHARACTER_PLAIN | LF_CHARACTER_ALONE;

uint32_t *lf_characters_at(lf_characters *t, uint32_t code_point) {
    uint16_t *page = &t->index[code_point / LF_CHARACTER_PAGE];
    if (!*page) { /* the first page is everybody's */
        if (t->n_pages == t->room) {
            uint32_t *entries = realloc(t->entries, 2 * t->room * LF_CHARACTER_PAGE * sizeof *entries);
            if (!entries) return NULL;
            t->entries = entries, t->room *= 2;
        }
        memcpy(t->entries + t->n_pages * LF_CHARACTER_PAGE, t->entries, LF_CHARACTER_PAGE * sizeof *t->entries);
        *page = (uint16_t)t->n_pages++;
    }
    return &t->entries[(size_t)*page * LF_CHARACTER_PAGE + code_point % LF_CHARACTER_PAGE];
}

/* A walk along the rules of a map, character by character. It ends early, and then nothing is known, where rules do not
 * end with a character, and where a damaged map has more ways through it than any real one has rules. */
typedef struct {
    lf_characters *table;
    const uint32_t *units;
    uint8_t leads[256]; /* the bytes that begin a character behind the first of a rule ... */
    unsigned n_leads;   /* ... and how many there are */
    size_t steps_left;
    lf_status status; /* LF_EVALUE: it has ended early */
} walk;

static void go_on(walk *w, size_t at, const uint8_t *begun, unsigned n, int first);

/* A character is whole at this unit. */
static void arrive(walk *w, size_t at, uint32_t c, int first) {
    uint32_t *entry = lf_characters_at(w->table, c);
    if (!entry) {
        w->status = LF_ENOMEM;
        return;
    }
    if (!first) *entry = (*entry & ~USUAL) | LF_CHARACTER_INSIDE;
    else if (w->units[at] & 256) *entry &= ~USUAL;
    go_on(w, at, NULL, 0, 0);
}

/* The way from a unit by one more byte of a character, of which n bytes have been read. */
static void go(walk *w, size_t base, const uint8_t *begun, unsigned n, uint8_t byte, int first) {
    uint8_t bytes[4] = {0};
    uint32_t c;
    if ((w->units[base ^ byte] & 0x800000FFu) != byte || w->status != LF_OK) return;
    if (!w->steps_left--) {
        w->status = LF_EVALUE;
        return;
    }
    if (n) memcpy(bytes, begun, n);
    bytes[n] = byte;
    if (lf_utf8_read(bytes, bytes + n + 1, &c) == n + 1 && c != LF_NO_CHARACTER) arrive(w, base ^ byte, c, first);
    else if (n == 0 && (byte < 0xC2 || byte > 0xF4)) w->status = LF_EVALUE;
    else if (n < 3) go_on(w, base ^ byte, bytes, n + 1, first);
}

/* All ways from a unit where n bytes of a character have been read. */
static void go_on(walk *w, size_t at, const uint8_t *begun, unsigned n, int first) {
    const uint32_t unit = w->units[at];
    const size_t base = at ^ (unit >> 10) << ((unit & 512) >> 6);
    if (n && unit & 256) w->status = LF_EVALUE;
    if (n)
        for (unsigned b = 0x80; b < 0xC0; b++) go(w, base, begun, n, (uint8_t)b, first);
    else if (first)
        for (unsigned b = 1; b < 0x100; b++) go(w, base, NULL, 0, (uint8_t)b, first);
    else
        for (unsigned i = 0; i < w->n_leads; i++) go(w, base, NULL, 0, w->leads[i], first);
}

static lf_status note_rules(lf_characters *t, const lf_charsmap *map) {
    enum { STEPS_MOST = 1 << 20 };
    walk w = {.table = t, .units = map->units, .steps_left = STEPS_MOST, .status = LF_OK};
    for (unsigned b = 1; b < 0x100; b++) /* behind a whole character none is continued */
        if (map->inside[b] && !lf_utf8_continues((uint8_t)b)) w.leads[w.n_leads++] = (uint8_t)b;
    go_on(&w, 0, NULL, 0, 1);
    if (w.status != LF_EVALUE) return w.status;
    memset(t->index, 0, LF_CHARACTER_PAGES * sizeof *t->index); /* any may be inside */
    for (size_t i = 0; i < LF_CHARACTER_PAGE; i++) t->entries[i] = LF_CHARACTER_INSIDE;
    return LF_OK;
}

lf_status lf_characters_new(lf_characters *t, const lf_charsmap *map) {
    memset(t, 0, sizeof *t);
    t->n_pages = 1, t->room = 64;
    t->index = calloc(LF_CHARACTER_PAGES, sizeof *t->index);
    t->entries = malloc(t->room * LF_CHARACTER_PAGE * sizeof *t->entries);
    t->joined = calloc(1, (size_t)1 << (LF_JOINED_BITS - 3));
    if (!t->index || !t->entries || !t->joined) return lf_characters_free(t), LF_ENOMEM;
    for (size_t i = 0; i < LF_CHARACTER_PAGE; i++) t->entries[i] = USUAL;
    const lf_status status = map ? note_rules(t, map) : LF_OK;
    if (status != LF_OK) lf_characters_free(t);
    return status;
}

lf_status lf_characters_note(lf_characters *t, const uint8_t *piece, size_t n, uint32_t id, int known) {
    uint32_t before = LF_NO_CHARACTER, c;
    for (size_t at = 0, width; at < n; at += width, before = c) {
        width = lf_utf8_read(piece + at, piece + n, &c);
        if (c == LF_NO_CHARACTER) continue; /* which no normalized text has */
        uint32_t *entry = lf_characters_at(t, c);
        if (!entry) return LF_ENOMEM;
        if (width < n) *entry &= ~LF_CHARACTER_ALONE;
        else if (known) *entry = (*entry & ~LF_CHARACTER_ID) | LF_CHARACTER_KNOWN | id;
        if (before == LF_NO_CHARACTER) continue;
        const uint32_t bit = lf_characters_bit(before, c);
        t->joined[bit / 8] |= (uint8_t)(1u << bit % 8);
    }
    return LF_OK;
}

void lf_characters_free(lf_characters *t) {
    free(t->index), free(t->entries), free(t->joined);
    memset(t, 0, sizeof *t);
}
