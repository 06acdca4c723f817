"""The driver's page in a real browser: seen, heard, pressed, and attacked."""

import importlib.resources
import json
import re
import time
from dataclasses import replace

import pytest

from host_tests.chromium import ChromiumError
from host_tests.tillback.pages import cases
from host_tests.tillback.pages.site import Site
from tillback.language import CODES, language
from tillback.pages import figures, pay
from tillback.pages.model import Charger, Links, Live, Settled
from tillctl.firmware import ROOT

AXE = (importlib.resources.files("axe_core_python") / "axe.min.js").read_text()
# What a page has done wrong while it was loaded.
WATCH = """window.wrong = [];
addEventListener("securitypolicyviolation", (e) => wrong.push(e.violatedDirective));
addEventListener("error", (e) => wrong.push(e.message || e.target.outerHTML), true);
"""
SERIOUS = """axe.run().then((found) => found.violations
  .filter((one) => ["serious", "critical"].includes(one.impact))
  .map((one) => one.id + ": " + one.nodes.map((node) => node.html).join(" ")))"""
# What reaches past the page's edge, or past what hides it.
CUT_OFF = """[...document.querySelectorAll("body *:not(.unseen, .unseen *)")].filter((one) =>
    one.getBoundingClientRect().right > innerWidth + 0.5 ||
    (one.scrollWidth > one.clientWidth + 1 && getComputedStyle(one).display != "inline")
).map((one) => one.outerHTML.slice(0, 90))"""
SMALL = """[...document.querySelectorAll(".button, nav a, summary, footer a")].filter((one) => {
  const at = one.getBoundingClientRect();
  return at.height && (at.height < 44 || at.width < 40);
}).map((one) => one.outerHTML)"""
PLACE = """document.querySelector('[data-live="%s"]').textContent"""


@pytest.fixture
def site(browser):
    script = browser.call("Page.enable") or browser.call(
        "Page.addScriptToEvaluateOnNewDocument", source=WATCH)["identifier"]  # fmt: skip
    with Site() as running:
        yield running
        wrong = browser.evaluate("window.wrong")
        browser.open("about:blank")
    browser.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.call("Emulation.setEmulatedMedia", features=[])
    assert not wrong


def show(browser, site, page, code="en", width=390, height=844):
    site.page = page
    browser.open(f"{site.url}?lang={code}", width, height)


def wait_for(browser, condition):
    """Until a JavaScript expression holds in the page, however often that is loaded anew."""
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s:
        try:
            if browser.evaluate(condition):
                return
        except ChromiumError as e:  # it was asked as the page went
            if not re.search("navigated|context|undefined|null", str(e)):
                raise
    raise AssertionError(f"not within 20 s: {condition}")


def wait_for_state(browser, key):
    wait_for(browser, f'document.body.dataset.key == "{key}" && document.readyState == "complete"')


def soon(browser):
    """Has the page ask for news as soon as it can, not in seconds."""
    browser.evaluate('document.dispatchEvent(new Event("visibilitychange"))')


# --- seen -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", cases.STATES)
def test_nothing_serious_is_found_by_axe_in_the_light_and_in_the_dark(browser, site, state):
    show(browser, site, cases.STATES[state], CODES[len(state) % len(CODES)])
    browser.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
    browser.evaluate(AXE + "; 0")
    assert browser.evaluate(SERIOUS) == []
    assert browser.evaluate(SMALL) == []
    assert browser.evaluate("document.querySelectorAll('.primary').length") <= 1
    browser.call("Emulation.setEmulatedMedia",
                 features=[{"name": "prefers-color-scheme", "value": "dark"}])  # fmt: skip
    contrast = SERIOUS.replace("axe.run()", 'axe.run({runOnly: ["color-contrast"]})')
    assert browser.evaluate("getComputedStyle(document.body).colorScheme") == "light dark"
    assert browser.evaluate(contrast) == []


@pytest.mark.parametrize("state", ["offer", "charging", "finished"])
def test_nothing_serious_is_found_by_axe_on_a_desk(browser, site, state):
    show(browser, site, cases.STATES[state], width=1280)
    browser.evaluate(AXE + "; 0")
    assert browser.evaluate(SERIOUS) == []


