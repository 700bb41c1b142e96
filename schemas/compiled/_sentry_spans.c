/* The spans of a Sentry transaction to columns in ClickHouse's Native format, as _span_blocks.c does OTLP spans. JSON has
 * made them Python objects already; from there on no value becomes another one.
 *
 * The rows are those of workers/normalise/sentry/transaction.py; workers/normalise/sentry/transaction_blocks.py says what
 * each column is. A span that is unusual in any way is odd, and is left to the Python: nothing here repairs, refuses or
 * explains anything.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "include/bytes_out.h"
#include "include/json_out.h"
#include "include/block_keys.h"
#include "include/blake2b.h"
#define RECORDS_ARE_OBJECTS
#include "include/block.h"
#include "include/sentry_words.h"
#include "include/sentry_time.h"

/* The columns that are made, in the order of transaction_blocks.PARTS. A map has three: how many entries, keys, values. */
enum {
    INDEX, EVENT_ID, TIMESTAMP, TRACE_ID, SPAN_ID, PARENT_ID, KIND, OP, STATUS, MESSAGE, DURATION, NAME,
    MAPS, PAYLOAD_JSON = MAPS + 3 * TYPES, COLUMNS
};
enum { SPANS, PREFIX, EARLIEST, LATEST, NEEDS_CARE, OP_NEEDS_CARE, DUMPS, SEGMENT_ID, SEGMENT_NAME, MOST_ODD, ARGUMENTS };
/* What a key says beyond USUAL and ODD: its text is odd if it may be a placeholder; it is the span's kind. */
enum { ODD_WITH_BRACE = 2, NAMES_KIND = 3 };
enum { LONGEST_TAG = 200, LONGEST_NAME = 2000, MOST_ATTRIBUTES = 900 };

/* Members of a span that are read. Those from ORIGIN to PROFILE are attributes as they are. */
enum {
    M_TRACE_ID, M_SPAN_ID, M_PARENT, M_START, M_END, M_STATUS, M_OP, M_NAME, M_TAGS, M_DATA, M_MEASUREMENTS, M_SENTRY_TAGS,
    M_LINKS, M_ORIGIN, M_EXCLUSIVE, M_IS_SEGMENT, M_SEGMENT, M_PROFILE, MEMBERS
};
static const char *const member_names[MEMBERS] = {
    "trace_id", "span_id", "parent_span_id", "start_timestamp", "timestamp", "status", "op", "description", "tags", "data",
    "measurements", "sentry_tags", "links", "origin", "exclusive_time", "is_segment", "segment_id", "profile_id",
};
static const char *const attribute_names[MEMBERS] = {
    [M_ORIGIN] = "sentry.origin", [M_EXCLUSIVE] = "sentry.exclusive_time", [M_IS_SEGMENT] = "sentry.is_segment",
    [M_SEGMENT] = "sentry.segment.id", [M_PROFILE] = "profile_id",
};
static PyObject *members[MEMBERS];

typedef struct {
    Bytes trace_id, span_id, parent_id, op, name;
    int64_t start, end;
    int kind, status;
    const Key *key; /* of `op` */
} Span;

/* The JSON of a value; 0 for what orjson does not write. */
static int put_json(Block *block, Buffer *out, PyObject *value) {
    char *at;
    Py_ssize_t size;
    PyObject *text = PyObject_CallFunctionObjArgs(block->dumps, value, NULL);
    if (!text) {
        if (!PyErr_ExceptionMatches(PyExc_TypeError) && !PyErr_ExceptionMatches(PyExc_ValueError)) return -1;
        PyErr_Clear();
        return 0;
    }
    int done = PyBytes_AsStringAndSize(text, &at, &size) ? -1 : put_string(out, at, (size_t)size);
    Py_DECREF(text);
    return done;
}

/* The text of an attribute. */
static int put_text(Span *span, const Key *key, Buffer *values, PyObject *value) {
    Bytes text;
    int done = text_of(value, &text);
    if (done != 1) return done;
    if (key->care == ODD_WITH_BRACE && size_of(text) && memchr(text.at, '{', size_of(text))) return 0;
    if (key->care == NAMES_KIND && !(span->kind = kind_of(text))) return 0;
    return put_string(values, text.at, size_of(text));
}

