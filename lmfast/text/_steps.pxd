"""Normalizers of a tokenizer.json one after another, as the doors see them that compile them."""

from cpython.bytes cimport PyBytes_AS_STRING
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t

from lmfast._lf cimport lf_status

cdef extern from "text/automaton.h" nogil:
    enum:
        LF_AUTOMATON_PAGE
        LF_AUTOMATON_PAGES
    ctypedef struct lf_automaton:
        pass
    lf_status lf_automaton_new(lf_automaton *a, const uint16_t *pages, const uint8_t *blocks, size_t n_blocks,
                               const uint16_t *table, size_t n_states, size_t n_columns)

cdef extern from "text/steps.h" nogil:
    ctypedef enum lf_step_kind:
        LF_STEP_PRECOMPILED
        LF_STEP_REPLACE
        LF_STEP_SPACES
        LF_STEP_STRIP
        LF_STEP_PREPEND
        LF_STEP_REWRITE
        LF_STEP_FORM
        LF_STEP_PATTERN
    ctypedef struct lf_step:
        lf_step_kind kind
        int option
        const uint8_t *from_ "from"
        const uint8_t *to
        size_t n_from
        size_t n_to
        lf_automaton automaton

cdef extern from "text/converted.h" nogil:
    ctypedef enum lf_prepend:
        LF_PREPEND_NEVER
        LF_PREPEND_FIRST
        LF_PREPEND_ALWAYS


cdef inline void set_step(lf_step *step, lf_step_kind kind, int option, bytes source, bytes target):
    # the strings must outlive the step
    step.kind, step.option = kind, option
    step.from_, step.n_from = <const uint8_t *>PyBytes_AS_STRING(source), <size_t>len(source)
    step.to, step.n_to = <const uint8_t *>PyBytes_AS_STRING(target), <size_t>len(target)
