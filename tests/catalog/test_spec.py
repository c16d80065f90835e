import pytest

from fanout.catalog.config import LaneTable
from fanout.catalog.spec import Given, Spec
from fanout.errors import UsageError
from fanout.prompt import Options
from fanout.settings import explain_unknown
from fanout.settings.timeouts import Timeouts


def test_a_spec_is_label_name_and_options() -> None:
    spec = Spec.of(" a=openai/x/y:z?seed=1 ")
    assert (spec.label, spec.name, spec.provider, spec.model, spec.query) == (
        "a",
        "openai/x/y:z",
        "openai",
        "x/y:z",
        "seed=1",
    )


def test_a_provider_may_stand_alone() -> None:
    assert (Spec.of("local").provider, Spec.of("local").model, Spec.of("local").label) == ("local", "", None)


def test_later_options_go_over_earlier_ones() -> None:
    given = Given()
    given.add_table(LaneTable("x/y", seed=1, stop=["a"], first=5.0, body={"k": 1, "l": 1}, concurrency=2))
    given.add_query(Spec.of("x/y?seed=2&stop=b&stop=c&timeout=9&body.k=2"))
    assert given.options() == Options(seed=2, stop=("b", "c"), body={"k": 2, "l": 1})
    assert given.timeouts() == Timeouts(first=5, total=9)
    assert given.get("concurrency") == 2


def test_escapes_are_undone() -> None:
    given = Given()
    given.add_query(Spec.of("x/y?stop=%26&reasoning=a%20b"))
    assert given.options() == Options(stop=("&",), reasoning="a b")


def test_a_wrong_value_names_spec_option_and_form() -> None:
    with pytest.raises(UsageError, match=r"x/y\?seed=a: seed takes a whole number of at most 64 bits, not 'a'"):
        Given().add_query(Spec.of("x/y?seed=a"))


def test_the_nearest_is_named_or_else_where_to_look() -> None:
    assert explain_unknown("colour", "rde", ["red", "green"], "x") == "there is no colour 'rde'; did you mean red?"
    assert explain_unknown("colour", "zzz", ["red"], "look there") == "there is no colour 'zzz'; look there."
