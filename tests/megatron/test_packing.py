import numpy as np
import pytest
import torch

from red_mcore.megatron.packing import arrange, bins, deal, imbalance, pack
from red_mcore.samples.records import Group, Problem, Sample

CPU = torch.device("cpu")


def sample(prompt: int, response: int, first: int = 1) -> Sample:
    """Token ids count up from ``first``; log-probs are minus the tokens that they speak of."""
    ids = np.arange(first, first + prompt + response, dtype=np.int32)
    return Sample(
        prompt=ids[:prompt],
        response=ids[prompt:],
        advantage=2.0,
        beta=0.5,
        weight=3.0,
        coefficient={"rl": 0.25},
        old_logp=-ids[prompt:].astype(np.float32),
    )


def groups(count: int, seed: int = 0) -> list[Group]:
    rng = np.random.default_rng(seed)
    return [
        Group(
            Problem(g, "", ""),
            [sample(int(rng.integers(1, 9)), int(rng.integers(1, 60))) for _ in range(4)],
        )
        for g in range(count)
    ]


def packed(
    hands: list[list[Sample]], rank: int = 0, budget: int = 100, rounds: int = 1, **settings
):
    options = {"multiple": 1, "static": False, "components": ("rl",), "device": CPU} | settings
    return pack(arrange(hands, budget, rounds=rounds), rank, **options)


def test_bins_fill_the_budget_and_never_exceed_it():
    samples = [s for g in groups(6) for s in g.samples]
    found = bins(samples, 100)
    assert {id(s) for b in found for s in b} == {id(s) for s in samples}
    sizes = [sum(s.tokens for s in b) for b in found]
    assert sum(sizes) == sum(s.tokens for s in samples)
    assert max(sizes) <= 100
    assert sum(size <= 50 for size in sizes) <= 1  # two of them would have become one
    full = sample(40, 60)
    assert bins([full], 100) == [[full]]


def test_a_sequence_beyond_the_budget_is_refused():
    with pytest.raises(
        ValueError, match="a sequence of 101 tokens exceeds the micro-batch budget of 100 tokens"
    ):
        bins([sample(1, 3), sample(1, 100)], 100)


def test_deal_keeps_groups_whole_and_balances_their_cost():
    dealt = groups(7)
    hands = deal(dealt, 3, 64)
    owners = {id(s): rank for rank, hand in enumerate(hands) for s in hand}
    assert len(owners) == 28
    assert all(len({owners[id(s)] for s in g.samples}) == 1 for g in dealt)
    tokens = [sum(s.tokens for s in hand) for hand in hands]
    assert max(tokens) < 2 * min(tokens)


def test_deal_is_the_same_in_every_process():
    """Equal costs, too, are dealt by position alone."""
    first, second = (
        [[s.tokens for s in hand] for hand in deal(groups(7), 3, 64)] for _ in range(2)
    )
    assert first == second
    equal = [Group(Problem(i, "", ""), [sample(3, 4, first=i)]) for i in range(4)]
    assert [[s.prompt[0] for s in hand] for hand in deal(equal, 2, 64)] == [[3, 1], [2, 0]]


def test_all_ranks_get_as_many_micro_batches_an_idle_one_too():
    hands = [[sample(3, 60), sample(3, 60), sample(3, 20)], [sample(2, 5)], []]
    batches = [packed(hands, rank, multiple=4) for rank in range(3)]
    assert [len(b) for b in batches] == [2, 2, 2]
    assert [[len(m.spans) for m in b] for b in batches] == [[2, 1], [0, 1], [0, 0]]
    assert [[m.tokens.numel() for m in b] for b in batches] == [[88, 64], [4, 8], [4, 4]]
    idle = batches[2][0]
    assert not idle.coefficient["rl"].any()
    assert idle.packing.cu_seqlens_q.tolist() == [0, 4]


def with_traces(rollouts: int, traces: int):
    """Samples of 23 tokens, a trace first."""
    hand = [sample(3, 20) for _ in range(rollouts + traces)]
    for trace in hand[:traces]:
        trace.is_offline = True
    return hand[traces - 1 :] + hand[: traces - 1] if traces else hand


