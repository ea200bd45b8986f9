"""A window with a page, and the elements on it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from tests.e2e.webkit.scripts import EVALUATE, FIND
from tests.e2e.webkit.waiting import Expectation, ScriptError, part, wait_for

if TYPE_CHECKING:
    from tests.e2e.webkit.browser import Context


@attrs.frozen
class Message:
    """What is said in the console."""

    type: str
    text: str


class Page:
    """A window."""

    def __init__(self, context: Context, window: str) -> None:
        self._context = context
        self._window = window
        self._driver = context.browser.driver
        self._scripts: list[str] = []
        self._on_console: list[Callable[[Any], None]] = []
        self.keyboard = Keyboard(self)

    def on(self, event: str, handle: Callable[[Any], None]) -> None:
        assert event == "console"
        self._on_console.append(handle)

    def add_init_script(self, script: str) -> None:
        self._scripts.append(script)

    def bring_to_front(self) -> None:
        self._context.browser.to_front(self._window)

    def hide(self) -> None:
        """Let nobody see it."""
        self.bring_to_front()
        self._driver.minimize_window()

    def show(self) -> None:
        """Let it be seen again."""
        self.bring_to_front()
        self._driver.set_window_rect(0, 0)

    def goto(self, url: str) -> None:
        self._before_load()
        self._driver.get(url)

    def reload(self) -> None:
        self._before_load()
        self._driver.refresh()

    def go_back(self) -> None:
        self._before_load()
        self._driver.back()

    def _before_load(self) -> None:
        self.bring_to_front()
        with contextlib.suppress(ScriptError):
            self.evaluate("null")
        # A script each: names of one are not another's.
        scripts = [*self._context.scripts, *self._scripts]
        self._context.browser.relay.script = "".join(f"(() => {{ {script} }})();\n" for script in scripts)

    def close(self) -> None:
        """Leave the page; its window is another's then."""
        self.bring_to_front()
        # Of all ports of this host.
        self._driver.delete_all_cookies()
        self.goto("about:blank")
        self.evaluate("() => { window.name = ''; }")
        self._context.pages.remove(self)
        self._context.browser.idle.append(self._window)

    def evaluate(self, work: str, argument: Any = None) -> Any:
        return self.run(work, argument, None)

    def run(self, work: str, argument: Any, steps: list[Any] | None) -> Any:
        """What `work` comes to, with the one element of `steps` if there are any."""
        self.bring_to_front()
        answer = self._driver.execute_async_script(EVALUATE % (FIND, work), steps, argument)
        value, wrong, told = answer
        for kind, text in told:
            self._hear(kind, text)
        if wrong is not None:
            raise ScriptError(wrong)
        return value

    def _hear(self, kind: str, text: str) -> None:
        if kind == "thrown":
            self._context.thrown(text)
            return
        for handle in self._on_console:
            handle(Message(kind, text))

    def wait_for_function(self, work: str, arg: Any = None) -> None:
        wait_for(lambda: self.evaluate(work, arg), lambda: work)

    def wait_for_timeout(self, milliseconds: float) -> None:
        time.sleep(milliseconds / 1000)

    def add_script_tag(self, url: str) -> None:
        self.evaluate(
            """url => new Promise((onload, onerror) =>
                document.head.append(Object.assign(document.createElement("script"), { src: url, onload, onerror })))
            .then(() => null)""",
            url,
        )

    def locator(self, css: str, has_text: str | None = None) -> Locator:
        return Locator(self, []).locator(css, has_text)

    def get_by_role(self, role: str, name: str | None = None, *, exact: bool = False) -> Locator:
        return Locator(self, [["role", [role, name, exact]]])

    def get_by_label(self, text: str) -> Locator:
        return Locator(self, [["label", text]])


@attrs.frozen
class Keyboard:
    page: Page

    def press(self, key: str) -> None:
        self.page.bring_to_front()
        keys = part("common.keys").Keys
        chain = part("common.action_chains").ActionChains(self.page._driver)
        chain.send_keys({"Space": " ", "Enter": keys.ENTER}[key]).perform()


@attrs.frozen
class Locator:
    """Elements, by the steps to them; shadow roots are no hindrance."""

    page: Page
    steps: list[Any]

    def locator(self, css: str, has_text: str | None = None) -> Locator:
        text = [] if has_text is None else [["text", has_text]]
        return Locator(self.page, [*self.steps, ["css", css], *text])

    def nth(self, nth: int) -> Locator:
        return Locator(self.page, [*self.steps, ["nth", nth]])

    @property
    def first(self) -> Locator:
        return self.nth(0)

    def all(self, work: str) -> list[Any]:
        """What `work` makes of each element, now."""
        found: list[Any] = self.page.evaluate(f"steps => find(steps).map({work})", self.steps)
        return found

    def evaluate(self, work: str, argument: Any = None) -> Any:
        wait_for(lambda: len(self.all("() => 0")) == 1, lambda: f"{self.steps} is there")
        return self.page.run(work, argument, self.steps)

    def get_attribute(self, name: str) -> str | None:
        value: str | None = self.evaluate("(one, name) => one.getAttribute(name)", name)
        return value

    def inner_text(self) -> str:
        text: str = self.evaluate("one => one.innerText")
        return text

    def bounding_box(self) -> Any:
        return self.evaluate("one => one.getBoundingClientRect().toJSON()")

    def aria_snapshot(self) -> str:
        self._ready()
        self.page.bring_to_front()
        one = self.page._driver.execute_script(f"{FIND} return find(arguments[0])[0];", self.steps)
        return f'- {one.aria_role} "{one.accessible_name}"'

    def focus(self) -> None:
        self.evaluate("one => one.focus()")

    def fill(self, text: str) -> None:
        self._ready()
        self.evaluate(
            "(one, text) => { one.value = text; one.dispatchEvent(new Event('input', { bubbles: true })); }", text
        )

    def expect(self) -> Expectation:
        """What is waited for of it."""
        return Expectation(self)

    def click(self) -> None:
        self._press(1)

    def dblclick(self) -> None:
        self._press(2)

    def _ready(self) -> None:
        wait_for(
            lambda: self.all("one => isSeen(one) && !one.disabled") == [True], lambda: f"{self.steps} can be pressed"
        )

    def _press(self, times: int) -> None:
        self._ready()
        at = self.evaluate("""one => {
            one.scrollIntoView({ block: "nearest", inline: "nearest" });
            const { x, y, width, height } = one.getBoundingClientRect();
            return [x + width / 2, y + height / 2];
        }""")
        builder = part("common.actions.action_builder").ActionBuilder
        actions = builder(self.page._driver, duration=0)
        actions.pointer_action.move_to_location(*map(round, at))
        for _ in range(times):
            actions.pointer_action.click()
        actions.perform()
