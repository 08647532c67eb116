/* split_blocks.h - pre-tokenizers, 64 bytes at a time; included by split_<isa>.c, which gives the vector operations.
 *
 * A block of 64 bytes becomes a few 64-bit masks (split_run.h). Which bytes begin a piece then follows from shifts,
 * additions and boolean algebra on the masks, with a few bits carried from block to block. The algebra is exact for what
 * text is made of; a byte for which it would have to look further is put in doubt, and the automaton of split.c decides: a
 * byte in doubt begins a piece if and only if the piece that begins last before it ends there.
 *
 * Read a mask as a row of bytes, the first byte lowest. Then
 *
 *     x << 1 | carry            the byte before is in x
 *     x >> 1 | next << 63       the byte after is in x
 *     (run + first) & ~run      for runs whose first byte is in `first`: the byte after the run
 *     run & ~(run + first)      the bytes of those runs
 *
 * since the addition carries through a run of ones. A byte that is not UTF-8 is in no class: a symbol of its own. */
#include <string.h>

#include "text/append.h"
#include "text/split_run.h"
#include "text/utf8.h"

typedef uint64_t mask;
typedef lf_block_masks masks;
typedef lf_block_carry carry;

enum { BLOCK = 64 };

/* The including file gives: a vector `block` of 64 bytes; load_block(p, left), which fills with zeros past `left` bytes;
 * equal(b, c), in_range(b, low, high), high(b): the bytes that are c, in [low, high], above 127; and
 * folded(b), in which A-Z and a-z are a-z and no other byte is. */

static inline int lowest(mask m) { return __builtin_ctzll(m); }
static inline int highest(mask m) { return 63 - __builtin_clzll(m); }
static inline mask bit(size_t i) { return (mask)1 << i; }

/* Sets the class of one character of `length` bytes at byte i; what goes past the block goes to the spill. */
static inline void set_class(masks *m, masks *spill, unsigned class, int i, unsigned length) {
    const mask bytes = bit(length) - 1, here = bytes << i, there = i + length > BLOCK ? bytes >> (BLOCK - i) : 0;
    if (class & LF_LETTER) {
        m->letter |= here, spill->letter |= there;
        if (class & LF_UPPER) m->upper |= here, spill->upper |= there;
        if (class & LF_LOWER) m->lower |= here, spill->lower |= there;
    } else if (class & LF_NUMBER) {
        m->number |= here, spill->number |= there;
        m->odd_number |= here;
    } else if (class & LF_SPACE) {
        m->space |= here, spill->space |= there;
        m->odd_space |= bit((size_t)i);
    } else if (class & LF_MARK) {
        m->mark |= here, spill->mark |= there;
    }
}

/* Sets letters of two or three bytes that begin at the bits of `two` and `three`, of the former those that are capitals or
 * small letters as such, and symbols of three bytes. */
static inline void set_common(masks *m, masks *spill, mask upper, mask lower, mask two, mask three, mask symbols) {
    const mask letters = two << 1 | three << 1 | three << 2, letters_past = two >> 63 | three >> 63 | three >> 62;
    m->letter |= two | three | letters, m->inside |= letters | symbols << 1 | symbols << 2;
    m->upper |= upper | upper << 1, m->lower |= lower | lower << 1;
    spill->letter |= letters_past, spill->inside |= letters_past | symbols >> 63 | symbols >> 62;
    spill->upper |= upper >> 63, spill->lower |= lower >> 63;
}

/* The letters of the commonest scripts and the symbols between them, by ranges of their bytes, as Unicode has had them since
 * 5.2. Returns the first bytes that it has dealt with. */
