/* Parses OTLP/JSON text with plain spans to columns. schemas/otlp/json_body.py does the same in Python; it runs if this is
 * not built, and parses everything that is not plain. So nothing here repairs, refuses or explains anything. Only strict
 * JSON is accepted; strings with escapes are passed to the caller's parser. Both give the same result.
 *
 * Every read of input is checked against its end; a function that returns 0 found something odd, -1 a Python error.
 * `make fuzz-native` runs this under sanitizers beside the Python.
 */
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

enum {
    TRACE_ID, SPAN_ID, PARENT_ID, STATE, FLAGS, NAME, KIND, START, END, HELD, DROPPED, DROPPED_EVENTS, DROPPED_LINKS,
    CODE, MESSAGE, MAPS, COLUMNS, EVENTS = COLUMNS, LINKS, STATUS, MEMBERS
};
enum { STRINGS, INTEGERS, DOUBLES, BOOLEANS, TYPES };
#include "_json_text.h"

static const struct { const char *name; int member; } span_members[] = {
    {"traceId", TRACE_ID}, {"spanId", SPAN_ID}, {"parentSpanId", PARENT_ID}, {"name", NAME}, {"kind", KIND},
    {"startTimeUnixNano", START}, {"endTimeUnixNano", END}, {"attributes", HELD}, {"status", STATUS}, {"flags", FLAGS},
    {"traceState", STATE}, {"events", EVENTS}, {"links", LINKS}, {"droppedAttributesCount", DROPPED},
    {"droppedEventsCount", DROPPED_EVENTS}, {"droppedLinksCount", DROPPED_LINKS},
};
static PyObject *zero;

static PyObject *identifier(Text *in, Py_ssize_t digits, int may_be_empty) {
    Part part;
    if (!plain_string(in, &part) || (part.size != digits && (part.size || !may_be_empty))) return NULL;
    for (Py_ssize_t i = 0; i < part.size; i++)
        if (!((part.at[i] >= '0' && part.at[i] <= '9') || (part.at[i] >= 'a' && part.at[i] <= 'f'))) return NULL;
    return PyUnicode_FromStringAndSize(part.at, part.size);
}

/* {"key": …, "value": {"…Value": …}} in this order, into all attributes and into those of its type. */
static int attribute(Text *in, PyObject *held, PyObject *maps) {
    Part name;
    PyObject *value = NULL;
    int type = STRINGS;
    if (!next_is(in, '{') || !plain_string(in, &name) || !is_name(name, "key") || !next_is(in, ':')) return 0;
    PyObject *key = key_text(in);
    if (!key) return refused();
    if (!next_is(in, ',') || !plain_string(in, &name) || !is_name(name, "value") || !next_is(in, ':')) return 0;
    if (!next_is(in, '{') || !plain_string(in, &name) || !next_is(in, ':')) return 0;
    if (is_name(name, "stringValue")) value = text(in);
    else if (is_name(name, "intValue")) type = INTEGERS, value = integer_value(in, INT64_MIN + 1, INT64_MAX);
    else if (is_name(name, "doubleValue")) type = DOUBLES, value = real(in);
    else if (is_name(name, "boolValue")) type = BOOLEANS, value = boolean(in);
    if (!value) return refused();
    int failed = PyDict_SetItem(held, key, value) || PyDict_SetItem(PyTuple_GetItem(maps, type), key, value);
    Py_DECREF(value);
    return failed ? -1 : next_is(in, '}') && next_is(in, '}');
}

static int attributes(Text *in, PyObject *held, PyObject *maps) {
    Py_ssize_t count = 0;
    int done;
    if (!next_is(in, '[')) return 0;
    if (next_is(in, ']')) return 1;
    do {
        count++;
        if ((done = attribute(in, held, maps)) != 1) return done;
    } while (next_is(in, ','));
    return next_is(in, ']') && PyDict_Size(held) == count;
}

