/* Parses plain log records in protobuf to columns in ClickHouse's Native format, as _span_blocks.c does spans.
 *
 * The rows are those of workers/normalise/otlp/log.py; workers/normalise/otlp/log_blocks.py says what each column is. A
 * record that is unusual in any way is odd, and is left to the Python. A record without a time, with ids of zeros or with
 * a severity as text only is usual: its row names what was repaired.
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

/* The columns that are made, in the order of log_blocks.PARTS. A map has three: how many entries, keys, values. */
enum {
    INDEX, TIMESTAMP, OBSERVED, TRACE_ID, SPAN_ID, FLAGS, SEVERITY, WORD, NAME, BODY,
    MAPS, REPAIRS = MAPS + 3 * TYPES, PAYLOAD, COLUMNS
};
enum { CHUNKS, EARLIEST, LATEST, RECEIVED, NEEDS_CARE, NUMBER_OF_WORD, DUMPS, MOST_ODD, ARGUMENTS };
/* Bits of REPAIRS, in the order in which log.py notes them. */
enum { TIME_FROM_OBSERVED = 1, TRACE_ID_INVALID = 2, SPAN_ID_INVALID = 4, SEVERITY_FROM_TEXT = 8 };
enum { SEVERITY_MOST = 24, DECIMALS = 20 };

typedef struct {
    Bytes word, body, trace_id, span_id, name;
    uint64_t time, observed, severity, dropped, flags;
    const Key *key; /* of `word` */
    int repairs, number;
    char trace[TRACE_DIGITS], span[SPAN_DIGITS];
} Log;

/* A body that is a text, and nothing else. */
static int body(Log *log, Bytes in) {
    if (log->body.at || in.at == in.end || *in.at++ != 0x0A) return 0;
    return part(&in, &log->body) && in.at == in.end;
}

/* The fields of a LogRecord message by tag (field number * 8 + wire type). */
static int fields(Block *block, Log *log, Bytes in) {
    Bytes content;
    int done = 1;
    while (in.at < in.end && done == 1) {
        switch (*in.at++) {
        case 0x09: done = fixed(&in, 8, &log->time); break;
        case 0x10: done = small(&in, &log->severity); break;
        case 0x1A: done = once(&in, &log->word); break;
        case 0x2A: done = part(&in, &content) ? body(log, content) : 0; break;
        case 0x32: done = part(&in, &content) ? take_attribute(block, content) : 0; break;
        case 0x38: done = small(&in, &log->dropped) && !log->dropped; break;
        case 0x45: done = fixed(&in, 4, &log->flags); break;
        case 0x4A: done = once(&in, &log->trace_id); break;
        case 0x52: done = once(&in, &log->span_id); break;
        case 0x59: done = fixed(&in, 8, &log->observed); break;
        case 0x62: done = once(&in, &log->name); break;
        default: done = 0;
        }
    }
    return done;
}

/* No id, or one of `size` bytes as digits; one of zeros is named. */
static int link_of(Log *log, Bytes id, size_t size, char *out, int repair) {
    if (!size_of(id)) return 1;
    if (size_of(id) != size) return 0;
    hex(id, out);
    if (is_zero(id)) log->repairs |= repair;
    return 1;
}

/* Whether the whole record is plain. */
static int check(Block *block, Log *log) {
    static const uint8_t nothing = 0;
    uint64_t time = log->time ? log->time : log->observed;
    if (!log->body.at || !time || time > INT64_MAX || log->observed > INT64_MAX || log->severity > SEVERITY_MOST) return 0;
    if ((long long)time < block->earliest || (long long)time > block->latest) return 0;
    if (!log->time) log->repairs |= TIME_FROM_OBSERVED;
    if (!link_of(log, log->trace_id, TRACE_DIGITS / 2, log->trace, TRACE_ID_INVALID)) return 0;
    if (!link_of(log, log->span_id, SPAN_DIGITS / 2, log->span, SPAN_ID_INVALID)) return 0;
    Bytes word = log->word.at ? log->word : (Bytes){&nothing, &nothing};
    Key *key;
    int done = find_key(&block->words, word, block->number_of_word, &key);
    if (done != 1) return done;
    log->key = key;
    log->number = (int)log->severity;
    if (!log->number && key->care > 0 && key->care <= SEVERITY_MOST) {
        log->number = (int)key->care;
        log->repairs |= SEVERITY_FROM_TEXT;
    }
    return 1;
}

