/* One pass over the first window of a message: its terms and its parts. scanning.py is the same in Python, and
 * says what is meant; the two give the same for any bytes (tests/property/test_hot_path.py). No Python here, so
 * that it can be fuzzed alone (tests/fuzz/).
 *
 * The bytes may be anything. Every read is below `end`, every write below the size of its buffer; nothing calls
 * itself; each byte is looked at a bounded number of times (multiparts nested deeper than DEEPEST are one part).
 */
#define _GNU_SOURCE /* memmem */
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { SENDER, RECIPIENTS, SUBJECT, MESSAGE_ID, DATE, ATTACHMENTS, TERMS, CONTENT };

enum {
    MOST_BYTES = 600, /* the largest of MOST */
    HEADER_BYTES = 256 << 10,
    CONTINUED_LINES = 200,
    PARAMETERS_BYTES = 4096,
    MOST_NAMED = 1000,
    SMALLEST_PART = 256,
    LONGEST_TAIL = 1024,
    LONGEST_BOUNDARY = 200,
    DEEPEST = 8,
    MOST_PARTS = 10000,
};

static const size_t MOST[TERMS] = {200, 600, 300, 200, 60, 600};

struct part {
    size_t start, end;
};

struct scan {
    const char *data;
    char terms[TERMS][MOST_BYTES];
    size_t size[TERMS];
    size_t left[TERMS];   /* how much of a list is still to be filled */
    const char *gap;      /* behind the last leaf: here the header of the next one's part begins */
    bool found[TERMS];    /* of a field that stands there several times the first counts */
    bool multipart;
    bool failed;          /* no memory */
    int named;            /* leaves before which names were looked for */
    struct part *parts;   /* `few`, or allocated */
    size_t count, room;
    struct part few[32];
};

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static bool is_control(char c) { return ((unsigned char)c < 32 && c != '\t') || c == 127; }

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

static const char *find_byte(const char *at, const char *end, char byte) {
    return at < end ? memchr(at, byte, (size_t)(end - at)) : NULL;
}

static const char *find(const char *at, const char *end, const char *text, size_t size) {
    return at < end ? memmem(at, (size_t)(end - at), text, size) : NULL;
}

#define FIND(at, end, text) find(at, end, text, sizeof(text) - 1)

/* Behind a word in small letters that begins here in any case; NULL if none does. */
static const char *after(const char *at, const char *end, const char *word) {
    for (; *word; word++, at++)
        if (at >= end || lower(*at) != *word) return NULL;
    return at;
}

static const char *past_blanks(const char *at, const char *end) {
    while (at < end && is_blank(*at)) at++;
    return at;
}

/* Behind the next blank line; NULL if there is none. */
static const char *header_end(const char *at, const char *end) {
    while ((at = find_byte(at, end, '\n'))) {
        at++;
        if (at < end && *at == '\n') return at + 1;
        if (end - at >= 2 && at[0] == '\r' && at[1] == '\n') return at + 2;
    }
    return NULL;
}

/* The value of a field with this name that begins here, with the lines that continue it: [start, *stop). */
static const char *value_of(const char *at, const char *end, const char *name, const char **stop) {
    const char *line, *start;
    if (!(at = after(at, end, name))) return NULL;
    for (int blanks = 0; blanks < 16 && at < end && is_blank(*at); blanks++) at++;
    if (at >= end || *at != ':') return NULL;
    line = start = at + 1;
    for (int lines = 0;; lines++) {
        const char *eol = find_byte(line, end, '\n');
        *stop = eol ? eol : end;
        if (!eol || lines == CONTINUED_LINES || end - eol < 2 || !is_blank(eol[1])) return start;
        line = eol + 1;
    }
}

