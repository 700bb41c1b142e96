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
#include "_protobuf_in.h"
#include "_bytes_out.h"
#include "_block_keys.h"
#include "_blake2b.h"
#include "_span_payload.h"

/* The columns that are made, in the order of span_blocks.PARTS. A map has three: how many entries, keys, values. */
enum {
    INDEX, EVENT_ID, TIMESTAMP, TRACE_ID, SPAN_ID, PARENT_ID, STATE, FLAGS, KIND, STATUS, MESSAGE, DURATION, NAME,
    MAPS, PAYLOAD = MAPS + 3 * TYPES, COLUMNS
};
enum { CHUNKS, PREFIX, EARLIEST, LATEST, NEEDS_CARE, DUMPS, MOST_ODD, ARGUMENTS };
/* What row_id puts before an id: its length. */
#define LENGTH 4

typedef struct {
    Buffer columns[COLUMNS];
    Buffer attributes, payload; /* JSON of the span that is read */
    Keys keys;
    uint8_t hashed[HASHED_MOST];
    size_t prefix;
    long long earliest, latest;
    PyObject *needs_care, *dumps;
    Py_ssize_t number; /* of the span that is read, from 1 */
} Block;

/* A double as orjson writes it. */
static int put_double(Block *block, double value) {
    PyObject *number = PyFloat_FromDouble(value);
    PyObject *text = number ? PyObject_CallFunctionObjArgs(block->dumps, number, NULL) : NULL;
    char *at;
    Py_ssize_t size;
    int done = text && !PyBytes_AsStringAndSize(text, &at, &size) ? put_bytes(&block->attributes, at, (size_t)size) : -1;
    Py_XDECREF(text);
    Py_XDECREF(number);
    return done;
}

static int put_value(Block *block, const Attribute *found) {
    Buffer *values = &block->columns[MAPS + 3 * found->type + 2], *json = &block->attributes;
    double real;
    switch (found->type) {
    case STRINGS:
        if (put_string(values, found->content.at, size_of(found->content)) < 0) return -1;
        return json_text(json, found->content);
    case INTEGERS: {
        int is_negative = found->number >> 63 != 0;
        if (put_fixed(values, found->number, 8) < 0) return -1;
        return put_decimal(json, is_negative ? 0 - found->number : found->number, is_negative);
    }
    case DOUBLES:
        memcpy(&real, &found->number, 8);
        return put_fixed(values, found->number, 8) < 0 ? -1 : put_double(block, real);
    default:
        return put_byte(values, found->number != 0) < 0 ? -1 : put_name(json, found->number ? "true" : "false");
    }
}

static int has_at(const Attribute *found) {
    return found->type == STRINGS && size_of(found->content) && memchr(found->content.at, '@', size_of(found->content));
}

/* One attribute into its map and into the JSON. */
static int take_attribute(Block *block, Span *span, Bytes in) {
    Attribute found = {0};
    Key *key;
    int done = attribute(in, &found);
    if (done == 1) done = find_key(&block->keys, found.key, block->needs_care, &key);
    if (done != 1) return done;
    if (key->care != USUAL && (key->care != ODD_WITH_AT || has_at(&found))) return 0;
    if (key->last_span == block->number || span->counts[found.type] == UINT8_MAX) return 0;
    key->last_span = block->number;
    span->counts[found.type]++;
    if (block->attributes.size && put_byte(&block->attributes, ',') < 0) return -1;
    if (put_bytes(&block->attributes, block->keys.json.at + key->json, key->json_size) < 0) return -1;
    if (put_byte(&block->columns[MAPS + 3 * found.type + 1], (uint8_t)(key - block->keys.keys)) < 0) return -1;
    return put_value(block, &found);
}

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
        case 0x4A: done = part(&in, &content) ? take_attribute(block, span, content) : 0; break;
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
    if (size_of(id) != size) return 0;
    hex(id, out);
    for (; id.at < id.end; id.at++)
        if (*id.at) return 1;
    return 0;
}

/* Whether the whole span is plain. */
static int check(const Block *block, Span *span) {
    if (!span->start || span->start > INT64_MAX || span->end < span->start) return 0;
    if ((long long)span->start < block->earliest || (long long)span->start > block->latest) return 0;
    if (!digits_of(span->trace_id, TRACE_DIGITS / 2, span->trace)) return 0;
    if (!digits_of(span->span_id, SPAN_DIGITS / 2, span->id)) return 0;
    return !size_of(span->parent_id) || digits_of(span->parent_id, SPAN_DIGITS / 2, span->parent);
}

/* schemas.rows.row_id of the prefix and both ids, as ClickHouse writes a UUID: each half from its end. */
static int put_event_id(Block *block, const Span *span) {
    uint64_t words[2];
    uint8_t *at = block->hashed + block->prefix, *out = grow(&block->columns[EVENT_ID], 16);
    if (!out) return -1;
    memcpy(at, "\0\0\0\x20", LENGTH);
    memcpy(at + LENGTH, span->trace, TRACE_DIGITS);
    memcpy(at + LENGTH + TRACE_DIGITS, "\0\0\0\x10", LENGTH);
    memcpy(at + 2 * LENGTH + TRACE_DIGITS, span->id, SPAN_DIGITS);
    blake2b_128(block->hashed, block->prefix + 2 * LENGTH + TRACE_DIGITS + SPAN_DIGITS, words);
    for (int i = 0; i < 16; i++) out[i] = (uint8_t)(words[i / 8] >> (56 - 8 * (i % 8)));
    return 1;
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
    for (int type = 0; type < TYPES; type++)
        if (put_byte(&columns[MAPS + 3 * type], span->counts[type]) < 0) return -1;
    return put_string(&columns[PAYLOAD], block->payload.at, block->payload.size);
}

