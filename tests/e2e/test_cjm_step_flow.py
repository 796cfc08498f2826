"""A wizard of cjm-fasthtml-interactions as its user sees it, kept in an archive.

Goal: an application that hands our store to StepFlow has the same wizard as before, and one that outlives the server, runs
behind several of them, and can be taken back; for the price that the store promises.
Method: the real StepFlow in a FastHTML application, driven through Starlette's test client by following the links of its
pages, as htmx would. A restarted server is a new application on a new handle of the same folder.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path
from typing import Any

import pytest
from cjm_fasthtml_interactions.core.state_store import InMemoryWorkflowStateStore
from cjm_fasthtml_interactions.patterns.step_flow import Step, StepFlow
from fasthtml.common import Div, FastHTML, Input
from starlette.requests import Request
from starlette.testclient import TestClient

import snapstore
from snapstore import clock
from snapstore.adapters.cjm import SnapWorkflowStateStore
from tests.unit.archives import World

SAVES = {"put": 4, "put_create": 2}
"""Two saves of three writes each: the form, and the next step."""


def server(store: Any) -> FastHTML:
    """An application with one wizard: two steps with a form, and one to confirm."""

    def asking(key: str) -> Step:
        def render(ctx: Any) -> Any:
            return Div(f"[{key}] knows {ctx.state}", Input(name=key, value=ctx.state.get(key, "")))

        return Step(key, key.title(), render, data_keys=[key])

    steps = [asking("name"), asking("mail"), Step("confirm", "Confirm", lambda ctx: Div(f"[confirm] {ctx.state}"))]
    flow = StepFlow("signup", steps, state_store=store, on_complete=lambda state, _: Div(f"[done] {state}"), show_progress=True)
    router = flow.create_router(prefix="/signup")
    # The names of routes differ between versions of FastHTML; pages name them, but the first has to be known.
    paths = {route[0].__name__: route[1] for route in router.routes}

    def undo(request: Request) -> Any:
        return Div(f"undone: {store.undo('signup', request.session)}")

    app = FastHTML(secret_key="the same on every server")
    router.to_app(app)
    app.route("/undo")(undo)
    app.state.start = paths["start"]
    return app


class Browser:
    """A user: a cookie, and the page in front of him."""

    def __init__(self, app: FastHTML) -> None:
        self.cookies: dict[str, str] = {}
        self.page = ""
        self.goes_to(app)

    def goes_to(self, app: FastHTML) -> None:
        """Send what follows to another server, or to the same one after it was started again."""
        self.app = app
        self.client = TestClient(app, cookies=self.cookies, headers={"HX-Request": "true"})

    def opens(self, path: str | None = None) -> str:
        """Open the wizard, or another page."""
        return self._asks("GET", path or self.app.state.start)

    def submits(self, **form: Any) -> str:
        """Send the form of the page."""
        return self._asks("POST", self._link("post", "<form"), data=form)

    def clicks(self, button: str) -> str:
        """Press one of the buttons that lead back."""
        return self._asks("GET", self._link("get", f"step-flow-{button}-btn"))

    def _link(self, verb: str, mark: str) -> str:
        tag = next(tag for tag in re.findall(r"<[^>]+>", self.page) if mark in tag)
        found = re.search(f'hx-{verb}="([^"]+)"', tag)
        assert found is not None, tag
        return found[1]

    def _asks(self, method: str, path: str, **options: Any) -> str:
        answer = self.client.request(method, path, **options)
        assert answer.status_code == 200, answer.text
        self.cookies.update(self.client.cookies)
        self.page = answer.text
        shown = re.search(r">\s*(\[[^<]*?|undone: \w+)\s*<", self.page)
        assert shown is not None, self.page
        return shown[1].replace("&#x27;", "'")


def opened(folder: Path, **options: Any) -> SnapWorkflowStateStore:
    return SnapWorkflowStateStore(snapstore.open(folder / "archive", create=True, durability="os"), **options)


def whole_visit(user: Browser) -> list[str]:
    """Everything that a user can do in a wizard, and what he sees."""
    return [
        user.opens(),
        user.submits(),  # without a name
        user.submits(name="Ada"),
        user.submits(mail="ada@example.org"),
        user.clicks("back"),
        user.submits(mail="ada@example.com"),
        user.opens(),
        user.submits(),
        user.opens(),  # a wizard stays where it was completed
        user.clicks("cancel"),
        user.submits(name="Bob"),
    ]


def test_a_wizard_is_the_same_as_over_the_packages_own_store(tmp_path: Path) -> None:
    over_theirs = whole_visit(Browser(server(InMemoryWorkflowStateStore())))
    over_ours = whole_visit(Browser(server(opened(tmp_path))))
    assert over_ours == over_theirs
    assert over_ours == [
        "[name] knows {}",
        "[name] knows {}",
        "[mail] knows {'name': 'Ada'}",
        "[confirm] {'name': 'Ada', 'mail': 'ada@example.org'}",
        "[mail] knows {'name': 'Ada', 'mail': 'ada@example.org'}",
        "[confirm] {'name': 'Ada', 'mail': 'ada@example.com'}",
        "[confirm] {'name': 'Ada', 'mail': 'ada@example.com'}",
        "[done] {'name': 'Ada', 'mail': 'ada@example.com'}",
        "[confirm] {'name': 'Ada', 'mail': 'ada@example.com'}",
        "[name] knows {}",
        "[mail] knows {'name': 'Bob'}",
    ]


def test_two_users_have_a_session_each(tmp_path: Path) -> None:
    store = opened(tmp_path)
    app = server(store)
    one, other = Browser(app), Browser(app)
    one.opens()
    other.opens()
    one.submits(name="Ada")
    assert other.opens() == "[name] knows {}"
    other.submits(name="Bob")
    other.submits(mail="bob@example.org")
    assert one.opens() == "[mail] knows {'name': 'Ada'}"
    assert sorted(str(session.current_step) for session in store.list_sessions("signup")) == ["confirm", "mail"]
    one.clicks("cancel")
    assert other.opens() == "[confirm] {'name': 'Bob', 'mail': 'bob@example.org'}"
    assert [session.current_step for session in store.list_sessions("signup")] == ["confirm"]


def test_a_wizard_goes_on_after_the_server_was_started_again(tmp_path: Path) -> None:
    """The package's own store loses everything here: it is the reason to have another."""
    user = Browser(server(opened(tmp_path)))
    user.opens()
    user.submits(name="Ada")
    user.goes_to(server(opened(tmp_path)))
    assert user.submits(mail="ada@example.org") == "[confirm] {'name': 'Ada', 'mail': 'ada@example.org'}"
    user.goes_to(server(opened(tmp_path)))
    assert user.opens() == "[confirm] {'name': 'Ada', 'mail': 'ada@example.org'}"
    assert user.submits() == "[done] {'name': 'Ada', 'mail': 'ada@example.org'}"


