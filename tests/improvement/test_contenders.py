import pytest

from refconv.errors import SettingError
from refconv.improvement.config import Budget
from refconv.improvement.contenders import able, contenders, recipe_of
from refconv.improvement.record import Entry
from refconv.improvement.searching import _cut, promoted
from refconv.recipe.recipe import Recipe


def common(**settings):
    return Recipe.from_mapping({"model": "m", "data": "digits", "checkpoint": "w.pth", **settings})


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("10ep", 10, "epochs"),
        ("3 epochs", 3, "epochs"),
        ("2h", 7200, "seconds"),
        (".5h", 1800, "seconds"),
        ("90 min", 5400, "seconds"),
        ("1h30m", 5400, "seconds"),
        ("1h 30min 20 s", 5420, "seconds"),
        ("2 hours 5 seconds", 7205, "seconds"),
        ("400k samples", 400_000, "samples"),
        ("1.5M samples", 1_500_000, "samples"),
        ("300 images", 300, "samples"),
    ],
)
def test_budgets_are_read(text, amount, unit):
    assert Budget.parse(text) == Budget(amount, unit)


@pytest.mark.parametrize(
    "text", ["", 3, "300", "ep", "-3h", "0ep", "2 weeks", "2h30", "1e3", "nan", "30m1h", "1h1h", "1h2ep"]
)
def test_what_is_no_budget_is_refused_with_examples(text):
    with pytest.raises(SettingError, match=r"budget: not a budget; expected such as 40ep, 2h"):
        Budget.parse(text)


def test_budgets_in_samples():
    facts = {"train_size": 500, "seconds_per_sample": 0.01, "jobs": 2}
    assert Budget.parse("4ep").samples(**facts) == 2000
    assert Budget.parse("3k samples").samples(**facts) == 3000
    assert Budget.parse("10s").samples(**facts) == 2000


def test_every_contender_goes_with_an_ordinary_recipe():
    found, refused = able(contenders("base", None, ()), common())
    assert not refused
    assert {one.name for one in found} >= {
        "plain",
        "slow-kernels",
        "norms-head",
        "refocus",
        "refocus-paper",
        "plain-taught",
    }
    for one in found:
        for factor in one.factors:
            recipe = recipe_of(one, common(), factor, epochs=3)
            assert recipe.lr == pytest.approx(0.01 * factor)
            assert recipe.epochs == 3


def test_no_two_contenders_have_the_same_recipe():
    found = contenders("base", None, ())
    recipes = [recipe_of(one, common(), factor).to_toml() for one in found for factor in one.factors]
    assert len(set(recipes)) == len(recipes)


def test_refocusing_under_adam_takes_place_in_kernel_space():
    (one,) = contenders(None, None, ("refocus",))
    assert recipe_of(one, common(opt="adamw"), 1.0).method == "refocus"


def test_who_does_not_go_with_the_task_is_left_out_with_the_reason():
    recipe = Recipe.from_mapping({"task": "detection", "model": "detector:fcos", "data": "scenes", "checkpoint": "w"})
    found, refused = able(contenders("base", None, ()), recipe)
    assert {one.name for one in found} >= {"plain", "refocus"}
    assert "distill" in refused["plain-taught"]


def test_patterns_choose_and_must_match():
    assert next(one.name for one in contenders(None, None, ("plain", "refocus*"))) == "plain"
    with pytest.raises(SettingError, match="matches no contender"):
        contenders(None, None, ("replain",))
    with pytest.raises(SettingError, match="name a teacher"):
        contenders(None, None, ("plain-taught",))


def entry(name):
    return Entry(name, name, 0.1)


def test_the_best_with_and_without_refocusing_go_on():
    names = ("slow-kernels", "norms-head", "plain", "refocus", "refocus-paper")
    assert [one.contender for one in promoted([entry(name) for name in names], 2)] == ["slow-kernels", "refocus"]


def test_places_that_are_left_go_to_the_best():
    ranked = [entry(name) for name in ("plain", "slow-kernels", "norms-head", "refocus-norm", "refocus")]
    assert [one.contender for one in promoted(ranked, 3)] == ["plain", "slow-kernels", "refocus-norm"]
    assert [one.contender for one in promoted(ranked[:3], 2)] == ["plain", "slow-kernels"]
    assert len(promoted(ranked, 9)) == 5


@pytest.mark.parametrize("per_epoch", [1, 7, 78, 1000])
@pytest.mark.parametrize("steps", [0.4, 1, 6.9, 77, 117, 526.5, 949])
def test_runs_are_as_long_as_their_share_allows_and_no_longer(steps, per_epoch):
    epochs, each = _cut(steps, per_epoch)
    assert 1 <= each <= per_epoch
    assert epochs * each <= max(1, steps) < epochs * (each + 1) + 1