/* The type of a value's map, TYPES for one that no map takes. */
static int type_of(PyObject *value) {
    if (PyUnicode_CheckExact(value) || PyDict_CheckExact(value) || PyList_CheckExact(value)) return STRINGS;
    if (PyBool_Check(value)) return BOOLEANS;
    if (PyLong_CheckExact(value)) return INTEGERS;
    return PyFloat_CheckExact(value) ? DOUBLES : TYPES;
}

static int put_integer(Buffer *values, PyObject *value) {
    int overflow;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    return overflow ? 0 : put_fixed(values, (uint64_t)number, 8);
}

static int put_double(Buffer *values, PyObject *value) {
    double real = PyFloat_AsDouble(value);
    uint64_t bits;
    memcpy(&bits, &real, 8);
    return put_fixed(values, bits, 8);
}

static int put_value(Block *block, Span *span, const Key *key, int type, PyObject *value) {
    Buffer *values = &block->columns[block->maps + 3 * type + 2];
    switch (type) {
    case STRINGS:
        if (PyUnicode_CheckExact(value)) return put_text(span, key, values, value);
        return key->care == USUAL ? put_json(block, values, value) : 0;
    case INTEGERS: return put_integer(values, value);
    case DOUBLES: return put_double(values, value);
    default: return put_byte(values, value == Py_True);
    }
}

/* One attribute into its map. Of several with one key the first counts, null is none. */
static int put_attribute(Block *block, Span *span, Bytes name, PyObject *value) {
    Key *key;
    if (value == Py_None) return 1;
    int done = find_key(&block->keys, name, block->needs_care, &key);
    if (done != 1 || key->last_record == block->number) return done;
    int type = type_of(value);
    if (key->care == ODD || type == TYPES || block->counts[type] == UINT8_MAX) return 0;
    if (key->care == NAMES_KIND && !PyUnicode_CheckExact(value)) return 0;
    key->last_record = block->number;
    block->counts[type]++;
    if (put_byte(&block->columns[block->maps + 3 * type + 1], (uint8_t)(key - block->keys.keys)) < 0) return -1;
    return put_value(block, span, key, type, value);
}

static int is_in_tags(uint8_t byte) {
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') || byte == '_' ||
           byte == '.' || byte == ':' || byte == '-';
}

/* A tag that needs no change; it is a text. */
static int is_clean(Bytes key, PyObject *value) {
    Bytes text;
    int done = text_of(value, &text);
    if (done != 1) return done;
    if (!size_of(key) || size_of(key) > LONGEST_TAG || size_of(text) > LONGEST_TAG) return 0;
    for (const uint8_t *at = key.at; at < key.end; at++)
        if (!is_in_tags(*at)) return 0;
    return !memchr(text.at, '\n', size_of(text));
}

/* Tags or data: an object, or nothing at all. */
static int put_all(Block *block, Span *span, PyObject *object, int are_tags) {
    PyObject *name, *value;
    Py_ssize_t place = 0;
    Bytes key;
    int done = 1;
    if (!object || object == Py_None) return 1;
    if (!PyDict_CheckExact(object)) return 0;
    while (done == 1 && PyDict_Next(object, &place, &name, &value)) {
        done = text_of(name, &key);
        if (done == 1 && are_tags && value != Py_None) done = is_clean(key, value);
        if (done == 1) done = put_attribute(block, span, key, value);
    }
    return done;
}

static Bytes bytes_of(const char *text) {
    return (Bytes){(const uint8_t *)text, (const uint8_t *)text + strlen(text)};
}

static int is_nothing(PyObject *value) { return !value || value == Py_None; }

/* All attributes, in the order of span_v1.read_attributes. */
static int put_attributes(Block *block, Span *span, PyObject *found[MEMBERS]) {
    if (!is_nothing(found[M_MEASUREMENTS]) || !is_nothing(found[M_SENTRY_TAGS])) return 0;
    int done = put_all(block, span, found[M_TAGS], 1);
    if (done == 1) done = put_all(block, span, found[M_DATA], 0);
    for (int member = M_ORIGIN; done == 1 && member <= M_PROFILE; member++)
        if (found[member]) done = put_attribute(block, span, bytes_of(attribute_names[member]), found[member]);
    if (done == 1) done = put_attribute(block, span, bytes_of("sentry.segment.id"), block->segment_id);
    if (done == 1) done = put_attribute(block, span, bytes_of("sentry.segment.name"), block->segment_name);
    int count = 0;
    for (int type = 0; type < TYPES; type++) count += block->counts[type];
    return done == 1 ? count <= MOST_ATTRIBUTES : done;
}

