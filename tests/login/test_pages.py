import pytest
from attrs import evolve

from fanout.login import pages
from fanout.login.pages import Page, origin, pick, question
from fanout.login.services import SERVICES


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("https://huggingface.co/chat", "https://huggingface.co"),
        ("https://Example.ORG:443/x", "https://example.org"),
        ("http://localhost:80", "http://localhost"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://example.org:80", "https://example.org:80"),
    ],
)
def test_an_origin_is_written_as_a_browser_does(url: str, written: str) -> None:
    assert origin(url) == written


def test_every_question_begins_with_the_origin() -> None:
    for page in pages.PAGES.values():
        assert question(page, "https://example.org/chat/").startswith(
            'location.origin !== "https://example.org" ? null :'
        )


def test_the_path_of_the_base_url_is_known_to_the_expression() -> None:
    assert 'base = "/chat",' in question(Page(), "https://example.org/chat/")
    assert 'base = "",' in question(Page(), "https://example.org")


def test_there_is_a_page_for_every_service_and_it_gives_what_the_service_names() -> None:
    assert pages.PAGES.keys() == SERVICES.keys()
    for name, page in pages.PAGES.items():
        assert set(page.secrets) == set(SERVICES[name].secrets)
        assert set(page.fields) == set(SERVICES[name].fields)


def test_of_an_answer_only_what_is_named_and_not_empty_is_taken() -> None:
    site = evolve(SERVICES["hailuo"], secrets=("token",), fields=("cores", "uuid", "mobile"))
    said = {
        "secrets": {"token": "t", "other": "x"},
        "fields": {"cores": 4, "uuid": None, "mobile": ""},
        "headers": {"user-agent": "Browser/1", "sec-ch-ua": None, "cookie": "x"},
    }
    assert pick(site, said) == {
        "secrets": {"token": "t"},
        "fields": {"cores": "4"},
        "headers": {"user-agent": "Browser/1"},
    }
