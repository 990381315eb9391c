"""Distillation with 920 examples (arXiv 2505.21067): Qwen2.5-32B on one DeepSeek-R1 response to
each AIME problem of 1983 to 2023, right or wrong.

Known: base model, problems, one response each that nobody screened, plain SFT with a cosine
schedule. Teachers that work: DeepSeek-R1 and QwQ-32B; GPT-4o hardly helps.

Unknown, and what stands here: lr 1e-5 after 5 % of warm-up, 16 traces per update, 5 epochs, 16k
tokens, betas (.9, .95).

On purpose otherwise: the teacher is QwQ-32B, which eight GPUs hold; the address of a DeepSeek-R1
goes in its place (``--teacher http://...``).

Reported: better than three zero-RL models of the same base on AIME24, AIME25, HMMT, GPQA-D and
MATH-500; where the words of reflection are banned at decoding, about as good as zero-RL.

``CHAIN`` samples the teacher, trains, and samples the trained model twice: as it likes, and without
the words. ``data.problems=100``, 250 and 500 behind ``data.path`` give the curve of sizes.
"""

from typing import Any

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.sft import SFT
from red_mcore.recipe import (
    Batch,
    Benchmarks,
    Data,
    Model,
    Optimizer,
    Parallel,
    Protocol,
    Recipe,
    Reward,
)

QWEN25_32B = {
    "model_type": "qwen2",
    "vocab_size": 152064,
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_hidden_layers": 64,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 131072,
    "rope_theta": 1000000.0,
}
AIME = "gneubig/aime-1983-2024"
"""One row each, by year: the first 920 are those until 2023, about."""
AIME24 = "HuggingFaceH4/aime_2024"
HELD_OUT: dict[str, Any] = {"held_out": 30, "held_out_path": AIME24, "held_out_split": "train"}
STEPS = 287  # 5 x 920 / 16
LENGTH = ["--max-tokens", "16384", "--temperature", "0.6", "--top-p", "0.95"]
BANNED = ["wait", "Wait", "maybe", "Maybe", "but", "But", "alternatively", "Alternatively"]


def sample(out: str, *more: str) -> list[str]:
    """The stage that samples the trained model on AIME24."""
    model = ["--teacher", "{out}/paper_distill_920/export", "--data", AIME24]
    return ["distill", *model, "--out", out, "--samples", "32", *LENGTH, *more]


CHAIN = [
    ["distill", "--teacher", "Qwen/QwQ-32B", "--tensor", "8", "--data", AIME, *LENGTH]
    + ["--out", "{out}/teacher", "problems=920"],
    ["run", "{recipe}", "runs={out}", "data.path={out}/teacher/traces.jsonl"]
    + ["data.trace_field=traces[0].text", *(f"data.{n}={v}" for n, v in HELD_OUT.items())],
    sample("{out}/free", "--tensor", "8"),
    sample("{out}/banned", "--tensor", "8", *(f"--ban={word}" for word in BANNED)),
]


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_distill_920"
    r.model = Model(path="Qwen/Qwen2.5-32B", config=dict(QWEN25_32B), dtype="bfloat16")
    r.parallel = Parallel(ranks=32, tensor=8, sequence=True, recompute="full")
    r.algorithm = SFT()
    r.steps = STEPS
    r.data = Data(path=AIME, problems=920, **HELD_OUT)
    r.batch = Batch(prompts_per_step=16, tokens_per_micro_batch=17408)
    r.rollout.max_response_tokens = 16384
    r.optimizer = Optimizer(lr=1e-5, min_lr_ratio=0.0, warmup_steps=STEPS // 20, betas=(0.9, 0.95))
    r.reward = Reward(workers=2)
    r.evaluation.every = 0
    r.evaluation.benchmarks = Benchmarks(
        ["AIME24", "AIME25", "MATH-500"], protocol=Protocol(max_tokens=16384)
    )
    return r
