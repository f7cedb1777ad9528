/* dcm.h: the interface of the C core. It includes one header per layer.
 *
 * A .c file calls only files of a lower layer, or files to its left:
 *   1  dcm_base.h        error.c arena.c
 *   2  dcm_dictionary.h  vr.c dict.c
 *      dcm_pixel.h       pixel.c rle.c codestream.c
 *   3  dcm_file.h        file.c
 *      dcm_walk.h        walk.c
 *      dcm_value.h       header.c value.c encode.c
 *      dcm_csa.h         csa.c
 *   4  dcm_index.h       index.c part10.c
 *   5  dcm_frames.h      frames.c
 *      dcm_native.h      native.c
 *      dcm_scan.h        column.c columns.c
 * Not part of the interface: dcm_endian.h, header.h, column.h, dict_table.h.
 *
 * Conventions
 *   - A function that can fail returns a dcm_code (DCM_OK is 0) and fills the
 *     caller's dcm_error. Nothing prints, logs, formats, exits or keeps global
 *     state, so every function may be called from any thread as long as no two
 *     threads share an argument that is not const.
 *   - Every struct with a _start, _init or _read function has a _free function,
 *     which may be called twice. A struct of all zero bytes is valid and empty.
 *   - Offsets and lengths are 64 bits wide and count bytes. Offsets are absolute
 *     in their stream: the file, or the inflated data set of a deflated file.
 */
#ifndef DCM_H
#define DCM_H

#include "dcm_base.h"
#include "dcm_csa.h"
#include "dcm_dictionary.h"
#include "dcm_file.h"
#include "dcm_frames.h"
#include "dcm_index.h"
#include "dcm_native.h"
#include "dcm_pixel.h"
#include "dcm_scan.h"
#include "dcm_value.h"
#include "dcm_walk.h"

#endif
