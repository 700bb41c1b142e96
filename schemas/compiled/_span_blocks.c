/* Parses plain spans in protobuf to columns in ClickHouse's Native format, without one Python object for a value.
 *
 * The rows are those that workers/normalise/otlp/plain_spans.py makes; workers/normalise/otlp/span_blocks.py says what
 * each column is. A span that is unusual in any way is odd, and is left to the Python: nothing here repairs, refuses or
 * explains anything.
 *
 * Every read of input is checked against its end; a function that returns 0 found an odd span, -1 a Python error.
 * `make fuzz-native` runs this under sanitizers beside the Python.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "include/protobuf_in.h"
#include "include/bytes_out.h"
#include "include/json_out.h"
#include "include/block_keys.h"
#include "include/blake2b.h"
#include "include/block.h"
#include "include/block_attributes.h"
#include "include/span_payload.h"

/* The columns that are made, in the order of span_blocks.PARTS. A map has three: how many entries, keys, values. */
enum {
    INDEX, EVENT_ID, TIMESTAMP, TRACE_ID, SPAN_ID, PARENT_ID, STATE, FLAGS, KIND, STATUS, MESSAGE, DURATION, NAME,
    MAPS, PAYLOAD = MAPS + 3 * TYPES, COLUMNS
};
enum { CHUNKS, PREFIX, EARLIEST, LATEST, NEEDS_CARE, DUMPS, MOST_ODD, ARGUMENTS };

/* Status: 2 message, 3 code. */
static int status(Span *span, Bytes in) {
    if (span->statuses++) return 0;
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        if (tag == 0x12) {
            if (!once(&in, &span->message)) return 0;
        } else if (tag != 0x18 || !small(&in, &span->code)) {
            return 0;
        }
    }
    return 1;
}

/* A count of what was dropped; plain is none. */
static int no_count(Span *span, Bytes *in) { return small(in, &span->dropped) && !span->dropped; }

/* The fields of a Span message by tag (field number * 8 + wire type); flags have a tag of two bytes. */
static int fields(Block *block, Span *span, Bytes in) {
    Bytes content;
    int done = 1;
    while (in.at < in.end && done == 1) {
        switch (*in.at++) {
        case 0x0A: done = once(&in, &span->trace_id); break;
        case 0x12: done = once(&in, &span->span_id); break;
        case 0x1A: done = once(&in, &span->state); break;
        case 0x22: done = once(&in, &span->parent_id); break;
        case 0x2A: done = once(&in, &span->name); break;
        case 0x30: done = small(&in, &span->kind); break;
        case 0x39: done = fixed(&in, 8, &span->start); break;
        case 0x41: done = fixed(&in, 8, &span->end); break;
        case 0x4A: done = part(&in, &content) ? take_attribute(block, content) : 0; break;
        case 0x50: case 0x60: case 0x70: done = no_count(span, &in); break;
        case 0x7A: done = part(&in, &content) ? status(span, content) : 0; break;
        case 0x85: done = in.at < in.end && *in.at++ == 0x01 && fixed(&in, 4, &span->flags); break;
        default: done = 0;
        }
    }
    return done;
}

/* An id of `size` bytes that are not all zero, as digits. */
static int digits_of(Bytes id, size_t size, char *out) {
    if (size_of(id) != size || is_zero(id)) return 0;
    hex(id, out);
    return 1;
}

/* Whether the whole span is plain. */
static int check(const Block *block, Span *span) {
    if (!span->start || span->start > INT64_MAX || span->end < span->start) return 0;
    if ((long long)span->start < block->earliest || (long long)span->start > block->latest) return 0;
    if (!digits_of(span->trace_id, TRACE_DIGITS / 2, span->trace)) return 0;
    if (!digits_of(span->span_id, SPAN_DIGITS / 2, span->id)) return 0;
    return !size_of(span->parent_id) || digits_of(span->parent_id, SPAN_DIGITS / 2, span->parent);
}

