/* dict.c: lookup of tags and keywords in the tables of dict_table.h. */
#include "dcm_base.h"
#include "dcm_dictionary.h"

#include <string.h>

typedef struct public_row {
    uint32_t tag;
    uint32_t keyword, name; /* offsets into the pool */
    uint8_t vr, vm, retired;
} public_row;

/* Elements that repeat over groups or element numbers: rows [begin, end) have the
 * tags with zeros where `mask` has zeros. */
typedef struct repeater {
    uint32_t mask;
    uint16_t begin, end;
} repeater;

typedef struct creator_row {
    uint32_t name;
    uint16_t begin, end;
} creator_row;

typedef struct private_row {
    uint32_t tag;
    uint32_t name;
    uint8_t vr, vm;
} private_row;

#include "dict_table.h"

static const char *string_at(uint32_t offset) {
    return (const char *)&pool + offset;
}

static const public_row *find_exact(uint32_t tag) {
    uint32_t at = tag * TAG_FACTOR >> (32 - TAG_BITS);
    for (;;) {
        uint32_t slot = tag_slots[at];
        if (slot == 0) return NULL;
        if (public_rows[slot - 1].tag == tag) return &public_rows[slot - 1];
        at = (at + 1) & ((1u << TAG_BITS) - 1);
    }
}

static const public_row *find_repeater(uint32_t tag) {
    /* Private groups do not repeat public ones, and no pattern includes group
     * lengths. */
    if (tag & 0x10000 || !(tag & 0xFFFF)) return NULL;
    for (size_t i = 0; i < sizeof repeaters / sizeof *repeaters; i++) {
        uint32_t key = tag & repeaters[i].mask;
        uint32_t low = repeaters[i].begin, high = repeaters[i].end;
        while (low < high) {
            uint32_t mid = (low + high) / 2;
            if (public_rows[mid].tag < key)
                low = mid + 1;
            else
                high = mid;
        }
        if (low < repeaters[i].end && public_rows[low].tag == key) return &public_rows[low];
    }
    return NULL;
}

static void fill(dcm_dict_row *out, const public_row *row, uint32_t tag) {
    out->tag = tag;
    out->keyword = string_at(row->keyword);
    out->name = string_at(row->name);
    out->vm = vms[row->vm];
    out->vr = row->vr;
    out->retired = row->retired;
}

int dcm_dict_find(uint32_t tag, dcm_dict_row *out) {
    const public_row *row = find_exact(tag);
    if (!row) row = find_repeater(tag);
    if (!row) return DCM_NOT_FOUND;
    fill(out, row, tag);
    return DCM_OK;
}

uint8_t dcm_dict_vr(uint32_t tag) {
    const public_row *row = find_exact(tag);
    uint32_t element = tag & 0xFFFF;
    if (row) return row->vr;
    if (element == 0) return DCM_VR_UL; /* group length, PS3.5 7.2 */
    if (tag & 0x10000)                  /* PS3.5 7.8.1 */
        return element >= 0x10 && element <= 0xFF ? DCM_VR_LO : DCM_VR_NONE;
    row = find_repeater(tag);
    return row ? row->vr : DCM_VR_NONE;
}

uint32_t dcm_dict_tag(const char *keyword, size_t length) {
    uint32_t h = 2166136261u; /* FNV-1a, as in generate.py */
    for (size_t i = 0; i < length; i++) h = (h ^ (uint8_t)keyword[i]) * 16777619u;
    h = (h ^ h >> 16) & ((1u << KEYWORD_BITS) - 1);
    for (;;) {
        uint32_t slot = keyword_slots[h];
        const char *known;
        if (slot == 0) return 0;
        known = string_at(public_rows[slot - 1].keyword);
        if (strlen(known) == length && memcmp(known, keyword, length) == 0)
            return public_rows[slot - 1].tag;
        h = (h + 1) & ((1u << KEYWORD_BITS) - 1);
    }
}

uint32_t dcm_dict_count(void) {
    return N_ROWS;
}

void dcm_dict_at(uint32_t i, dcm_dict_row *out) {
    fill(out, &public_rows[i], public_rows[i].tag);
}

static const creator_row *find_creator(const char *name, size_t length) {
    size_t low = 0, high = sizeof creators / sizeof *creators;
    while (low < high) {
        size_t mid = (low + high) / 2;
        const char *known = string_at(creators[mid].name);
        size_t known_length = strlen(known);
        int order = memcmp(known, name, known_length < length ? known_length : length);
        if (order == 0 && known_length == length) return &creators[mid];
        if (order < 0 || (order == 0 && known_length < length))
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

int dcm_dict_private(uint32_t tag, const char *creator, size_t length, dcm_dict_row *out) {
    /* This tag alone; any block of its group; any block and half its group. */
    static const uint32_t masks[] = {0xFFFFFFFF, 0xFFFF00FF, 0xFF0000FF};
    const creator_row *owner = find_creator(creator, length);
    if (!owner) return DCM_NOT_FOUND;
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        uint32_t key = tag & masks[i];
        size_t low = owner->begin, high = owner->end;
        while (low < high) {
            size_t mid = (low + high) / 2;
            if (private_rows[mid].tag < key)
                low = mid + 1;
            else
                high = mid;
        }
        if (low < owner->end && private_rows[low].tag == key) {
            out->tag = tag;
            out->keyword = "";
            out->name = string_at(private_rows[low].name);
            out->vm = vms[private_rows[low].vm];
            out->vr = private_rows[low].vr;
            out->retired = 0;
            return DCM_OK;
        }
    }
    return DCM_NOT_FOUND;
}
