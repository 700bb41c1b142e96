/* libFuzzer over the readers in C: inputs are chosen by what code they reach, tests/fuzz/guided.py compares the answers. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>

PyMODINIT_FUNC PyInit__plain_spans(void);
PyMODINIT_FUNC PyInit__plain_json(void);

static PyObject *check;

static void die(void) {
    PyErr_Print();
    abort();
}

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    (void)count, (void)arguments;
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    config.install_signal_handlers = 0;
    PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, getenv("AXONPUSH_FUZZ_PYTHON"));
    if (PyStatus_Exception(status)) abort();
    if (PyImport_AppendInittab("_plain_spans", PyInit__plain_spans)) abort();
    if (PyImport_AppendInittab("_plain_json", PyInit__plain_json)) abort();
    if (PyStatus_Exception(Py_InitializeFromConfig(&config))) abort();
    if (PyRun_SimpleString("import sys; sys.path.insert(0, '.')")) abort();
    PyObject *module = PyImport_ImportModule("tests.fuzz.guided");
    if (!module || !(check = PyObject_GetAttrString(module, "check"))) die();
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PyObject *found = PyObject_CallFunction(check, "y#", (const char *)data, (Py_ssize_t)size);
    if (!found) die();
    Py_DECREF(found);
    return 0;
}