def test_axe_does_find_what_is_wrong(browser, site):
    show(browser, site, cases.STATES["offer"])
    browser.evaluate("document.querySelector('.hold').style.color = '#ddd'")
    browser.evaluate("document.documentElement.lang = ''")
    browser.evaluate(AXE + "; 0")
    assert len(browser.evaluate(SERIOUS)) == 2


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_cut_off(browser, site, width):
    show(browser, site, cases.STATES["offer"], width=width)
    for name, page in cases.STATES.items():
        for code in CODES:
            html = pay.html(page, language(code))
            body = html.partition("<body")[2].partition(">")[2].partition("</body>")[0]
            cut = browser.evaluate(f"document.body.innerHTML = {json.dumps(body)}; {CUT_OFF}")
            assert cut == [], (name, code)
            assert browser.evaluate("document.documentElement.scrollWidth") == width, (name, code)
    browser.evaluate("document.querySelector('h1').style.width = '2000px'")
    assert browser.evaluate(CUT_OFF)


@pytest.mark.parametrize("code", CODES)
def test_prices_hold_and_button_are_what_a_phone_shows_first(browser, site, code):
    show(browser, site, cases.STATES["offer"], code)
    top, hold, button, seen = browser.evaluate("""[".prices", ".hold", ".button"].map((one) =>
      document.querySelector(one).getBoundingClientRect().top).concat([innerHeight])""")
    assert top < hold < button < seen - 48
    assert browser.evaluate("document.querySelector('main h2').nextElementSibling.className") == (
        "prices"
    )
    assert browser.evaluate("document.querySelectorAll('.primary').length") == 1
    assert language(code).money(cases.HOLD, "EUR") in browser.evaluate(
        "document.querySelector('.hold').textContent"
    )


def test_a_low_window_is_not_filled_by_the_button(browser, site):
    show(browser, site, cases.STATES["offer"], width=844, height=390)
    assert browser.evaluate("getComputedStyle(document.querySelector('.act')).position") == "static"


# --- pressed --------------------------------------------------------------------------------------


def test_the_keyboard_alone_pays(browser, site):
    show(browser, site, cases.STATES["offer"], "de")
    site.then = cases.STATES["paying"]
    for _ in range(6):  # five languages, then the button
        browser.press("Tab")
    assert browser.evaluate("document.activeElement.textContent") == "Weiter zur Zahlung"
    assert browser.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    browser.press("Enter")
    wait_for_state(browser, "paying")
    assert site.posted == [("/c/pay", {"lang": "de", "n": "abc"})]
    assert browser.evaluate("document.title").startswith("Warten auf Ihre Zahlung")


def test_to_stop_takes_two_presses(browser, site):
    show(browser, site, cases.STATES["charging"])
    site.then = cases.STATES["stopping"]
    assert browser.evaluate("document.querySelector('.stop').checkVisibility()") is False
    browser.evaluate("document.querySelector('.ask summary').focus()")
    browser.press("Enter", "Tab")
    assert browser.evaluate("document.activeElement.textContent") == "Stop now"
    assert browser.evaluate(
        "document.activeElement.getBoundingClientRect().bottom <= innerHeight"
    )
    assert site.posted == []
    browser.press("Enter")
    wait_for_state(browser, "stopping")
    assert site.posted == [("/c/stop", {"lang": "en", "n": "abc"})]


def test_a_second_press_sends_nothing(browser, site):
    show(browser, site, cases.STATES["offer"])
    sent = browser.evaluate("""(() => { const form = document.forms[0]; let sent = 0;
      addEventListener("submit", (e) => { if (!e.defaultPrevented) sent++; e.preventDefault(); });
      form.requestSubmit(); form.requestSubmit(); return sent; })()""")
    assert sent == 1


def test_the_language_changes_and_the_rest_of_the_url_stays(browser, site):
    show(browser, site, cases.STATES["offer"])
    browser.evaluate("document.querySelector('nav a[lang=nl]').click()")
    wait_for(browser, 'document.documentElement.lang == "nl" && document.readyState == "complete"')
    assert browser.evaluate("location.search") == "?n=abc&lang=nl"
    assert browser.evaluate("document.querySelector('[aria-current]').lang") == "nl"


# --- live -----------------------------------------------------------------------------------------


