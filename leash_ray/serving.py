"""The Ray Serve deployment of one policy: ray.serve.llm's vLLM server, plus sampling in columns.

The deployment answers OpenAI requests like any ``LLMServer``; :meth:`PolicyServer.sample` is the path that
leash_ray itself takes, since one reply of arrays a request costs less than one response object a token.
Only replicas import this module: it imports vLLM.
"""

import asyncio
import contextlib
import copy
import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from ray import serve
from ray.llm._internal.serve.engines.vllm.vllm_engine import VLLMEngine
from ray.serve.llm.deployment import LLMServer
from vllm.platforms import current_platform
from vllm.v1.engine.exceptions import EngineDeadError

from leash_ray.cluster import Device
from leash_ray.config import PolicyConfig
from leash_ray.deploy import stop
from leash_ray.engine import llm_config
from leash_ray.forking import forked
from leash_ray.orphans import Driver
from leash_ray.stall import StallWatch, tell_of_steps
from leash_ray.types import CompletionBatch, SampleRequest, SamplingParams


class PolicyEngine(VLLMEngine):
    """vLLM as ray.serve.llm starts it, less the processes that a model in a local folder, or a CPU, does not need."""

    async def start(self) -> None:
        """Start the engine."""
        callback = self.llm_config.get_or_create_callback()
        if Path(self.llm_config.model_loading_config.model_source).is_dir():
            # Ray would start a process on every node, and import vLLM there, to find nothing to download.
            callback.ctx.run_init_node = False
        await super().start()

    def _start_async_llm_engine(self, vllm_engine_args: Any, vllm_engine_config: Any, placement_group: Any) -> Any:
        parallel = vllm_engine_config.parallel_config
        if parallel.distributed_executor_backend == "mp" and parallel.world_size == 1:
            # The one worker runs inside vLLM's engine process: ray.serve.llm asks for one more process (memory, start,
            # a hop a step).
            parallel.distributed_executor_backend = "uni"
        with forked() if current_platform.is_cpu() else contextlib.nullcontext():
            return super()._start_async_llm_engine(vllm_engine_args, vllm_engine_config, placement_group)


