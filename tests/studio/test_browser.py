"""The studio in a real browser, headless."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import soundfile
from PIL import Image, ImageOps
from torch.nn import functional as F

import synesthete
from synesthete.data.audio import write_audio
from synesthete.studio.server import start_studio
from synesthete.tasks.model import seen_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: no chromium on this machine")
PATIENCE = 60_000  # ms that a busy machine may take
VERBS = ("Speak", "Draw", "Paint", "Play", "Compare", "Train", "Runs")
NAMED = """button checkbox combobox image img link radio searchbox slider spinbutton tab textbox Audio Canvas"""
FOCUSED = "(document.activeElement.ariaLabel ?? document.activeElement.innerText).trim()"
UNFOLD = """for (const one of document.querySelectorAll('button.label-wrap:not(.open)'))
  if (one.checkVisibility()) one.click()"""
# The texts that contrast with what is behind them by less than 4.5, as WCAG 2 has it.
PALE = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number).concat(1).slice(0, 4);
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const light = (colour) => [0.2126, 0.7152, 0.0722].reduce((sum, part, i) => { const v = colour[i] / 255;
    return sum + part * (v <= 0.04 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
  const behind = (one) => { const own = one ? parse(getComputedStyle(one).backgroundColor) : [255, 255, 255, 1];
    return own[3] === 1 ? own : over(own, behind(one.parentElement)); };
  const contrast = (one) => { const ground = behind(one);
    const [dark, bright] = [ground, over(parse(getComputedStyle(one).color), ground)].map(light).sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05); };
  return [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility({ visibilityProperty: true })
    && (one.matches("input:not([type=checkbox], [type=range]), textarea")
      || [...one.childNodes].some((node) => node.nodeType === 3 && node.nodeValue.trim())))
    .map((one) => [one.tagName, one.innerText, contrast(one)]).filter(([, , value]) => value < 4.5);
}"""
# What Lighthouse examines pages by, where `npm install --prefix` of this environment put it.
AXE = Path(sys.prefix, "node_modules", "axe-core", "axe.min.js")
VIOLATIONS = """async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
  .map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 200))])"""
DEVICES = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # a camera and a microphone of files
SEVEN = ((0.25, 0.22), (0.75, 0.22), (0.42, 0.85))  # in shares of the canvas


@pytest.fixture(scope="module")
def launch() -> Iterator[Any]:
    """Starts a browser with more options; returns what opens pages, which share what is fetched once."""

    def launched(*options: str) -> Any:
        found = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *options])
        context = found.new_context(viewport={"width": 1180, "height": 900})
        context.set_default_timeout(PATIENCE)
        return context

    with sync_api.sync_playwright() as started:
        yield launched  # what was started ends with it


@pytest.fixture(scope="module")
def browser(launch: Any) -> Any:
    return launch()


@pytest.fixture
def page(browser: Any, studio: Any) -> Iterator[Any]:
    opened = open_page(browser, studio)
    yield opened
    opened.close()


@pytest.fixture
def shoot(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., None]:
    """Takes the pictures that the docs show, of few colours; `--update-golden` puts them there."""
    folder = request.config.rootpath / "docs/pictures" if request.config.getoption("--update-golden") else tmp_path

    def take(page: Any, name: str, **how: Any) -> None:
        content = page.screenshot(**how)
        Image.open(io.BytesIO(content)).convert("RGB").quantize(128).save(folder / f"{name}.png", optimize=True)

    return take


def open_page(browser: Any, studio: Any) -> Any:
    opened = browser.new_page()
    opened.goto(studio[1])
    opened.wait_for_selector("canvas.pad")
    return opened


def example_of(name: str, folder: Path) -> Path:
    """A held-out digit, white on black, written to a folder."""
    from synesthete.studio.task_tab import example_pictures  # which needs gradio, as little else in the package does

    return next(path for path in example_pictures(folder) if path.stem == name)


def choose(page: Any, label: str, value: str) -> None:
    """An entry of a list that can be seen."""
    page.get_by_label(label, exact=True).locator("visible=true").first.click()
    page.get_by_role("option", name=value, exact=True).locator("visible=true").last.click()


def wait_for_sounds(page: Any) -> None:
    page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.readyState > 0)")


def violations(page: Any) -> list[Any]:
    """What axe-core finds wrong with a page as it is; nothing where it is not installed."""
    if not AXE.is_file():
        return []
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found: list[Any] = page.evaluate(VIOLATIONS)
    return found


def draw(page: Any, points: Any) -> None:
    pad = page.locator("canvas.pad").locator("visible=true").first
    pad.wait_for()
    box = pad.bounding_box()
    for i, (x, y) in enumerate(points):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"], steps=8)
        if not i:
            page.mouse.down()
    page.mouse.up()


