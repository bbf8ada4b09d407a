import torch

from improvement_records import candidate, of_hits, with_share
from refconv.engine.setup import open_setup
from refconv.improvement.combining import BASE, Pool, chosen, mean, ordered
from refconv.improvement.scoring import score
from refconv.methods.registry import method_of
from refconv.process.distributed import Processes
from refconv.recipe.recipe import Recipe
from refconv.surgery import plain_state_dict


def base(score):
    return candidate(BASE, score, -1, "base")


def test_the_mean_of_weights_keeps_dtypes_and_counters():
    states = [
        {"a": torch.tensor([1.0, 3.0]), "half": torch.tensor([1.0]).half(), "count": torch.tensor(7)},
        {"a": torch.tensor([2.0, 5.0]), "half": torch.tensor([2.0]).half(), "count": torch.tensor(9)},
    ]
    found = mean(states)
    assert found["a"].tolist() == [1.5, 4.0]
    assert found["a"].dtype == torch.float32
    assert found["half"].dtype == torch.float16
    assert float(found["half"]) == 1.5
    assert int(found["count"]) == 7


def test_nothing_better_beyond_noise_leaves_the_network_as_it_was():
    hits = with_share(0.800)
    one_more = candidate("plain", type(hits)(**{**vars(hits), "value": hits.value}))
    assert chosen([base(hits), one_more]).kind == "base"
    worse = candidate("refocus", with_share(0.7, seed=1), 2)
    assert chosen([base(hits), worse]).kind == "base"


def test_a_lower_loss_alone_does_not_replace_the_network_as_it_was():
    assert chosen([base(with_share(0.8, loss=0.9)), candidate("plain", with_share(0.8, loss=0.1))]).kind == "base"


def test_a_better_measure_with_a_clearly_lower_loss_does():
    start = with_share(0.8, loss=0.9)
    hits = start.hits.replace("0", "1", 1)
    losses = tuple(0.1 + 0.001 * (i % 2) for i in range(1000))
    better = type(start)(**{**vars(start), "hits": hits, "value": 0.801, "loss": 0.1, "losses": losses})
    assert chosen([base(start), candidate("plain", better)]).name == "plain"


def test_within_noise_the_loss_decides_and_then_simplicity():
    """Of 1,000 hits one more is noise; a loss of 0.01 less for every sample is not."""

    def alike(more, loss):
        hits = list(with_share(0.8).hits)
        for place in [i for i, hit in enumerate(hits) if hit == "0"][:more]:
            hits[place] = "1"
        losses = [loss + 0.001 * ((i * 7 + more + round(100 * loss)) % 5) for i in range(1000)]
        return of_hits([hit == "1" for hit in hits], losses)

    candidates = [
        base(with_share(0.5)), candidate("plain", alike(1, 0.50), 0), candidate("long", alike(1, 0.49), 2),
        candidate("long and simple", alike(0, 0.49), 1),
    ]  # fmt: skip
    assert chosen(candidates).name == "long and simple"
    assert chosen(candidates[:3]).name == "long"
    assert chosen(candidates[:2]).name == "plain"


def test_within_noise_the_simpler_candidate_is_preferred():
    first, better = with_share(0.85, seed=1), with_share(0.86, seed=2)  # 20 to 30 points of 1,000 apart in either way
    candidates = [base(with_share(0.5)), candidate("plain", first, 0), candidate("refocus", better, 2)]
    assert chosen(candidates).name == "plain"


def test_one_standard_error_does_not_replace_the_network():
    start = with_share(0.8)
    hits = list(start.hits)
    for place in [i for i, hit in enumerate(hits) if hit == "0"][:1]:
        hits[place] = "1"
    one_better = type(start)(**{**vars(start), "hits": "".join(hits), "value": 0.801})
    assert chosen([base(start), candidate("plain", one_better)]).kind == "base"


def test_beyond_noise_the_better_candidate_is_preferred():
    candidates = [
        base(with_share(0.5)),
        candidate("plain", with_share(0.80, seed=1), 0),
        candidate("refocus", with_share(0.90, seed=2), 2),
    ]
    assert chosen(candidates).name == "refocus"


def test_equals_are_ordered_by_their_loss():
    one, other = candidate("a", with_share(0.8, loss=0.5)), candidate("b", with_share(0.8, loss=0.4))
    assert [found.name for found in ordered([one, other])] == ["b", "a"]


def made():
    recipe = Recipe.from_mapping({
        "model": "refconv.models.networks:mobilenet_small", "data": "digits", "val_split": 0.2, "batch_size": 32,
        "workers": 0, "device": "cpu",
    })  # fmt: skip
    return open_setup(method_of(recipe), Processes(0, 1, torch.device("cpu")))


def test_the_soup_is_no_worse_than_its_best_ingredient_and_its_statistics_can_be_taken_anew():
    setup = made()
    pool = Pool(setup, score(setup.model, setup, "val"), lambda line: None)
    start = plain_state_dict(setup.model)
    singles = []
    for number in range(3):
        generator = torch.Generator().manual_seed(number)
        state = {
            name: value + 0.3 * value.std(unbiased=False) * torch.randn(value.shape, generator=generator)
            if value.is_floating_point() and value.ndim > 1
            else value
            for name, value in start.items()
        }
        single = candidate(f"plain {number}", pool._score(state))
        pool.put(single, state)
        singles.append(single)
    pool.add_soups(singles)
    best = ordered([*singles, pool.candidates[BASE]])[0]
    soups = [one for one in pool.candidates.values() if one.kind == "soup"]
    for soup in soups:
        assert (soup.score.value, -soup.score.loss) > (best.score.value, -best.score.loss)
    anew = pool._with_statistics(start)
    assert anew is not None
    moved = [name for name in start if not torch.equal(anew[name], start[name])]
    assert moved
    assert all("running" in name or "num_batches" in name for name in moved)


def test_statistics_taken_anew_are_the_mean_over_training_batches():
    setup = made()
    pool = Pool(setup, score(setup.model, setup, "val"), lambda line: None)
    anew = pool._with_statistics(plain_state_dict(setup.model))
    batches = [b for b, _ in setup.data.train_batches(seed=0, epoch=0, batch_size=32)][: 2048 // 32]
    first = next(name for name, module in setup.model.named_modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = []
    module = dict(setup.model.named_modules())[first]
    module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].mean(dim=(0, 2, 3))))
    setup.model.train()
    with torch.no_grad():
        for batch in batches:
            setup.model(batch)
    torch.testing.assert_close(anew[f"{first}.running_mean"], torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)
