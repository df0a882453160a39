"""DICOM films made here: by pydicom, which the service does not use; compressed by the encoders of its decoders."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import gdcm
import jpeg_ls
import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels import get_encoder
from pydicom.uid import (
    JPEG2000,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from tests.factories import make_jpeg, make_pixels

PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)


def make_dicom(
    *, pixels: npt.NDArray[Any] | None = None, syntax: str = ExplicitVRLittleEndian, bits: int | None = None,
    frame: bytes | None = None, **elements: Any,
) -> bytes:  # fmt: skip
    """A DX film.

    Args:
        pixels: (H, W) uint8, int8, uint16 or int16; `make_pixels` of 16 bits by default.
        syntax: its transfer syntax.
        bits: stored; all by default.
        frame: compressed already; by default `pixels` are, as the syntax says.
        elements: by keyword, put in place of what stands here; None takes one away.
    """
    shown = make_pixels(dtype=np.uint16) if pixels is None else pixels
    stored = bits or shown.dtype.itemsize * 8
    ds = dataset(shown, stored)
    for keyword, value in elements.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    if syntax in PLAIN:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        data = shown.astype(shown.dtype.newbyteorder(order)).tobytes()
        ds.PixelData = data + bytes(len(data) % 2)
    else:
        ds.PixelData = encapsulate([ENCODERS[syntax](shown, stored) if frame is None else frame])
    ds["PixelData"].VR = "OW" if syntax in PLAIN and stored > 8 else "OB"
    ds["PixelData"].is_undefined_length = syntax not in PLAIN
    return written(ds, syntax)


def dataset(pixels: npt.NDArray[Any], stored: int) -> Dataset:
    """What a DX film has at least, of nobody."""
    ds = Dataset()
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SOPInstanceUID = "2.25.1"
    ds.Modality = "DX"
    ds.PatientName = "NOBODY"
    ds.ViewPosition = "PA"
    ds.PatientOrientation = ["L", "F"]
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.Rows, ds.Columns = pixels.shape
    ds.BitsAllocated = pixels.dtype.itemsize * 8
    ds.BitsStored, ds.HighBit = stored, stored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    return ds


def written(ds: Dataset, syntax: str) -> bytes:
    """A whole file with preamble."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = ds.SOPClassUID
    meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta = meta
    with io.BytesIO() as file:
        dcmwrite(file, ds, enforce_file_format=True)
        return file.getvalue()


def by_gdcm(pixels: npt.NDArray[Any], bits: int, syntax: int) -> bytes:
    """A frame that GDCM encodes."""
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((pixels.shape[1], pixels.shape[0], 1))
    image.SetPixelFormat(gdcm.PixelFormat(1, pixels.dtype.itemsize * 8, bits, bits - 1, 0))
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ExplicitVRLittleEndian))
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetByteStringValue(pixels.tobytes() + bytes(pixels.nbytes % 2))
    image.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetInput(image)
    image.thisown = False  # it counts references, and frees what is ours
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    assert change.Change()
    pieces = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    assert pieces.GetNumberOfFragments() == 1
    return pieces.GetFragment(0).GetByteValue().GetBuffer().encode("utf-8", "surrogateescape")


def by_pillow_2000(pixels: npt.NDArray[Any], *, irreversible: bool) -> bytes:
    """A codestream without a file around it, as DICOM has it."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, "JPEG2000", no_jp2=True, irreversible=irreversible)
        return file.getvalue()


def by_run_lengths(pixels: npt.NDArray[Any], bits: int) -> bytes:
    """As pydicom does."""
    return get_encoder(RLELossless).encode(
        pixels.tobytes(), rows=pixels.shape[0], columns=pixels.shape[1], samples_per_pixel=1, number_of_frames=1,
        bits_allocated=pixels.dtype.itemsize * 8, bits_stored=bits, pixel_representation=0, pixel_keyword="PixelData",
        photometric_interpretation="MONOCHROME2", encoding_plugin="pydicom",
    )  # fmt: skip


def by_charls(pixels: npt.NDArray[Any], bits: int, *, error: int = 0) -> bytes:
    """JPEG-LS."""
    height_px, width_px = pixels.shape
    return bytes(jpeg_ls.encode_buffer(pixels.tobytes(), height_px, width_px, 1, bits, lossy_error=error))


ENCODERS: Mapping[str, Callable[[npt.NDArray[Any], int], bytes]] = {
    RLELossless: by_run_lengths,
    JPEGBaseline8Bit: lambda pixels, _: make_jpeg(pixels=pixels, quality=95),
    JPEGExtended12Bit: lambda pixels, _: make_jpeg(pixels=pixels, quality=95),
    JPEGLossless: lambda pixels, bits: by_gdcm(pixels, bits, gdcm.TransferSyntax.JPEGLosslessProcess14),
    JPEGLosslessSV1: lambda pixels, bits: by_gdcm(pixels, bits, gdcm.TransferSyntax.JPEGLosslessProcess14_1),
    JPEGLSLossless: by_charls,
    JPEGLSNearLossless: lambda pixels, bits: by_charls(pixels, bits, error=2),
    JPEG2000Lossless: lambda pixels, _: by_pillow_2000(pixels, irreversible=False),
    JPEG2000: lambda pixels, _: by_pillow_2000(pixels, irreversible=True),
}
LOSSLESS = (*PLAIN, RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless)
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000)
