/* Turns OTLP/JSON text with plain spans or log records into the messages that OTLP/protobuf has for them: from there on
 * both encodings go the same way. schemas/otlp/json_body.py reads JSON in Python; it runs if this is not built, and reads
 * everything that is not plain. So nothing here repairs, refuses or explains anything. Only strict JSON is accepted. Both
 * give the same records.
 *
 * Every read of input is checked against its end; a function that returns 0 found something odd, -1 a Python error.
 * `make fuzz-native` runs this under sanitizers beside the Python.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "include/bytes_out.h"
#include "include/json_text.h"

enum { FIXED64 = 1, SIZED = 2, FIXED32 = 5 };
/* What a member's value may be. */
enum { ID, PARENT, WORDS, TIME, SMALL, FLAGS, ATTRIBUTES, STATUS, NOTHING, BODY };
typedef struct { const char *name; int kind, field, size; } Member;

/* In the order of most senders; `field` is the number in protobuf, `size` the bytes of an id. */
static const Member span_members[] = {
    {"traceId", ID, 1, 16}, {"spanId", ID, 2, 8}, {"parentSpanId", PARENT, 4, 8}, {"name", WORDS, 5, 0},
    {"kind", SMALL, 6, 0}, {"startTimeUnixNano", TIME, 7, 0}, {"endTimeUnixNano", TIME, 8, 0},
    {"attributes", ATTRIBUTES, 9, 0}, {"status", STATUS, 15, 0}, {"flags", FLAGS, 16, 0}, {"traceState", WORDS, 3, 0},
    {"events", NOTHING, 0, 0}, {"links", NOTHING, 0, 0}, {"droppedAttributesCount", SMALL, 10, 0},
    {"droppedEventsCount", SMALL, 12, 0}, {"droppedLinksCount", SMALL, 14, 0}, {NULL, 0, 0, 0},
};
static const Member log_members[] = {
    {"timeUnixNano", TIME, 1, 0}, {"observedTimeUnixNano", TIME, 11, 0}, {"severityNumber", SMALL, 2, 0},
    {"severityText", WORDS, 3, 0}, {"body", BODY, 5, 0}, {"attributes", ATTRIBUTES, 6, 0}, {"traceId", PARENT, 9, 16},
    {"spanId", PARENT, 10, 8}, {"flags", FLAGS, 8, 0}, {"eventName", WORDS, 12, 0},
    {"droppedAttributesCount", SMALL, 7, 0}, {NULL, 0, 0, 0},
};
static const char *const span_levels[][4] = {
    {"resourceSpans"}, {"scopeSpans", "resource", "schemaUrl"}, {"spans", "scope", "schemaUrl"},
};
static const char *const log_levels[][4] = {
    {"resourceLogs"}, {"scopeLogs", "resource", "schemaUrl"}, {"logRecords", "scope", "schemaUrl"},
};

typedef struct {
    Text in;
    const char *const (*levels)[4];
    const Member *members;
    int required;         /* so many of the first members have to be there */
    Buffer message, part; /* the record that is read; one attribute or a status of it */
    const uint8_t *kept;  /* from here on nothing was copied */
    PyObject *rest, *found;
} Reader;

static int put_varint(Buffer *out, uint64_t value) {
    uint8_t bytes[10];
    size_t size = 0;
    for (; value > 0x7F; value >>= 7) bytes[size++] = (uint8_t)(value | 0x80);
    bytes[size++] = (uint8_t)value;
    return put_bytes(out, bytes, size);
}

static int put_tag(Buffer *out, int field, int wire) { return put_varint(out, (uint64_t)(field << 3 | wire)); }

static int put_sized(Buffer *out, int field, const void *from, size_t size) {
    return put_tag(out, field, SIZED) < 0 ? -1 : put_string(out, from, size);
}

static int put_small(Buffer *out, int field, uint64_t value) {
    return put_tag(out, field, 0) < 0 ? -1 : put_varint(out, value);
}

static int words(Reader *reader, Buffer *out, int field) {
    Bytes found;
    int done = text(&reader->in, &found);
    return done == 1 ? put_sized(out, field, found.at, size_of(found)) : done;
}

