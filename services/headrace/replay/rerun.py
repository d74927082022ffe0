"""One run again: the reasoner of this code over the recorded answers, and whether it writes the records that are there.

Every record that comes out is compared with the recorded one, byte for byte. Where the bytes differ since another version of the
schema wrote them, the message that they hold is compared, encoded anew. The first difference ends the re-run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from headrace.blobs import BlobCorrupt, BlobNotFound
from headrace.history.chain import Chain, Stretch
from headrace.history.differences import Difference, differences
from headrace.messages.base import Message
from headrace.messages.codec import Codec, Encoded
from headrace.messages.errors import BadMessage, HeadraceError
from headrace.messages.job import Job
from headrace.reasoning.admission import CatalogAdmission
from headrace.reasoning.agents import Agents, Definitions, Prepared
from headrace.reasoning.execution import Tools
from headrace.reasoning.frameworks import Frameworks
from headrace.reasoning.ledger import Asked
from headrace.reasoning.processor import ReasoningProcessor
from headrace.reasoning.settings import ReasoningSettings
from headrace.reasoning.transcript import Transcripts
from headrace.registry.runtimes import RUNTIMES
from headrace.replay.recorded import KnownTools, NotFetched, Overlay, Recording
from headrace.toolspecs import Spec

Verdict = Literal["identical", "reencoded", "diverged", "broken"]
Blobs = dict[str, bytes | BadMessage]


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first record that differs: its step and place, and the place in it; ``recorded`` and ``now`` are the two sides."""

    step: int
    record: str
    where: str
    recorded: Any
    now: Any


@dataclass(frozen=True, slots=True)
class Rerun:
    """What came of one run. ``records`` were made and compared.

    ``reencoded``: equal, but written under another schema. ``broken``: something that it needs is gone; ``why`` names it.
    """

    run_id: str
    verdict: Verdict
    records: int
    ended: bool
    divergence: Divergence | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Reasoner:
    """What all re-runs share. ``codec`` must know the schemas of both outputs."""

    catalog: Definitions
    tools: KnownTools
    codec: Codec
    settings: ReasoningSettings
    _prepared: dict[int, tuple[Mapping[str, Spec], Prepared]] = field(default_factory=dict)  # by the tools' identity

    async def rerun_all(self, chains: Sequence[Chain], blobs: Blobs) -> tuple[list[Rerun], dict[str, set[str]]]:
        """Those that could be re-run with ``blobs``, and of the others the blobs that are needed first, by run."""
        done: list[Rerun] = []
        waiting: dict[str, set[str]] = {}
        for chain in chains:
            overlay = Overlay(blobs)
            try:
                done.append(await self.rerun(chain, overlay))
            except NotFetched:
                await asyncio.sleep(0)  # whoever asked at the same time tells what is missing too
                waiting[chain.run_id] = overlay.missing
        return done, waiting

    async def rerun(self, chain: Chain, overlay: Overlay) -> Rerun:
        """Raises ``NotFetched`` where ``overlay`` lacks a blob."""
        recording = Recording(chain, self.catalog, self.tools, overlay)
        processor = self._processor(recording, overlay)
        reencoded = False
        for number, stretch in enumerate(chain.stretches):
            recording.turn_to(stretch)
            try:
                (made, *_) = await _handled(processor, stretch) or (None,)
            except NotFetched:
                raise
            except (BlobNotFound, BlobCorrupt) as error:
                return Rerun(chain.run_id, "broken", number, chain.ended, why=f"{error}: {error.where}")
            except Exception as error:
                divergence = _at(stretch, "/", _kind(stretch.output), _told(error))
                return Rerun(chain.run_id, "diverged", number, chain.ended, divergence)
            match self._compared(stretch, made):
                case Divergence() as divergence:
                    return Rerun(chain.run_id, "diverged", number + 1, chain.ended, divergence)
                case same:
                    reencoded = reencoded or not same
        return Rerun(chain.run_id, "reencoded" if reencoded else "identical", len(chain.stretches), chain.ended)

    def _processor(self, recording: Recording, overlay: Overlay) -> ReasoningProcessor:
        _, prepared = self._prepared.setdefault(id(recording.specs), (recording.specs, {}))
        agents = Agents(recording, recording.specs, prepared)
        tools = Tools(
            recording,
            overlay,
            Transcripts(overlay),
            recording.specs,
            self.settings,
            recording.clock,
            recording.cancelled,
            frameworks=Frameworks(dict.fromkeys(RUNTIMES, recording)),
        )
        admission = CatalogAdmission(agents, _Nobody(), recording.resolve, [recording])
        return ReasoningProcessor(tools, agents, admission, recording)

    def _compared(self, stretch: Stretch, made: Message | None) -> Divergence | bool:
        """Where the two differ; else whether they are the same bytes."""
        if made is None or type(made) is not type(stretch.output):
            return _at(stretch, "/", _kind(stretch.output), _kind(made) if made else "no record")
        now, then = self._encoded(made), stretch.led_to
        if now.value == then.value and now.key == then.key:
            return True
        anew = self._encoded(stretch.output)
        if now.value == anew.value and now.key == then.key:
            return False
        found = next(differences(stretch.output.plain(), made.plain()), Difference("/", then.key, now.key))
        return _at(stretch, found.where, found.left, found.right)

    def _encoded(self, message: Message) -> Encoded:
        return self.codec.encode(message, service="reasoning", cause_headers=_NO_CAUSE)


_NO_CAUSE: Mapping[str, str] = {}


class _Nobody:
    """A ledger that is never asked: whether a job is a run of its own was decided when it ran."""

    async def begin_all(self, asked: Sequence[Asked]) -> Sequence[Any]:
        raise AssertionError(f"a re-run claims nothing, {len(asked)} asked")


async def _handled(processor: ReasoningProcessor, stretch: Stretch) -> list[Message]:
    message = stretch.came.message
    sends = await processor.handle(message, stretch.came.context, "new" if isinstance(message, Job) else None)
    return [send.message for send in sends]


def _at(stretch: Stretch, where: str, recorded: Any, now: Any) -> Divergence:
    return Divergence(stretch.step, str(stretch.led_to.source), where, recorded, now)


def _kind(message: Message) -> str:
    return f"{type(message).TOPIC} record"


def _told(error: Exception) -> str:
    """An unforeseen error's text may quote the conversation; its type says enough."""
    return f"{type(error).__name__}: {error}" if isinstance(error, HeadraceError) else type(error).__name__
