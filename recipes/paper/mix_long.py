"""Mix-Long (arXiv 2502.12143, code Small-Model-Gap/Small-Model-Learnability-Gap) for
Qwen2.5-3B-Instruct.

Known: the released mix, 5383 problems of MATH's 7.5k training split, a fifth of them with a trace
of QwQ-32B-Preview and the others with one of Qwen2.5-32B-Instruct, drawn for each problem; .2 is
the best weight of a sweep with this student. Full fine-tuning, lr 1e-5, cosine, AdamW, 2 epochs of
8 traces per update, 16384 tokens, 1 % for validation.

Unknown, and what stands here: warm-up, a tenth; Adam's betas and weight decay, (.9, .95) and 0.

On purpose otherwise: one mean over all target tokens of the update; the authors' library averages
over micro-batches, by which a long trace's tokens weigh less than a short one's.

Reported (3B, greedy, 16k tokens, a judge for what the rules miss): MATH 64.7, AMC 45.0, GSM8K 81.4,
OlympiadBench 28.6, AIME 10.0, mean 45.9; long traces alone 40.3, short ones alone 43.4. Long minus
short: Qwen2.5 .5B -4.7, 1.5B -7.1, 3B -3.1, 7B +1.7, 14B +4.9, 32B +13.7.

``CHAIN`` makes such a mix anew, with two teachers sampled here: ``tools/chain.py``.
"""

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.sft import SFT
from red_mcore.evaluation.protocols import mix
from red_mcore.recipe import Batch, Benchmarks, Data, Model, Optimizer, Recipe, Reward

QWEN25_3B = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 2048,
    "intermediate_size": 11008,
    "num_hidden_layers": 36,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
}
BENCHMARKS = ["MATH-500", "AMC23", "GSM8K", "OlympiadBench", "AIME24"]
RELEASED = "UWNSL/Mix-Long_long_0.2_short_0.8"
PROMPT = "Present the final answer in the format: Final Answer: \\boxed{your_answer}."


def imitation(name: str, released: str, rows: int) -> Recipe:
    """SFT on a released mix of so many rows."""
    r = red_1p5b()
    r.name = name
    r.model = Model(path="Qwen/Qwen2.5-3B-Instruct", config=dict(QWEN25_3B), dtype="bfloat16")
    r.algorithm = SFT()
    r.data = Data(path=released, held_out=rows // 100)
    r.steps = 2 * (rows - rows // 100) // 8
    r.batch = Batch(prompts_per_step=8, tokens_per_micro_batch=17408)
    r.rollout.max_response_tokens = 16384
    r.optimizer = Optimizer(
        lr=1e-5, min_lr_ratio=0.0, warmup_steps=r.steps // 10, betas=(0.9, 0.95)
    )
    r.reward = Reward(workers=2)
    r.evaluation.every = r.checkpoint.every = 200
    r.evaluation.benchmarks = Benchmarks(BENCHMARKS, protocol=mix())
    return r


def chain(released: str, minor: tuple[str, str], major: tuple[str, str]) -> list[list[str]]:
    """Traces of two teachers (what they are called, model) for the problems of a released mix, the
    mix of them, and the training."""
    found = []
    for name, model in (minor, major):
        ask = ["distill", "--teacher", model, "--source", name, "--data", released]
        keep = ["--keep", "fill", "--count", "1", "--most", "8", "--max-tokens", "16384"]
        found.append([*ask, *keep, "--suffix", PROMPT, "--out", f"{{out}}/{name}"])
    sets = [f"{{out}}/{name}/traces.jsonl" for name, _ in (minor, major)]
    names = ["--minor", minor[0], "--major", major[0], "--weight", "0.2"]
    mixed = "{out}/mix.jsonl"
    found.append(["traces", "mix", "--data", *sets, *names, "--out", mixed])
    found.append(["run", "{recipe}", "runs={out}", f"data.path={mixed}", "data.held_out=50"])
    return found


CHAIN = chain(RELEASED, ("long", "Qwen/QwQ-32B-Preview"), ("short", "Qwen/Qwen2.5-32B-Instruct"))


def recipe() -> Recipe:
    return imitation("paper_mix_long", RELEASED, 5383)
