"""Scores of responses by Megatron against transformers on the same folder, and the cache of
them."""

import shutil

import numpy as np
import pytest
import torch
from family_models import make_family

from red_mcore.analysis.likelihood import Cache, TokenScores, scorer
from red_mcore.analysis.scoring import check_same_tokens, score_all, tokenize
from red_mcore.config.recipe import RecipeError
from red_mcore.convert.conversion import from_hf, open_any
from red_mcore.data.tokenizer import build_tokenizer
from red_mcore.samples.responses import Response

WATCH = [[5, 9, 200], [], [262]]
PROMPT, POSITIONS, VOCABULARY = list(range(40, 60)), 256, 263


@pytest.fixture(scope="module")
def response():
    return torch.randint(0, VOCABULARY, (90,), generator=torch.Generator().manual_seed(0)).tolist()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An HF folder of another family than the runs', with scaled positions."""
    folder = tmp_path_factory.mktemp("likelihood") / "llama"
    make_family("llama", folder)
    return folder


@pytest.fixture(scope="module")
def found(folder, response):
    """Scores by the name of what was asked; the model is loaded once, and five tokens' logits exist
    at a time."""
    with scorer(open_any(folder), watch=WATCH, chunk_bytes=5 * 4 * VOCABULARY) as score:
        refused = {}
        for name, (prompt, ids) in {
            "long": (PROMPT, [1] * (POSITIONS - len(PROMPT) + 2)),
            "full": ([1] * (POSITIONS + 1), [1]),
            "no prompt": ([], [1]),
            "foreign": (PROMPT, [VOCABULARY]),
        }.items():
            with pytest.raises(RecipeError) as error:
                score(prompt, ids)
            refused[name] = str(error.value)
        return {
            "usual": score(PROMPT, response),
            "one": score(PROMPT, response[:1]),
            "none": score(PROMPT, []),
            "last": score([1] * POSITIONS, [2]),
            "longest": score(PROMPT, [1] * (POSITIONS - len(PROMPT) + 1)),
            "refused": refused,
        }


def test_a_model_that_gives_no_numbers_is_refused(folder, tmp_path):
    """Its NaN would be the most likely token everywhere, and stay in the cache."""
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(folder, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.nan
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with (
        scorer(open_any(broken)) as score,
        pytest.raises(RecipeError, match=r"broken gives token 0 of .* \(nan\)"),
    ):
        score(PROMPT, [5, 9])


def test_parity_with_transformers(folder, found, response):
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        logits = (
            AutoModelForCausalLM.from_pretrained(folder)
            .eval()(torch.tensor([PROMPT + response]))
            .logits[0]
        )
    log_p = logits[len(PROMPT) - 1 : -1].double().log_softmax(-1)
    expected = log_p.gather(1, torch.tensor(response)[:, None])
    ours = found["usual"]
    np.testing.assert_allclose(ours.logp, expected[:, 0], atol=1e-4)
    np.testing.assert_allclose(ours.entropy, -(log_p.exp() * log_p).sum(-1), atol=1e-4)
    np.testing.assert_array_equal(ours.rank, (log_p > expected).sum(1))
    masses = [log_p.exp()[:, ids].sum(1).numpy() for ids in WATCH]
    np.testing.assert_allclose(ours.watched, np.stack(masses), atol=1e-4)
    assert ours.watched[2].max() > 0


def test_short_and_long_sequences(found):
    np.testing.assert_allclose(found["one"].logp, found["usual"].logp[:1], atol=1e-5)
    assert [len(x) for x in (found["none"].logp, found["none"].rank)] == [0, 0]
    assert found["none"].watched.shape == (3, 0)
    assert len(found["last"].logp) == 1
    assert len(found["longest"].logp) == POSITIONS - len(PROMPT) + 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "long",
            "20 tokens of prompt + 238 of response - 1, which is only predicted, exceed 256"
            " positions",
        ),
        ("full", "257 tokens of prompt + 1 of response"),
        ("no prompt", "the prompt is empty"),
        ("foreign", "token id 263 is beyond vocab_size=263"),
    ],
)
def test_what_cannot_be_scored_is_refused(found, name, message):
    assert message in found["refused"][name]


