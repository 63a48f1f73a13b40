/* The scanner of the hot path under libFuzzer, with the sanitizers for addresses and undefined behaviour:
 * `make fuzz`. Beside what these find: parts lie within the bytes, one after the other; terms are on one line and
 * within their limits; and nothing takes long (-timeout). */
#include "../../worker/packing/_scan.h"

#include <stdint.h>
#include <stdio.h>

#define HOLDS(what) \
    if (!(what)) { fprintf(stderr, "does not hold: %s\n", #what); abort(); }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct scan scan;
    HOLDS(scan_message(&scan, (const char *)data, size));
    size_t done = 0;
    HOLDS(scan.count <= MOST_PARTS + 1);
    for (size_t at = 0; at < scan.count; at++) {
        const struct part *part = &scan.parts[at];
        HOLDS(part->start >= done && part->end <= size && part->start + SMALLEST_PART <= part->end);
        done = part->end;
    }
    for (int term = 0; term < TERMS; term++) {
        HOLDS(scan.size[term] <= MOST[term]);
        bool is_list = term == RECIPIENTS || term == ATTACHMENTS;
        for (size_t at = 0; at < scan.size[term]; at++) {
            char byte = scan.terms[term][at];
            HOLDS(byte == 0 ? is_list : byte != '\t' && !is_control(byte));
        }
    }
    scan_free(&scan);
    return 0;
}
