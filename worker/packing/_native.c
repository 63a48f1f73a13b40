/* The hot path of a backup for Python: what `hot_path` has of it in C. The stable ABI of Python 3.11, Linux. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include "_scan.h"

#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { LEAST_UNLOCKED = 16 << 10 }; /* scanning less takes less time than to give the interpreter away */

static PyObject *parts_of(const struct scan *scan) {
    PyObject *parts = PyList_New((Py_ssize_t)scan->count);
    for (size_t at = 0; parts && at < scan->count; at++) {
        PyObject *part = Py_BuildValue("(nn)", (Py_ssize_t)scan->parts[at].start, (Py_ssize_t)scan->parts[at].end);
        if (!part || PyList_SetItem(parts, (Py_ssize_t)at, part) < 0) Py_CLEAR(parts);
    }
    return parts;
}

static PyObject *terms_of(const struct scan *scan) {
    PyObject *terms = PyTuple_New(TERMS);
    for (int at = 0; terms && at < TERMS; at++) {
        PyObject *term = PyBytes_FromStringAndSize(scan->terms[at], (Py_ssize_t)scan->size[at]);
        if (!term || PyTuple_SetItem(terms, at, term) < 0) Py_CLEAR(terms);
    }
    return terms;
}

PyDoc_STRVAR(scan_doc, "scan(window): see hot_path. The terms are a plain tuple.");

static PyObject *native_scan(PyObject *Py_UNUSED(module), PyObject *window) {
    struct scan scan;
    PyObject *terms, *parts = NULL;
    char *data;
    Py_ssize_t size;
    bool done;
    if (PyBytes_AsStringAndSize(window, &data, &size) < 0) return NULL;
    if (size < LEAST_UNLOCKED) {
        done = scan_message(&scan, data, (size_t)size);
    } else {
        Py_BEGIN_ALLOW_THREADS
        done = scan_message(&scan, data, (size_t)size);
        Py_END_ALLOW_THREADS
    }
    terms = done ? terms_of(&scan) : PyErr_NoMemory();
    if (terms) parts = parts_of(&scan);
    scan_free(&scan);
    if (parts) return Py_BuildValue("(NN)", terms, parts);
    Py_XDECREF(terms);
    return NULL;
}

/* Whether a file has attributes that a backup keeps (stores/attributes.py), or it can't be said. */
static bool has_attributes(int fd) {
    char names[1024];
    ssize_t size = flistxattr(fd, names, sizeof names);
    if (size < 0) return errno != EOPNOTSUPP && errno != ENOSYS;
    for (const char *name = names; name < names + size; name += strlen(name) + 1)
        if (!strncmp(name, "user.", 5) || !strcmp(name, "system.posix_acl_access") ||
            !strcmp(name, "system.posix_acl_default"))
            return true;
    return false;
}

enum { MOST_READ = 64 << 10 };

/* A date beyond needs more than 64 bits. */
static const long long LATEST_SECOND = 9000000000;

struct file {
    struct stat stat;
    char data[MOST_READ + 1];
};

/* If it is an ordinary small file: all of it, and it is closed. */
static bool read_whole(int fd, struct file *file) {
    const struct stat *stat = &file->stat;
    if (fstat(fd, &file->stat) < 0 || !S_ISREG(stat->st_mode) || stat->st_nlink > 1 || stat->st_size > MOST_READ ||
        llabs((long long)stat->st_mtim.tv_sec) > LATEST_SECOND || has_attributes(fd))
        return false;
    /* One byte more than there should be: a full read proves that the file did not grow. */
    if (pread(fd, file->data, (size_t)stat->st_size + 1, 0) != stat->st_size) return false;
    close(fd);
    return true;
}

PyDoc_STRVAR(read_file_doc, "read_file(directory, name, flags): see hot_path.");