static int status(Text *in, PyObject *values[COLUMNS]) {
    Part name;
    if (!next_is(in, '{')) return 0;
    if (next_is(in, '}')) return 1;
    do {
        if (!plain_string(in, &name) || !next_is(in, ':')) return 0;
        int member = is_name(name, "code") ? CODE : is_name(name, "message") ? MESSAGE : COLUMNS;
        if (member == COLUMNS || values[member]) return 0;
        if (!(values[member] = member == CODE ? small(in) : text(in))) return refused();
    } while (next_is(in, ','));
    return next_is(in, '}');
}

static int span_member(Text *in, int member, PyObject *values[COLUMNS]) {
    switch (member) {
    case TRACE_ID: values[member] = identifier(in, 32, 0); break;
    case SPAN_ID: values[member] = identifier(in, 16, 0); break;
    case PARENT_ID: values[member] = identifier(in, 16, 1); break;
    case NAME: case STATE: values[member] = text(in); break;
    case START: case END: values[member] = integer_value(in, 0, INT64_MAX); break;
    case HELD: return attributes(in, values[HELD], values[MAPS]);
    case STATUS: return status(in, values);
    case EVENTS: case LINKS: return next_is(in, '[') && next_is(in, ']');
    default: values[member] = small(in);
    }
    return values[member] ? 1 : refused();
}

/* Fills `values` with new references; 1 if the span is plain. */
static int span(Text *in, PyObject *values[COLUMNS]) {
    Part name;
    uint32_t seen = 0;
    size_t next = 0, count = sizeof span_members / sizeof *span_members;
    int done = 1;
    if (!next_is(in, '{')) return 0;
    values[HELD] = PyDict_New();
    values[MAPS] = PyTuple_New(TYPES);
    for (int type = 0; values[MAPS] && type < TYPES; type++) PyTuple_SetItem(values[MAPS], type, PyDict_New());
    if (!values[HELD] || !values[MAPS] || PyErr_Occurred()) return -1;
    do {
        if (!plain_string(in, &name) || !next_is(in, ':')) return 0;
        size_t tries = 0;
        for (; tries < count && !is_name(name, span_members[next].name); tries++) next = (next + 1) % count;
        int member = span_members[next].member;
        if (tries == count || seen & 1u << member) return 0;
        seen |= 1u << member;
        done = span_member(in, member, values);
    } while (done == 1 && next_is(in, ','));
    if (done != 1 || !next_is(in, '}') || !values[TRACE_ID] || !values[SPAN_ID]) return done < 0 ? -1 : 0;
    for (int column = 0; column < COLUMNS; column++)
        if (!values[column])
            values[column] = Py_NewRef(
                column == PARENT_ID || column == STATE || column == NAME || column == MESSAGE ? empty_text : zero);
    return 1;
}

static PyObject *lists(Py_ssize_t count) {
    PyObject *found = PyTuple_New(count);
    for (Py_ssize_t index = 0; found && index < count; index++) {
        PyObject *list = PyList_New(0);
        if (!list || PyTuple_SetItem(found, index, list)) Py_CLEAR(found);
    }
    return found;
}

/* Takes over `value`. */
static int append(PyObject *list, PyObject *value) {
    int failed = !value || PyList_Append(list, value);
    Py_XDECREF(value);
    return failed ? -1 : 1;
}

static PyObject *odd_span(Py_ssize_t index, const char *start, const char *end) {
    PyObject *number = PyLong_FromSsize_t(index), *kept = PyBytes_FromStringAndSize(start, end - start);
    PyObject *found = number && kept ? PyTuple_Pack(2, number, kept) : NULL;
    Py_XDECREF(number);
    Py_XDECREF(kept);
    return found;
}

/* One span into the columns, or (its index, its text) into `odd`. */
static int append_span(Text *in, PyObject *columns, PyObject *odd, Py_ssize_t index) {
    PyObject *values[COLUMNS] = {NULL};
    blanks(in);
    const char *start = in->at;
    int done = span(in, values);
    for (int column = 0; column < COLUMNS; column++) {
        if (done == 1 && PyList_Append(PyTuple_GetItem(columns, column), values[column])) done = -1;
        Py_XDECREF(values[column]);
    }
    if (done) return done;
    in->at = start;
    if (start == in->end || *start != '{') return 0; /* null among spans is no span */
    return skip(in) ? append(odd, odd_span(index, start, in->at)) : 0;
}

