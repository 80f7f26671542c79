import os
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import images
from jobs.decoding import decode_square
from jobs.errors import DataError
from jobs.image_folder import scan
from jobs.images import decode


def _bytes_of(image: Image.Image, path: Path, **options: object) -> bytes:
    image.save(path, **options)
    return path.read_bytes()


# --- decode_square -------------------------------------------------------------------------------


def test_decoding_reads_what_pillow_reads(tmp_path):
    generator = np.random.default_rng(0)
    rgb = Image.fromarray(generator.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    expected = np.asarray(rgb).transpose(2, 0, 1)

    lossless = _bytes_of(rgb, tmp_path / "a.png")
    assert np.array_equal(decode_square(lossless, 16), expected)
    alpha = rgb.copy()
    alpha.putalpha(128)
    assert np.array_equal(decode_square(_bytes_of(alpha, tmp_path / "b.png"), 16), expected)

    palette = rgb.quantize(256)
    as_palette = decode_square(_bytes_of(palette, tmp_path / "c.png"), 16)
    assert np.array_equal(as_palette, np.asarray(palette.convert("RGB")).transpose(2, 0, 1))
    gif = _bytes_of(palette, tmp_path / "d.gif", save_all=True, append_images=[palette.rotate(90)])
    assert np.array_equal(decode_square(gif, 16), as_palette)


def test_sixteen_bits_are_scaled_not_clipped(tmp_path):
    grey = np.linspace(0, 2**16 - 1, 256, dtype=np.uint16).reshape(16, 16)
    for name in ("grey.png", "grey.tif"):
        square = decode_square(_bytes_of(Image.fromarray(grey), tmp_path / name), 16)
        assert np.array_equal(square, np.stack([grey >> 8] * 3))


def test_thirty_two_bits_may_hold_eight_or_sixteen(tmp_path):
    for largest, shift in ((2**8 - 1, 0), (2**16 - 1, 8)):
        grey = np.linspace(0, largest, 256, dtype=np.int32).reshape(16, 16)
        square = decode_square(_bytes_of(Image.fromarray(grey), tmp_path / "grey.tif"), 16)
        assert np.array_equal(square, np.stack([grey >> shift] * 3))
    for value in (2**16, -(2**31)):
        more = Image.fromarray(np.full((16, 16), value, np.int32))
        with pytest.raises(ValueError, match="more than 16 bits"):
            decode_square(_bytes_of(more, tmp_path / "more.tif"), 16)
    fractions = Image.fromarray(np.full((16, 16), 0.5, np.float32))
    with pytest.raises(ValueError, match="floating-point"):
        decode_square(_bytes_of(fractions, tmp_path / "fractions.tif"), 16)


def test_odd_metadata_makes_no_picture_broken(tmp_path):
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16] = 255
    turned = Image.fromarray(upright[::-1].copy())
    # An orientation of 3, and a resolution that is text.
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 3, 0) + struct.pack("<HHI4s", 0x011A, 2, 2, b"a")
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    odd = _bytes_of(turned, tmp_path / "odd.png", exif=exif)
    garbage = _bytes_of(turned, tmp_path / "garbage.png", exif=b"Exif\0\0no TIFF at all")
    assert decode_square(odd, 32)[0, 0, 0] == 255
    assert decode_square(garbage, 32)[0, 0, 0] == 0  # nothing tells of a turn


def test_the_cameras_orientation_is_applied(tmp_path):
    upright = np.zeros((64, 64, 3), np.uint8)
    upright[:32] = 255  # bright above
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    data = _bytes_of(Image.fromarray(upright[::-1].copy()), tmp_path / "a.jpg", exif=exif)
    square = decode_square(data, 8)
    assert square[:, :3].min() > 200
    assert square[:, 5:].max() < 50


