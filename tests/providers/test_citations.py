from fanout.events import Event, Source, Sources
from fanout.providers.citations import Citations


def test_every_page_is_told_once_with_those_before_it() -> None:
    out: list[Event] = []
    citations = Citations()
    citations.add("https://a.example/", "A", out)
    citations.add("https://a.example/", "A again", out)
    citations.add("http://b.example/", "", out)
    first, second = Source("https://a.example/", "A"), Source("http://b.example/")
    assert out == [Sources([first]), Sources([first, second])]


def test_what_is_no_address_on_the_web_is_no_page() -> None:
    out: list[Event] = []
    for url in ("", None, 7, "doc-1", "javascript:alert(1)", "file:///etc/passwd"):
        Citations().add(url, "t", out)
    assert out == []