/* The JSON of the whole record, its members in the order of log.py. */
static int put_payload(Block *block, const Log *log) {
    Buffer *out = &block->payload;
    int done;
    if (put_number(out, "{\"timeUnixNano\":", log->time) < 0) return -1;
    if (put_number(out, ",\"observedTimeUnixNano\":", log->observed) < 0) return -1;
    if (put_number(out, ",\"severityNumber\":", log->severity) < 0 || put_name(out, ",\"severityText\":") < 0) return -1;
    /* Without the colon behind a key. */
    if (put_bytes(out, block->words.json.at + log->key->json, log->key->json_size - 1) < 0) return -1;
    if ((done = put_text(out, ",\"body\":", log->body)) != 1) return done;
    if (put_name(out, ",\"attributes\":{") < 0) return -1;
    if (put_bytes(out, block->attributes.at, block->attributes.size) < 0 || put_byte(out, '}') < 0) return -1;
    if (size_of(log->name) && (done = put_text(out, ",\"eventName\":", log->name)) != 1) return done;
    if (size_of(log->trace_id) && put_digits(out, ",\"traceId\":\"", log->trace, TRACE_DIGITS) < 0) return -1;
    if (size_of(log->span_id) && put_digits(out, ",\"spanId\":\"", log->span, SPAN_DIGITS) < 0) return -1;
    if (log->flags && put_number(out, ",\"flags\":", log->flags) < 0) return -1;
    if (put_byte(out, '}') < 0) return -1;
    return out->size <= PAYLOAD_MOST;
}

static int put_columns(Block *block, const Log *log, Py_ssize_t index) {
    Buffer *columns = block->columns;
    size_t trace = log->repairs & TRACE_ID_INVALID ? 0 : 2 * size_of(log->trace_id);
    size_t span = log->repairs & SPAN_ID_INVALID ? 0 : 2 * size_of(log->span_id);
    uint64_t observed = log->observed ? log->observed : (uint64_t)block->received;
    if (put_fixed(&columns[INDEX], (uint64_t)index, 4) < 0) return -1;
    if (put_fixed(&columns[TIMESTAMP], log->time ? log->time : log->observed, 8) < 0) return -1;
    if (put_fixed(&columns[OBSERVED], observed, 8) < 0) return -1;
    if (put_string(&columns[TRACE_ID], log->trace, trace) < 0) return -1;
    if (put_string(&columns[SPAN_ID], log->span, span) < 0) return -1;
    if (put_fixed(&columns[FLAGS], log->flags & 0xFF, 4) < 0) return -1;
    if (put_byte(&columns[SEVERITY], (uint8_t)log->number) < 0) return -1;
    if (put_byte(&columns[WORD], (uint8_t)(log->key - block->words.keys)) < 0) return -1;
    if (put_string(&columns[NAME], log->name.at, size_of(log->name)) < 0) return -1;
    if (put_string(&columns[BODY], log->body.at, size_of(log->body)) < 0) return -1;
    if (put_counts(block) < 0 || put_byte(&columns[REPAIRS], (uint8_t)log->repairs) < 0) return -1;
    return put_string(&columns[PAYLOAD], block->payload.at, block->payload.size);
}

static int take_record(Block *block, Bytes in, Py_ssize_t index) {
    Log log = {0};
    int done = fields(block, &log, in);
    if (done == 1) done = check(block, &log);
    if (done == 1) done = put_payload(block, &log);
    return done == 1 ? put_columns(block, &log, index) : done;
}