/* An id of so many small hex digits that are not all zero. */
static int id_of(PyObject *value, size_t size, Bytes *out) {
    int is_zero = 1, done = value ? text_of(value, out) : 0;
    if (done != 1) return done;
    if (size_of(*out) != size) return 0;
    for (const uint8_t *at = out->at; at < out->end; at++) {
        if (!((*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'f'))) return 0;
        if (*at != '0') is_zero = 0;
    }
    return !is_zero;
}

static int read_ids(Span *span, PyObject *found[MEMBERS]) {
    static const uint8_t nothing = 0;
    PyObject *parent = found[M_PARENT];
    int done = id_of(found[M_TRACE_ID], TRACE_DIGITS, &span->trace_id);
    if (done == 1) done = id_of(found[M_SPAN_ID], SPAN_DIGITS, &span->span_id);
    if (done != 1) return done;
    span->parent_id = (Bytes){&nothing, &nothing};
    if (is_nothing(parent)) return 1;
    done = text_of(parent, &span->parent_id);
    return done == 1 && size_of(span->parent_id) ? id_of(parent, SPAN_DIGITS, &span->parent_id) : done;
}

static int read_times(const Block *block, Span *span, PyObject *found[MEMBERS]) {
    if (is_nothing(found[M_START]) || is_nothing(found[M_END])) return 0;
    int done = time_of(found[M_START], &span->start);
    if (done == 1) done = time_of(found[M_END], &span->end);
    if (done != 1) return done;
    return span->start >= block->earliest && span->end >= span->start && span->end <= block->latest;
}

static int read_status(Span *span, PyObject *value) {
    Bytes word = bytes_of("");
    int done = is_nothing(value) ? 1 : text_of(value, &word);
    if (done != 1) return done;
    for (span->status = 0; span->status < STATUSES; span->status++)
        if (is_text(word, statuses[span->status].word)) return 1;
    return 0;
}

/* The op, and the name: the description, else the op. */
static int read_names(Block *block, Span *span, PyObject *op, PyObject *name) {
    Key *key;
    int done = op ? text_of(op, &span->op) : 0;
    if (done == 1) done = find_key(&block->words, span->op, block->number_of_word, &key);
    if (done != 1 || key->care != USUAL) return done == 1 ? 0 : done;
    span->key = key;
    span->name = span->op;
    if (is_nothing(name)) return 1;
    done = text_of(name, &span->name);
    if (done == 1 && !size_of(span->name)) span->name = span->op;
    return done == 1 ? size_of(span->name) <= LONGEST_NAME : done;
}

/* schemas.rows.row_id of the prefix and both ids. */
static int put_event_id(Block *block, const Span *span) {
    uint8_t *at = block->hashed + block->prefix;
    memcpy(at, "\0\0\0\x20", LENGTH);
    memcpy(at + LENGTH, span->trace_id.at, TRACE_DIGITS);
    memcpy(at + LENGTH + TRACE_DIGITS, "\0\0\0\x10", LENGTH);
    memcpy(at + 2 * LENGTH + TRACE_DIGITS, span->span_id.at, SPAN_DIGITS);
    return put_hash(&block->columns[EVENT_ID], block->hashed, block->prefix + 2 * LENGTH + TRACE_DIGITS + SPAN_DIGITS);
}

