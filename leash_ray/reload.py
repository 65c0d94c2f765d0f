"""What the engine's workers do when new weights arrive (vLLM's ``worker_extension_cls``)."""

from typing import Any


class ReloadWeights:
    """Mixed into vLLM's worker, whose ``model_runner`` and ``reload_weights`` it uses."""

    def leash_reload_weights(self: Any, path: str) -> None:
        """Load the safetensors folder ``path`` in place.

        On CPU vLLM multiplies by packed copies of the weights. Its reload packs every layer that the checkpoint
        names anew, but an output head tied to the embedding is named by none, so its packed copy would stay the old
        one and the sampler's distribution would drift away from the trainer's.
        """
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead
        from vllm.platforms import current_platform

        self.reload_weights(weights_path=path)
        if current_platform.is_cpu():
            for module in self.model_runner.get_model().modules():
                if isinstance(module, ParallelLMHead):
                    module.quant_method.process_weights_after_loading(module)