def test_a_wizard_may_be_served_by_another_process_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the default, which answers from memory within one request; a user needs more than a quarter second for the next."""
    spent_ms = 0
    real = clock.now_ms
    monkeypatch.setattr(clock, "now_ms", lambda: real() + spent_ms)
    servers = [server(opened(tmp_path)) for _ in range(2)]
    user = Browser(servers[0])
    seen = [user.opens()]
    for number, answer in enumerate([{"name": "Ada"}, {"mail": "ada@example.org"}, {}], start=1):
        spent_ms += 250
        user.goes_to(servers[number % 2])
        seen.append(user.submits(**answer))
    assert seen == [
        "[name] knows {}",
        "[mail] knows {'name': 'Ada'}",
        "[confirm] {'name': 'Ada', 'mail': 'ada@example.org'}",
        "[done] {'name': 'Ada', 'mail': 'ada@example.org'}",
    ]
    spent_ms += 250
    assert user.opens() == "[confirm] {'name': 'Ada', 'mail': 'ada@example.org'}"
    user.goes_to(servers[0])
    spent_ms += 250
    assert user.clicks("back") == "[mail] knows {'name': 'Ada', 'mail': 'ada@example.org'}"
    user.goes_to(servers[1])
    spent_ms += 250
    assert user.clicks("cancel") == "[name] knows {}"
    user.goes_to(servers[0])
    spent_ms += 250
    assert user.submits(name="Bob") == "[mail] knows {'name': 'Bob'}"


def test_steps_of_a_wizard_are_taken_back_one_by_one(tmp_path: Path) -> None:
    user = Browser(server(opened(tmp_path)))
    user.opens()
    user.submits(name="Ada")
    user.submits(mail="wrong")
    assert user.opens("/undo") == "undone: True"
    assert user.opens() == "[mail] knows {'name': 'Ada', 'mail': 'wrong'}"
    assert user.opens("/undo") == "undone: True"
    assert user.opens() == "[mail] knows {'name': 'Ada'}"
    assert user.submits(mail="right") == "[confirm] {'name': 'Ada', 'mail': 'right'}"
    while user.opens("/undo") == "undone: True":
        pass
    assert user.opens() == "[name] knows {}"


@pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")  # StepFlow leaves uploads open
def test_a_form_that_cannot_be_stored_does_not_pass_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """StepFlow drops errors of the store: without the log nobody would learn why the wizard does not go on."""
    user = Browser(server(opened(tmp_path)))
    user.opens()
    tag = next(tag for tag in re.findall(r"<form[^>]+>", user.page))
    path = re.findall(r'hx-post="([^"]+)"', tag)[0]
    answer = user.client.post(path, files={"name": ("photo.png", b"\x89PNG")})
    assert "[name] knows {}" in answer.text
    assert 'state["name"]' in caplog.text
    caplog.clear()  # it holds the upload
    gc.collect()  # here, where the warning is expected, and not in the midst of another test


def test_a_step_is_two_saves_and_reads_nothing() -> None:
    """StepFlow waits for the store inside of the event loop: each round trip keeps every other user waiting."""
    world = World()
    user = Browser(server(SnapWorkflowStateStore(world.archive, trust_s=None)))
    assert world.cost(user.opens).round_trips == 1, "a session that this process has not seen is looked for once"
    for form in ({"name": "Ada"}, {"mail": "ada@example.org"}):
        usage = world.cost(lambda: user.submits(**form))  # noqa: B023
        assert (dict(usage.requests), usage.round_trips) == (SAVES, 2)
    assert world.cost(user.submits).total == 0
    assert world.cost(user.opens).total == 0
    back = world.cost(lambda: user.clicks("back"))
    assert (dict(back.requests), back.round_trips) == ({"put": 2, "put_create": 1}, 1)


def test_a_step_behind_a_balancer_asks_the_storage_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ms = clock.now_ms()
    monkeypatch.setattr(clock, "now_ms", lambda: now_ms)
    world = World()
    user = Browser(server(SnapWorkflowStateStore(world.archive)))
    user.opens()
    for form in ({"name": "Ada"}, {"mail": "ada@example.org"}):
        now_ms += 250
        usage = world.cost(lambda: user.submits(**form))  # noqa: B023
        expected = {"list": 1} if "name" in form else {"get": 1}
        assert (dict(usage.requests), usage.round_trips) == ({**SAVES, **expected}, 3)
    now_ms += 250
    usage = world.cost(user.opens)
    assert dict(usage.requests) == {"get": 1}
