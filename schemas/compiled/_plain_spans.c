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

enum {
    TRACE_ID, SPAN_ID, PARENT_ID, STATE, FLAGS, NAME, KIND, START, END, HELD, DROPPED, DROPPED_EVENTS, DROPPED_LINKS,
    CODE, MESSAGE, MAPS, COLUMNS
};
enum { STRINGS, INTEGERS, DOUBLES, BOOLEANS, TYPES };
#define KEYS 512

typedef struct { const uint8_t *at, *end; } Bytes;

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

static int varint(Bytes *in, uint64_t *value) {
    uint64_t found = 0;
    for (int shift = 0; shift < 70 && in->at < in->end; shift += 7) {
        uint8_t byte = *in->at++;
        if (shift < 64) found |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) { *value = found; return 1; }
    }
    return 0;
}

/* A number of 32 bits as every exporter writes it; a negative enum takes ten bytes and is odd. */
static int small(Bytes *in, uint64_t *value) { return varint(in, value) && *value <= INT32_MAX; }

/* A length in as few bytes as it takes: what other parsers make of padded ones differs. */
static int part(Bytes *in, Bytes *out) {
    const uint8_t *start = in->at;
    uint64_t size;
    if (!varint(in, &size) || size > (uint64_t)(in->end - in->at)) return 0;
    if (in->at - start > 1 && !in->at[-1]) return 0;
    out->at = in->at;
    out->end = in->at += size;
    return 1;
}

/* A field that may be there once; of several the last one counts, but the first has to be text, too. */
static int once(Bytes *in, Bytes *out) { return !out->at && part(in, out); }

static int fixed(Bytes *in, int size, uint64_t *value) {
    if (in->end - in->at < size) return 0;
    *value = 0;
    for (int i = size - 1; i >= 0; i--) *value = *value << 8 | in->at[i];
    in->at += size;
    return 1;
}

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

/* KeyValue: 1 key, 2 value; AnyValue: 1 string, 2 bool, 3 int, 4 double. In this order, nothing else, each once. A long
 * key is as odd as it is to the Python, which counts what is odd. */
static int attribute(Span *span, Keys *keys, Bytes in) {
    Bytes name, value, content;
    uint64_t number = 0;
    double real = 0;
    if (in.at == in.end || *in.at++ != 0x0A || !part(&in, &name)) return 0;
    if (in.at == in.end || *in.at++ != 0x12 || !part(&in, &value) || in.at != in.end) return 0;
    if (value.at == value.end || name.end - name.at > 0x7F) return 0;
    uint8_t tag = *value.at++;
    PyObject *found;
    int type;
    if (tag == 0x0A) {
        if (!part(&value, &content)) return 0;
        type = STRINGS;
    } else if (tag == 0x18) {
        if (!varint(&value, &number)) return 0;
        type = INTEGERS;
    } else if (tag == 0x21) {
        if (!fixed(&value, 8, &number)) return 0;
        memcpy(&real, &number, 8);
        if (!isfinite(real)) return 0;
        type = DOUBLES;
    } else if (tag == 0x10) {
        if (value.end - value.at != 1 || !varint(&value, &number)) return 0;
        type = BOOLEANS;
    } else {
        return 0;
    }
    if (value.at != value.end) return 0;
    PyObject *key = key_text(keys, name);
    if (!key) return -1;
    if (type == STRINGS) found = text(content);
    else if (type == INTEGERS) found = PyLong_FromLongLong((int64_t)number);
    else if (type == DOUBLES) found = PyFloat_FromDouble(real);
    else found = PyBool_FromLong(number != 0);
    return put(span, key, found, type);
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
            done = part(&in, &content) ? attribute(span, keys, content) : 0;
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

static Py_ssize_t size_of(Bytes id) { return id.end - id.at; }

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
        Py_ssize_t parent = size_of(span.parent_id);
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
