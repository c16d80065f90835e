import copy
import json
import pickle

import attrs
import orjson
import pytest

from fanout.abc import Request
from fanout.credentials.secret import Secret


def test_nothing_prints_a_secret() -> None:
    secret = Secret("canary")
    for text in (repr(secret), str(secret), f"{secret}", f"{[secret]}", f"{secret!r:>20}"):
        assert "canary" not in text


def test_only_reveal_gives_it() -> None:
    assert Secret("canary").reveal() == "canary"


def test_it_is_neither_pickled_nor_copied_nor_made_json() -> None:
    secret = Secret("canary")
    for refuse in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps, orjson.dumps):
        with pytest.raises(TypeError) as caught:
            refuse(secret)
        assert "canary" not in str(caught.value)


def test_it_equals_itself_and_nothing_else() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_requests_dict_and_repr_keep_it() -> None:
    request = Request("POST", "http://a/", {"authorization": Secret("canary")}, b"prompt")
    assert "canary" not in repr(request)
    assert "prompt" not in repr(request)
    assert "canary" not in repr(attrs.asdict(request))
    assert request.plain_headers() == {"authorization": "canary"}
