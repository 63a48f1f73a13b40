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

/* The lines without what stands between them; false if that is not a line end each time. It would be whole. */
static bool join(char *to, const struct lines *lines) {
    const char *text = lines->text;
    Py_ssize_t left = lines->size, width = lines->width, end_size = lines->end_size;
    while (left > width) {
        if (memcmp(text + width, lines->end, (size_t)end_size)) return false;
        memcpy(to, text, (size_t)width);
        to += width, text += width + end_size, left -= width + end_size;
    }
    memcpy(to, text, (size_t)left);
    return true;
}

PyDoc_STRVAR(join_lines_doc, "join_lines(text, width, line_end): the text without its line ends, or None if each of "
                             "its lines but the last one is not of this width with a line end behind it.");

static PyObject *join_lines(PyObject *Py_UNUSED(module), PyObject *arguments) {
    struct lines lines;
    bool joined;
    if (!PyArg_ParseTuple(arguments, "y#ny#", &lines.text, &lines.size, &lines.width, &lines.end, &lines.end_size))
        return NULL;
    if (lines.width < 1 || lines.end_size < 1) return PyErr_Format(PyExc_ValueError, "no width, or no line end");
    Py_ssize_t stride = 0, ends = 0;
    if (lines.size > lines.width) {
        stride = lines.width + lines.end_size;
        ends = (lines.size - lines.width - 1) / stride + 1;
    }
    if (lines.size < ends * stride) Py_RETURN_NONE; /* the last line end is not whole */
    PyObject *whole = PyBytes_FromStringAndSize(NULL, lines.size - ends * lines.end_size);
    if (!whole) return NULL;
    char *to = PyBytes_AsString(whole);
    if (lines.size < LEAST_UNLOCKED) {
        joined = join(to, &lines);
    } else {
        Py_BEGIN_ALLOW_THREADS
        joined = join(to, &lines);
        Py_END_ALLOW_THREADS
    }
    if (joined) return whole;
    Py_DECREF(whole);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"break_lines", break_lines, METH_VARARGS, break_lines_doc},
    {"join_lines", join_lines, METH_VARARGS, join_lines_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_lines", "See base64_lines.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__lines(void) { return PyModuleDef_Init(&module); }
