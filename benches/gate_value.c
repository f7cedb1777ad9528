/* gate_value.c: parses numbers in text, and looks up keywords and tags.
 *
 *     gate_value FILE ROUNDS    (FILE is not read)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dcm.h"

/* The function whose instructions gate.py counts. */
__attribute__((noinline)) int gate(const char *decimals, const char *integers,
                                   const char *keyword, int rounds);

int gate(const char *decimals, const char *integers, const char *keyword, int rounds) {
    int found = 0;
    while (rounds--) {
        dcm_span rest = {decimals, strlen(decimals)}, one;
        dcm_dict_row row;
        double real;
        int64_t integer;
        while (dcm_next_component(&rest, &one)) found += dcm_parse_float(one, &real);
        rest.p = integers;
        rest.n = strlen(integers);
        while (dcm_next_component(&rest, &one)) found += dcm_parse_int(one, &integer);
        found += dcm_dict_find(dcm_dict_tag(keyword, strlen(keyword)), &row) == DCM_OK;
        found += dcm_dict_vr(0x52009230) == DCM_VR_SQ;
    }
    return found;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    printf("%d rows\n", gate("-180.000\\1\\0.703125\\ 1.2500000e-3 \\12345678901234567",
                             "1\\ 42 \\-2048", "PatientName", atoi(argv[2])));
    return 0;
}
