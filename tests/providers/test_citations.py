from fanout.events import Event, Source, Sources
from fanout.providers.citations import MAX_PAGES, Citations


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


def test_a_title_may_come_later_and_stays() -> None:
    out: list[Event] = []
    citations = Citations()
    citations.add_all([("https://a.example/", None), ("https://b.example/", "B")], out)
    citations.add("https://a.example/", "A", out)
    citations.add("https://a.example/", "another", out)
    second = Source("https://b.example/", "B")
    assert out == [
        Sources([Source("https://a.example/"), second]),
        Sources([Source("https://a.example/", "A"), second]),
    ]


def test_pages_are_kept_up_to_a_number() -> None:
    out: list[Event] = []
    citations = Citations()
    citations.add_all([(f"https://a.example/{number}", None) for number in range(2 * MAX_PAGES)], out)
    citations.add("https://b.example/", "B", out)
    (event,) = out
    assert isinstance(event, Sources)
    assert len(event.items) == MAX_PAGES