def kinds(hands: list[list[Sample]], budget: int, **settings) -> tuple[list[list[str]], int, int]:
    """Of each rank and micro-batch, ``r`` for a rollout and ``t`` for a trace; the turn;
    the number of late traces."""
    found = arrange(hands, budget, offline_last=True, **settings)
    named = [["".join("rt"[s.is_offline] for s in b) for b in batches] for batches in found.batches]
    after = [s for batches in found.batches for b in batches[found.turn + 1 :] for s in b]
    assert [id(s) for s in found.late] == [id(s) for s in after]
    return named, found.turn, len(found.late)


@pytest.mark.parametrize(
    ("budget", "rollouts", "traces", "expected", "turn", "late"),
    [
        (
            50,
            3,
            2,
            ["rr", "r", "tt"],
            2,
            0,
        ),  # both do not fit behind the last rollout: a micro-batch of their own
        (50, 3, 1, ["rr", "rt"], 1, 0),
        (100, 2, 2, ["rrtt"], 0, 0),
        (50, 3, 5, ["rr", "r", "tt", "tt", "t"], 2, 3),
        (50, 0, 3, ["tt", "t"], 0, 1),
        (50, 3, 0, ["rr", "r"], 1, 0),
        (50, 0, 0, [""], 0, 0),
    ],
)
def test_traces_can_be_kept_for_the_end(budget, rollouts, traces, expected, turn, late):
    assert kinds([with_traces(rollouts, traces)], budget) == ([expected], turn, late)


@pytest.mark.parametrize(
    ("hands", "expected", "turn", "late"),
    [
        # (rollouts, traces) of each rank
        ([(3, 1), (3, 0)], [["rr", "rt"], ["rr", "r"]], 1, 0),
        ([(3, 1), (0, 0)], [["rr", "rt"], ["", ""]], 1, 0),
        ([(1, 1), (3, 0)], [["", "rt"], ["rr", "r"]], 1, 0),
        ([(2, 1), (3, 0)], [["rr", "t"], ["rr", "r"]], 1, 0),
        ([(2, 1), (5, 0)], [["", "rr", "t"], ["rr", "rr", "r"]], 2, 0),
        ([(0, 3), (3, 0)], [["", "tt", "t"], ["rr", "r", ""]], 1, 1),
        ([(0, 2), (4, 2), (0, 0)], [["", "", "tt"], ["rr", "rr", "tt"], ["", "", ""]], 2, 0),
        ([(0, 0), (0, 0)], [[""], [""]], 0, 0),
    ],
)
def test_the_turn_comes_to_all_ranks_at_once(hands, expected, turn, late):
    """No trace before it, no rollout after it."""
    assert kinds([with_traces(*hand) for hand in hands], 50) == (expected, turn, late)


def test_whole_rounds_of_micro_batches_have_the_turn_later():
    assert kinds([with_traces(3, 3), with_traces(0, 0)], 50, rounds=4)[1:] == (2, 1)
    assert kinds([with_traces(3, 1), with_traces(0, 0)], 50, rounds=4)[1:] == (3, 0)


def test_weights_can_be_set_after_packing():
    hand = with_traces(1, 1)
    (batch,) = packed([hand])
    hand[0].weight = 7.0
    batch.refresh("weight")
    assert 7.0 in batch.fields["weight"]


def test_pipeline_stages_exchange_one_shape():
    hands = [[sample(3, 60), sample(3, 20)], [sample(2, 5)]]
    shapes = {
        m.tokens.shape
        for rank in range(2)
        for m in packed(hands, rank, budget=70, static=True, multiple=2)
    }
    assert shapes == {(1, 64)}