static mask common_characters(block b, mask above, const uint8_t *p, size_t left, masks *m, masks *spill) {
    if (left < BLOCK + 2) return 0;
    const block b1 = load_block(p + 1, BLOCK);
    mask upper = 0, lower = 0, two = 0, three = 0, symbols = 0;
    const mask latin = above & equal(b, 0xC3);
    if (latin) { /* U+00C0..00FF but for the signs of times and divided by */
        upper = latin & in_range(b1, 0x80, 0x9E) & ~equal(b1, 0x97);
        lower = latin & in_range(b1, 0x9F, 0xBF) & ~equal(b1, 0xB7);
    }
    const mask cyrillic = above & in_range(b, 0xD0, 0xD1), arabic = above & in_range(b, 0xD8, 0xDB);
    if (cyrillic) { /* U+0400..042F are capitals, U+0430..045F small letters */
        const mask first = equal(b, 0xD0), second = equal(b, 0xD1);
        upper |= first & in_range(b1, 0x80, 0xAF);
        lower |= (first & in_range(b1, 0xB0, 0xBF)) | (second & in_range(b1, 0x80, 0x9F));
    }
    if (arabic) { /* U+0620..064A, U+0671..06D3 */
        const mask d9 = equal(b, 0xD9);
        two = (equal(b, 0xD8) & in_range(b1, 0xA0, 0xBF)) | (d9 & in_range(b1, 0x80, 0x8A)) |
              (d9 & in_range(b1, 0xB1, 0xBF)) | (equal(b, 0xDA) & in_range(b1, 0x80, 0xBF)) |
              (equal(b, 0xDB) & in_range(b1, 0x80, 0x93));
    }
    if (above & in_range(b, 0xE2, 0xEF)) {
        const block b2 = load_block(p + 2, BLOCK);
        const mask general = equal(b, 0xE2) & equal(b1, 0x80), wide = equal(b, 0xEF) & equal(b1, 0xBC);
        const mask kana = equal(b, 0xE3), k80 = kana & equal(b1, 0x80), han = in_range(b, 0xE5, 0xE9),
                   hangul = in_range(b, 0xEB, 0xEC);
        three |= (han | hangul) & in_range(b1, 0x80, 0xBF); /* U+5000..9FFF, U+B000..CFFF */
        three |= equal(b, 0xE4) & in_range(b1, 0xB8, 0xBF); /* U+4E00..4FFF               */
        three |= equal(b, 0xEA) & in_range(b1, 0xB0, 0xBF); /* U+AC00..AFFF               */
        three |= equal(b, 0xED) & in_range(b1, 0x80, 0x9D); /* U+D000..D77F               */
        three &= in_range(b2, 0x80, 0xBF);
        symbols = general & (in_range(b2, 0x90, 0xA7) | in_range(b2, 0xB0, 0xBF)); /* U+2010..2027, U+2030..203F */
        symbols |= k80 & (in_range(b2, 0x81, 0x84) | in_range(b2, 0x88, 0xA0));    /* U+3001..3004, U+3008..3020 */
        /* U+FF01..FF0F, U+FF1A..FF20, U+FF3B..FF3F */
        symbols |= wide & (in_range(b2, 0x81, 0x8F) | in_range(b2, 0x9A, 0xA0) | in_range(b2, 0xBB, 0xBF));
        if (kana) { /* U+3041..3096, U+30A1..30FA, U+30FC..30FF */
            const mask k82 = kana & equal(b1, 0x82), k83 = kana & equal(b1, 0x83);
            three |= kana & equal(b1, 0x81) & in_range(b2, 0x81, 0xBF);
            three |= k82 & (in_range(b2, 0x80, 0x96) | in_range(b2, 0xA1, 0xBF));
            three |= k83 & (in_range(b2, 0x80, 0xBA) | in_range(b2, 0xBC, 0xBF));
        }
    }
    two |= upper | lower;
    set_common(m, spill, upper, lower, two, three, symbols);
    return two | three | symbols;
}

