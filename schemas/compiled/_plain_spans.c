/* Parses plain spans in protobuf to columns. schemas/otlp/protobuf_records.py does the same in Python; it runs if this is
 * not built, and parses everything that is not plain. So nothing here repairs, refuses or explains anything. A span that
 * is plain here is plain there; in doubt it counts as odd.
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

enum {
    TRACE_ID, SPAN_ID, PARENT_ID, STATE, FLAGS, NAME, KIND, START, END, HELD, DROPPED, DROPPED_EVENTS, DROPPED_LINKS,
    CODE, MESSAGE, MAPS, COLUMNS
};
#define KEYS 512

typedef struct {
    Bytes trace_id, span_id, parent_id, state, name, message;
    uint64_t flags, start, end, dropped, dropped_events, dropped_links;
    int32_t kind, code;
    PyObject *held, *maps; /* dict; tuple of TYPES dicts */
    int statuses;
} Span;

/* Keys of one call: few, and each an object of its own would be hashed and stored again for every span. */
typedef struct { PyObject *texts[KEYS]; } Keys;

static PyObject *empty_text;

/* NULL with a UnicodeDecodeError set for what is not UTF-8. */
static PyObject *text(Bytes from) {
    if (from.at == from.end) return Py_NewRef(empty_text);
    return PyUnicode_DecodeUTF8((const char *)from.at, from.end - from.at, NULL);
}

/* A borrowed reference. */
static PyObject *key_text(Keys *keys, Bytes from) {
    uint32_t hash = 2166136261u;
    for (const uint8_t *at = from.at; at < from.end; at++) hash = (hash ^ *at) * 16777619u;
    PyObject **slot = &keys->texts[hash % KEYS];
    if (*slot) {
        Py_ssize_t size;
        const char *known = PyUnicode_AsUTF8AndSize(*slot, &size);
        if (!known) return NULL;
        if (size == from.end - from.at && !memcmp(known, from.at, size)) return *slot;
        Py_CLEAR(*slot);
    }
    return *slot = text(from);
}

/* Puts a value, which it takes over, under its key into all attributes and into those of its type. */
static int put(Span *span, PyObject *key, PyObject *value, int type) {
    int is_put = value && key && !PyDict_SetItem(span->held, key, value) &&
                 !PyDict_SetItem(PyTuple_GetItem(span->maps, type), key, value);
    Py_XDECREF(value);
    return is_put ? 1 : -1;
}

/* One attribute, as an object, into the maps of its span. */
static int take_attribute(Span *span, Keys *keys, Bytes in) {
    Attribute found = {0};
    double real;
    PyObject *value;
    if (!attribute(in, &found)) return 0;
    PyObject *key = key_text(keys, found.key);
    if (!key) return -1;
    memcpy(&real, &found.number, 8);
    if (found.type == STRINGS) value = text(found.content);
    else if (found.type == INTEGERS) value = PyLong_FromLongLong((int64_t)found.number);
    else if (found.type == DOUBLES) value = PyFloat_FromDouble(real);
    else value = PyBool_FromLong(found.number != 0);
    return put(span, key, value, found.type);
}

/* Status: 2 message, 3 code. */
static int status(Span *span, Bytes in) {
    uint64_t number;
    if (span->statuses++) return 0;
    while (in.at < in.end) {
        uint8_t tag = *in.at++;
        if (tag == 0x12) {
            if (!once(&in, &span->message)) return 0;
        } else if (tag == 0x18 && small(&in, &number)) {
            span->code = (int32_t)number;
        } else {
            return 0;
        }
    }
    return 1;
}

/* The fields of a Span message by tag (field number * 8 + wire type); flags have a tag of two bytes. */
static int fields(Span *span, Keys *keys, Bytes in, Py_ssize_t *attributes) {
    Bytes content;
    uint64_t number = 0;
    int done = 1;
    while (in.at < in.end && done == 1) {
        switch (*in.at++) {
        case 0x0A: done = once(&in, &span->trace_id); break;
        case 0x12: done = once(&in, &span->span_id); break;
        case 0x1A: done = once(&in, &span->state); break;
        case 0x22: done = once(&in, &span->parent_id); break;
        case 0x2A: done = once(&in, &span->name); break;
        case 0x30: done = small(&in, &number); span->kind = (int32_t)number; break;
        case 0x39: done = fixed(&in, 8, &span->start); break;
        case 0x41: done = fixed(&in, 8, &span->end); break;
        case 0x4A:
            ++*attributes;
            done = part(&in, &content) ? take_attribute(span, keys, content) : 0;
            break;
        case 0x50: done = small(&in, &span->dropped); break;
        case 0x60: done = small(&in, &span->dropped_events); break;
        case 0x70: done = small(&in, &span->dropped_links); break;
        case 0x7A: done = part(&in, &content) ? status(span, content) : 0; break;
        case 0x85: done = in.at < in.end && *in.at++ == 0x01 && fixed(&in, 4, &span->flags); break;
        default: done = 0;
        }
    }
    return done;
}

