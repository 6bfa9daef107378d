from pathlib import Path

import pytest
from PIL import Image

from sweeper.training.data_yaml import IMAGE_FORMATS
from sweeper.training.images import read_size


def noise(path: Path, image_format: str | None = None) -> bytes:
    Image.effect_noise((64, 48), 50).save(path, image_format)
    return path.read_bytes()


@pytest.mark.parametrize("kept", [200, -40])
def test_a_png_that_is_cut_off_is_named(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "0.png"
    path.write_bytes(noise(path)[:kept])
    faults: list[str] = []
    assert read_size(path, faults) is None
    assert len(faults) == 1 and faults[0].startswith(f"{path} cannot be read: ")


def test_a_png_with_a_wrong_checksum_is_named(tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    found = bytearray(noise(path))
    found[len(found) // 2] ^= 1
    path.write_bytes(found)
    faults: list[str] = []
    read_size(path, faults)
    assert [str(path) in fault and "checksum" in fault for fault in faults] == [True]


def test_a_format_that_ultralytics_refuses_is_named_whatever_the_file_is_called(
    tmp_path: Path,
) -> None:
    path = tmp_path / "0.jpg"
    noise(path, "GIF")
    faults: list[str] = []
    read_size(path, faults)
    assert faults == [f"{path} is a GIF file, which Ultralytics does not train on"]


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "BMP", "WEBP", "TIFF", "JPEG2000", "MPO"])
def test_a_whole_image_of_any_format_is_sound(tmp_path: Path, image_format: str) -> None:
    path = tmp_path / "0.png"
    noise(path, image_format)
    faults: list[str] = []
    assert read_size(path, faults) == (64, 48)
    assert not faults


def test_the_formats_are_those_of_ultralytics() -> None:
    from ultralytics.data.utils import IMG_FORMATS

    assert IMAGE_FORMATS == IMG_FORMATS
