/* Text in lines, for `base64_lines`. The stable ABI of Python 3.11. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdbool.h>
#include <string.h>

enum { LEAST_UNLOCKED = 64 << 10 }; /* to break less takes less time than to give the interpreter away */

struct lines {
    const char *text, *end;
    Py_ssize_t size, width, end_size;
    bool ended;
};

static void break_into(char *to, const struct lines *lines) {
    const char *text = lines->text;
    Py_ssize_t left = lines->size;
    while (left > 0) {
        Py_ssize_t size = left < lines->width ? left : lines->width;
        memcpy(to, text, (size_t)size);
        to += size, text += size, left -= size;
        if (left == 0 && !lines->ended) break;
        memcpy(to, lines->end, (size_t)lines->end_size);
        to += lines->end_size;
    }
}

PyDoc_STRVAR(break_lines_doc, "break_lines(text, width, line_end, ended): the text in lines of this width; ended: "
                              "with a line end behind the last one.");

static PyObject *break_lines(PyObject *Py_UNUSED(module), PyObject *arguments) {
    struct lines lines;
    int ended;
    if (!PyArg_ParseTuple(arguments, "y#ny#p", &lines.text, &lines.size, &lines.width, &lines.end, &lines.end_size,
                          &ended))
        return NULL;
    if (lines.width < 1) return PyErr_Format(PyExc_ValueError, "no width: %zd", lines.width);
    lines.ended = ended;
    Py_ssize_t count = lines.size / lines.width + (lines.size % lines.width != 0);
    Py_ssize_t ends = count && !lines.ended ? count - 1 : count;
    if (lines.end_size && ends > (PY_SSIZE_T_MAX - lines.size) / lines.end_size) return PyErr_NoMemory();
    PyObject *broken = PyBytes_FromStringAndSize(NULL, lines.size + ends * lines.end_size);
    if (!broken) return NULL;
    char *to = PyBytes_AsString(broken);
    if (lines.size < LEAST_UNLOCKED) {
        break_into(to, &lines);
    } else {
        Py_BEGIN_ALLOW_THREADS
        break_into(to, &lines);
        Py_END_ALLOW_THREADS
    }
    return broken;
}

static PyMethodDef methods[] = {
    {"break_lines", break_lines, METH_VARARGS, break_lines_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_lines", "See base64_lines.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__lines(void) { return PyModuleDef_Init(&module); }
