"""The encoder: what it reads, that ONNX says what torch says, its cache, and bases that cannot be had."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from jobs.console import Problem
from models.encoder import Encoder, base_folder, cached_vectors, encoder_hash, export, item_text, load_base, normalise

TEXTS = ["Wireless headphones", "无线蓝牙耳机", "a", "Oven, 60 cm, stainless steel, with eleven programmes", ""]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (("Buds", None, None, None), "Buds"),
        (("Nova Buds", "Nova", "Audio", "Small."), "Nova Buds. Audio. Small."),
        (("Buds", "NOVA", "", "  in   ear "), "Buds. NOVA. in ear"),
        ((None, None, None, None), ""),
        (("ＵＳＢ", "usb", None, None), "USB"),
    ],
)
def test_item_text(fields: tuple[str | None, str | None, str | None, str | None], expected: str) -> None:
    assert item_text(*fields) == expected


def test_onnx_says_what_torch_says(tiny_base: Path, tiny_encoder: Path) -> None:
    import torch

    from models.training.encoder import _embed, training_tokenizer

    with torch.no_grad():
        expected = _embed(load_base(str(tiny_base)), training_tokenizer(str(tiny_base), 64), TEXTS).numpy()
    found = Encoder.open(tiny_encoder).encode(TEXTS)
    assert found.dtype == np.float32 and found.shape == (len(TEXTS), 32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_order_and_batches_do_not_matter(tiny_encoder: Path) -> None:
    encoder = Encoder.open(tiny_encoder)
    lines = [f"{word} {n}" * (n % 5 + 1) for n, word in enumerate(["red", "green", "蓝", "x"] * 10)]
    whole = encoder.encode(lines)
    np.testing.assert_allclose(encoder.encode(lines[::-1], batch=3)[::-1], whole, atol=1e-5)
    np.testing.assert_allclose(np.stack([encoder.encode([line])[0] for line in lines]), whole, atol=1e-5)


def test_equal_texts_are_computed_once(tiny_encoder: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = Encoder.open(tiny_encoder).encode(
        ["red  shoe", "red shoe", "ｒｅｄ shoe"], progress=lambda *at: seen.append(at)
    )
    assert seen == [(1, 1)]
    assert (found[0] == found[1]).all() and (found[0] == found[2]).all()


def test_no_texts(tiny_encoder: Path) -> None:
    assert Encoder.open(tiny_encoder).encode([]).shape == (0, 32)


def test_eight_bits_are_near(tiny_base: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    settings = export(load_base(str(tiny_base)), str(tiny_base), tmp_path / "small", precision="int8")
    assert settings.precision == "int8"
    assert (tmp_path / "small" / "encoder.onnx").stat().st_size < (tiny_encoder / "encoder.onnx").stat().st_size / 2
    cosines = (Encoder.open(tmp_path / "small").encode(TEXTS) * Encoder.open(tiny_encoder).encode(TEXTS)).sum(1)
    assert cosines.min() > 0.97
    assert not list((tmp_path / "small").glob("small.onnx"))


def test_export_twice_same_bytes(tiny_base: Path, tiny_encoder: Path, tmp_path: Path) -> None:
    export(load_base(str(tiny_base)), str(tiny_base), tmp_path / "again")
    assert encoder_hash(tmp_path / "again") == encoder_hash(tiny_encoder)
    for name in ("encoder.onnx", "encoder.json"):  # no path of the machine that made them
        bytes_ = (tmp_path / "again" / name).read_bytes()
        assert str(tiny_base.parent).encode() not in bytes_ and b"site-packages" not in bytes_ and b".py" not in bytes_


class Counting(Encoder):
    """Counts the texts that were computed."""

    computed = 0

    def encode(self, texts, batch=64, progress=None):  # type: ignore[no-untyped-def]
        type(self).computed += len(texts)
        return super().encode(texts, batch, progress)


def test_cache_computes_only_what_is_new(tiny_encoder: Path, tmp_path: Path) -> None:
    Counting.computed = 0
    encoder = Counting.open(tiny_encoder)
    first = cached_vectors(tmp_path, encoder, ["a", "b", "a"])
    again = cached_vectors(tmp_path, encoder, ["b", "c"])
    assert Counting.computed == 3
    np.testing.assert_array_equal(first[1], again[0])
    np.testing.assert_allclose(first, Encoder.open(tiny_encoder).encode(["a", "b", "a"]), atol=1e-5)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 1  # the older folder is gone
    assert not any(b"secret" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_another_encoder_has_another_cache(tiny_encoder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(tiny_encoder, other)
    settings = json.loads((other / "encoder.json").read_text())
    (other / "encoder.json").write_text(json.dumps({**settings, "max_length": 8}))
    Counting.computed = 0
    for folder in (tiny_encoder, other):
        cached_vectors(tmp_path / "cache", Counting.open(folder), ["a"])
    assert Counting.computed == 2


def test_missing_file_is_named(tiny_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_encoder, tmp_path / "broken")
    (tmp_path / "broken" / "encoder.onnx").unlink()
    with pytest.raises(Problem, match=r"encoder\.onnx"):
        Encoder.open(tmp_path / "broken")
    (tmp_path / "broken" / "encoder.onnx").write_bytes(b"no graph")
    with pytest.raises(Problem, match="cannot be read"):
        Encoder.open(tmp_path / "broken")


def test_wheel_and_folder_are_found(tiny_base: Path) -> None:
    assert (base_folder("minilm") / "model.safetensors").is_file()
    assert base_folder(str(tiny_base)) == tiny_base.resolve()


@pytest.mark.parametrize("offline", ["1", ""])
def test_a_name_that_cannot_be_had_fails_at_once(offline: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    import huggingface_hub  # noqa: F401  (its import is not what is timed)

    began = time.monotonic()
    with pytest.raises(Problem, match="not reachable") as caught:
        base_folder("nobody/no-such-encoder")
    assert time.monotonic() - began < 5
    assert "--base minilm" in str(caught.value)


@pytest.mark.parametrize("base", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_a_folder_that_is_not_there(base: str) -> None:
    with pytest.raises(Problem, match="no folder"):
        base_folder(base)


def test_a_folder_without_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Problem, match=r"tokenizer\.json"):
        base_folder(str(tmp_path))


def test_normalise() -> None:
    assert normalise(" ＡＢ\t c\n") == "AB c"
