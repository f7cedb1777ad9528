/* replay.h: the entry point of a fuzz target, and a main that replays the files
 * given as arguments, unless libFuzzer provides one (-DFUZZER). */
#ifndef REPLAY_H
#define REPLAY_H

#include "../c/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifndef FUZZER
int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        CHECK(f && !fseek(f, 0, SEEK_END));
        size_t size = (size_t)ftell(f);
        uint8_t *data = malloc(size + !size); /* of exactly this size: ASan detects overruns */
        CHECK(data && !fseek(f, 0, SEEK_SET) && fread(data, 1, size, f) == size);
        fclose(f);
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
#endif
#endif