class PolicyServer(LLMServer):
    """One replica of a policy. Its version counts the weight syncs that it has taken (0: as loaded)."""

    _default_engine_cls = PolicyEngine

    async def __init__(  # type: ignore[misc]  # asynchronous as ray.serve.llm's own
        self, name: str, policy: PolicyConfig, model: str, device: Device, driver: Driver | None = None
    ):
        await super().__init__(llm_config(name, policy, model, device))
        self._version = 0
        self._replica = serve.get_replica_context().replica_id.unique_id
        self._in_flight = 0
        self._idle = asyncio.Condition()
        self._syncing = False
        self._name, self._driver = name, driver
        self._watch = StallWatch(policy.stall_s)
        tell_of_steps(self.engine._engine_client, self._watch)
        # Off the event loop, in one thread with a tokenizer of its own: fast tokenizers cannot be shared by threads.
        self._decoder = copy.deepcopy(self.engine._engine_client.get_tokenizer())
        self._decoding = ThreadPoolExecutor(max_workers=1)

    def _decode(self, ids: list[np.ndarray]) -> list[str]:
        return self._decoder.batch_decode([i.tolist() for i in ids], skip_special_tokens=True)

    async def sample(
        self, requests: list[SampleRequest], params: SamplingParams, version: int | None = None
    ) -> list[CompletionBatch] | None:
        """Draw every request's completions; one batch a request, in order. None: this replica is not at ``version``.

        New weights wait until these completions are done, so no completion mixes two versions.
        """
        async with self._idle:
            await self._idle.wait_for(lambda: not self._syncing)
            if version is not None and version != self._version:
                return None
            self._in_flight += 1
            self._watch.begin()
            current = self._version
        try:
            # A group: when one request fails, the others are cancelled before the replica counts as idle.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._sample_one(r, params, current)) for r in requests]
            return [task.result() for task in tasks]
        except BaseExceptionGroup as e:
            raise e.exceptions[0] from None
        finally:
            async with self._idle:
                self._in_flight -= 1
                self._watch.end()
                self._idle.notify_all()

    async def _sample_one(self, request: SampleRequest, params: SamplingParams, version: int) -> CompletionBatch:
        from vllm.exceptions import VLLMClientError, VLLMError
        from vllm.sampling_params import RequestOutputKind
        from vllm.sampling_params import SamplingParams as VllmParams

        client = self.engine._engine_client
        tokenizer = client.get_tokenizer()
        prompt_ids = tokenizer(request.prompt)["input_ids"]
        # vLLM gives child i of a request the seed `seed + i`: sample i's own stream.
        vllm_params = VllmParams(
            n=request.n,
            seed=request.seed,
            logprobs=0,  # the sampled token's only
            detokenize=False,  # decoded below, whole batches at a time
            flat_logprobs=True,
            output_kind=RequestOutputKind.FINAL_ONLY,
            **asdict(params),
        )
        final = None
        try:
            async for output in client.generate({"prompt_token_ids": prompt_ids}, vllm_params, uuid.uuid4().hex):
                final = output
        except VLLMClientError as e:  # the request's own fault: callers need not import vLLM to be told
            raise ValueError(str(e)) from None
        except EngineDeadError:
            _leave()
        except VLLMError as e:
            raise RuntimeError(f"vLLM: {e.__cause__ or str(e) or type(e).__name__}") from None
        assert final is not None and len(final.outputs) == request.n
        outputs = sorted(final.outputs, key=lambda o: o.index)
        if any(o.finish_reason not in ("stop", "length") for o in outputs):
            raise RuntimeError(f"vLLM ended a completion early: {[o.finish_reason for o in outputs]}")
        ids = [np.asarray(o.token_ids, dtype=np.int32) for o in outputs]
        logprobs = [np.asarray(_sampled_logprobs(o.logprobs), dtype=np.float32) for o in outputs]
        texts = await asyncio.get_running_loop().run_in_executor(self._decoding, self._decode, ids)
        return CompletionBatch(
            prompt_ids=np.asarray(prompt_ids, dtype=np.int32),
            token_ids_T=np.concatenate(ids),
            logprobs_T=np.concatenate(logprobs),
            offsets=np.concatenate([[0], np.cumsum([len(i) for i in ids])]).astype(np.int64),
            texts=texts,
            finish_reasons=[o.finish_reason for o in outputs],
            version=version,
            replica=self._replica,
        )

    async def check_health(self) -> None:
        """A replica whose engine is dead or hangs leaves: Serve would wait for three failed checks, vLLM for ever.
        One whose driver is dead has Serve take it down."""
        try:
            await super().check_health()
        except EngineDeadError:
            _leave()
        if self._watch.hangs():
            _leave("hangs")
        if (driver := self._driver) is not None and await asyncio.to_thread(driver.is_gone):
            self._driver = None  # once: the next driver may be deploying under the same name soon
            await asyncio.to_thread(stop, [self._name], driver.run_token)

    async def load_weights(self, path: str, version: int) -> int:
        """Take the weights of the Hugging Face folder ``path`` in place, and call them ``version``.

        Waits for running completions; keys and values cached under the old weights are dropped.
        """
        async with self._idle:
            await self._idle.wait_for(lambda: not self._syncing)
            self._syncing = True
        try:
            async with self._idle:
                await self._idle.wait_for(lambda: self._in_flight == 0)
            await self.collective_rpc("leash_reload_weights", args=(path,))
            if not await self.engine._engine_client.reset_prefix_cache():
                raise RuntimeError("vLLM kept keys and values of the old weights")
            self._version = version
        except EngineDeadError:
            _leave()
        finally:
            async with self._idle:
                self._syncing = False
                self._idle.notify_all()
        return version

    async def describe(self) -> dict[str, Any]:
        """Version and context length (tokens)."""
        return {"version": self._version, "max_model_len": self.engine._engine_client.model_config.max_model_len}

    async def count_tokens(self, prompts: list[str]) -> list[int]:
        """Number of tokens of each prompt, as :meth:`sample` tokenizes it."""
        tokenizer = self.engine._engine_client.get_tokenizer()
        return [len(ids) for ids in tokenizer(list(prompts))["input_ids"]]


def _leave(why: str = "is dead") -> NoReturn:
    """End this process at once: its callers are told that it is gone, and Serve starts another. Ray ends the engine."""
    print(f"vLLM's engine process {why}: this replica leaves", file=sys.stderr, flush=True)
    os._exit(1)


def _sampled_logprobs(logprobs: Any) -> list[float]:
    """The sampled token's log-probability at each position: the first entry of vLLM's flat container."""
    return [logprobs.logprobs[start] for start in logprobs.start_indices]
