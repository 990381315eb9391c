"""Memory and time of log-prob and entropy, both passes: a chunk of logits at a time against all
logits at once.

    python tools/bench_vocab.py [--vocabulary 151936] [--hidden 256] [--tokens 2048 8192 16384]

Float32 on a CPU, bfloat16 on a GPU where there is one. Each arm runs in a process of its own, whose
peak of memory (resident; on a GPU, of tensors) counts from after its inputs were made. The plain
arm computes all logits, then torch's log_softmax of them in float32; where it would take more than
half of the free memory it is left out.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import psutil

REPEATS = 3
PLAIN_COPIES = 5
"""Of the logits that the plain arm holds at its peak: logits, log-probs, probabilities, and
gradients of two."""


def measure(arm: str, tokens: int, hidden: int, vocabulary: int) -> dict[str, float]:
    """Seconds (median) and MiB (above the inputs) of forward and backward."""
    import torch

    from red_mcore.megatron.vocab import logprob_and_entropy

    torch.manual_seed(0)
    on_gpu = torch.cuda.is_available()
    where = {"device": "cuda", "dtype": torch.bfloat16} if on_gpu else {}
    states = torch.randn(tokens, hidden, **where).requires_grad_()
    weight = torch.randn(vocabulary, hidden, **where).div_(hidden**0.5).requires_grad_()
    targets = torch.randint(0, vocabulary, (tokens,), device=states.device)

    def plain():
        log_p = (states @ weight.T).float().log_softmax(-1)
        return log_p.gather(1, targets[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1)

    def chunked():
        return logprob_and_entropy(states, weight, targets, vocab_size=vocabulary)

    # Both arms end with these, which are therefore not in the peak.
    states.grad, weight.grad = torch.zeros_like(states), torch.zeros_like(weight)
    before = torch.cuda.memory_allocated() / 2**20 if on_gpu else _peak_mib()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        logp, entropy = {"plain": plain, "chunked": chunked}[arm]()
        (logp + 0.1 * entropy).sum().backward()
        if on_gpu:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        del logp, entropy
    peak = torch.cuda.max_memory_allocated() / 2**20 if on_gpu else _peak_mib()
    return {"seconds": sorted(seconds)[REPEATS // 2], "mib": peak - before}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=151936)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--tokens", type=int, nargs="+", default=[2048, 8192, 16384])
    parser.add_argument("--arm", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        print(
            json.dumps(measure(options.arm, options.tokens[0], options.hidden, options.vocabulary))
        )
        return
    import torch

    on_gpu = torch.cuda.is_available()
    what = f"bfloat16 on {torch.cuda.get_device_name()}" if on_gpu else "float32"
    print(f"vocabulary {options.vocabulary}, hidden {options.hidden}, {what};", end=" ")
    print("peak memory above inputs, seconds")
    print("| tokens | plain | chunked |\n|---|---|---|")
    for tokens in options.tokens:
        needed = PLAIN_COPIES * tokens * options.vocabulary * 4
        free = torch.cuda.mem_get_info()[0] if on_gpu else psutil.virtual_memory().available
        fits = needed < free / 2
        cells = [
            _run(arm, tokens, options) for arm in ("plain", "chunked") if fits or arm == "chunked"
        ]
        texts = [f"{cell['mib']:.0f} MiB, {cell['seconds']:.3f} s" for cell in cells]
        if not fits:
            texts.insert(0, f"about {needed / 2**20:.0f} MiB, not run")
        print(f"| {tokens} | {' | '.join(texts)} |", flush=True)


def _run(arm: str, tokens: int, options: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, "--arm", arm, "--tokens", str(tokens)]
    command += ["--hidden", str(options.hidden), "--vocabulary", str(options.vocabulary)]
    return json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


if __name__ == "__main__":
    main()