/* Digits in lower case; `may_be_empty` as a parent's. */
static int identifier(Reader *reader, const Member *member) {
    Bytes digits;
    uint8_t id[16] = {0};
    if (!plain_string(&reader->in, &digits)) return 0;
    if (!size_of(digits)) return member->kind == PARENT;
    if (size_of(digits) != 2 * (size_t)member->size) return 0;
    for (int i = 0; digits.at < digits.end; i++, digits.at++) {
        uint8_t byte = *digits.at;
        int digit = byte >= '0' && byte <= '9' ? byte - '0' : byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
        if (digit < 0) return 0;
        id[i / 2] = (uint8_t)(id[i / 2] << 4 | digit);
    }
    return put_sized(&reader->message, member->field, id, (size_t)member->size);
}

/* {"…Value": …}, the rest of an attribute or of a body, as an AnyValue behind its tag. */
static int value(Reader *reader, Buffer *out, int field) {
    Text *in = &reader->in;
    Bytes name, found;
    uint8_t head[11];
    Buffer content = {head, 0, sizeof head};
    long long whole;
    double number;
    int is_true, done = 0;
    if (!next_is(in, '{') || !plain_string(in, &name) || !next_is(in, ':')) return 0;
    if (is_name(name, "stringValue")) {
        if ((done = text(in, &found)) != 1) return done;
        if (put_tag(&content, 1, SIZED) < 0 || put_varint(&content, size_of(found)) < 0) return -1;
        if (put_tag(out, field, SIZED) < 0 || put_varint(out, content.size + size_of(found)) < 0) return -1;
        if (put_bytes(out, head, content.size) < 0 || put_bytes(out, found.at, size_of(found)) < 0) return -1;
        return next_is(in, '}');
    }
    if (is_name(name, "intValue")) {
        if (!integer(in, INT64_MIN + 1, INT64_MAX, &whole)) return 0;
        done = put_small(&content, 3, (uint64_t)whole);
    } else if (is_name(name, "doubleValue")) {
        uint64_t bits;
        if ((done = real(in, &number)) != 1) return done;
        memcpy(&bits, &number, 8);
        done = put_tag(&content, 4, FIXED64) < 0 ? -1 : put_fixed(&content, bits, 8);
    } else if (is_name(name, "boolValue")) {
        if (!boolean(in, &is_true)) return 0;
        done = put_small(&content, 2, (uint64_t)is_true);
    }
    if (done == 1) done = put_sized(out, field, head, content.size);
    return done == 1 ? next_is(in, '}') : done;
}

/* {"key": …, "value": {…}} in this order, as a KeyValue. */
static int attribute_of(Reader *reader, int field) {
    Text *in = &reader->in;
    Bytes name;
    int done;
    reader->part.size = 0;
    if (!next_is(in, '{') || !plain_string(in, &name) || !is_name(name, "key") || !next_is(in, ':')) return 0;
    if ((done = words(reader, &reader->part, 1)) != 1) return done;
    if (!next_is(in, ',') || !plain_string(in, &name) || !is_name(name, "value") || !next_is(in, ':')) return 0;
    if ((done = value(reader, &reader->part, 2)) != 1) return done;
    if (!next_is(in, '}')) return 0;
    return put_sized(&reader->message, field, reader->part.at, reader->part.size);
}

static int attributes(Reader *reader, int field) {
    Text *in = &reader->in;
    int done;
    if (!next_is(in, '[')) return 0;
    if (next_is(in, ']')) return 1;
    do done = attribute_of(reader, field);
    while (done == 1 && next_is(in, ','));
    return done == 1 ? next_is(in, ']') : done;
}