static PyObject *native_read_file(PyObject *Py_UNUSED(module), PyObject *arguments) {
    struct file file;
    int directory, flags, fd, error;
    bool is_whole;
    const char *name;
    if (!PyArg_ParseTuple(arguments, "iyi", &directory, &name, &flags)) return NULL;
    for (;;) {
        Py_BEGIN_ALLOW_THREADS
        fd = openat(directory, name, flags);
        error = errno;
        is_whole = fd >= 0 && read_whole(fd, &file);
        Py_END_ALLOW_THREADS
        if (fd >= 0) break;
        if (error != EINTR) {
            errno = error;
            return PyErr_SetFromErrno(PyExc_OSError);
        }
        if (PyErr_CheckSignals() < 0) return NULL;
    }
    if (!is_whole) return PyLong_FromLong(fd);
    const struct stat *stat = &file.stat;
    return Py_BuildValue("(y#LIIIK)", file.data, (Py_ssize_t)stat->st_size,
                         (long long)stat->st_mtim.tv_sec * 1000000000 + stat->st_mtim.tv_nsec,
                         (unsigned)stat->st_mode, (unsigned)stat->st_uid, (unsigned)stat->st_gid,
                         (unsigned long long)stat->st_ino);
}

/* An entry as the kernel gives it (getdents64(2)). */
struct entry {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char type;
    char name[];
};

enum { ENTRIES_BYTES = 32 << 10 };

/* The kind of an entry, see entries.py; below 0 if the file system does not say and can't be asked. */
static int kind_of(int directory, const struct entry *entry) {
    int type = entry->type;
    if (type == 0) { /* not every file system keeps it */
        struct stat stat;
        if (fstatat(directory, entry->name, &stat, AT_SYMLINK_NOFOLLOW) == 0)
            type = (stat.st_mode & S_IFMT) >> 12;
        else if (errno != ENOENT)
            return -1;
    }
    return type == 8 || type == 4 || type == 10 ? type : 0;
}

/* Adds what the buffer holds, but for the directory itself and that above it. */
static bool add_entries(PyObject *list, int directory, const char *buffer, long size) {
    for (long at = 0; at < size;) {
        const struct entry *entry = (const struct entry *)(buffer + at);
        const char *name = entry->name;
        at += entry->size;
        if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]))) continue;
        int kind = kind_of(directory, entry);
        if (kind < 0) return PyErr_SetFromErrno(PyExc_OSError), false;
        PyObject *row = Py_BuildValue("(yiK)", name, kind, (unsigned long long)entry->inode);
        int failed = row ? PyList_Append(list, row) : -1;
        Py_XDECREF(row);
        if (failed) return false;
    }
    return true;
}

PyDoc_STRVAR(read_entries_doc,
             "read_entries(directory, from_start): the next entries, see entries.py; none at the end.");

static PyObject *native_read_entries(PyObject *Py_UNUSED(module), PyObject *arguments) {
    _Alignas(struct entry) char buffer[ENTRIES_BYTES];
    int directory, from_start;
    long size;
    if (!PyArg_ParseTuple(arguments, "ip", &directory, &from_start)) return NULL;
    if (from_start && lseek(directory, 0, SEEK_SET) < 0) return PyErr_SetFromErrno(PyExc_OSError);
    PyObject *list = PyList_New(0);
    while (list && PyList_Size(list) == 0) {
        Py_BEGIN_ALLOW_THREADS
        size = syscall(SYS_getdents64, directory, buffer, sizeof buffer);
        Py_END_ALLOW_THREADS
        if (size == 0) break;
        if (size < 0) PyErr_SetFromErrno(PyExc_OSError);
        if (size < 0 || !add_entries(list, directory, buffer, size)) Py_CLEAR(list);
    }
    return list;
}

static PyMethodDef methods[] = {
    {"scan", native_scan, METH_O, scan_doc},
    {"read_entries", native_read_entries, METH_VARARGS, read_entries_doc},
    {"read_file", native_read_file, METH_VARARGS, read_file_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_native", "See hot_path.", 0, methods, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&module); }
