"""Checks of the engine against transformers, run by two gloo ranks in one launch (see
test_engine.py).

Each ``check_*`` raises where it fails; the outcomes of a rank go to OUT/rankR.json as
{check: "" or traceback}.
"""

import json
import os
import sys
import traceback
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

STOP = 3
VOCAB = 262


def make_model(tied: bool, seed: int):
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.08,
        tie_word_embeddings=tied,
    )
    return Qwen2ForCausalLM(config).eval()


def weights(model):
    """(name, tensor) of a model as a checkpoint has them, and the shapes to expect."""
    tied = model.config.tie_word_embeddings
    tensors = {k: v for k, v in model.state_dict().items() if not (tied and k == "lm_head.weight")}
    return tensors, {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def reference_logp(model, prompt, response, temperature=1.0):
    """[T] log-probs of ``response`` by transformers."""
    import torch

    ids = torch.tensor([prompt.tolist() + response.tolist()])
    with torch.no_grad():
        logp = (model(ids).logits[0].float() / temperature).log_softmax(-1)
    return logp[len(prompt) - 1 : -1].gather(-1, ids[0, len(prompt) :, None])[:, 0].numpy()


def gap(model, prompts, groups, temperature=1.0):
    """Largest |engine - transformers| in nats."""
    pairs = [(p, c) for p, group in zip(prompts, groups, strict=True) for c in group]
    return max(
        np.abs(c.logp - reference_logp(model, p, c.token_ids, temperature)).max() for p, c in pairs
    )


def tokens(groups):
    return [c.token_ids.tolist() for group in groups for c in group]


def make_prompts(count=3, seed=0):
    """The last one is longer than a block of the key-value cache (128 tokens)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(4, VOCAB, size=length).astype(np.int32) for length in (5, 40, 150)[:count]]


def raises(kind, call, *words):
    with pytest.raises(kind) as caught:
        call()
    assert all(word in str(caught.value) for word in words), f"{caught.value} lacks {words}"


class Checks:
    def __init__(self, folder: Path):
        self.folder = folder
        self.models = {
            (tied, seed): make_model(tied, seed) for tied in (False, True) for seed in (0, 1)
        }
        self.prompts = make_prompts()

    def settings(self, tensor=1):
        from red_mcore.config.recipe import Rollout

        return Rollout(
            max_prompt_tokens=160, max_response_tokens=40, tensor=tensor, kv_cache_mib=64
        )

    def build(self, tied, tensor):
        from red_mcore.rollout.engine import VllmEngine

        folder = self.folder / f"model{int(tied)}"
        return VllmEngine(folder, self.settings(tensor), dtype="float32", stop_ids=[STOP], seed=0)

    def publish(self, engine, model, version=1, change=lambda tensors: None, shapes=None):
        tensors, expected = weights(model)
        change(tensors)
        return engine.publish(iter(tensors.items()), shapes or expected, version)

    def sample(self, engine, **options):
        engine.reset()
        return engine.sample(self.prompts, 3, [11, 12, 13], **options)

    # -- an engine of its own on every rank, output layer apart from the embedding

    def check_tensor_size_divides_the_ranks(self, engine):
        from red_mcore.config.recipe import RecipeError

        raises(RecipeError, lambda: self.build(False, 3), "rollout.tensor=3", "parallel.ranks=2")

    def check_the_engine_keeps_the_contract(self, engine):
        from red_mcore.rollout.protocol import Engine

        assert isinstance(engine, Engine)
        assert engine.about["engine"].startswith("vllm ")

    def check_no_sampling_before_publication(self, engine):
        raises(RuntimeError, lambda: self.sample(engine), "publish")

    def check_logp_after_publication(self, engine):
        import torch

        model, before = self.models[False, 0], torch.get_rng_state()
        publication = self.publish(engine, model, version=4)
        tensors, _ = weights(model)
        assert publication.version == engine.version == 4
        assert publication.tensors == len(tensors)
        assert publication.bytes == sum(4 * t.numel() for t in tensors.values())
        groups = self.sample(engine)
        assert gap(model, self.prompts, groups) < 1e-4
        assert all(
            c.version == 4 and c.token_ids.dtype == np.int32 for group in groups for c in group
        )
        assert len(set(map(str, tokens(groups)))) == 9, "samples of a prompt must differ"
        assert torch.equal(before, torch.get_rng_state()), "the trainer's random state moved"

    def check_temperature(self, engine):
        groups = self.sample(engine, temperature=0.7)
        assert gap(self.models[False, 0], self.prompts, groups, 0.7) < 1e-4
        assert gap(self.models[False, 0], self.prompts, groups) > 0.1

    def check_top_p_leaves_logp_untruncated(self, engine):
        model, groups = self.models[False, 0], self.sample(engine, temperature=0.7, top_p=0.5)
        assert gap(model, self.prompts, groups, 0.7) < 1e-4
        assert tokens(groups) != tokens(self.sample(engine, temperature=0.7)), "top_p had no effect"

    def check_greedy(self, engine):
        import torch

        groups = self.sample(engine, temperature=0, max_tokens=[8] * 3)
        assert gap(self.models[False, 0], self.prompts, groups) < 1e-4
        for prompt, group in zip(self.prompts, groups, strict=True):
            ids = prompt.tolist() + group[0].token_ids.tolist()
            with torch.no_grad():
                best = (
                    self.models[False, 0](torch.tensor([ids]))
                    .logits[0, len(prompt) - 1 : -1]
                    .argmax(-1)
                )
            assert ids[len(prompt) :] == best.tolist()

    def check_seeds_alone_decide(self, engine):
        first = self.sample(engine)
        few = 1 + engine.replica
        engine.sample(self.prompts[:few], 2, [1, 2][:few], max_tokens=[9, 5][:few])
        again = self.sample(engine)
        assert tokens(first) == tokens(again)
        for one, two in zip(chain(*first), chain(*again), strict=True):
            assert np.array_equal(one.logp, two.logp)
        engine.reset()
        assert tokens(engine.sample(self.prompts, 3, [11, 12, 14])) != tokens(first)

    def check_stop_and_truncation(self, engine):
        told = []
        groups = engine.sample(
            make_prompts(1), 200, [5], watch=lambda *progress: told.append(progress)
        )
        assert told == [(done, 200) for done in range(1, 201)]
        completions = [c for group in groups for c in group]
        stopped = [c for c in completions if not c.truncated]
        assert 0 < len(stopped) < len(completions)
        assert all(c.token_ids[-1] == STOP and STOP not in c.token_ids[:-1] for c in stopped)
        assert all(
            len(c.token_ids) == 40 and STOP not in c.token_ids for c in completions if c.truncated
        )
        assert all(len(c.token_ids) == len(c.logp) for c in completions)
        # A response that ends with its last allowed token is whole.
        prompts, first = (
            make_prompts(1),
            next(i for i, c in enumerate(completions) if not c.truncated),
        )
        engine.reset()
        (again,) = engine.sample(
            prompts, first + 1, [5], max_tokens=[len(completions[first].token_ids)]
        )
        assert again[first].token_ids.tolist() == completions[first].token_ids.tolist()
        assert not again[first].truncated

    def check_prompt_length(self, engine):
        def sample(length, max_tokens=None):
            return engine.sample([np.full(length, 7, np.int32)], 1, [0], max_tokens=max_tokens)

        raises(ValueError, lambda: sample(161), "161", "160")
        raises(ValueError, lambda: sample(0), "0 tokens", "160")
        raises(ValueError, lambda: sample(196, [5]), "196", "max_tokens=5", "1 to 195")
        assert len(sample(195, [5])[0][0].token_ids) <= 5
        assert len(sample(199, [1])[0][0].token_ids) == 1
        assert engine.sample([], 3, []) == []

    def check_each_prompt_has_its_own_limit(self, engine):
        limits = [
            1,
            12,
            50,
        ]  # the last may have more than max_response_tokens, for its prompt leaves room
        groups = self.sample(engine, max_tokens=limits)
        for limit, group in zip(limits, groups, strict=True):
            assert all(
                len(c.token_ids) == limit if c.truncated else c.token_ids[-1] == STOP for c in group
            )
            assert max(len(c.token_ids) for c in group) == limit
        assert gap(self.models[False, 0], self.prompts, groups) < 1e-4

    def check_continuations(self, engine):
        import torch.distributed as dist

        from red_mcore.algorithms.grpo import GRPO
        from red_mcore.config.recipe import Model, Recipe
        from red_mcore.data.episodes import split
        from red_mcore.data.seams import encode_prompt
        from red_mcore.data.tokenizer import build_tokenizer
        from red_mcore.rewards.verifier import Grade
        from red_mcore.rollout.sampler import Sampler
        from red_mcore.samples.records import Problem

        class Judge:
            def grade(self, questions):
                return [Grade("wrong", None)] * len(questions)

        recipe = Recipe("continuations", Model(), GRPO(), rollout=self.settings())
        tokenizer, trace = build_tokenizer(), "a8*7=6b6+9=5c5@5=1d1-4=7\\boxed{7}"
        sampler = Sampler(recipe, tokenizer, engine, Judge())
        problems = [Problem(i, f"{i}*7+9@5-4?", "7", trace if i != 2 else None) for i in range(4)]
        given = ["".join(split(trace, 5)[:leading]) for leading in (1, 3, 2, 2)]
        characters = [len(text) for text in given]
        groups = sampler.continuations(problems, characters, 3, (1, 0))
        assert [len(g.samples) for g in groups] == [3, 3, 0, 3]
        for problem, text, group in zip(problems, given, groups, strict=True):
            prefix = tokenizer.encode(text)
            for sample in group.samples:
                assert (
                    sample.prompt.tolist()
                    == encode_prompt(tokenizer, problem, recipe.data).tolist() + prefix
                )
                whole = len(prefix) + len(sample.response)
                assert (
                    whole == 40 if sample.truncated else whole <= 40 and sample.response[-1] == STOP
                )
                expected = reference_logp(self.models[False, 0], sample.prompt, sample.response)
                assert np.abs(sample.sampler_logp - expected).max() < 1e-4
        drawn = [s.response.tolist() for g in groups for s in g.samples]
        assert len(set(map(str, drawn))) == 9
        everyone = [None] * dist.get_world_size()
        dist.all_gather_object(everyone, drawn)
        assert everyone[0] == everyone[1]
        (alone,) = sampler.continuations(
            problems[:1], characters[:1], 3, (1, 0)
        )  # the other rank samples nothing
        assert [s.response.tolist() for s in alone.samples] == drawn[:3]

    def check_second_publication_replaces_the_first(self, engine):
        old = self.sample(engine)
        one, two = (self.publish(engine, self.models[False, seed], version=5) for seed in (0, 1))
        new = engine.sample(
            self.prompts, 3, [11, 12, 13]
        )  # no reset: publication forgets the old model's prefixes
        assert one.checksum != two.checksum
        assert gap(self.models[False, 1], self.prompts, new) < 1e-4
        assert tokens(old) != tokens(new)

    def check_faulty_publications(self, engine):
        from red_mcore.rollout.publication import PublicationError

        name, model = "model.layers.1.self_attn.k_proj.weight", self.models[False, 0]

        def refused(change, *words):
            raises(PublicationError, lambda: self.publish(engine, model, change=change), *words)
            raises(RuntimeError, lambda: self.sample(engine), "publish")

        refused(lambda tensors: tensors.pop(name), name, "missing")
        refused(
            lambda tensors: tensors.update({name: tensors[name].T.contiguous()}),
            name,
            "(128, 64)",
            "(64, 128)",
        )
        refused(lambda tensors: tensors.update({name: tensors[name] / 0}), name, "finite")
        refused(
            lambda tensors: tensors.update({"model.extra": tensors[name]}),
            "model.extra",
            "unexpected",
        )
        tensors, expected = weights(model)
        twice = [*tensors.items(), (name, tensors[name])]
        raises(
            PublicationError, lambda: engine.publish(iter(twice), expected, 6), name, "duplicated"
        )
        short = {k: v for k, v in expected.items() if k != "model.norm.weight"}
        stream = ((k, v) for k, v in tensors.items() if k in short)
        raises(
            PublicationError,
            lambda: engine.publish(stream, short, 6),
            "model.norm.weight",
            "no weights",
        )
        self.publish(engine, model, version=7)
        assert engine.version == 7
        assert gap(model, self.prompts, self.sample(engine)) < 1e-4

    def check_ranks_share_prompts(self, engine):
        from red_mcore.rollout.exchange import gather_samples, split_prompts

        mine = split_prompts(3, engine.replicas, engine.replica)
        engine.reset()
        groups = engine.sample([self.prompts[i] for i in mine], 3, [11 + i for i in mine])
        layout = {
            "replicas": engine.replicas,
            "replica": engine.replica,
            "is_leader": engine.is_leader,
        }
        together = gather_samples(groups, 3, **layout)
        assert gap(self.models[False, 0], self.prompts, together) < 1e-4
        assert tokens([together[i] for i in mine]) == tokens(groups)
        raises(RuntimeError, lambda: gather_samples(groups[:-1], 3, **layout), "replica 0", "share")

    # -- tied embeddings

    def check_tied_model(self, engine):
        for seed, with_head in ((0, False), (1, False), (0, True)):
            model = self.models[True, seed]
            head = {"lm_head.weight": model.lm_head.weight.detach()} if with_head else {}
            self.publish(engine, model, change=lambda tensors, head=head: tensors.update(head))
            assert gap(model, self.prompts, self.sample(engine)) < 1e-4, (
                f"publication of model {seed}"
            )

    # -- one engine over both ranks

    def check_tensor_parallel(self, engine):
        import torch.distributed as dist

        assert (engine.replica, engine.replicas, engine.is_leader) == (0, 1, dist.get_rank() == 0)
        for seed in (0, 1):
            self.publish(engine, self.models[False, seed])
            groups = self.sample(engine, temperature=0.7)
            assert gap(self.models[False, seed], self.prompts, groups, 0.7) < 1e-4
        everyone = [None, None]
        dist.all_gather_object(everyone, tokens(groups))
        assert everyone[0] == everyone[1]


PHASES = {
    (False, 1): [
        "tensor_size_divides_the_ranks",
        "the_engine_keeps_the_contract",
        "no_sampling_before_publication",
        "logp_after_publication",
        "temperature",
        "top_p_leaves_logp_untruncated",
        "greedy",
        "seeds_alone_decide",
        "stop_and_truncation",
        "prompt_length",
        "each_prompt_has_its_own_limit",
        "continuations",
        "second_publication_replaces_the_first",
        "faulty_publications",
        "ranks_share_prompts",
    ],
    (True, 1): ["tied_model"],
    (False, 2): ["tensor_parallel"],
}
"""(tied, tensor) of an engine -> checks made on it, in order."""


def main(out: Path) -> None:
    from red_mcore.rollout.environment import set_environment

    set_environment(offline=True)
    import torch.distributed as dist

    dist.init_process_group("gloo")
    rank = dist.get_rank()
    checks, outcomes = Checks(out), {}
    if rank == 0:
        for tied in (False, True):
            checks.models[tied, 0].config.save_pretrained(out / f"model{int(tied)}")
    dist.barrier()
    for (tied, tensor), names in PHASES.items():
        launcher = os.environ["LOCAL_WORLD_SIZE"]
        engine = checks.build(tied, tensor)
        assert os.environ["LOCAL_WORLD_SIZE"] == launcher
        for name in names:
            try:
                getattr(checks, f"check_{name}")(engine)
                outcomes[name] = ""
            except (Exception, pytest.fail.Exception):
                outcomes[name] = traceback.format_exc()
        engine.close()
    (out / f"rank{rank}.json").write_text(json.dumps(outcomes))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