def test_a_large_jpeg_is_averaged_not_sampled(tmp_path):
    # Stripes of one pixel become flat grey; picking single pixels would keep black and white.
    stripes = np.zeros((800, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    square = decode_square(_bytes_of(Image.fromarray(stripes), tmp_path / "a.jpg", quality=95), 32)
    assert square.shape == (3, 32, 32)
    assert 110 < square.min() <= square.max() < 145


# --- decode --------------------------------------------------------------------------------------


def test_arrays_hold_the_images_with_their_labels(draw_folder, tmp_path):
    root = draw_folder(side_px=16)
    decoded = decode(root, [16, 8], tmp_path / "cache")
    for data, files in (
        (decoded.training(16), decoded.folder.training),
        (decoded.test(16), decoded.folder.test),
    ):
        for row, label, file in zip(data.images, data.labels, files, strict=True):
            assert label == file.label
            assert np.array_equal(row.transpose(1, 2, 0), np.asarray(Image.open(file.path)))
    small = decoded.training(8)
    assert small.images.shape == (24, 3, 8, 8)
    assert small.labels.dtype == small.groups.dtype == np.int64
    assert not small.images.flags.writeable
    with pytest.raises(DataError, match="no images of 5 px"):
        decoded.training(5)


def test_what_pillow_only_warns_of_is_not_broken(draw_folder, tmp_path):
    root = draw_folder(num_test=1)
    path = root / "validation/n1/n1-0.png"
    palette = Image.open(path).convert("P")
    palette.save(path, transparency=bytes(range(256)))
    with pytest.warns(UserWarning, match="Palette images"):
        Image.open(path).convert("RGB")
    decoded = decode(root, [24], tmp_path / "cache").test(24)
    expected = np.asarray(palette.convert("RGB")).transpose(2, 0, 1)
    assert any(np.array_equal(image, expected) for image in decoded.images)


def test_copies_share_a_group(draw_folder, tmp_path):
    root = draw_folder()
    shutil.copy(root / "training/n1/n1-0.png", root / "training/n1/copy.png")
    shutil.copy(root / "training/n1/n1-0.png", root / "training/n2/copy.png")
    data = decode(root, [8], tmp_path / "cache").training(8)
    _, sizes = np.unique(data.groups, return_counts=True)
    assert sorted(sizes)[-2:] == [1, 3]


def test_pixels_do_not_depend_on_the_other_sizes(draw_folder, tmp_path):
    root = draw_folder(classes=("a", "b"), num_training=1, num_test=1)
    for path in list(root.rglob("*.png")):
        noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path.with_suffix(".jpg"))
        path.unlink()
    alone = decode(root, [16], tmp_path / "one").training(16).images
    together = decode(root, [128, 16], tmp_path / "two").training(16).images
    assert np.array_equal(alone, together)


def test_nothing_is_decoded_twice(draw_folder, tmp_path):
    root, cache = draw_folder(), tmp_path / "cache"
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))

    decode(root, [8], cache, progress=progress)
    assert calls == [(done, 33) for done in range(1, 34)]
    calls.clear()
    decode(root, [8], cache, progress=progress)
    assert calls == []
    decode(root, [8, 16], cache, progress=progress)
    assert len(calls) == 33
    decode(shutil.copytree(root, tmp_path / "moved"), [16], cache, progress=progress)
    assert len(calls) == 33


@pytest.mark.parametrize("size_bytes", [0, 50, 1000])
def test_a_damaged_cache_file_is_made_again(draw_folder, tmp_path, size_bytes):
    root, cache = draw_folder(), tmp_path / "cache"
    expected = np.array(decode(root, [8], cache).training(8).images)
    for path in cache.iterdir():
        os.truncate(path, size_bytes)
    assert np.array_equal(decode(root, [8], cache).training(8).images, expected)


def test_broken_images_are_named_or_skipped(draw_folder, tmp_path):
    root, cache = draw_folder(), tmp_path / "cache"
    whole = decode(root, [8], cache).folder
    truncated = root / "training/n1/truncated.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(truncated)
    os.truncate(truncated, truncated.stat().st_size // 2)
    (root / "training/n2/garbage.png").write_bytes(b"no image at all")
    (root / "validation/n2/empty.jpg").write_bytes(b"")
    Image.new("1", (10_000, 9_000)).save(root / "validation/n10/bomb.png")

    calls: list[int] = []
    for _ in range(2):  # the second time from memory
        with pytest.raises(DataError) as raised:
            decode(root, [8], cache, progress=lambda done, _: calls.append(done))
        named = [problem.split(": ")[0] for problem in raised.value.problems]
        assert [Path(name).name for name in named] == [
            "truncated.jpg",
            "garbage.png",
            "bomb.png",
            "empty.jpg",
        ]
        assert "10000 x 9000 px, more than 80 megapixels" in str(raised.value)
        assert len(calls) == 37

    decoded = decode(
        root, [8], cache, skip_broken=True, progress=lambda done, _: calls.append(done)
    )
    assert len(calls) == 37
    assert [image.path.name for image in decoded.broken] == [Path(name).name for name in named]
    assert decoded.folder == whole
    assert decoded.folder.fingerprint == whole.fingerprint
    assert len(decoded.training(8).images) == 24


def test_a_file_that_changes_while_it_is_read_stops_everything(draw_folder, tmp_path, monkeypatch):
    root = draw_folder()
    image = sorted((root / "training" / "n1").iterdir())[0]
    whole = image.read_bytes()

    def scan_then_cut(*words):
        found = scan(*words)
        image.write_bytes(whole[: len(whole) // 2])
        return found

    monkeypatch.setattr(images, "scan", scan_then_cut)
    with pytest.raises(DataError, match="changed while it was read; try again"):
        decode(root, [16], tmp_path / "cache")
    monkeypatch.undo()
    image.write_bytes(whole)
    assert not decode(root, [16], tmp_path / "cache").broken


def test_a_class_of_broken_images_only_is_an_error(draw_folder, tmp_path):
    root = draw_folder(num_test=1)
    (root / "validation/n2/n2-0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="class n2 has no readable image in validation/"):
        decode(root, [8], tmp_path / "cache", skip_broken=True)
