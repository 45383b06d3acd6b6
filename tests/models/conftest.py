"""What tests of the learning room share: a base encoder that is real in every part but size."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like Hugging Face's: two layers, 32 wide, random weights, MiniLM's own tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    from models.encoder import base_folder, quiet

    quiet()
    torch.manual_seed(7)
    folder = tmp_path_factory.mktemp("base") / "tiny"
    config = BertConfig(vocab_size=30522, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                        intermediate_size=64, max_position_embeddings=128)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    shutil.copyfile(base_folder("minilm") / "tokenizer.json", folder / "tokenizer.json")
    return folder


@pytest.fixture(scope="session")
def tiny_encoder(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, exported to ONNX in 32 bits."""
    from models.encoder import export, load_base

    folder = tmp_path_factory.mktemp("encoder") / "tiny"
    export(load_base(str(tiny_base)), str(tiny_base), folder)
    return folder