/* An array of spans as (columns, odd) into `found`. */
static int spans(Text *in, PyObject *found) {
    PyObject *columns = lists(COLUMNS), *odd = PyList_New(0);
    Py_ssize_t index = 0;
    int done = columns && odd ? next_is(in, '[') : -1;
    if (done == 1 && !next_is(in, ']')) {
        do done = append_span(in, columns, odd, index++);
        while (done == 1 && next_is(in, ','));
        if (done == 1) done = next_is(in, ']');
    }
    if (done == 1) done = append(found, PyTuple_Pack(2, columns, odd));
    Py_XDECREF(columns);
    Py_XDECREF(odd);
    return done;
}

static const char *const levels[][4] = {
    {"resourceSpans"}, {"scopeSpans", "resource", "schemaUrl"}, {"spans", "scope", "schemaUrl"},
};

/* An object of a level, no member twice; text up to each array of spans and its number go to `rest`. */
static int level(Text *in, int depth, const char **kept, PyObject *rest, PyObject *found) {
    Part name;
    unsigned seen = 0;
    int done = 1;
    if (!next_is(in, '{')) return 0;
    if (next_is(in, '}')) return 1;
    do {
        int member = 0;
        if (!plain_string(in, &name) || !next_is(in, ':')) return 0;
        while (levels[depth][member] && !is_name(name, levels[depth][member])) member++;
        if (!levels[depth][member] || seen & 1u << member) return 0;
        seen |= 1u << member;
        if (member) {
            done = skip(in);
        } else if (depth == 2) {
            done = append(rest, PyBytes_FromStringAndSize(*kept, in->at - *kept));
            if (done == 1) done = append(rest, PyBytes_FromFormat("%zd", PyList_Size(found)));
            if (done == 1) done = spans(in, found);
            *kept = in->at;
        } else if (!next_is(in, '[')) {
            return 0;
        } else if (!next_is(in, ']')) {
            do done = level(in, depth + 1, kept, rest, found);
            while (done == 1 && next_is(in, ','));
            if (done == 1) done = next_is(in, ']');
        }
    } while (done == 1 && next_is(in, ','));
    return done == 1 ? next_is(in, '}') : done;
}

static PyObject *plain_spans(PyObject *module, PyObject *arguments) {
    (void)module;
    Text in = {0};
    char *data;
    Py_ssize_t size;
    PyObject *body, *result = NULL, *rest = PyList_New(0), *found = PyList_New(0);
    if (rest && found && PyArg_UnpackTuple(arguments, "plain_spans", 2, 2, &body, &in.loads) &&
        !PyBytes_AsStringAndSize(body, &data, &size)) {
        const char *kept = in.at = data;
        in.end = in.at + size;
        int done = level(&in, 0, &kept, rest, found);
        blanks(&in);
        if (done == 1 && in.at < in.end) done = 0;
        if (done == 1) done = append(rest, PyBytes_FromStringAndSize(kept, in.end - kept));
        if (done >= 0) result = done ? PyTuple_Pack(2, rest, found) : Py_NewRef(Py_None);
    }
    for (int i = 0; i < KEYS; i++) Py_XDECREF(in.keys[i]);
    Py_XDECREF(rest);
    Py_XDECREF(found);
    return result;
}

static PyMethodDef methods[] = {
    {"plain_spans", plain_spans, METH_VARARGS,
     "(pieces, spans) of OTLP/JSON and a JSON parser, None if it is odd: the pieces joined are the text with numbers "
     "instead of arrays of spans, and by number there are (columns, [(index, text) of odd spans])."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_plain_json", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__plain_json(void) {
    empty_text = PyUnicode_FromString("");
    zero = PyLong_FromLong(0);
    return empty_text && zero ? PyModule_Create(&module) : NULL;
}
