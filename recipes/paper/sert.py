"""SERT, self-enhanced reasoning training (arXiv 2502.12744), for a small base model of today.

Known: students of the GPT-2 family, teacher GPT-3.5, StrategyQA and CommonsenseQA. First the
untuned student is sampled, and of its answers those that reason are kept by rules; then it trains
on them; then on the teacher's traces.

Unknown, and what stands here: 32 samples at temperature .8 and top-p .95; 20 to 200 words, a
connective, 2-gram repetition below .3, no sentence twice, a proper end, a mean token NLL under the
student below the median of its question, 4 paths at most; one epoch of 64 traces per update, lr
1e-5, then three.

On purpose otherwise: Qwen2.5-0.5B and GSM8K, with answers that can be verified and a model that is
supported here; a teacher with open weights.

Reported: reasoning more often, more coherent and less repetitive, and a better accuracy after
distillation than without self-training; the tables could not be read.

Ablations: no filter (data.path={out}/self/traces.jsonl), no self-training (the last stage with the
model of the recipe).
"""

from recipes.red_1p5b import recipe as red_1p5b
from red_mcore.algorithms.sft import SFT
from red_mcore.recipe import Batch, Benchmarks, Data, Model, Optimizer, Recipe, Reward

QWEN25_0P5B = {
    "model_type": "qwen2",
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "tie_word_embeddings": True,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
}
STUDENT, TEACHER = "Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-7B-Instruct"
STEPS = 337  # 3 x (7473 - 256 held out) / 64
PROBLEMS = ["--data", "openai/gsm8k", "subset=main", "--max-tokens", "1024"]

CHAIN = [
    ["distill", "--teacher", STUDENT, *PROBLEMS, "--out", "{out}/self", "--samples", "32"]
    + ["--temperature", "0.8", "--top-p", "0.95"],
    ["traces", "filter", "--data", "{out}/self/traces.jsonl", "--student", STUDENT]
    + ["--dtype", "bfloat16", "--out", "{out}/self/kept.jsonl"],
    ["run", "{recipe}", "name=self_trained", "runs={out}", "data.path={out}/self/kept.jsonl"]
    + ["data.trace_choice=random", "steps=112", "optimizer.warmup_steps=11"],
    ["distill", "--teacher", TEACHER, *PROBLEMS, "--out", "{out}/teacher"]
    + ["--keep", "fill", "--count", "1", "--most", "8", "--suffix", "Answer in \\boxed{}."],
    ["run", "{recipe}", "runs={out}", "model.path={out}/self_trained/export"]
    + ["data.path={out}/teacher/traces.jsonl"],
]


def recipe() -> Recipe:
    r = red_1p5b()
    r.name = "paper_sert"
    r.model = Model(path=STUDENT, config=dict(QWEN25_0P5B), dtype="bfloat16")
    r.algorithm = SFT()
    r.steps = STEPS
    r.data = Data(path="openai/gsm8k", subset="main", held_out=256)
    r.batch = Batch(prompts_per_step=64, tokens_per_micro_batch=16384)
    r.rollout.max_response_tokens = 1024
    r.optimizer = Optimizer(lr=1e-5, warmup_steps=STEPS // 10, betas=(0.9, 0.95))
    r.reward = Reward(workers=2)
    r.evaluation.benchmarks = Benchmarks(["GSM8K"])
    return r