/* The classes of the characters outside ASCII, in a block or from the one before. */
static __attribute__((noinline)) masks beyond_ascii(lf_split_run *r, block b, mask above, const uint8_t *p,
                                                    size_t left) {
    masks *spill = &r->spill, all = *spill, *m = &all;
    memset(spill, 0, sizeof *spill);
    mask firsts = above & ~in_range(b, 0x80, 0xBF);
    firsts &= ~common_characters(b, firsts, p, left, m, spill);
    for (; firsts; firsts &= firsts - 1) {
        const int i = lowest(firsts);
        uint32_t c;
        const unsigned length = lf_utf8_read(p + i, p + left, &c);
        if (c == LF_NO_CHARACTER) continue;
        m->inside |= (bit(length) - 2) << i;
        if (i + length > BLOCK) spill->inside |= (bit(length) - 1) >> (BLOCK - i);
        set_class(m, spill, lf_class_of(r->unicode, c), i, length);
    }
    return all;
}

/* The masks of the block at `at`. */
static inline masks classify(lf_split_run *r, size_t at, lf_split split) {
    masks m = {0};
    if (LF_UNLIKELY(at >= r->n)) return m;
    const uint8_t *p = r->text + at;
    const size_t left = r->n - at;
    const block b = load_block(p, left);
    m.above = high(b);
    if (split == LF_SPLIT_O200K) {
        m.upper = in_range(b, 'A', 'Z');
        m.lower = in_range(b, 'a', 'z');
        m.letter = m.upper | m.lower;
        m.slash = equal(b, '/');
    } else {
        m.letter = in_range(folded(b), 'a', 'z');
    }
    m.number = in_range(b, '0', '9');
    m.blank = equal(b, ' ');
    m.newline = equal(b, '\n') | equal(b, '\r');
    m.space = m.blank | in_range(b, '\t', '\r');
    m.apostrophe = equal(b, '\'');
    if (LF_UNLIKELY(m.above)) {
        const masks more = beyond_ascii(r, b, m.above, p, left);
        m.letter |= more.letter, m.number |= more.number, m.space |= more.space;
        m.inside = more.inside;
        if (split == LF_SPLIT_O200K) m.upper |= more.upper, m.lower |= more.lower, m.mark = more.mark;
        m.odd_number = more.odd_number, m.odd_space = more.odd_space;
    }
    return m;
}

/* '(?:[sdmt]|ll|ve|re) at byte `at`: its length, 0 if it is none. */
static inline unsigned contraction(const lf_split_run *r, size_t at, int ignore_case) {
    const uint8_t *p = r->text + at;
    const size_t left = r->n - at;
    const unsigned fold = ignore_case ? 0x20 : 0;
    if (left < 2) return 0;
    const unsigned a = p[1] | fold;
    if (a == 's' || a == 'd' || a == 'm' || a == 't') return 2;
    if (left < 3) return 0;
    const unsigned c = p[2] | fold;
    if ((a == 'l' && c == 'l') || (a == 'v' && c == 'e') || (a == 'r' && c == 'e')) return 3;
    return ignore_case && p[1] == 0xC5 && p[2] == 0xBF ? 3 : 0;
}

/* Sets a bit of this block's mask or of the carry to the next. */
static inline void set_bit(mask *here, mask *next, size_t i) {
    if (i < BLOCK) *here |= bit(i);
    else *next |= bit(i - BLOCK);
}

static inline int has_bit(mask here, mask next, size_t i) { return (i < BLOCK ? here >> i : next >> (i - BLOCK)) & 1; }

/* The bytes that begin a group of three digits: every third of a run. */
static inline mask groups_of_three(mask number, carry *c) {
    const mask before = number << 1 | c->number >> 63;
    const mask fourth = number & before & (number << 2 | c->number >> 62) & (number << 3 | c->number >> 61);
    mask found = (number & ~before) | (c->groups & fourth), all = found;
    found = found << 3 & fourth, all |= found;
    while (LF_UNLIKELY(found = found << 3 & fourth)) all |= found;
    c->groups = all >> 61;
    return all;
}