def test_a_drawn_seven_says_seven(page, studio, shoot):
    """The shipped model without voices; nothing plays by itself, and the file is a sound."""
    choose(page, "Model", "image-to-speech-digits")
    draw(page, SEVEN)
    page.click("#go-image-to-speech")
    card = page.locator("#made-image-to-speech .card").first
    assert "“seven”" in card.inner_text()
    sound = card.locator("audio")
    assert sound.evaluate("sound => sound.paused && !sound.autoplay")
    wait_for_sounds(page)
    shoot(page, "studio", clip={"x": 0, "y": 0, "width": 1180, "height": 760})
    content = page.request.get(studio[1].rstrip("/") + sound.get_attribute("src")).body()
    assert soundfile.info(io.BytesIO(content)).duration > 0.3
    assert page.request.get(f"{studio[1]}gradio_api/file=/etc/hostname").status in (403, 404)


def test_a_seven_held_before_the_camera_says_seven(launch, studio, tmp_path):
    """And not what it is mirrored. The camera films a dark digit on white paper."""
    paper = Image.new("L", (640, 480), "white")
    paper.paste(ImageOps.invert(Image.open(example_of("seven", tmp_path))).resize((400, 400)), (120, 40))
    film = b"YUV4MPEG2 W640 H480 F10:1 Ip A1:1 C420jpeg\n" + b"FRAME\n" + paper.tobytes() + bytes([128]) * 640 * 240
    (tmp_path / "film.y4m").write_bytes(film)
    page = open_page(launch(*DEVICES, f"--use-file-for-fake-video-capture={tmp_path / 'film.y4m'}"), studio)
    choose(page, "Model", "image-to-speech-digits")
    page.get_by_role("tab", name="A picture").click()
    page.get_by_label("Capture from camera").locator("visible=true").click()
    page.get_by_text("Click to Access Webcam").locator("visible=true").click()
    page.get_by_label("capture photo").locator("visible=true").wait_for()
    # Of a film that has not begun there is no picture to take.
    page.wait_for_function("[...document.querySelectorAll('video')].some(film => film.videoWidth && film.currentTime)")
    page.get_by_label("capture photo").locator("visible=true").click()
    page.get_by_label("Remove Image").locator("visible=true").wait_for()
    page.click("#go-image-to-speech")
    assert "“seven”" in page.locator("#made-image-to-speech .card").first.inner_text()