/* -1 with an error set if an argument is not what log_blocks.py says. */
static int begin(Block *block, PyObject *given[ARGUMENTS], Py_ssize_t *most_odd) {
    block->earliest = PyLong_AsLongLong(given[EARLIEST]);
    block->latest = PyErr_Occurred() ? 0 : PyLong_AsLongLong(given[LATEST]);
    block->received = PyErr_Occurred() ? 0 : PyLong_AsLongLong(given[RECEIVED]);
    *most_odd = PyErr_Occurred() ? 0 : PyLong_AsSsize_t(given[MOST_ODD]);
    block->needs_care = given[NEEDS_CARE];
    block->number_of_word = given[NUMBER_OF_WORD];
    block->dumps = given[DUMPS];
    return PyErr_Occurred() ? -1 : 1;
}

static PyObject *log_block(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given[ARGUMENTS], *found = NULL;
    Py_ssize_t most_odd = 0;
    if (!PyArg_UnpackTuple(arguments, "log_block", ARGUMENTS, ARGUMENTS, &given[CHUNKS], &given[EARLIEST],
                           &given[LATEST], &given[RECEIVED], &given[NEEDS_CARE], &given[NUMBER_OF_WORD], &given[DUMPS],
                           &given[MOST_ODD]))
        return NULL;
    Block *block = new_block(COLUMNS, MAPS);
    if (!block) return NULL;
    if (!PyErr_Occurred() && begin(block, given, &most_odd) == 1) found = block_of(block, given[CHUNKS], most_odd);
    end(block);
    return found;
}

/* Appends schemas.rows.row_id of a prefix and a number, for the number of each index counted from `first`. */
static int put_ids(Buffer *out, Bytes indexes, uint64_t first, uint8_t *hashed, size_t prefix) {
    while (indexes.at < indexes.end) {
        Buffer digits = {hashed + prefix + LENGTH, 0, DECIMALS + 1};
        uint64_t index;
        if (!fixed(&indexes, 4, &index)) return 0;
        memset(digits.at, 0, DECIMALS);
        if (put_decimal(&digits, first + index, 0) < 0) return -1;
        memcpy(hashed + prefix, (uint8_t[]){0, 0, 0, (uint8_t)digits.size}, LENGTH);
        if (put_hash(out, hashed, prefix + LENGTH + digits.size) < 0) return -1;
    }
    return 1;
}

static PyObject *record_ids(PyObject *module, PyObject *arguments) {
    (void)module;
    PyObject *given, *begun, *number, *found = NULL;
    uint8_t hashed[HASHED_MOST + 1] = {0};
    size_t prefix;
    char *at;
    Py_ssize_t size;
    Buffer out = {0};
    if (!PyArg_UnpackTuple(arguments, "record_ids", 3, 3, &given, &begun, &number)) return NULL;
    unsigned long long first = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred() || PyBytes_AsStringAndSize(given, &at, &size)) return NULL;
    if (begin_hash(hashed, begun, LENGTH + DECIMALS, &prefix) < 0) return NULL;
    int done = put_ids(&out, (Bytes){(const uint8_t *)at, (const uint8_t *)at + size}, first, hashed, prefix);
    if (done == 1) found = PyBytes_FromStringAndSize((const char *)out.at, (Py_ssize_t)out.size);
    else if (done == 0) PyErr_SetString(PyExc_ValueError, "expected indexes of four bytes each");
    PyMem_Free(out.at);
    return found;
}

static PyMethodDef methods[] = {
    {"log_block", log_block, METH_VARARGS,
     "(columns, keys of attributes, indexes of odd records, severities as text) of a list of LogRecord messages; None if "
     "too many are odd."},
    {"record_ids", record_ids, METH_VARARGS, "The ids of records, from their indexes, what ids begin with, the first number."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_log_blocks", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__log_blocks(void) { return PyModule_Create(&module); }
