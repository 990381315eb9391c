import pytest
import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn.functional import scaled_dot_product_attention

from red_mcore.megatron.attention import PackedAttention, Packing, RMSNorm, local_order

HEADS, GROUPS, DIM = 4, 2, 8
CONFIG = TransformerConfig(
    num_layers=1,
    hidden_size=HEADS * DIM,
    num_attention_heads=HEADS,
    num_query_groups=GROUPS,
    use_cpu_initialization=True,
)
LENGTHS = [[1], [1, 1, 1], [7], [5, 1, 9, 8, 2, 3], [33, 1, 17, 16, 32, 2, 31]]


def one_by_one(query, key, value, lengths):
    """[T, heads * d]: dense causal attention of each sequence alone,
    keys and values repeated for their query heads."""
    outputs = []
    for parts in zip(*(x.split(lengths) for x in (query, key, value)), strict=True):
        q, k, v = (x.transpose(0, 1) for x in parts)
        k, v = (x.repeat_interleave(HEADS // GROUPS, dim=0) for x in (k, v))
        outputs.append(
            scaled_dot_product_attention(q, k, v, is_causal=True).transpose(0, 1).flatten(1)
        )
    return torch.cat(outputs)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_packed_attention_is_that_of_each_sequence(lengths):
    generator = torch.Generator().manual_seed(len(lengths))
    shapes = [(sum(lengths), n, DIM) for n in (HEADS, GROUPS, GROUPS)]
    inputs = [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]
    attention = PackedAttention(CONFIG, 1, None, "self")
    found = attention(*inputs, packed_seq_params=Packing.of(lengths, torch.device("cpu")))
    expected = one_by_one(*inputs, lengths)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    outside = torch.randn(found.shape, generator=generator)
    for a, b in zip(
        *(torch.autograd.grad(x, inputs, outside) for x in (found, expected)), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_buckets_are_padded_to_less_than_twice_their_tokens():
    lengths = LENGTHS[-1]
    packing = Packing.of(lengths, torch.device("cpu"))
    assert sum(bucket.queries.numel() for bucket in packing.buckets) < 2 * sum(lengths)
    assert packing.cu_seqlens_q.tolist() == [0, 33, 34, 51, 67, 99, 101, 132]
    assert packing.max_seqlen_q == 33


@pytest.mark.parametrize("ranks", [2, 3])
def test_context_parallel_ranks_share_the_work_equally(ranks):
    """Each query sees the keys up to its own token,
    in the tokens of all ranks one after the other."""
    lengths = [2 * ranks * n for n in (5, 1, 3, 4)]
    orders = [local_order(lengths, rank, ranks) for rank in range(ranks)]
    gathered = torch.cat(orders)
    assert gathered.sort().values.tolist() == list(range(sum(lengths)))
    starts = torch.tensor([sum(lengths[:i]) for i, n in enumerate(lengths) for _ in range(n)])
    work = []
    for rank, order in enumerate(orders):
        packing = Packing.of(lengths, torch.device("cpu"), rank, ranks)
        assert packing.max_seqlen_q == max(lengths)
        seen = {}
        for bucket in packing.buckets:
            square = torch.ones(
                bucket.queries.shape[1], bucket.keys.shape[1], dtype=torch.bool
            ).tril()
            mask = (
                bucket.mask[:, 0]
                if bucket.mask is not None
                else square.expand(len(bucket.queries), -1, -1)
            )
            for queries, keys, sees in zip(bucket.queries, bucket.keys, mask, strict=True):
                for query, row in reversed(
                    list(zip(queries.tolist(), sees, strict=True))
                ):  # repetitions come last
                    seen[query] = gathered[keys[row]].tolist()
        for query, token in enumerate(order.tolist()):
            assert seen[query] == list(range(int(starts[token]), token + 1))
        work.append(sum(map(len, seen.values())))
    assert len(set(work)) == 1


def test_norm_is_torchs_and_says_that_its_weight_sees_a_part_of_the_sequence():
    x = torch.randn(5, HEADS * DIM, generator=torch.Generator().manual_seed(0))
    norm = RMSNorm(CONFIG, HEADS * DIM, eps=1e-5)
    torch.testing.assert_close(norm(x), torch.nn.RMSNorm(HEADS * DIM, eps=1e-5)(x))
    assert norm(x.bfloat16()).dtype == torch.bfloat16
    assert norm.weight.sequence_parallel is False
