/* normalize.c - normalization form C; see normalize.h. */
#include "text/normalize.h"

#include <string.h>

#include "text/unicode.h"
#include "text/utf8.h"

/* An ill-formed byte, where code points are handled: this plus the byte. */
#define RAW 0x80000000u

/* Hangul syllables, section 3.12: a leading consonant and a vowel make an LV syllable, that and a trailing consonant an
 * LVT syllable. Syllables are never taken apart here: an LV that meets a trailing consonant composes as it stands. */
enum { L_BASE = 0x1100, V_BASE = 0x1161, T_BASE = 0x11A7, S_BASE = 0xAC00, L_N = 19, V_N = 21, T_N = 28 };

static unsigned write(uint32_t cp, uint8_t *out) {
    if (cp < 0x80) return out[0] = (uint8_t)cp, 1;
    if (cp < 0x800) return out[0] = (uint8_t)(0xC0 | cp >> 6), out[1] = (uint8_t)(0x80 | (cp & 63)), 2;
    if (cp >= RAW) return out[0] = (uint8_t)cp, 1;
    unsigned n = cp < 0x10000 ? 3 : 4;
    for (unsigned i = n - 1; i > 0; i--, cp >>= 6) out[i] = (uint8_t)(0x80 | (cp & 63));
    out[0] = (uint8_t)((n == 3 ? 0xE0 : 0xF0) | cp);
    return n;
}

/* The canonically decomposed text, a character at a time. */
typedef struct {
    const uint8_t *at, *end; /* what is still to be read                       */
    const uint32_t *full;    /* what is left of the decomposition being passed */
    unsigned n_full;
    uint32_t cp;  /* the present character ...                      */
    unsigned ccc; /* ... and its combining class                    */
    int more;     /* whether there is one                           */
} cursor;

static void advance(cursor *c) {
    if (!c->n_full) {
        c->more = c->at < c->end;
        if (!c->more) return;
        uint32_t cp;
        unsigned n = lf_utf8_read(c->at, c->end, &cp);
        if (cp == LF_NO_CHARACTER) cp = RAW + *c->at;
        c->at += n;
        const lf_nfc_entry *e = lf_nfc_entry_of(cp);
        if (!e->n_full) {
            c->cp = cp;
            c->ccc = e->ccc;
            return;
        }
        c->full = lf_nfc_full + e->full_at;
        c->n_full = e->n_full;
    }
    c->n_full--;
    c->cp = *c->full++;
    c->ccc = lf_nfc_entry_of(c->cp)->ccc;
}

/* Passes the run of marks (combining class not 0) at the cursor and writes it to out in canonical order: by class, and
 * as found within a class. Returns its length. Runs are mostly in order; one that is not is laid out by counting the
 * bytes of each class and reading it twice more. */
static size_t order_marks(cursor *c, uint8_t *out) {
    const cursor start = *c;
    size_t n = 0;
    unsigned least = 255, most = 0;
    int in_order = 1;
    for (unsigned before = 0; c->more && c->ccc; before = c->ccc, advance(c)) {
        n += write(c->cp, out + n);
        in_order &= before <= c->ccc;
        if (least > c->ccc) least = c->ccc;
        if (most < c->ccc) most = c->ccc;
    }
    if (in_order) return n;
    size_t to[256];
    uint8_t encoded[4];
    memset(to + least, 0, (most - least + 1) * sizeof *to);
    for (cursor r = start; r.more && r.ccc; advance(&r)) to[r.ccc] += write(r.cp, encoded);
    for (size_t ccc = least, sum = 0; ccc <= most; ccc++) {
        size_t bytes = to[ccc];
        to[ccc] = sum;
        sum += bytes;
    }
    for (cursor r = start; r.more && r.ccc; advance(&r)) {
        unsigned bytes = write(r.cp, encoded);
        memcpy(out + to[r.ccc], encoded, bytes);
        to[r.ccc] += bytes;
    }
    return n;
}

/* The primary composite of two characters; 0 if there is none. */
static uint32_t composite(uint32_t a, uint32_t b) {
    if (a - L_BASE < L_N && b - V_BASE < V_N) return S_BASE + ((a - L_BASE) * V_N + (b - V_BASE)) * T_N;
    if (a - S_BASE < L_N * V_N * T_N && (a - S_BASE) % T_N == 0 && b - T_BASE - 1 < T_N - 1) return a + (b - T_BASE);
    const lf_nfc_entry *e = lf_nfc_entry_of(a);
    const lf_nfc_pair *pair = lf_nfc_pairs + e->pairs_at;
    for (unsigned i = 0; i < e->n_pairs; i++)
        if (pair[i].second == b) return pair[i].composite;
    return 0;
}