static inline mask gpt2(lf_split_run *r, size_t base, mask valid, mask end, const masks *m, const masks *x, carry *c,
                        mask *doubt) {
    const mask symbol = valid & ~(m->letter | m->number | m->space);
    const mask before_number = m->number << 1 | c->number >> 63;
    const mask first = (m->letter & ~(m->letter << 1 | c->letter)) | (m->number & ~before_number) |
                       (symbol & ~(symbol << 1 | c->symbol));
    const mask space_after = (m->space | end) >> 1 | ((x->space | (base + BLOCK == r->n)) << 63);
    mask starts = first & ~(m->blank << 1 | c->blank);
    starts |= m->space & ~(m->space << 1 | c->space);
    starts |= m->space & ~space_after & ~m->inside & ~m->odd_space;
    *doubt |= m->odd_space;
    starts = (starts & ~c->drop) | c->begin;
    c->drop = c->begin = 0;
    mask letters_after = m->letter >> 1 | x->letter << 63;
    for (mask found = m->apostrophe & starts & letters_after; found; found &= found - 1) {
        const size_t i = (size_t)lowest(found);
        const unsigned length = contraction(r, base + i, 0);
        if (!length) continue;
        mask drop = 0;
        set_bit(&drop, &c->drop, i + 1);
        starts &= ~drop;
        if (has_bit(m->letter, x->letter, i + length)) set_bit(&starts, &c->begin, i + length);
    }
    c->letter = m->letter >> 63, c->symbol = symbol >> 63, c->space = m->space >> 63, c->blank = m->blank >> 63;
    c->number = m->number;
    return starts;
}

/* Of the bytes that begin a line with white space, those that begin a piece: those with no newline later in their run. This
 * and what else is rare is kept out of line, so that the common way has the registers. */
static __attribute__((noinline)) mask doubtful_indents(size_t n, size_t base, mask indent, mask plain, mask newline,
                                                       mask end, mask next_space, mask next_newline, mask *doubt) {
    const mask sum = plain + indent, after = sum & ~plain;
    for (mask ends = after & newline; ends; ends &= ends - 1)
        indent &= ~bit((size_t)highest(indent & (bit((size_t)lowest(ends)) - 1)));
    if (after & end) *doubt |= indent;
    if (sum < plain) { /* the last run goes on in the next block */
        const mask last = bit((size_t)highest(indent)), run = next_space & ~next_newline;
        const size_t length = ~run ? (size_t)lowest(~run) : BLOCK;
        if (length == BLOCK || base + BLOCK + length == n) *doubt |= last;
        else if (next_newline >> length & 1) indent &= ~last;
    }
    return indent;
}

/* White space where newlines end pieces, after the newlines that symbols absorb. */
static inline mask white_space(lf_split_run *r, size_t base, mask end, mask absorbed, const masks *m, const masks *x,
                               carry *c, mask *doubt) {
    const mask open = m->space & ~absorbed, plain = m->space & ~m->newline;
    const mask space_after = (m->space | end) >> 1 | ((x->space | (base + BLOCK == r->n)) << 63);
    mask starts = open & ~(open << 1 | c->open_space);
    starts |= plain & ~space_after & ~m->inside & ~m->odd_space;
    *doubt |= m->odd_space;
    mask indent = plain & (m->newline << 1 | c->newline); /* begins a piece if no newline follows in its run */
    const mask sum = plain + indent, after = sum & ~plain;
    if (LF_UNLIKELY((after & (m->newline | end)) | (sum < plain)))
        indent = doubtful_indents(r->n, base, indent, plain, m->newline, end, x->space, x->newline, doubt);
    starts |= indent;
    c->open_space = open >> 63, c->newline = m->newline >> 63, c->space = m->space >> 63;
    return starts;
}

