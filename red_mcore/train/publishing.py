"""The policy's weights on their way into the engines."""

from __future__ import annotations

from red_mcore.convert.hf import stream_weights
from red_mcore.models.rules import hf_shapes
from red_mcore.train.run import Run


def publish(run: Run) -> dict[str, float]:
    """The policy's weights into every engine; nothing to do where they have not changed."""
    engine, state = run.sampler.engine, run.state
    if engine.version == state.policy_version:
        return {}
    tensors = stream_weights(run.policy.model, run.arch)
    publication = engine.publish(tensors, hf_shapes(run.arch), state.policy_version)
    return {
        "publish/version": publication.version,
        "publish/tensors": publication.tensors,
        "publish/bytes": publication.bytes,
        "time/publish_engine_seconds": publication.seconds,
        # Metrics are numbers: the low half of the digest, exact in a float.
        "publish/checksum_low32": int(publication.checksum[8:], 16),
    }