/* What has been written, and the last starter in it. */
typedef struct {
    uint8_t *out;
    size_t n;
    size_t starter_at; /* where the last starter begins ...                          */
    uint32_t starter;  /* ... and what it is; RAW (composes with nothing) before one */
    unsigned last_ccc; /* class of the last character written; 0: it is the starter  */
} composer;

/* Takes the next character in canonical order: composes it with the last starter if nothing between them blocks it,
 * else appends it. A starter composes at most three times (a full decomposition has at most four characters), so the
 * moves of what follows it are linear in all; they never overtake the characters that are still to be read from the
 * same buffer, because a composite is no longer than its two parts together. */
static void compose(composer *k, uint32_t cp, unsigned ccc) {
    if (k->last_ccc < ccc || k->last_ccc == 0) {
        uint32_t both = composite(k->starter, cp);
        if (both) {
            uint8_t old[4], new[4];
            unsigned n_old = write(k->starter, old), n_new = write(both, new);
            uint8_t *from = k->out + k->starter_at;
            memmove(from + n_new, from + n_old, k->n - k->starter_at - n_old);
            memcpy(from, new, n_new);
            k->n += n_new - n_old;
            k->starter = both;
            return;
        }
    }
    if (ccc == 0) {
        k->starter = cp;
        k->starter_at = k->n;
    }
    k->n += write(cp, k->out + k->n);
    k->last_ccc = ccc;
}

/* The NFC of text that begins and ends at boundaries; returns its length. */
static size_t normalize_segment(const uint8_t *text, size_t n, uint8_t *out) {
    cursor c = {.at = text, .end = text + n};
    composer k = {.out = out, .starter = RAW};
    for (advance(&c); c.more;) {
        if (c.ccc == 0) {
            compose(&k, c.cp, 0);
            advance(&c);
            continue;
        }
        const uint8_t *mark = out + k.n, *end = mark + order_marks(&c, out + k.n);
        while (mark < end) {
            uint32_t cp;
            mark += lf_utf8_read(mark, end, &cp);
            compose(&k, cp, lf_nfc_entry_of(cp)->ccc);
        }
    }
    return k.n;
}

/* How many bytes at p, in steps of eight, are below 0xCC: characters below U+0300 (or bytes that are no character), all
 * plain. A byte is 0xCC or above if its top bit is set and its other bits plus 0x34 carry into the top bit. */
static size_t skip_plain(const uint8_t *p, size_t n) {
    const uint64_t ones = 0x0101010101010101u;
    size_t i = 0;
    for (uint64_t w; i + 8 <= n; i += 8) {
        memcpy(&w, p + i, 8);
        if (w & ((w & 0x7F * ones) + 0x34 * ones) & 0x80 * ones) break;
    }
    return i;
}

size_t lf_nfc_prefix(const uint8_t *text, size_t n) {
    size_t at = 0;
    for (unsigned last_ccc = 0; at < n;) {
        size_t plain = skip_plain(text + at, n - at);
        if (plain) {
            at += plain;
            last_ccc = 0;
            if (at == n) return n;
            if (lf_utf8_continues(text[at]) && text[at - 1] >= 0xC2) at--; /* the step ended inside a character */
        }
        uint32_t cp;
        unsigned bytes = lf_utf8_read(text + at, text + n, &cp);
        const lf_nfc_entry *e = lf_nfc_entry_of(cp);
        if (LF_UNLIKELY(e->flags)) {
            if (e->flags & LF_NFC_UNSURE || e->ccc < last_ccc) {
                while (at > 0 && e->flags & LF_NFC_JOINS) {
                    at = lf_utf8_before(text, at);
                    lf_utf8_read(text + at, text + n, &cp);
                    e = lf_nfc_entry_of(cp);
                }
                return at;
            }
        }
        last_ccc = e->ccc;
        at += bytes;
    }
    return n;
}

size_t lf_nfc_next(const uint8_t *text, size_t n, size_t at) {
    uint32_t cp;
    for (at += lf_utf8_read(text + at, text + n, &cp); at < n;) {
        unsigned bytes = lf_utf8_read(text + at, text + n, &cp);
        if (!(lf_nfc_entry_of(cp)->flags & LF_NFC_JOINS)) break;
        at += bytes;
    }
    return at;
}

size_t lf_nfc(const uint8_t *restrict text, size_t n, uint8_t *restrict out) {
    size_t n_out = 0;
    for (size_t at = 0; at < n;) {
        size_t good = lf_nfc_prefix(text + at, n - at);
        memcpy(out + n_out, text + at, good);
        n_out += good;
        at += good;
        if (at == n) break;
        size_t end = lf_nfc_next(text, n, at);
        n_out += normalize_segment(text + at, end - at, out + n_out);
        at = end;
    }
    return n_out;
}
