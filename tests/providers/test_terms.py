import pytest

from fanout.abc import Head, Reply
from fanout.errors import AuthError, InvalidRequest, ProtocolError, ProviderError
from fanout.prompt import Options
from fanout.providers.terms import model_names, no_key, refuse


def test_a_missing_key_is_named() -> None:
    assert no_key(("A", "B")).message == "no key: set A or B"
    assert no_key(()).message == "no key: set one"


def test_an_option_that_the_wire_lacks_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="here has no option stop or seed; ask without"):
        refuse(Options(stop=("a",), seed=0, top_p=0.5), ("stop", "seed"), "here")
    refuse(Options(top_p=0.5), ("stop", "seed"), "here")


def test_model_names_are_read_from_a_list() -> None:
    reply = b'{"object":"list","data":[{"id":"b"},{"id":"a"},{"id":null},7]}'
    assert model_names(Reply(Head(200), reply)) == ["b", "a"]
    assert model_names(Reply(Head(200), b'[{"id":"c"}]')) == ["c"]


@pytest.mark.parametrize(
    ("status", "reply", "kind"),
    [
        (401, b'{"error":{"message":"no"}}', AuthError),
        (200, b"<html>", ProtocolError),
        (200, b"{}", ProtocolError),
        (200, b'"x"', ProtocolError),
    ],
)
def test_a_reply_without_models_is_an_error(status: int, reply: bytes, kind: type[ProviderError]) -> None:
    with pytest.raises(kind):
        model_names(Reply(Head(status), reply))