/* Numbers of up to three digits; a run with some outside ASCII, whose digits are longer than a byte, is in doubt. */
static inline mask numbers_of_three(const masks *m, carry *c, mask *doubt) {
    if (LF_UNLIKELY(m->odd_number || (c->odd_number && m->number & 1))) {
        *doubt |= m->number & ~m->inside;
        c->odd_number = m->number >> 63, c->groups = 0;
        return 0;
    }
    c->odd_number = 0;
    return groups_of_three(m->number, c);
}

/* All bytes of the symbols that begin at the bits of `first`, or that began so in the block before. */
static inline mask whole_symbols(mask first, mask symbol, const masks *m, const carry *c) {
    if (LF_LIKELY(!m->inside)) return first;
    const mask rest = m->inside & symbol;
    mask all = first | (c->prefix & rest);
    for (int i = 0; i < 3; i++) all |= all << 1 & rest;
    return all;
}

/* The letters right after the contractions at the bits of `found`: they begin pieces. Those in the next block go to *next. */
static __attribute__((noinline)) mask after_contractions(const lf_split_run *r, size_t base, mask found, mask letter,
                                                         mask next_letter, mask *next) {
    mask starts = 0;
    for (; found; found &= found - 1) {
        const size_t i = (size_t)lowest(found);
        const unsigned length = contraction(r, base + i, 1);
        if (length && has_bit(letter, next_letter, i + length)) set_bit(&starts, next, i + length);
    }
    return starts;
}

static inline mask cl100k(lf_split_run *r, size_t base, mask valid, mask end, const masks *m, const masks *x, carry *c,
                          int digits, mask *doubt) {
    const mask symbol = valid & ~(m->letter | m->number | m->space);
    const mask absorbing = m->newline & (symbol << 1 | c->symbol | c->absorbed);
    const mask absorbed = m->newline & ~(m->newline + absorbing);
    const mask plain_before = (m->space << 1 | c->space) & ~(m->newline << 1 | c->newline);
    const mask symbols = symbol & ~(symbol << 1 | c->symbol) & ~(m->blank << 1 | c->blank);
    const mask prefix = whole_symbols(symbols, symbol, m, c);
    mask starts = symbols | (m->letter & ~(m->letter << 1 | c->letter) & ~(prefix << 1 | c->prefix) & ~plain_before);
    if (digits == 1) {
        starts |= m->number & ~m->inside;
    } else {
        starts |= numbers_of_three(m, c, doubt);
    }
    starts |= white_space(r, base, end, absorbed, m, x, c, doubt);
    starts |= c->begin;
    c->begin = 0;
    const mask letters_after = (m->letter >> 1 | x->letter << 63) & (m->letter >> 2 | x->letter << 62);
    const mask found = m->apostrophe & symbols & letters_after;
    if (LF_UNLIKELY(found)) {
        mask begin = 0;
        starts |= after_contractions(r, base, found, m->letter, x->letter, &begin);
        c->begin = begin;
    }
    c->letter = m->letter >> 63, c->symbol = symbol >> 63, c->blank = m->blank >> 63;
    c->prefix = prefix >> 63, c->absorbed = absorbed >> 63, c->number = m->number;
    return starts;
}