def respond(text: str, item: int = 0, **more: object) -> Response:
    fields = {
        "verdict": "correct",
        "tokens": None,
        "truncated": None,
        "prompt_ids": None,
        "token_ids": None,
    }
    return Response("B", item, 0, "1 + 1?", text, **{**fields, **more})


def test_a_checkpoint_gives_the_same_and_what_is_stored_is_not_computed_again(
    folder, tmp_path, monkeypatch
):
    tokenizer, texts = build_tokenizer(), ["so 2", "", "x" * 300, "wait, 3"]
    sequences = tokenize([respond(text, i) for i, text in enumerate(texts)], tokenizer, "")
    from_hf(folder, tmp_path / "megatron", dtype=None, replace=False, watch=lambda *_: None)
    steps = []
    watch = lambda done, total: steps.append((done, total))  # noqa: E731
    checkpoint = open_any(tmp_path / "megatron")
    first = score_all(
        checkpoint, sequences, WATCH, tmp_path / "cache", dtype="float32", watch=watch
    )
    assert first[1:3] == ["empty", "longer than 256 positions"]
    assert steps == [(2, 4), (3, 4), (4, 4)]
    with scorer(open_any(folder)) as score:
        same = score(sequences[3].prompt, sequences[3].token_ids)
    np.testing.assert_allclose(first[3].logp, same.logp, atol=1e-5)
    monkeypatch.setattr("red_mcore.analysis.scoring.scorer", None)
    again = score_all(
        checkpoint, sequences, WATCH, tmp_path / "cache", dtype="float32", watch=watch
    )
    np.testing.assert_array_equal(again[0].watched, first[0].watched)


def test_the_cache_knows_models_watched_tokens_and_damage(folder, tmp_path):
    model, scores = (
        open_any(folder),
        TokenScores(*np.ones((2, 2), np.float32), np.zeros(2, np.int32), np.ones((1, 2))),
    )
    cache = Cache(tmp_path, model, "float32", [[1]])
    cache.put([1], [2, 3], scores)
    assert cache.get([1], [2, 3]).logp.tolist() == [1, 1]
    assert cache.get([1, 2], [3]) is None
    assert Cache(tmp_path, model, "float32", [[2]]).get([1], [2, 3]) is None
    assert Cache(tmp_path, model, "bfloat16", [[1]]).get([1], [2, 3]) is None
    (file,) = tmp_path.glob("*/*.npz")
    file.write_bytes(file.read_bytes()[:100])
    assert cache.get([1], [2, 3]) is None


def test_recorded_ids_have_to_spell_the_text():
    tokenizer = build_tokenizer()
    ids = np.array([*tokenizer.encode("so 2"), tokenizer.eos_token_id])
    (found,) = tokenize(
        [respond("so 2", token_ids=ids, prompt_ids=np.array([1, 2]))], tokenizer, ""
    )
    assert (found.token_ids.tolist(), found.prompt.tolist()) == (ids.tolist(), [1, 2])
    with pytest.raises(
        RecipeError, match="do not spell their text with the tokenizer of --model, first B item 0"
    ):
        tokenize([respond("so 3", token_ids=ids)], tokenizer, "")


def test_prompts_are_the_chat_with_its_instruction():
    tokenizer = build_tokenizer()
    (found,) = tokenize([respond("so 2")], tokenizer, "Box it.")
    assert tokenizer.decode(found.prompt) == "<|user|>1 + 1?\nBox it.<|assistant|>"
    tokenizer.chat_template = None
    with pytest.raises(
        RecipeError, match="B item 0 has no prompt_ids, and the tokenizer no chat template"
    ):
        tokenize([respond("so 2")], tokenizer, "")


def test_models_of_different_tokenizers_have_no_rank_shift():
    one, other = build_tokenizer(), build_tokenizer()
    sequences = tokenize([respond("so 2")], one, "")
    check_same_tokens(sequences, one, other)
    other.add_tokens(["wait"])
    check_same_tokens(sequences, one, other)  # no id that occurs
    core = {"a": 0, "b": 1}
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    with pytest.raises(RecipeError, match="--original has another tokenizer than --model: id"):
        check_same_tokens(
            sequences,
            one,
            PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE(core, []))),
        )