/* An id of up to 16 bytes. */
static PyObject *hex(Bytes id) {
    static const char digits[] = "0123456789abcdef";
    char found[32] = {0};
    Py_ssize_t size = id.end - id.at < 16 ? id.end - id.at : 16;
    for (Py_ssize_t i = 0; i < size; i++) {
        found[2 * i] = digits[id.at[i] >> 4];
        found[2 * i + 1] = digits[id.at[i] & 15];
    }
    return PyUnicode_FromStringAndSize(found, 2 * size);
}

/* Takes over `value`. */
static int append(PyObject *columns, int column, PyObject *value) {
    int failed = !value || PyList_Append(PyTuple_GetItem(columns, column), value);
    Py_XDECREF(value);
    return failed ? -1 : 1;
}

static int append_span(PyObject *columns, Span *span, PyObject *texts[3]) {
    PyObject *values[COLUMNS] = {
        hex(span->trace_id), hex(span->span_id), hex(span->parent_id), Py_NewRef(texts[0]),
        PyLong_FromUnsignedLongLong(span->flags), Py_NewRef(texts[1]), PyLong_FromLong(span->kind),
        PyLong_FromUnsignedLongLong(span->start), PyLong_FromUnsignedLongLong(span->end), Py_NewRef(span->held),
        PyLong_FromUnsignedLongLong(span->dropped), PyLong_FromUnsignedLongLong(span->dropped_events),
        PyLong_FromUnsignedLongLong(span->dropped_links), PyLong_FromLong(span->code), Py_NewRef(texts[2]),
        Py_NewRef(span->maps),
    };
    int done = 1;
    for (int column = 0; column < COLUMNS; column++)
        if (append(columns, column, values[column]) < 0) done = -1;
    return done;
}

/* 1 if the span was appended, 0 if it is odd. */
static int read_span(PyObject *columns, Keys *keys, Bytes in) {
    Span span = {0};
    PyObject *texts[3] = {NULL, NULL, NULL};
    Py_ssize_t attributes = 0;
    int done = -1;
    span.held = PyDict_New();
    span.maps = PyTuple_New(TYPES);
    for (int type = 0; span.maps && type < TYPES; type++) {
        PyObject *map = PyDict_New();
        if (!map) { Py_CLEAR(span.maps); break; }
        PyTuple_SetItem(span.maps, type, map);
    }
    if (span.held && span.maps) done = fields(&span, keys, in, &attributes);
    if (done == 1) {
        size_t parent = size_of(span.parent_id);
        done = size_of(span.trace_id) == 16 && size_of(span.span_id) == 8 && (parent == 0 || parent == 8) &&
               PyDict_Size(span.held) == attributes;
    }
    if (done == 1) {
        texts[0] = text(span.state);
        texts[1] = texts[0] ? text(span.name) : NULL;
        texts[2] = texts[1] ? text(span.message) : NULL;
        done = texts[2] ? append_span(columns, &span, texts) : -1;
    }
    if (done < 0 && PyErr_ExceptionMatches(PyExc_UnicodeDecodeError)) {
        PyErr_Clear();
        done = 0;
    }
    for (int i = 0; i < 3; i++) Py_XDECREF(texts[i]);
    Py_XDECREF(span.held);
    Py_XDECREF(span.maps);
    return done;
}

static PyObject *plain_spans(PyObject *module, PyObject *chunks) {
    (void)module;
    Keys keys = {{NULL}};
    PyObject *columns = PyTuple_New(COLUMNS), *odd = PyList_New(0), *list = PySequence_List(chunks);
    int done = columns && odd && list ? 1 : -1;
    for (int column = 0; done == 1 && column < COLUMNS; column++) {
        PyObject *empty = PyList_New(0);
        if (!empty || PyTuple_SetItem(columns, column, empty)) done = -1;
    }
    Py_ssize_t count = done == 1 ? PyList_Size(list) : 0;
    for (Py_ssize_t index = 0; index < count && done >= 0; index++) {
        char *data;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GetItem(list, index), &data, &size)) { done = -1; break; }
        done = read_span(columns, &keys, (Bytes){(const uint8_t *)data, (const uint8_t *)data + size});
        if (done == 0) {
            PyObject *number = PyLong_FromSsize_t(index);
            if (!number || PyList_Append(odd, number)) done = -1;
            Py_XDECREF(number);
        }
    }
    for (int i = 0; i < KEYS; i++) Py_XDECREF(keys.texts[i]);
    PyObject *found = done >= 0 ? PyTuple_Pack(2, columns, odd) : NULL;
    Py_XDECREF(columns);
    Py_XDECREF(odd);
    Py_XDECREF(list);
    return found;
}

static PyMethodDef methods[] = {
    {"plain_spans", plain_spans, METH_O, "(columns, indexes of odd spans) of a sequence of Span messages."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_plain_spans", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__plain_spans(void) {
    empty_text = PyUnicode_FromString("");
    return empty_text ? PyModule_Create(&module) : NULL;
}
