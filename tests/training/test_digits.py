from pathlib import Path

import numpy as np
import yaml
from sklearn.datasets import load_digits

from sweeper.training import digits
from sweeper.training.dataset import check_dataset
from sweeper.training.digits import DigitScenes, recipe_of, write_digits

SMALL = DigitScenes(imgsz=64, train=6, val=3)


def pixels(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.[pt]*"))}


def test_the_same_recipe_gives_the_same_bytes(tmp_path: Path) -> None:
    one = write_digits(tmp_path / "one", SMALL).parent
    two = write_digits(tmp_path / "two", SMALL).parent
    assert pixels(one) == pixels(two)
    assert len(pixels(one)) == 2 * (6 + 3)


def test_another_seed_gives_another_set(tmp_path: Path) -> None:
    one = write_digits(tmp_path, SMALL).parent
    two = write_digits(tmp_path, DigitScenes(imgsz=64, train=6, val=3, seed=1)).parent
    assert pixels(one) != pixels(two)


def test_it_is_written_once(tmp_path: Path) -> None:
    path = write_digits(tmp_path, SMALL)
    before = path.stat().st_mtime_ns
    write_digits(tmp_path, SMALL)
    assert path.stat().st_mtime_ns == before


def test_it_tells_how_it_was_composed(tmp_path: Path) -> None:
    assert recipe_of(write_digits(tmp_path, SMALL)) == SMALL
    assert recipe_of(tmp_path / "mine" / "data.yaml") is None


def test_it_passes_the_check_for_users_data(tmp_path: Path) -> None:
    found = check_dataset(write_digits(tmp_path, SMALL), nc=10)
    assert (found.train_images, found.val_images) == (6, 3)
    assert SMALL.train <= sum(found.boxes) <= SMALL.train * SMALL.max_digits


def test_no_source_digit_is_in_both_splits(tmp_path: Path, monkeypatch) -> None:
    pools: list[set[int]] = []
    scene = digits._scene

    def spy(rng, images, targets, pool, scenes):
        pools.append(set(pool.tolist()))
        return scene(rng, images, targets, pool, scenes)

    monkeypatch.setattr(digits, "_scene", spy)
    write_digits(tmp_path, SMALL)
    train, val = set.union(*pools[:6]), set.union(*pools[6:])
    assert not train & val
    assert len(train | val) == len(load_digits().target)


def test_boxes_hold_the_ink(tmp_path: Path) -> None:
    from PIL import Image

    folder = write_digits(tmp_path, SMALL).parent
    label = (folder / "labels/train/0000.txt").read_text().splitlines()[0].split()
    x, y, w, h = (float(v) * 64 for v in label[1:])
    image = np.asarray(Image.open(folder / "images/train/0000.png"), float)
    inside = image[int(y - h / 2) : int(y + h / 2), int(x - w / 2) : int(x + w / 2)]
    assert inside.max() > np.median(image) + 60


def test_ten_classes(tmp_path: Path) -> None:
    content = yaml.safe_load(write_digits(tmp_path, SMALL).read_text())
    assert content["names"] == {i: str(i) for i in range(10)}
