import itertools

from red_mcore.rollout.exchange import sample_seed, split_prompts


def test_every_prompt_belongs_to_one_replica():
    shares = [split_prompts(11, 4, replica) for replica in range(4)]
    assert sorted(itertools.chain(*shares)) == list(range(11))
    assert {len(share) for share in shares} == {2, 3}
    assert split_prompts(1, 2, 1) == []


def test_seeds_are_stable_and_spread_in_the_low_bits():
    assert sample_seed(0, 1, 2) == sample_seed(0, 1, 2) != sample_seed(0, 2, 1)
    seeds = [sample_seed(0, step, problem) for step in range(20) for problem in range(50)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len({seed % 2**32 for seed in seeds}) == len(seeds)
