/* automaton.c - see automaton.h. */
#include "text/automaton.h"

#include <stdlib.h>

lf_status lf_automaton_new(lf_automaton *a, const uint16_t *pages, const uint8_t *blocks, size_t n_blocks,
                           const uint16_t *table, size_t n_states, size_t n_columns) {
    *a = (lf_automaton){pages, blocks, NULL, {0}, NULL, (uint32_t)n_columns};
    if (n_states < 2 || n_states > 0x8000 || n_columns < 2 || n_columns > 256) return LF_EVALUE;
    for (size_t i = 0; i < LF_AUTOMATON_PAGES; i++)
        if (pages[i] >= n_blocks) return LF_EVALUE;
    for (size_t i = 0; i < n_blocks * LF_AUTOMATON_PAGE; i++)
        if (blocks[i] + 1u >= n_columns) return LF_EVALUE;
    for (size_t i = 0; i < n_states * n_columns; i++)
        if ((table[i] & 0x7FFFu) >= n_states) return LF_EVALUE;
    a->ascii = blocks + (size_t)pages[0] * LF_AUTOMATON_PAGE;
    a->table = malloc(n_states * n_columns * sizeof *a->table);
    if (!a->table) return LF_ENOMEM;
    for (size_t i = 0; i < n_states * n_columns; i++)
        a->table[i] = (uint32_t)((table[i] & 0x7FFFu) * n_columns) | (table[i] & 0x8000 ? LF_AUTOMATON_MATCH : 0);
    for (size_t c = 0; c < LF_AUTOMATON_PAGE; c++) a->begins[c] = a->table[n_columns + a->ascii[c]] != 0;
    return LF_OK;
}

void lf_automaton_free(lf_automaton *a) { free(a->table), a->table = NULL; }