/* A value on one line: at most `limit` bytes of it to `out`, which has room for twice as many. */
static size_t to_line(const char *at, const char *end, size_t limit, char *out) {
    size_t size = 0, begin = 0;
    if ((size_t)(end - at) > 2 * limit) end = at + 2 * limit;
    bool folded = find_byte(at, end, '\n') != NULL;
    for (bool first = true; at < end; first = false) {
        if (folded) { /* words, with a blank between */
            while (at < end && is_space(*at)) at++;
            if (at == end) break;
            if (!first) out[size++] = ' ';
        }
        for (; at < end && !(folded && is_space(*at)); at++)
            if (!is_control(*at)) out[size++] = *at == '\t' ? ' ' : *at;
    }
    while (begin < size && out[begin] == ' ') begin++;
    while (size > begin && out[size - 1] == ' ') size--;
    size -= begin;
    if (size > limit) size = limit;
    memmove(out, out + begin, size);
    return size;
}

/* Add a value to a list, unless it stands there, or there is no room. Lines hold no NUL, which is between them. */
static void add(struct scan *scan, int term, const char *at, const char *end) {
    char text[2 * MOST_BYTES], *list = scan->terms[term];
    if (!scan->left[term]) return;
    size_t size = to_line(at, end, scan->left[term], text), whole = scan->size[term];
    if (!size) return;
    for (size_t from = 0; from < whole;) {
        const char *nul = find_byte(list + from, list + whole, 0);
        size_t length = (nul ? (size_t)(nul - list) : whole) - from;
        if (length == size && !memcmp(list + from, text, size)) return;
        from += length + 1;
    }
    if (whole) list[whole++] = 0;
    memcpy(list + whole, text, size);
    scan->size[term] = whole + size;
    scan->left[term] = scan->left[term] > size + 1 ? scan->left[term] - size - 1 : 0;
}

struct parameter {
    const char *start, *end; /* of its value */
    bool quoted, marked;
};

/* The parameter `name=` or `filename=` that begins here; where to go on, or NULL. The regular expression _NAME. */
static const char *parameter(const char *at, const char *end, struct parameter *found) {
    const char *name = after(at, end, "file");
    if (!(at = after(name ? name : at, end, "name"))) return NULL;
    found->marked = at < end && *at == '*';
    if (found->marked) {
        at++;
        for (int marks = 0; marks < 4 && at < end && (is_digit(*at) || *at == '*'); marks++) at++;
    }
    for (int blanks = 0; blanks < 16 && at < end && is_blank(*at); blanks++) at++;
    if (at >= end || *at++ != '=') return NULL;
    for (int spaces = 0; spaces < 16 && at < end && is_space(*at); spaces++) at++;
    if (at >= end) return NULL;
    found->quoted = *at == '"';
    if (found->quoted) {
        found->start = ++at;
        for (int escapes = 0;; escapes++) {
            for (int count = 0; count < 1000 && at < end && *at != '"' && *at != '\\'; count++) at++;
            if (escapes == 100 || end - at < 2 || *at != '\\') break;
            at += 2;
        }
        found->end = at;
        return at < end && *at == '"' ? at + 1 : at;
    }
    found->start = at;
    for (int count = 0; count < 1000 && at < end && !is_space(*at) && *at != ';' && *at != '"'; count++) at++;
    found->end = at;
    return at > found->start ? at : NULL;
}

/* The file names among the parameters of one field. Those with marks (RFC 2231) are put together, and stand for
 * those without. */
static void add_names(struct scan *scan, const char *start, const char *end) {
    char text[PARAMETERS_BYTES];
    if (!FIND(start, end, "ame") && !FIND(start, end, "AME")) return;
    if (end - start > PARAMETERS_BYTES) end = start + PARAMETERS_BYTES;
    bool any_marked = false;
    for (int pass = 0; pass < 2 && !any_marked; pass++) { /* 0: those with marks, 1: those without */
        size_t size = 0;
        for (const char *at = start; at < end;) {
            struct parameter found;
            bool begins = at == start || at[-1] == ';' || is_space(at[-1]);
            const char *next = begins ? parameter(at, end, &found) : NULL;
            at = next ? next : at + 1;
            if (!next || found.marked != !pass) continue;
            for (const char *from = found.start; from < found.end; from++)
                if (!(found.quoted && *from == '\\')) text[size++] = *from;
            if (found.marked) {
                any_marked = true;
            } else {
                add(scan, ATTACHMENTS, text, text + size);
                size = 0;
            }
        }
        if (any_marked) add(scan, ATTACHMENTS, text, text + size);
    }
}

