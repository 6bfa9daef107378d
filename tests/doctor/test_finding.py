import json
import os

from sweeper.doctor.finding import as_json, failure, warning


def test_a_file_name_that_is_not_utf_8_can_be_printed() -> None:
    name = os.fsdecode(b"gr\xf6.jpg")
    line = failure("images", f"größe {name} is empty", "").line
    assert line.encode("utf-8").decode().endswith(r"größe gr\udcf6.jpg is empty")


def test_all_names_are_in_the_document_and_the_line_says_where_it_leaves_some_out() -> None:
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    some = warning("labels", "4 images: a.jpg and 3 more.", "Add them.", names)
    assert some.line.endswith("and 3 more. Add them. --json lists all 4.")
    assert json.loads(as_json([some]))["findings"][0]["names"] == names
    assert warning("labels", "1 image: a.jpg.", "Add it.", names[:1]).line.endswith("Add it.")