static int put_columns(Block *block, const Span *span, Py_ssize_t index) {
    Buffer *columns = block->columns;
    const char *message = statuses[span->status].is_plain ? "" : statuses[span->status].word;
    if (put_fixed(&columns[INDEX], (uint64_t)index, 4) < 0 || put_event_id(block, span) < 0) return -1;
    if (put_fixed(&columns[TIMESTAMP], (uint64_t)span->start, 8) < 0) return -1;
    if (put_string(&columns[TRACE_ID], span->trace_id.at, TRACE_DIGITS) < 0) return -1;
    if (put_string(&columns[SPAN_ID], span->span_id.at, SPAN_DIGITS) < 0) return -1;
    if (put_string(&columns[PARENT_ID], span->parent_id.at, size_of(span->parent_id)) < 0) return -1;
    if (put_byte(&columns[KIND], (uint8_t)span->kind) < 0) return -1;
    if (put_byte(&columns[OP], (uint8_t)(span->key - block->words.keys)) < 0) return -1;
    if (put_byte(&columns[STATUS], statuses[span->status].code) < 0) return -1;
    if (put_string(&columns[MESSAGE], message, strlen(message)) < 0) return -1;
    if (put_fixed(&columns[DURATION], (uint64_t)(span->end - span->start), 8) < 0) return -1;
    if (put_string(&columns[NAME], span->name.at, size_of(span->name)) < 0) return -1;
    return put_counts(block);
}

/* The members that are read, NULL for those that are not there. -1: a Python error. */
static int find_members(PyObject *record, PyObject *found[MEMBERS]) {
    for (int member = 0; member < MEMBERS; member++) {
        found[member] = PyDict_GetItemWithError(record, members[member]);
        if (!found[member] && PyErr_Occurred()) return -1;
    }
    return 1;
}

static int take_record(Block *block, PyObject *record, Py_ssize_t index) {
    PyObject *found[MEMBERS];
    Span span = {0};
    if (!PyDict_CheckExact(record)) return 0;
    int done = find_members(record, found);
    if (done == 1) done = is_nothing(found[M_LINKS]);
    if (done == 1) done = read_ids(&span, found);
    if (done == 1) done = read_times(block, &span, found);
    if (done == 1) done = read_status(&span, found[M_STATUS]);
    if (done == 1) done = read_names(block, &span, found[M_OP], found[M_NAME]);
    if (done == 1) done = put_attributes(block, &span, found);
    if (done == 1) done = put_json(block, &block->columns[PAYLOAD_JSON], record);
    return done == 1 ? put_columns(block, &span, index) : done;
}

/* -1 with an error set if an argument is not what transaction_blocks.py says. */
static int begin(Block *block, PyObject *given[ARGUMENTS], Py_ssize_t *most_odd) {
    if (begin_hash(block->hashed, given[PREFIX], 2 * LENGTH + TRACE_DIGITS + SPAN_DIGITS, &block->prefix) < 0) return -1;
    block->earliest = PyLong_AsLongLong(given[EARLIEST]);
    block->latest = PyErr_Occurred() ? 0 : PyLong_AsLongLong(given[LATEST]);
    *most_odd = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(given[MOST_ODD]);
    block->needs_care = given[NEEDS_CARE];
    block->number_of_word = given[OP_NEEDS_CARE];
    block->dumps = given[DUMPS];
    block->segment_id = given[SEGMENT_ID];
    block->segment_name = given[SEGMENT_NAME];
    return PyErr_Occurred() ? -1 : 1;
}

static PyObject *sentry_span_block(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given[ARGUMENTS], *found = NULL;
    Py_ssize_t most_odd = 0;
    if (!PyArg_UnpackTuple(arguments, "sentry_span_block", ARGUMENTS, ARGUMENTS, &given[SPANS], &given[PREFIX],
                           &given[EARLIEST], &given[LATEST], &given[NEEDS_CARE], &given[OP_NEEDS_CARE], &given[DUMPS],
                           &given[SEGMENT_ID], &given[SEGMENT_NAME], &given[MOST_ODD]))
        return NULL;
    Block *block = new_block(COLUMNS, MAPS);
    if (!block) return NULL;
    if (!PyErr_Occurred() && begin(block, given, &most_odd) == 1) found = block_of(block, given[SPANS], most_odd);
    end(block);
    return found;
}

static PyMethodDef methods[] = {
    {"sentry_span_block", sentry_span_block, METH_VARARGS,
     "(columns, keys of attributes, indexes of odd spans, ops) of a list of spans; None if too many are odd."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_sentry_spans", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__sentry_spans(void) {
    for (int member = 0; member < MEMBERS; member++)
        if (!members[member] && !(members[member] = PyUnicode_InternFromString(member_names[member]))) return NULL;
    return PyModule_Create(&module);
}