def test_a_seven_said_to_the_microphone_is_painted(launch, studio, tmp_path, shoot):
    """Said again and again, with pauses; sevens are seen by the classifier that is beside the model."""
    said = synesthete.load("image-to-speech-digits")(str(example_of("seven", tmp_path)))
    with_pauses = F.pad(said.waveform.flatten(), (said.sample_rate // 2,) * 2)
    path = write_audio(tmp_path / "said.wav", with_pauses, said.sample_rate)
    page = open_page(launch(*DEVICES, f"--use-file-for-fake-audio-capture={path}"), studio)
    page.get_by_role("tab", name="Paint", exact=True).click()
    page.get_by_role("button", name="Record", exact=True).locator("visible=true").click()
    page.wait_for_timeout(3000)  # of which one second is heard
    with page.expect_response(lambda answer: "/upload" in answer.url):  # what is asked for before has no sound
        page.get_by_role("button", name="Stop", exact=True).locator("visible=true").first.click()
    page.get_by_label("Trim audio to selection").locator("visible=true").wait_for()
    assert not page.get_by_label("Share").count()  # it would send it elsewhere
    page.click("#go-audio-to-image")
    page.locator("#made-audio-to-image .card").nth(3).wait_for(timeout=3 * PATIENCE)
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator("#made-audio-to-image").evaluate("made => made.scrollIntoView({ block: 'end' })")
    shoot(page, "studio-telephone")
    painted = sorted((studio[2] / "made" / "paint").glob("*/audio*.png"))  # named as what a page records
    seen = seen_in(synesthete.load("audio-to-image-digits"), map(Image.open, painted))
    assert Counter(one.says for one in seen).most_common(1)[0][0] == "seven"


def test_a_picture_that_is_too_large_or_broken_is_one_line(page, tmp_path):
    large, broken = tmp_path / "large.png", tmp_path / "broken.png"
    large.write_bytes(bytes(2**25 + 1))
    broken.write_bytes(b"\x89PNG\r\n\x1a\n, and nothing more")
    page.get_by_role("tab", name="A picture").click()
    upload = page.locator("input[type=file]").first
    upload.set_input_files(large)
    page.get_by_text('exceed the maximum allowed size of 32.0 Mb: "large.png"').wait_for()
    upload.set_input_files(broken)
    page.wait_for_selector('img[src$="broken.png"]', state="attached")
    page.click("#go-image-to-speech")
    said = page.locator(".status.error").first.inner_text()
    assert "broken.png" in said and "\n" not in said.strip()


def test_what_is_being_made_is_shown_and_can_be_stopped(page, monkeypatch, shoot):
    from synesthete.studio.work import Work

    show = Work.show

    def slowly(work: Any, *args: Any) -> None:
        time.sleep(0.5)  # else a fast machine is done before the button is pressed
        show(work, *args)

    monkeypatch.setattr(Work, "show", slowly)
    page.get_by_role("tab", name="Draw", exact=True).click()
    page.get_by_text("zero", exact=True).wait_for()  # the model's first class
    page.get_by_label("How many").locator("visible=true").fill("64")
    page.click("#go-images")
    page.wait_for_selector(".live img")
    page.get_by_text(re.compile("step 1[0-5] of")).wait_for()
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_timeout(500)  # colours change slowly
    shoot(page, "studio-live", clip={"x": 0, "y": 0, "width": 1180, "height": 560})
    page.click("#stop-images")
    page.get_by_text("Stopped.").wait_for()
    assert not page.locator("#made-images .card").count()


@pytest.mark.parametrize(("own", "filled"), [("Music", "strings"), ("Scores", "Loaded when it is needed.")])
def test_a_form_as_it_comes_asks_for_something_that_can_be_made(page, own, filled):
    """What is left out is left out, and not 0."""
    page.get_by_role("tab", name="Play", exact=True).click()
    page.get_by_role("tab", name=own, exact=True).locator("visible=true").first.click()
    page.get_by_text(filled, exact=True).locator("visible=true").wait_for()
    page.wait_for_function("() => !document.querySelector('.generating')")
    page.locator("button.primary").locator("visible=true").first.click()
    page.locator(".made audio").locator("visible=true").first.wait_for()


def test_two_ways_are_compared_and_one_becomes_the_default_of_a_copy(page, studio, shoot):
    """Of the same drawing; what ships is refused."""
    page.get_by_role("tab", name="Compare", exact=True).click()
    draw(page, SEVEN)
    page.get_by_label("Models", exact=True).locator("visible=true").press("Backspace")  # its first one
    choose(page, "Models", "image-to-speech-digits")
    page.keyboard.press("Escape")
    choose(page, "First: compare", "Steps")
    page.get_by_label("First: its values").locator("visible=true").fill("3, 5")
    page.click("#go-compare-image-to-speech")
    page.locator("#made-compare-image-to-speech .card audio").nth(1).wait_for()
    rows = [row.inner_text().split() for row in page.locator("#made-compare-image-to-speech tr").all()]
    assert [row[:3] for row in rows[1:]] == [["Steps", "3", "seven"], ["Steps", "5", "seven"]]
    assert not violations(page)
    wait_for_sounds(page)
    shoot(page, "studio-compare", full_page=True)
    choose(page, "Of these", "Steps 5")
    page.click("#settle-compare-image-to-speech")
    page.get_by_text("ships with the package and stays as it is").first.wait_for()
    page.get_by_label("In a copy called").locator("visible=true").fill("faster")
    page.click("#settle-compare-image-to-speech")
    page.get_by_text("samples so from now on").wait_for()
    index = json.loads((studio[2] / "runs" / "faster" / "model" / "model_index.json").read_text())
    assert index["sampling"]["num_inference_steps"] == 5


def test_a_training_is_started_stopped_found_again_and_gone_on_with(page, browser, studio):
    """In a process of its own, which another page finds by the run's folder."""
    from synesthete.studio.train_tab import Trainings  # gradio is not everywhere

    name, runs = "by-hand", Trainings(studio[2] / "runs")

    def newest_step() -> int:
        return runs.figures(name)[0]["step"]

    def watch(where: Any, said: str) -> None:
        where.get_by_text(re.compile(f"{name} {said}")).wait_for()

    page.get_by_role("tab", name="Train").click()
    page.locator("#train-run input").fill(name)
    page.locator("#train-run input").press("Enter")
    changes = [f"stages.denoise.{one}" for one in ("num_steps=5000", "checkpoint_every=2", "preview_every=5000")]
    page.get_by_label("Changes").fill("\n".join(changes))
    page.click("#train-go")
    watch(page, r"is training: stage denoise, step \d+")
    other = browser.new_page()
    other.goto(studio[1])
    other.get_by_role("tab", name="Train").click()
    watch(other, r"is training: stage denoise, step \d+")
    other.click("#train-stop")
    watch(other, "is not going on")
    other.close()
    before = newest_step()
    page.click("#train-go")
    for _ in range(PATIENCE // 200):
        if newest_step() <= before:  # it begins at its checkpoint, and says again what came after that
            page.wait_for_timeout(200)
    watch(page, r"is training: stage denoise, step \d+")
    page.click("#train-stop")
    watch(page, "is not going on")
    assert newest_step() > before
    assert "stopped; the same command goes on" in runs.log(name).read_text()


def test_keys_alone_go_from_an_example_to_its_sound(page):
    def press(keys: str, wanted: str) -> None:
        """Keys until what has the focus is called so, then Enter."""
        for _ in range(40):
            page.keyboard.press(keys)
            if page.evaluate(FOCUSED) == wanted:
                page.keyboard.press("Enter")
                return
        raise AssertionError(f"no way to {wanted}")

    press("Tab", "A picture")
    page.locator(".gallery-item[aria-label=seven]").wait_for()
    press("Tab", "seven")
    page.wait_for_selector('img[src$="seven.png"][alt=""] >> nth=0')
    press("Tab", "Speak")
    page.locator("#made-image-to-speech audio").wait_for()
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "AUDIO":
            break
    page.keyboard.press("Space")
    page.wait_for_function("document.querySelector('audio').currentTime > 0")


@pytest.fixture(scope="module")
def walked(browser: Any, studio: Any) -> dict[str, list[Any]]:
    """What is wrong on the tabs of a page of 390 pixels, each unfolded, in light and in dark, by kind."""
    page = browser.new_page()
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(studio[1])
    page.wait_for_selector("canvas.pad")
    page.add_style_tag(content="* { transition: none !important }")  # a colour on its way is none to be measured
    tree = browser.new_cdp_session(page)
    wrong: dict[str, list[Any]] = {"names": [], "width": [], "contrast": [], "axe": []}

    def look(where: str) -> None:
        page.evaluate(UNFOLD)
        page.wait_for_timeout(100)
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > 390:
            wrong["width"].append((where, wide))
        for node in tree.send("Accessibility.getFullAXTree")["nodes"]:
            if not node["ignored"] and node["role"]["value"] in NAMED.split() and not node["name"]["value"].strip():
                what = tree.send("DOM.describeNode", {"backendNodeId": node["backendDOMNodeId"]})["node"]
                wrong["names"].append((where, node["role"]["value"], what["nodeName"], what["attributes"]))
        for is_dark in (True, False):
            page.evaluate("is_dark => document.body.classList.toggle('dark', is_dark)", is_dark)
            wrong["contrast"] += [(where, is_dark, *one) for one in page.evaluate(PALE)]
            wrong["axe"] += [(where, is_dark, *one) for one in violations(page)]

    for verb in VERBS:
        tab = page.locator("[role=tablist]").first.get_by_role("tab", name=verb, exact=True)
        if not tab.count():
            page.get_by_label("More tabs").first.click()
            tab = page.locator(".overflow-dropdown").first.get_by_text(verb, exact=True)
        tab.click()
        page.wait_for_function("() => !document.querySelector('.generating')")
        look(verb)
        inner = page.locator("[role=tabpanel] [role=tab][aria-selected=false]").locator("visible=true")
        for name in reversed(inner.all_inner_texts()):  # those within others first
            page.get_by_role("tab", name=name, exact=True).locator("visible=true").last.click()
            look(f"{verb}, {name}")
    page.close()
    return wrong


@pytest.mark.parametrize("what", ["names", "width", "contrast", "axe"])
def test_every_tab_can_be_read(walked, what):
    """Every control and picture has a name, a telephone shows all of it, and no text is pale (4.5 at least)."""
    if what == "axe" and not AXE.is_file():
        pytest.skip(f"needs axe-core: npm install --prefix {sys.prefix} axe-core")
    assert not walked[what]


def test_a_password_lets_in_and_another_does_not(browser, studio, tmp_path, monkeypatch):
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks() as small:
        gradio.Markdown("inside")
    monkeypatch.setattr("synesthete.studio.page.build_page", lambda *_: small)
    server, address = start_studio(tmp_path / "made", runs=tmp_path, password="a-long-one")
    page = browser.new_page()
    try:
        page.goto(address)
        for given, awaited in (("another", "Incorrect Credentials"), ("a-long-one", "inside")):
            page.get_by_label("username").fill("me")
            page.get_by_label("password").fill(given)
            page.get_by_role("button", name="Login").click()
            page.get_by_text(awaited).wait_for()
    finally:
        page.close()
        server.close()