/* 1 if the span was appended; 0 if it is odd, and nothing of it is left. */
static int read_span(Block *block, Bytes in, Py_ssize_t index) {
    Span span = {0};
    size_t before[COLUMNS];
    for (int column = 0; column < COLUMNS; column++) before[column] = block->columns[column].size;
    block->attributes.size = 0;
    block->number++;
    block->keys.previous = 0;
    int done = fields(block, &span, in);
    if (done == 1) done = check(block, &span);
    if (done == 1) done = put_payload(&block->payload, &block->attributes, &span);
    if (done == 1) done = put_columns(block, &span, index);
    if (done == 0)
        for (int column = 0; column < COLUMNS; column++) block->columns[column].size = before[column];
    return done;
}

/* Reads all spans; the indexes of odd ones go to `odd`. 0 if they are more than `most_odd`. */
static int read_spans(Block *block, PyObject *chunks, PyObject *odd, Py_ssize_t most_odd) {
    for (Py_ssize_t index = 0; index < PyList_Size(chunks); index++) {
        char *data;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GetItem(chunks, index), &data, &size)) return -1;
        int done = read_span(block, (Bytes){(const uint8_t *)data, (const uint8_t *)data + size}, index);
        if (done < 0) return -1;
        if (done == 1) continue;
        if (PyList_Size(odd) == most_odd) return 0;
        PyObject *number = PyLong_FromSsize_t(index);
        int failed = !number || PyList_Append(odd, number);
        Py_XDECREF(number);
        if (failed) return -1;
    }
    return 1;
}

static PyObject *columns_of(const Block *block) {
    PyObject *found = PyTuple_New(COLUMNS);
    for (int column = 0; found && column < COLUMNS; column++) {
        const Buffer *from = &block->columns[column];
        PyObject *bytes = PyBytes_FromStringAndSize((const char *)from->at, (Py_ssize_t)from->size);
        if (!bytes || PyTuple_SetItem(found, column, bytes)) Py_CLEAR(found);
    }
    return found;
}

/* -1 with an error set if an argument is not what span_blocks.py says. */
static int begin(Block *block, PyObject *given[ARGUMENTS], Py_ssize_t *most_odd) {
    char *prefix;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(given[PREFIX], &prefix, &size)) return -1;
    if (size > HASHED_MOST - 2 * LENGTH - TRACE_DIGITS - SPAN_DIGITS || !PyList_Check(given[CHUNKS])) {
        PyErr_SetString(PyExc_ValueError, "expected a list of messages and a prefix of at most 72 bytes");
        return -1;
    }
    memcpy(block->hashed, prefix, (size_t)size);
    block->prefix = (size_t)size;
    block->earliest = PyLong_AsLongLong(given[EARLIEST]);
    block->latest = PyErr_Occurred() ? 0 : PyLong_AsLongLong(given[LATEST]);
    *most_odd = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(given[MOST_ODD]);
    block->needs_care = given[NEEDS_CARE];
    block->dumps = given[DUMPS];
    return PyErr_Occurred() || !(block->keys.texts = PyList_New(0)) ? -1 : 1;
}

static void end(Block *block) {
    for (int column = 0; column < COLUMNS; column++) PyMem_Free(block->columns[column].at);
    PyMem_Free(block->attributes.at);
    PyMem_Free(block->payload.at);
    PyMem_Free(block->keys.json.at);
    Py_XDECREF(block->keys.texts);
    PyMem_Free(block);
}

static PyObject *span_block(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given[ARGUMENTS], *found = NULL, *columns;
    Py_ssize_t most_odd = 0;
    if (!PyArg_UnpackTuple(arguments, "span_block", ARGUMENTS, ARGUMENTS, &given[CHUNKS], &given[PREFIX],
                           &given[EARLIEST], &given[LATEST], &given[NEEDS_CARE], &given[DUMPS], &given[MOST_ODD]))
        return NULL;
    Block *block = PyMem_Calloc(1, sizeof *block);
    if (!block) return PyErr_NoMemory();
    PyObject *odd = PyList_New(0), *chunks = PySequence_List(given[CHUNKS]);
    int done = odd && chunks ? begin(block, given, &most_odd) : -1;
    if (done == 1) done = read_spans(block, chunks, odd, most_odd);
    if (done == 0) {
        found = Py_NewRef(Py_None);
    } else if (done == 1 && (columns = columns_of(block))) {
        found = PyTuple_Pack(3, columns, block->keys.texts, odd);
        Py_DECREF(columns);
    }
    Py_XDECREF(odd);
    Py_XDECREF(chunks);
    end(block);
    return found;
}

static PyMethodDef methods[] = {
    {"span_block", span_block, METH_VARARGS,
     "(columns, keys of attributes, indexes of odd spans) of a list of Span messages; None if too many are odd."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_span_blocks", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__span_blocks(void) { return PyModule_Create(&module); }