static int status(Reader *reader, int field) {
    Text *in = &reader->in;
    Bytes name;
    long long code;
    int seen = 0, done = 1;
    reader->part.size = 0;
    if (!next_is(in, '{')) return 0;
    if (next_is(in, '}')) return 1;
    do {
        if (!plain_string(in, &name) || !next_is(in, ':')) return 0;
        int bit = is_name(name, "code") ? 1 : is_name(name, "message") ? 2 : 0;
        if (!bit || seen & bit) return 0;
        seen |= bit;
        if (bit == 2) done = words(reader, &reader->part, 2);
        else done = count(in, &code) ? put_small(&reader->part, 3, (uint64_t)code) : 0;
    } while (done == 1 && next_is(in, ','));
    if (done != 1 || !next_is(in, '}')) return done < 0 ? -1 : 0;
    return put_sized(&reader->message, field, reader->part.at, reader->part.size);
}

static int member_value(Reader *reader, const Member *member) {
    Text *in = &reader->in;
    Buffer *out = &reader->message;
    long long found;
    switch (member->kind) {
    case ID: case PARENT: return identifier(reader, member);
    case WORDS: return words(reader, out, member->field);
    case TIME:
        if (!integer(in, 0, INT64_MAX, &found)) return 0;
        if (put_tag(out, member->field, FIXED64) < 0) return -1;
        return put_fixed(out, (uint64_t)found, 8);
    case SMALL: return count(in, &found) ? put_small(out, member->field, (uint64_t)found) : 0;
    case FLAGS:
        if (!count(in, &found)) return 0;
        if (put_tag(out, member->field, FIXED32) < 0) return -1;
        return put_fixed(out, (uint64_t)found, 4);
    case ATTRIBUTES: return attributes(reader, member->field);
    case STATUS: return status(reader, member->field);
    case BODY: return value(reader, out, member->field);
    default: return next_is(in, '[') && next_is(in, ']');
    }
}

/* One record into `message`; 1 if it is plain. */
static int record(Reader *reader) {
    Text *in = &reader->in;
    Bytes name;
    uint32_t seen = 0;
    size_t next = 0, members = 0;
    int done = 1;
    reader->message.size = 0;
    while (reader->members[members].name) members++;
    if (!next_is(in, '{')) return 0;
    do {
        if (!plain_string(in, &name) || !next_is(in, ':')) return 0;
        size_t tries = 0;
        for (; tries < members && !is_name(name, reader->members[next].name); tries++) next = (next + 1) % members;
        if (tries == members || seen & 1u << next) return 0;
        seen |= 1u << next;
        done = member_value(reader, &reader->members[next]);
    } while (done == 1 && next_is(in, ','));
    uint32_t required = (1u << reader->required) - 1;
    if (done != 1 || !next_is(in, '}') || (seen & required) != required) return done < 0 ? -1 : 0;
    return reader->message.size > 0; /* no bytes would be the empty record */
}

/* Takes over `value`. */
static int append(PyObject *list, PyObject *value) {
    int failed = !value || PyList_Append(list, value);
    Py_XDECREF(value);
    return failed ? -1 : 1;
}

static PyObject *bytes_of(const uint8_t *from, const uint8_t *to) {
    return PyBytes_FromStringAndSize((const char *)from, to - from);
}

static PyObject *odd_record(Py_ssize_t index, const uint8_t *start, const uint8_t *end) {
    PyObject *number = PyLong_FromSsize_t(index), *kept = bytes_of(start, end);
    PyObject *found = number && kept ? PyTuple_Pack(2, number, kept) : NULL;
    Py_XDECREF(number);
    Py_XDECREF(kept);
    return found;
}

/* One record into the messages, or no bytes, and (its index, its text) into `odd`. */
static int append_record(Reader *reader, PyObject *messages, PyObject *odd, Py_ssize_t index) {
    Text *in = &reader->in;
    blanks(in);
    const uint8_t *start = in->at;
    int done = record(reader);
    if (done < 0) return -1;
    if (done == 1) return append(messages, bytes_of(reader->message.at, reader->message.at + reader->message.size));
    in->at = start;
    if (start == in->end || *start != '{' || !skip(in)) return 0; /* null among records is no record */
    if (append(messages, PyBytes_FromStringAndSize(NULL, 0)) < 0) return -1;
    return append(odd, odd_record(index, start, in->at));
}