/* The names in the header of a part, and of those around it: what stands before its leaf. */
static void add_names_between(struct scan *scan, const char *at, const char *end) {
    const char *value, *stop;
    while ((at = find_byte(at, end, '\n'))) {
        at++;
        if ((value = value_of(at, end, "content-type", &stop)) ||
            (value = value_of(at, end, "content-disposition", &stop))) {
            add_names(scan, value, stop);
            at = stop;
        }
    }
}

static void add_leaf(struct scan *scan, const char *start, const char *end) {
    if (scan->multipart && scan->named < MOST_NAMED && scan->left[ATTACHMENTS]) {
        scan->named++;
        add_names_between(scan, scan->gap, start);
        scan->gap = end;
    }
    for (int tail = 0; tail < LONGEST_TAIL && end > start && (end[-1] == '\n' || end[-1] == '\r'); tail++) end--;
    if (end - start < SMALLEST_PART) return;
    if (scan->count == scan->room) {
        struct part *parts = malloc(2 * scan->room * sizeof *parts);
        if (!parts) {
            scan->failed = true;
            return;
        }
        memcpy(parts, scan->parts, scan->count * sizeof *parts);
        if (scan->parts != scan->few) free(scan->parts);
        scan->parts = parts;
        scan->room *= 2;
    }
    scan->parts[scan->count++] = (struct part){(size_t)(start - scan->data), (size_t)(end - scan->data)};
}

struct level { /* a multipart that the walk is in */
    const char *at, *end; /* its next delimiter, NULL: none; where it ends */
    char delimiter[2 + LONGEST_BOUNDARY];
    size_t size;
    int depth; /* of its parts */
};

/* Whether the header from start to end names the boundary of a multipart; its delimiter. */
static bool has_delimiter(const char *start, const char *end, struct level *level) {
    const char *at = FIND(start, end, "oundary");
    if (!at || !FIND(start, at, "ultipart/")) return false;
    at = past_blanks(at + sizeof "oundary" - 1, end);
    if (at >= end || *at != '=') return false;
    at = past_blanks(at + 1, end);
    bool quoted = at < end && *at == '"';
    const char *first = at += quoted;
    while (at < end && at - first < LONGEST_BOUNDARY && *at != '"' &&
           (quoted ? *at != '\r' && *at != '\n' : !is_space(*at) && *at != ';'))
        at++;
    if (at == first || (quoted && (at >= end || *at != '"'))) return false;
    level->delimiter[0] = level->delimiter[1] = '-';
    level->size = 2 + (size_t)(at - first);
    memcpy(level->delimiter + 2, first, (size_t)(at - first));
    return true;
}

/* Whether the header from start to end is that of a forwarded message. */
static bool is_message(const char *data, const char *start, const char *end) {
    if (!FIND(start, end, "essage/")) return false;
    for (const char *at = start; at && at < end; at = find_byte(at, end, '\n')) {
        const char *value = at;
        if (*at == '\n') value = ++at;
        else if (at > data && at[-1] != '\n') continue; /* only there: the header begins within a line */
        if (!(value = after(value, end, "content-type"))) continue;
        value = past_blanks(value, end);
        if (value >= end || *value != ':') continue;
        value = after(past_blanks(value + 1, end), end, "message/");
        if (value && (after(value, end, "rfc822") || after(value, end, "global"))) return true;
    }
    return false;
}

/* Where a delimiter stands next. No hyphen occurs in base64: looking for one skips most of a large part at once. */
static const char *next_delimiter(const char *at, const char *end, const struct level *level) {
    return (at = find_byte(at, end, '-')) ? find(at, end, level->delimiter, level->size) : NULL;
}