static inline mask o200k(lf_split_run *r, size_t base, mask valid, mask end, const masks *m, const masks *x, carry *c,
                         mask *doubt) {
    const mask word = m->letter | m->mark, both = word & ~(m->upper | m->lower);
    const mask symbol = valid & ~(word | m->number | m->space);
    const mask word_before = word << 1 | c->word;
    mask absorbed = m->newline & ~(m->newline + (m->newline & (symbol << 1 | c->symbol | c->absorbed)));
    if (LF_UNLIKELY(m->slash & (absorbed << 1 | c->absorbed))) { /* slashes and newlines after an absorbed newline */
        const mask either = m->slash | m->newline;
        for (mask more; (more = either & (absorbed << 1 | c->absorbed) & ~absorbed);) absorbed |= more;
    }
    const mask open_symbol = symbol & ~absorbed;
    const mask plain_before = (m->space << 1 | c->space) & ~(m->newline << 1 | c->newline);
    const mask symbols = open_symbol & ~(open_symbol << 1 | c->symbol) & ~(m->blank << 1 | c->blank);
    const mask prefix = whole_symbols(symbols, symbol, m, c);
    mask starts = symbols | (word & ~word_before & ~(prefix << 1 | c->prefix) & ~plain_before);
    starts |= m->upper & (m->lower << 1 | c->lower);
    *doubt |= m->upper & (both << 1 | c->both);
    starts |= numbers_of_three(m, c, doubt);
    starts |= white_space(r, base, end, absorbed & m->newline, m, x, c, doubt);
    starts = (starts & ~c->drop) | c->begin;
    c->drop = c->begin = 0;
    /* A contraction belongs to the word before it, unless that is a contraction itself. */
    const mask letters_after = m->letter >> 1 | x->letter << 63;
    for (mask found = m->apostrophe & word_before & letters_after; found; found &= found - 1) {
        const size_t i = (size_t)lowest(found);
        const unsigned length = contraction(r, base + i, 1);
        if (!length || c->contraction == base + i) continue;
        mask drop = 0;
        for (unsigned k = 0; k < length; k++) set_bit(&drop, &c->drop, i + k);
        starts &= ~drop;
        *doubt &= ~drop;
        c->contraction = base + i + length;
        if (has_bit(word, x->letter | x->mark, i + length)) set_bit(&starts, &c->begin, i + length);
    }
    /* A mark after none of a word's characters may begin a word or belong to symbols; what follows depends on it. */
    const mask stray = m->mark & ~word_before;
    if (LF_UNLIKELY(stray || c->unsure)) {
        *doubt = valid & ~m->inside;
        c->drop = c->begin = 0;
        const mask sync = m->blank & (m->letter & ~m->inside & ~both) >> 1;
        c->unsure = !sync || (stray && highest(stray) > highest(sync)) || c->contraction != (size_t)-1;
        c->contraction = (size_t)-1;
    }
    c->word = word >> 63, c->lower = m->lower >> 63, c->both = both >> 63, c->letter = m->letter >> 63;
    c->symbol = open_symbol >> 63, c->blank = m->blank >> 63, c->number = m->number;
    c->prefix = prefix >> 63, c->absorbed = absorbed >> 63;
    return starts;
}

/* Decides the bytes in doubt, the first one first. */
static __attribute__((noinline)) mask settle(lf_split_run *r, size_t base, mask starts, mask doubt) {
    starts &= ~doubt;
    for (; doubt; doubt &= doubt - 1) {
        const int i = lowest(doubt);
        const mask before = starts & (bit((size_t)i) - 1);
        const size_t from = before ? base + (size_t)highest(before) : r->last;
        if (from != r->doubt_from) {
            r->doubt_from = from;
            r->doubt_to = lf_split_next(r->split, r->unicode, r->text, r->n, from);
        }
        if (r->doubt_to == base + (size_t)i) starts |= bit((size_t)i);
    }
    return starts;
}

/* The starts of the block at `base`, whose masks are m and whose next block's are x. */
static inline mask starts_of(lf_split_run *r, size_t base, const masks *m, const masks *x, carry *c, lf_split split) {
    const size_t left = r->n - base;
    const mask valid = left >= BLOCK ? ~(mask)0 : bit(left) - 1, end = left < BLOCK ? bit(left) : 0;
    mask doubt = 0, starts = 0;
    switch (split) {
    case LF_SPLIT_GPT2: starts = gpt2(r, base, valid, end, m, x, c, &doubt); break;
    case LF_SPLIT_CL100K:
    case LF_SPLIT_LLAMA3: starts = cl100k(r, base, valid, end, m, x, c, 3, &doubt); break;
    case LF_SPLIT_QWEN2: starts = cl100k(r, base, valid, end, m, x, c, 1, &doubt); break;
    case LF_SPLIT_O200K: starts = o200k(r, base, valid, end, m, x, c, &doubt); break;
    case LF_SPLIT_NONE: break;
    }
    starts &= valid;
    if (base == 0) starts |= 1, doubt &= ~(mask)1;
    if (LF_UNLIKELY(doubt & valid)) starts = settle(r, base, starts, doubt & valid);
    if (starts) r->last = base + (size_t)highest(starts);
    return starts;
}