def test_figures_change_in_place_and_nothing_else_moves(browser, site):
    show(browser, site, cases.STATES["charging"])
    tops = """[...document.querySelectorAll("main *")].map((one) => {
      const at = one.getBoundingClientRect(); return [at.top, at.height].map(Math.round); })"""
    before = browser.evaluate(tops)
    browser.evaluate("window.same = true")
    live = Live(cases.NOW_S - 1, 14876, 6000000, 1199, 9950)
    site.page = cases.page("charging", live=live)
    soon(browser)
    wait_for(browser, PLACE % "cost" + ' == "€11.99"')
    shown = {name: browser.evaluate(PLACE % name) for name in
             ("energy", "power", "duration", "used", "notice", "heading")}  # fmt: skip
    assert shown == {
        "energy": "14.87", "power": "10.0", "duration": "1\xa0h\xa040\xa0min",
        "used": "23% of the €50.00 reserved", "notice": "", "heading": "Charging",
    }  # fmt: skip
    assert browser.evaluate("document.querySelector('progress').value") == 23
    assert browser.evaluate(tops) == before
    assert browser.evaluate("window.same")
    assert browser.evaluate("aloud.textContent") == ""  # not each change is read aloud
    site.page = cases.page("charging", live=replace(live, energy_wh=15001))
    soon(browser)
    wait_for(browser, 'aloud.textContent == "15.00 kWh so far, €11.99."')


def test_the_page_follows_its_session(browser, site):
    show(browser, site, cases.STATES["plugged"])
    for name in ("charging", "stopping", "billed", "finished"):
        site.page = cases.STATES[name]
        soon(browser)
        wait_for_state(browser, figures.key(site.page))
    asked = len(site.asked)
    soon(browser)  # all is settled
    assert browser.evaluate("document.body.dataset.poll") == "0"
    assert len(site.asked) == asked


def test_a_lost_connection_is_said_and_ends(browser, site):
    show(browser, site, cases.STATES["charging"])
    site.fails = True
    soon(browser)
    asked = "performance.getEntriesByType('resource').some((one) => /status/.test(one.name))"
    wait_for(browser, asked)
    assert browser.evaluate("away.hidden")
    soon(browser)
    wait_for(browser, "!away.hidden")
    site.fails = False
    soon(browser)
    wait_for(browser, "away.hidden")


def test_notices_come_one_a_line_and_are_announced(browser, site):
    show(browser, site, cases.STATES["charging"])
    site.page = cases.STATES["paused"]
    soon(browser)
    wait_for(browser, PLACE % "heading" + ' == "Paused"')
    assert browser.evaluate("document.querySelector('.notice').role") == "status"
    assert browser.evaluate(PLACE % "notice").split("\n") == [
        "Charging stops soon: the reserved €50.00 are nearly used up.",
        "Last reading at 09:58. The charger is out of reach; it goes on charging, and the bill "
        "follows its meter.",
        "Your car is drawing no power.",
        "Standing without charging costs something from 10:50 on.",
    ]


def test_without_scripts_everything_works_but_by_itself_less_often(browser, site):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    site.page, site.then = cases.STATES["charging"], cases.STATES["stopping"]
    browser.call("Page.navigate", url=site.url)
    wait_for_state(browser, "charging")
    refresh = "document.querySelector('noscript meta').content"
    assert browser.evaluate(refresh) == "15"
    link = "document.querySelector('footer noscript a').textContent"
    assert browser.evaluate(link) == "Renew now"
    browser.evaluate("document.querySelector('.ask summary').focus()")
    browser.press("Enter", "Tab", "Enter")
    wait_for_state(browser, "stopping")
    assert site.posted == [("/c/stop", {"lang": "en", "n": "abc"})]
    assert "status.json" not in "".join(site.asked)
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.open(site.url)


# --- attacked -------------------------------------------------------------------------------------

EVIL = "\"'><img src=x onerror=wrong.push(1)><script>wrong.push(2)</script>{{ 7 * 7 }}{hold}"


def test_names_from_outside_stay_text(browser, site):
    charger = Charger(EVIL, EVIL, EVIL, EVIL, EVIL)
    base = cases.page("not_started", reason="charger_refused", detail=EVIL, query={EVIL: EVIL},
                      hidden={EVIL: EVIL}, charger=charger)  # fmt: skip
    for page in (base, replace(base, state="offer")):
        show(browser, site, page, width=320)
        shown = browser.evaluate("document.body.innerText")
        assert shown.count(EVIL) >= 4 - (page.state == "offer")
        assert "49" not in shown.replace("0.49", "").replace("+49", "")
        assert browser.evaluate("document.querySelectorAll('img, body script').length") == 0
        assert browser.evaluate("document.documentElement.scrollWidth") == 320
    form = "Object.fromEntries(new FormData(document.forms[0]))"
    assert browser.evaluate(form) == {"lang": "en", EVIL: EVIL}


def test_news_from_outside_stay_text(browser, site):
    show(browser, site, cases.STATES["charging"])
    site.news = {"key": "charging", "milestone": EVIL, "spoken": EVIL,
                 "live": {"cost": EVIL, "energy": 5, "share": EVIL, "power": None}}  # fmt: skip
    soon(browser)
    wait_for(browser, PLACE % "cost" + '.includes("onerror")')
    assert browser.evaluate("document.querySelectorAll('img, body script').length") == 0
    assert browser.evaluate(PLACE % "energy") == "12.34"


