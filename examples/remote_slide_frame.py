"""Save one frame of a remote multi-frame file, such as a tile of a slide, as a picture.

python remote_slide_frame.py URL FRAME OUTPUT.png

Needs fastdcm-dicom[remote,pixels,cli]. FRAME counts from 0. The file is not downloaded:
the header is one request, and the frame is another.
"""

import sys

from PIL import Image

import fastdcm

url, frame, output = sys.argv[1:]

with fastdcm.dcmread(url) as ds:
    # to_rgb converts YBR and palettes, and applies the window of a grayscale image.
    pixels = ds.to_rgb(int(frame))
    print(f"frame {frame} of {len(ds.frames)}: {pixels.shape[1]} x {pixels.shape[0]} pixels")
Image.fromarray(pixels).save(output)
