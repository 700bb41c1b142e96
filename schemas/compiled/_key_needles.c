/* Tells whether bytes may contain a key: one pass over rare bytes instead of a search for each form. Optional;
 * schemas/key_masking.py does the masking.
 *
 * memchr finds candidates; the bytes around each are read only inside the buffer.
 */
#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* `ak_` or `pt_`, at its underscore: plain, or with a zero behind each letter as UTF-16 has it. */
static int is_prefix(const uint8_t *start, const uint8_t *at, const uint8_t *end) {
    Py_ssize_t before = at - start;
    if (before >= 2 && ((at[-2] == 'a' && at[-1] == 'k') || (at[-2] == 'p' && at[-1] == 't'))) return 1;
    if (before < 4 || end - at < 2 || at[-3] || at[-1] || at[1]) return 0;
    return (at[-4] == 'a' && at[-2] == 'k') || (at[-4] == 'p' && at[-2] == 't');
}

static int holds_prefix(const uint8_t *start, const uint8_t *end) {
    const uint8_t *at = start;
    while (at < end && (at = memchr(at, '_', (size_t)(end - at)))) {
        if (is_prefix(start, at, end)) return 1;
        at++;
    }
    return 0;
}

/* Four bytes of base64, found by one of them, which stands `offset` bytes behind the first. */
static int holds_word(const uint8_t *start, const uint8_t *end, const char *word, Py_ssize_t offset) {
    const uint8_t *at = start;
    while (at < end && (at = memchr(at, word[offset], (size_t)(end - at)))) {
        if (at - start >= offset && end - at >= 4 - offset && !memcmp(at - offset, word, 4)) return 1;
        at++;
    }
    return 0;
}

static PyObject *may_hold_key(PyObject *module, PyObject *data) {
    (void)module;
    char *text;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(data, &text, &size)) return NULL;
    const uint8_t *start = (const uint8_t *)text, *end = start + size;
    int found = holds_prefix(start, end) || holds_word(start, end, "YWtf", 0) || holds_word(start, end, "cHRf", 1);
    return PyBool_FromLong(found);
}

static PyMethodDef methods[] = {
    {"may_hold_key", may_hold_key, METH_O, "Whether the first bytes of any form of a key are in `data`."},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_key_needles", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__key_needles(void) { return PyModule_Create(&module); }