def test_nothing_is_loaded_from_elsewhere_and_nothing_is_inline(browser, site):
    for page in cases.STATES.values():
        for code in CODES:
            html = pay.html(page, language(code))
            assert not re.search(r"<style|\sstyle=|\son[a-z]+=|javascript:", html)
            assert not re.search(r"<script(?! src=)", html)
            assert not re.search(r'(src|href|action)="(?:https?:)?//(?!pay\.example/)', html)
    show(browser, site, cases.STATES["charging"])
    loaded = browser.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    assert len(loaded) >= 2
    assert all(name.startswith(site.url.removesuffix("/1")) for name in loaded)


def test_the_policy_holds(browser, site):
    show(browser, site, cases.STATES["offer"])
    browser.evaluate("""(() => { const bad = document.createElement("script");
      bad.textContent = "window.ran = true"; document.body.append(bad); })()""")
    wait_for(browser, "wrong.length")
    assert browser.evaluate("[window.ran ?? null, wrong.splice(0).length]") == [None, 1]
    policy = pay.headers(["https://checkout.stripe.com"])["Content-Security-Policy"]
    assert "form-action 'self' https://checkout.stripe.com" in policy
    assert "unsafe" not in policy


# --- without a browser ----------------------------------------------------------------------------


def rows(**settled):
    page = cases.page("finished", settled=replace(cases.DONE, **settled))
    return figures.amounts(page, language("en"))


def test_what_became_of_the_money():
    assert rows() == [("charged", "€7.20"), ("released", "€42.80")]
    assert rows(captured_minor=None, released_minor=None) == [("charged", "in progress")]
    assert rows(total_minor=0, captured_minor=0, released_minor=5000) == [
        ("charged", "€0.00"), ("released", "€50.00"),
    ]  # fmt: skip
    assert rows(total_minor=30, captured_minor=0, released_minor=5000)[-1] == ("waived", "€0.30")
    assert rows(captured_minor=0, open_minor=720, released_minor=0) == [
        ("charged", "€0.00"), ("open", "€7.20"),
    ]  # fmt: skip
    assert ("refunded", "€2.00") in rows(refunded_minor=200)


def test_time_left_to_plug_in_is_never_less_than_said():
    said = [figures.live(cases.page("starting", plug_in_by_s=cases.NOW_S + s), None,
                         language("en"))["left"] for s in (271, 60, 59, 0, -5)]  # fmt: skip
    assert [one.replace("\xa0", " ") for one in said] == ["5 min", "1 min", "59 s", "0 s", "0 s"]


def test_a_charger_that_refused_is_quoted_in_the_drivers_language():
    html = pay.html(cases.STATES["charger_refused"], language("de"))
    assert '<q lang="de">Kabel lässt sich nicht verriegeln</q>' in html


def test_news_have_what_the_page_has_places_for():
    for page in cases.STATES.values():
        html = pay.html(page, language("en"))
        news = pay.status(page, language("en"))
        assert set(re.findall(r'data-live="(\w+)"', html)) <= set(news["live"]) | {"price"}
        assert f'data-key="{news["key"]}"' in html


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "gone"}, {"state": "charging"}, {"state": "finished"}, {"table": None},
        {"state": "refused"}, {"state": "refused", "reason": "<b>"}, {"hold_state": "lost"},
        {"methods": ("gold",)}, {"links": Links(pay="javascript:alert(1)")},
        {"links": Links(receipt="//evil.example/")}, {"links": Links(stop='./"onclick="')},
    ],
)  # fmt: skip
def test_a_page_that_does_not_hold_together_is_refused(wrong):
    with pytest.raises(ValueError, match=r"no |needs "):
        cases.page(wrong.pop("state", "offer"), **wrong)


def test_every_reason_and_every_end_can_be_shown():
    for reason in re.findall(r'^(\w+) = ', _section("reason"), re.M):
        page = cases.page("refused", reason=reason, table=None)
        assert language("en").say(f"reason.{reason}") in pay.html(page, language("en"))
    for stop in re.findall(r"^(\w+) = ", _section("stop"), re.M):
        page = cases.page("finished", settled=Settled(1, 1, 1, stop_reason=stop))
        assert "</html>" in pay.html(page, language("en"))


def _section(name):
    text = (ROOT / "tools/tillback/languages/en.toml").read_text()
    return text.partition(f"[{name}]")[2].partition("\n[")[0]