/* All leaves of the message whose header ends, and whose body begins, at `body`. */
static void walk(struct scan *scan, const char *body, const char *end) {
    struct level levels[DEEPEST], *level = levels; /* those below `level` are begun; each is one deeper at least */
    const char *start = scan->data;
    int depth = 0, budget = MOST_PARTS;
    for (;;) {
        const char *inner = NULL;
        if (depth < DEEPEST && has_delimiter(start, body, level)) {
            level->at = next_delimiter(body, end, level);
            level->end = end;
            level->depth = depth + 1;
            level++;
        } else if (depth && depth < DEEPEST && is_message(scan->data, start, body) &&
                   (inner = header_end(body, end))) {
            start = body;
            body = inner;
            depth++;
            continue;
        } else {
            add_leaf(scan, body, end);
        }
        for (;; level--) { /* the next part, of the innermost multipart that has another */
            if (level == levels) return;
            struct level *inside = level - 1;
            if (!inside->at || budget <= 0) continue;
            budget--;
            start = inside->at;
            if (!(body = header_end(start, inside->end))) continue;
            inside->at = next_delimiter(body, inside->end, inside);
            end = inside->at ? inside->at : inside->end;
            depth = inside->depth;
            break;
        }
    }
}

static const struct {
    const char *name;
    int term;
} FIELDS[] = {
    {"from", SENDER},
    {"to", RECIPIENTS},
    {"cc", RECIPIENTS},
    {"subject", SUBJECT},
    {"message-id", MESSAGE_ID},
    {"date", DATE},
    {"content-type", CONTENT},
    {"content-disposition", CONTENT},
};

/* If a field that matters begins here: what it says; its end, or `at` if none does. */
static const char *scan_field(struct scan *scan, const char *at, const char *end) {
    const char *value = NULL, *stop = at;
    size_t which = 0;
    if (at >= end || !strchr("ftcsmd", lower(*at)) || !*at) return at; /* most lines */
    for (; which < sizeof FIELDS / sizeof *FIELDS; which++)
        if ((value = value_of(at, end, FIELDS[which].name, &stop))) break;
    if (!value) return at;
    int term = FIELDS[which].term;
    if (term == CONTENT) {
        add_names(scan, value, stop);
        scan->multipart = scan->multipart || FIND(value, stop, "ultipart/");
    } else if (term == RECIPIENTS) {
        add(scan, term, value, stop);
    } else if (!scan->found[term]) {
        char text[2 * MOST_BYTES];
        scan->found[term] = true;
        scan->size[term] = to_line(value, stop, MOST[term], text);
        memcpy(scan->terms[term], text, scan->size[term]);
    }
    return stop;
}

/* The fields of the header; where the body begins, or NULL if there is no blank line. */
static const char *scan_header(struct scan *scan, const char *end) {
    const char *stop = end - scan->data > HEADER_BYTES ? scan->data + HEADER_BYTES : end;
    const char *at = scan_field(scan, scan->data, stop);
    while ((at = find_byte(at, stop, '\n'))) {
        at++;
        if (at < stop && *at == '\n') return at + 1;
        if (stop - at >= 2 && at[0] == '\r' && at[1] == '\n') return at + 2;
        at = scan_field(scan, at, stop);
    }
    return header_end(scan->data, end);
}

/* Scan these bytes. False if there was no memory. `scan_free` is due either way. */
static bool scan_message(struct scan *scan, const char *data, size_t size) {
    *scan = (struct scan){.data = data, .parts = scan->few, .room = sizeof scan->few / sizeof *scan->few};
    memcpy(scan->left, MOST, sizeof MOST);
    const char *body = scan_header(scan, data + size);
    if (body) {
        scan->gap = body;
        walk(scan, body, data + size);
    }
    return !scan->failed;
}

static void scan_free(struct scan *scan) {
    if (scan->parts != scan->few) free(scan->parts);
}