/* Blocks until a batch is full. Hands over to split.c for good where a piece is a giant. The masks and the carry are kept
 * here, where the compiler need not have them in memory. */
static inline __attribute__((always_inline)) lf_split_batch fill_blocks(lf_split_run *r, uint32_t *bounds,
                                                                        lf_split split) {
    lf_split_batch batch = {.base = r->last, .at = r->at};
    size_t n_bounds = r->at > 0; /* the piece that the batch before left open */
    bounds[0] = 0;
    masks now = r->ahead, ahead = now;
    carry c = r->carry;
    const size_t stop = r->n - r->at < LF_SPLIT_WINDOW ? r->n : r->at + LF_SPLIT_WINDOW;
    while (r->at < stop) {
        if (LF_UNLIKELY(r->at - batch.base > LF_SPLIT_GIANT)) {
            r->vector = 0;
            break;
        }
        ahead = classify(r, r->at + BLOCK, split);
        batch.beyond_ascii |= now.above != 0;
        const mask starts = starts_of(r, r->at, &now, &ahead, &c, split);
        if (r->starts) r->starts[(r->at - batch.at) / BLOCK] = starts;
        if (LF_LIKELY(!batch.beyond_ascii) || !r->starts)
            n_bounds += append(bounds + n_bounds, (uint32_t)(r->at - batch.base), starts);
        else n_bounds += (size_t)__builtin_popcountll(starts);
        now = ahead;
        r->at += BLOCK;
    }
    r->ahead = ahead;
    r->carry = c;
    batch.n_pieces = n_bounds - (n_bounds > 0);
    size_t n_words = (r->at - batch.at) / BLOCK;
    if (!r->vector) {
        r->at = r->last;
    } else if (r->at >= r->n) {
        bounds[n_bounds] = (uint32_t)(r->n - batch.base);
        batch.n_pieces = n_bounds;
        if (r->starts) { /* the last piece ends here */
            const size_t end = r->n - batch.at;
            if (end % BLOCK == 0) r->starts[n_words++] = 0;
            r->starts[end / BLOCK] |= bit(end % BLOCK);
        }
        r->at = r->n;
        r->vector = 0;
    }
    if (r->starts && batch.beyond_ascii) r->starts[n_words] = 0, batch.n_blocks = n_words;
    return batch;
}

static inline lf_split_batch fill(lf_split_run *r, uint32_t *bounds) {
    if (LF_UNLIKELY(r->vector < 0)) { /* the first batch */
        r->vector = r->split != LF_SPLIT_NONE && r->n > 0;
        if (r->vector) r->ahead = classify(r, 0, r->split);
    }
    while (r->vector) {
        lf_split_batch batch = {0};
        switch (r->split) {
        case LF_SPLIT_GPT2: batch = fill_blocks(r, bounds, LF_SPLIT_GPT2); break;
        case LF_SPLIT_CL100K: batch = fill_blocks(r, bounds, LF_SPLIT_CL100K); break;
        case LF_SPLIT_LLAMA3: batch = fill_blocks(r, bounds, LF_SPLIT_LLAMA3); break;
        case LF_SPLIT_QWEN2: batch = fill_blocks(r, bounds, LF_SPLIT_QWEN2); break;
        case LF_SPLIT_O200K: batch = fill_blocks(r, bounds, LF_SPLIT_O200K); break;
        case LF_SPLIT_NONE: break;
        }
        if (batch.n_pieces) return batch;
    }
    return lf_split_fill_pieces(r, bounds);
}
