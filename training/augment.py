"""Augmentation: one film to a randomly changed copy, as 8-bit grey pixels, before preprocessing; no tensors.

Every random draw comes from the generator that is passed in, in a fixed order. Called by `training/features.py`.
"""

from __future__ import annotations

import io
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter, ImageOps

from shared.arrays import FloatArray, Pixels
from training.recipe import Augmentation

Grey = npt.NDArray[np.uint8]

SHARPEN_RADIUS_PX: Final = (0.6, 1.6)


def augment(pixels: Pixels, knobs: Augmentation, rng: np.random.Generator) -> Grey:
    """Return a copy that is mirrored, rotated, cropped, resampled, blurred, sharpened, re-toned and re-encoded.

    The steps are in this order. A share `framed_share` of the copies is neither rotated, cropped, resampled nor
    re-toned: in these, the blocks of the codec stay where they are in the unchanged film.

    Args:
        pixels: (H, W) uint8 or uint16.

    Returns:
        (H', W') uint8; the size may differ from the film's, since preprocessing resizes.
    """
    picture = Image.fromarray(to_uint8(pixels))
    if rng.random() < knobs.flip_share:
        picture = ImageOps.mirror(picture)
    if knobs.framed_share and rng.random() < knobs.framed_share:
        return _encode(_sharpen(_blur(picture, knobs, rng), knobs, rng), knobs, rng)
    picture = _crop(_turn(picture, knobs, rng), knobs, rng)
    picture = _blur(_resample(picture, knobs, rng), knobs, rng)
    return _encode(_tone(_sharpen(picture, knobs, rng), knobs, rng), knobs, rng)


def to_uint8(pixels: Pixels) -> Grey:
    """Return 16-bit pixels as 8 bits; 8-bit pixels stay as they are.

    The 8 bits are counted from the highest one that the brightest pixel uses, so that a 12-bit film keeps 8 of its 12.
    """
    shift = max(0, int(pixels.max()).bit_length() - 8) if pixels.dtype == np.uint16 else 0
    return (pixels >> shift).astype(np.uint8)


def to_grey(values: FloatArray) -> Grey:
    """Return values (H, W), in grey levels 0 to 255, rounded and clipped to 8 bits."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def encode(pixels: Grey, quality: int) -> Grey:
    """Return the pixels as they are after encoding to JPEG at that quality and decoding."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as picture:
        return np.asarray(picture, np.uint8)


def _turn(picture: Image.Image, knobs: Augmentation, rng: np.random.Generator) -> Image.Image:
    """Rotate about the middle, then crop most of the empty corners: a quarter of side * sin(angle) at each edge."""
    angle = float(rng.uniform(-knobs.rotate_degrees, knobs.rotate_degrees))
    turned = picture.rotate(angle, Image.Resampling.BILINEAR)
    corner = np.sin(np.deg2rad(abs(angle))) / 2
    x, y = int(picture.height * corner), int(picture.width * corner)
    return turned.crop((x // 2, y // 2, picture.width - x // 2, picture.height - y // 2))


def _crop(picture: Image.Image, knobs: Augmentation, rng: np.random.Generator) -> Image.Image:
    keep_x, keep_y = 1 - rng.uniform(0, knobs.crop, 2)
    width, height = round(picture.width * keep_x), round(picture.height * keep_y)
    left = int(rng.integers(0, picture.width - width + 1))
    top = int(rng.integers(0, picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def _resample(picture: Image.Image, knobs: Augmentation, rng: np.random.Generator) -> Image.Image:
    low, high = knobs.resample_px
    if high == 0 or rng.random() >= knobs.resample_share:
        return picture
    side = int(rng.integers(low, high + 1))
    method = Image.Resampling(int(rng.choice([Image.Resampling.BILINEAR, Image.Resampling.BICUBIC])))
    return picture.resize((side, side), method)


def _blur(picture: Image.Image, knobs: Augmentation, rng: np.random.Generator) -> Image.Image:
    if rng.random() < 0.5:  # noqa: PLR2004 - half of the copies, see Augmentation
        return picture
    return picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, knobs.blur_px))))


def _sharpen(picture: Image.Image, knobs: Augmentation, rng: np.random.Generator) -> FloatArray:
    """Return grey values (H, W) in [0, 1], with an unsharp mask of 0.6 to 1.6 px added; not clipped.

    A film that was resized once from a large original is sharper than one that was resized twice.
    """
    values = np.asarray(picture, np.float32) / np.float32(255)
    if knobs.sharpen == 0 or rng.random() < 0.5:  # noqa: PLR2004 - half of the copies, see Augmentation
        return values
    blurred = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(*SHARPEN_RADIUS_PX))))
    amount = np.float32(rng.uniform(0, knobs.sharpen))
    return (values + amount * (values - np.asarray(blurred, np.float32) / np.float32(255))).astype(np.float32)


def _tone(values: FloatArray, knobs: Augmentation, rng: np.random.Generator) -> FloatArray:
    """Apply gamma, contrast about the mean, brightness and noise to values (H, W) in [0, 1]; not clipped."""
    log_gamma = np.log(knobs.gamma)
    toned = np.maximum(values, 0) ** float(np.exp(rng.uniform(-log_gamma, log_gamma)))
    contrast, brightness = 1 + rng.uniform(-knobs.contrast, knobs.contrast, 2)
    mean = toned.mean()
    toned = (mean + (toned - mean) * contrast) * brightness
    if rng.random() < 0.5:  # noqa: PLR2004 - half of the copies, see Augmentation
        toned = toned + rng.normal(0, rng.uniform(0, knobs.noise) / 255, toned.shape)
    return toned.astype(np.float32)


def _encode(values: FloatArray, knobs: Augmentation, rng: np.random.Generator) -> Grey:
    """Return grey values (H, W) in [0, 1] as 8 bits, re-encoded as JPEG where the knobs name a quality."""
    pixels, (low, high) = to_grey(values * 255), knobs.jpeg_quality
    return encode(pixels, int(rng.integers(low, high + 1))) if high else pixels