/* schemas.rows.row_id of the prefix and both ids. */
static int put_event_id(Block *block, const Span *span) {
    uint8_t *at = block->hashed + block->prefix;
    memcpy(at, "\0\0\0\x20", LENGTH);
    memcpy(at + LENGTH, span->trace, TRACE_DIGITS);
    memcpy(at + LENGTH + TRACE_DIGITS, "\0\0\0\x10", LENGTH);
    memcpy(at + 2 * LENGTH + TRACE_DIGITS, span->id, SPAN_DIGITS);
    return put_hash(&block->columns[EVENT_ID], block->hashed, block->prefix + 2 * LENGTH + TRACE_DIGITS + SPAN_DIGITS);
}

static int put_columns(Block *block, const Span *span, Py_ssize_t index) {
    Buffer *columns = block->columns;
    if (put_fixed(&columns[INDEX], (uint64_t)index, 4) < 0 || put_event_id(block, span) < 0) return -1;
    if (put_fixed(&columns[TIMESTAMP], span->start, 8) < 0) return -1;
    if (put_string(&columns[TRACE_ID], span->trace, TRACE_DIGITS) < 0) return -1;
    if (put_string(&columns[SPAN_ID], span->id, SPAN_DIGITS) < 0) return -1;
    if (put_string(&columns[PARENT_ID], span->parent, 2 * size_of(span->parent_id)) < 0) return -1;
    if (put_string(&columns[STATE], span->state.at, size_of(span->state)) < 0) return -1;
    if (put_fixed(&columns[FLAGS], span->flags & 0xFF, 4) < 0) return -1;
    if (put_byte(&columns[KIND], span->kind <= 5 ? (uint8_t)span->kind : 0) < 0) return -1;
    if (put_byte(&columns[STATUS], span->code <= 2 ? (uint8_t)span->code : 0) < 0) return -1;
    if (put_string(&columns[MESSAGE], span->message.at, size_of(span->message)) < 0) return -1;
    if (put_fixed(&columns[DURATION], span->end - span->start, 8) < 0) return -1;
    if (put_string(&columns[NAME], span->name.at, size_of(span->name)) < 0) return -1;
    if (put_counts(block) < 0) return -1;
    return put_string(&columns[PAYLOAD], block->payload.at, block->payload.size);
}

static int take_record(Block *block, Bytes in, Py_ssize_t index) {
    Span span = {0};
    int done = fields(block, &span, in);
    if (done == 1) done = check(block, &span);
    if (done == 1) done = put_payload(&block->payload, &block->attributes, &span);
    return done == 1 ? put_columns(block, &span, index) : done;
}

/* -1 with an error set if an argument is not what span_blocks.py says. */
static int begin(Block *block, PyObject *given[ARGUMENTS], Py_ssize_t *most_odd) {
    if (begin_hash(block->hashed, given[PREFIX], 2 * LENGTH + TRACE_DIGITS + SPAN_DIGITS, &block->prefix) < 0) return -1;
    block->earliest = PyLong_AsLongLong(given[EARLIEST]);
    block->latest = PyErr_Occurred() ? 0 : PyLong_AsLongLong(given[LATEST]);
    *most_odd = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(given[MOST_ODD]);
    block->needs_care = given[NEEDS_CARE];
    block->dumps = given[DUMPS];
    return PyErr_Occurred() ? -1 : 1;
}

static PyObject *span_block(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given[ARGUMENTS], *found = NULL;
    Py_ssize_t most_odd = 0;
    if (!PyArg_UnpackTuple(arguments, "span_block", ARGUMENTS, ARGUMENTS, &given[CHUNKS], &given[PREFIX],
                           &given[EARLIEST], &given[LATEST], &given[NEEDS_CARE], &given[DUMPS], &given[MOST_ODD]))
        return NULL;
    Block *block = new_block(COLUMNS, MAPS);
    if (!block) return NULL;
    if (!PyErr_Occurred() && begin(block, given, &most_odd) == 1) found = block_of(block, given[CHUNKS], most_odd);
    end(block);
    return found;
}

static PyMethodDef methods[] = {
    {"span_block", span_block, METH_VARARGS,
     "(columns, keys of attributes, indexes of odd spans, []) of a list of Span messages; None if too many are odd."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_span_blocks", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__span_blocks(void) { return PyModule_Create(&module); }