/* An array of records as (messages, odd) into `found`. */
static int records(Reader *reader) {
    Text *in = &reader->in;
    PyObject *messages = PyList_New(0), *odd = PyList_New(0);
    Py_ssize_t index = 0;
    int done = messages && odd ? next_is(in, '[') : -1;
    if (done == 1 && !next_is(in, ']')) {
        do done = append_record(reader, messages, odd, index++);
        while (done == 1 && next_is(in, ','));
        if (done == 1) done = next_is(in, ']');
    }
    if (done == 1) done = append(reader->found, PyTuple_Pack(2, messages, odd));
    Py_XDECREF(messages);
    Py_XDECREF(odd);
    return done;
}

/* The records of a scope: the text up to them and their number go to `rest`. */
static int numbered(Reader *reader) {
    int done = append(reader->rest, bytes_of(reader->kept, reader->in.at));
    if (done == 1) done = append(reader->rest, PyBytes_FromFormat("%zd", PyList_Size(reader->found)));
    if (done == 1) done = records(reader);
    reader->kept = reader->in.at;
    return done;
}

/* An object of a level, no member twice. */
static int level(Reader *reader, int depth) {
    Text *in = &reader->in;
    const char *const *names = reader->levels[depth];
    Bytes name;
    unsigned seen = 0;
    int done = 1;
    if (!next_is(in, '{')) return 0;
    if (next_is(in, '}')) return 1;
    do {
        int member = 0;
        if (!plain_string(in, &name) || !next_is(in, ':')) return 0;
        while (names[member] && !is_name(name, names[member])) member++;
        if (!names[member] || seen & 1u << member) return 0;
        seen |= 1u << member;
        if (member) {
            done = skip(in);
        } else if (depth == 2) {
            done = numbered(reader);
        } else if (!next_is(in, '[')) {
            return 0;
        } else if (!next_is(in, ']')) {
            do done = level(reader, depth + 1);
            while (done == 1 && next_is(in, ','));
            if (done == 1) done = next_is(in, ']');
        }
    } while (done == 1 && next_is(in, ','));
    return done == 1 ? next_is(in, '}') : done;
}

/* (pieces, scopes), or None for odd text; NULL with an error set. */
static PyObject *messages_of(Reader *reader) {
    reader->kept = reader->in.at;
    int done = level(reader, 0);
    blanks(&reader->in);
    if (done == 1 && reader->in.at < reader->in.end) done = 0;
    if (done == 1) done = append(reader->rest, bytes_of(reader->kept, reader->in.end));
    if (done == 0) return Py_NewRef(Py_None);
    return done == 1 ? PyTuple_Pack(2, reader->rest, reader->found) : NULL;
}

static PyObject *plain_messages(PyObject *module, PyObject *arguments) {
    (void)module;
    Reader reader = {0};
    char *data;
    Py_ssize_t size;
    PyObject *body, *has_logs, *result = NULL;
    if (!PyArg_UnpackTuple(arguments, "plain_messages", 2, 2, &body, &has_logs)) return NULL;
    int is_log = PyObject_IsTrue(has_logs);
    if (is_log < 0 || PyBytes_AsStringAndSize(body, &data, &size)) return NULL;
    reader.levels = is_log ? log_levels : span_levels;
    reader.members = is_log ? log_members : span_members;
    reader.required = is_log ? 0 : 2;
    reader.in.at = (const uint8_t *)data;
    reader.in.end = reader.in.at + size;
    reader.rest = PyList_New(0);
    reader.found = PyList_New(0);
    if (reader.rest && reader.found) result = messages_of(&reader);
    PyMem_Free(reader.in.scratch.at);
    PyMem_Free(reader.message.at);
    PyMem_Free(reader.part.at);
    Py_XDECREF(reader.rest);
    Py_XDECREF(reader.found);
    return result;
}

static PyMethodDef methods[] = {
    {"plain_messages", plain_messages, METH_VARARGS,
     "(pieces, scopes) of OTLP/JSON with spans, or with logs; None if it is odd. The pieces joined are the text with "
     "numbers instead of arrays of records, and by number there are (messages, [(index, text) of odd records]); an odd "
     "one's message has no bytes."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_plain_json", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__plain_json(void) { return PyModule_Create(&module); }
