import os

from sweeper.doctor.finding import failure


def test_a_file_name_that_is_not_utf_8_can_be_printed() -> None:
    name = os.fsdecode(b"gr\xf6.jpg")
    line = failure("images", f"größe {name} is empty", "").line
    assert line.encode("utf-8").decode().endswith(r"größe gr\udcf6.jpg is empty")