def test_every_field_stands_where_its_token_is_predicted():
    first, second = sample(3, 2, first=10), sample(1, 3, first=50)
    second.is_offline, second.coefficient = True, {"offline": 0.5}
    (batch,) = packed([[second, first]], multiple=4, components=("offline", "rl"))
    assert batch.tokens.tolist() == [[10, 11, 12, 13, 14, 50, 51, 52, 53, 0, 0, 0]]
    assert batch.targets.tolist() == [11, 12, 13, 14, 0, 51, 52, 53, 0, 0, 0, 0]
    found = [(id(s), entries.tolist(), tokens.tolist()) for s, entries, tokens in batch.spans]
    assert found == [(id(first), [2, 3], [0, 1]), (id(second), [5, 6, 7], [0, 1, 2])]
    assert batch.packing.cu_seqlens_q.tolist() == [0, 5, 9, 12]
    trained = torch.tensor([0, 0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0.0])
    offline = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0.0])
    assert torch.equal(batch.fields["advantage"], 2 * trained)
    assert torch.equal(batch.fields["beta"], 0.5 * trained)
    assert torch.equal(batch.fields["weight"], 3 * trained)
    assert torch.equal(batch.fields["is_offline"], offline)
    assert torch.equal(batch.fields["old_logp"], -batch.targets * trained)
    assert torch.equal(batch.coefficient["offline"], 0.5 * offline)
    assert torch.equal(batch.coefficient["rl"], 0.25 * (trained - offline))


def test_context_parallel_ranks_hold_an_early_and_a_late_chunk_of_each_sequence():
    first, second = sample(3, 4, first=10), sample(1, 2, first=50)
    early, late = (packed([[second, first]], multiple=3, context=(rank, 2))[0] for rank in range(2))
    # Padded to 8 and 4 tokens, and as a whole to a multiple of 2 x 2 and of 2 ranks x 3.
    assert early.tokens.tolist() == [[10, 11, 16, 0, 50, 0]]
    assert late.tokens.tolist() == [[12, 13, 14, 15, 51, 52]]
    assert early.targets.tolist() == [11, 12, 0, 0, 51, 0]
    assert late.targets.tolist() == [13, 14, 15, 16, 52, 0]
    for batch, entries in ((early, [[], [4]]), (late, [[0, 1, 2, 3], [4]])):
        assert batch.packing.cu_seqlens_q.tolist() == [0, 8, 12]
        assert [at.tolist() for _, at, _ in batch.spans] == entries
        for s, at, tokens in batch.spans:
            assert batch.targets[at].tolist() == s.response[tokens].tolist()
            assert batch.fields["old_logp"][at].tolist() == s.old_logp[tokens].tolist()
        trained = [at for entry in entries for at in entry]
        assert batch.coefficient["rl"].nonzero()[:, 0].tolist() == trained


def test_interleaved_pipelines_get_whole_rounds_of_micro_batches():
    hands = [[sample(3, 60), sample(3, 60), sample(3, 60)], []]
    assert [[len(m.spans) for m in packed(hands, rank, rounds=4)] for rank in range(2)] == [
        [0, 1, 1, 1],
        [0] * 4,
    ]


def test_imbalance_is_the_largest_share_of_work_over_the_mean():
    one, two = [sample(3, 20)], [sample(3, 20), sample(3, 20)]
    assert imbalance([two, two], 64) == 1
    assert imbalance([one, two, one], 64) == pytest.approx(1.5)
    assert imbalance([one, []], 64) == 2


def test_a_log_prob_that_was_never_scored_is_absent_rather_than_zero():
    scored, fresh = sample(2, 3), sample(2, 3)
    fresh.old_logp = None
    assert "old_logp" not in packed([[scored, fresh]])[0].fields
    assert "old_logp" in packed([[scored]])[0].fields
    assert (
        "ref_logp" in packed([[scored], []], rank=1)[0].fields
    )  # an idle rank has nothing to miss


@pytest.mark.parametrize("ranks", [1, 2])
def test_of_a_conversation_the_assistant_s_turns_alone_have_a_coefficient(ranks):
    chat = sample(3, 9)
    chat.trained = np.array([1, 1, 0, 0, 0, 1, 0, 1, 1], bool)
    found = []
    for rank in range(ranks):
        (batch,) = packed([[chat, sample(2, 4, 50)]], context=(rank, ranks))
        trained = batch.coefficient["rl"] != 0
        assert set(batch.coefficient["rl"][trained].tolist()) == {0.25}
        found += batch.targets[trained].tolist()
    assert sorted(found) == [4, 5, 9, 11, 12, 52, 53, 54, 55]
