"""The page in a real browser: what it shows is what the record holds, whatever the text is.

Oracles: `LoggedEngine.touched` for the bytes, the record for everything else; without a browser few of them run.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import threading

import numpy as np
import pytest
from xray.browser import launched, opened
from xray.models import TEXT, counted

from weightless.base.errors import ConfigError
from weightless.export.packed import open_packed
from weightless.xray.page import html, policy
from weightless.xray.record import record

REFUSED = "what no model takes"
HOSTILE = '<script>window.hacked=1</script><img src=x onerror="hacked=1">\0 \x1b[31m שלום ‮evil 🦊 </textarea>'


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    return [counted(folder, name, context=256) for name in ("ngram", "infinigram")]


@pytest.fixture(scope="module")
def records(models):
    return [record(path, TEXT) for path in models]


@pytest.fixture(scope="module")
def browser():
    with launched() as found:
        yield found


def written(tmp_path, records) -> str:
    (tmp_path / "page.html").write_text(html(records))
    return f"file://{tmp_path}/page.html"


def ledger(path) -> list[int]:
    """T of every token of TEXT, by the reduction that `count --text` uses."""
    packed = open_packed(path)
    tokens = np.array([packed.tokenizer.end_of_text, *packed.tokenizer.encode(TEXT)])
    return packed.logged_engine().touched(tokens[:-1], tokens[1:])[1][:, :, 0].sum(axis=1).tolist()


def shown(page, what: str = "touched") -> list[int]:
    """What the page says of each model; behind the next frame, in which it draws."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return [int(e.get_attribute(f"data-{what}")) for e in page.locator(f"[data-{what}]").all()]


def until(page, condition: str) -> None:
    """Wait for it to hold; the page's policy forbids what Playwright's own waiting does (it evaluates strings)."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"never: {condition}")


def test_bytes_are_the_ledgers_at_every_token(browser, tmp_path, models, records):
    counts = [ledger(path) for path in models]
    with opened(browser, written(tmp_path, records)) as page:
        page.focus("#tokens")
        page.keyboard.press("Home")
        for i in range(len(counts[0])):
            assert shown(page) == [of[i] for of in counts]
            assert shown(page, "running") == [sum(of[: i + 1]) for of in counts]
            if i % 9 == 0:
                words = page.inner_text("#headline")
                assert all(f"{of[i]:,}" in words for of in counts) and "ngram" in words
                assert [f"{of[i]:,} bytes" for of in counts] == page.locator(".big").all_inner_texts()
            page.keyboard.press("ArrowRight")
        assert page.get_attribute("#tokens", "aria-activedescendant") == f"t{len(counts[0]) - 1}"
        assert f"{counts[0][-1]:,} bytes" in page.inner_text("#live")


def test_two_models_of_other_tokens_are_matched_by_the_byte(browser, tmp_path, records):
    other = json.loads(json.dumps(records[1]))
    whole = {**other["tokens"][0], "T": 12345, "at": 0}
    other["tokens"] = [whole, {**other["tokens"][-1], "at": 20, "T": 54321}]
    with opened(browser, written(tmp_path, [records[0], other])) as page:
        at = [token["at"] for token in records[0]["tokens"]]
        page.locator(f"#t{next(i for i, n in enumerate(at) if n >= 20)}").click()
        assert shown(page)[1] == 54321
        page.locator("#t0").click()
        assert shown(page)[1] == 12345


def test_what_only_one_model_saw_is_left_off(browser, tmp_path, records):
    """A window of five tokens beside one of all: everything that is said is of the text that both have seen."""
    short = json.loads(json.dumps(records[1]))
    short["tokens"], short["model"]["name"] = short["tokens"][:5], "short"
    end = short["tokens"][-1]["at"] + short["tokens"][-1]["bytes"]
    kept = [token for token in records[0]["tokens"] if token["at"] < end]
    with opened(browser, written(tmp_path, [records[0], short])) as page:
        assert page.locator("#tokens [role=option]").count() == len(kept) < len(records[0]["tokens"])
        page.focus("#tokens")
        page.keyboard.press("End")
        assert shown(page) == [kept[-1]["T"], short["tokens"][-1]["T"]]
        words = page.inner_text("#standfirst")
        for name, seen in (("ngram", kept), ("short", short["tokens"])):
            bits = sum(token["bits"] for token in seen) / sum(token["bytes"] for token in seen)
            each = sum(token["T"] for token in seen) / len(seen)
            assert f"{name} touched {each:,.0f}" in words and f"by {bits:.2f} bits per byte" in words
        assert f"{len(records[0]['tokens']) - len(kept)} more tokens of the text left off" in page.inner_text(".facts")


def test_play_click_hover_and_the_keys_of_the_map(browser, tmp_path, records):
    with opened(browser, written(tmp_path, records)) as page:
        page.locator("#t3").click()
        page.click("#play")
        until(page, "document.querySelector('[aria-selected=true]').id >= 't6'")
        assert page.get_attribute("#play", "aria-pressed") == "true"
        page.click("#play")
        stopped = page.get_attribute("#tokens", "aria-activedescendant")
        assert page.inner_text("#play") == "Play" and "bytes" in page.inner_text("#live")
        page.wait_for_timeout(400)
        assert page.get_attribute("#tokens", "aria-activedescendant") == stopped
        page.click("#log")
        page.locator("canvas.map").first.hover()
        tensors = {tensor["name"]: tensor for tensor in records[0]["tensors"]}
        name, *lines = page.inner_text("#tip").splitlines()
        assert f"{tensors[name]['bytes']:,} bytes" in lines[1] and tensors[name]["component"] in lines[0]
        page.locator("canvas.time").first.hover()
        assert re.match(r"\w+: [\d,]+ bytes", page.inner_text("#tip"))
        page.locator("canvas.map").last.focus()
        page.keyboard.press("ArrowDown")
        assert page.inner_text("#tip b") == records[1]["tensors"][0]["name"]
        assert page.inner_text("#live").startswith(records[1]["tensors"][0]["name"])
        page.keyboard.press("Escape")
        assert page.locator("#tip").is_hidden()
        page.click("#table summary")
        shown(page)
        rows = page.locator("#table-body table").first.locator("tbody tr")
        assert rows.count() > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("n", [1, 2])
def test_a_phone_shows_all_of_it(browser, tmp_path, records, scheme, n):
    with opened(browser, written(tmp_path, records[:n]), 390, scheme, reduced=True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert back == {"light": "rgb(253, 252, 250)", "dark": "rgb(23, 22, 20)"}[scheme]
        for canvas in page.locator("canvas").all():
            box = canvas.bounding_box()
            assert box["x"] >= 0 and box["x"] + box["width"] <= 390
        for control in page.locator("button:visible, select:visible, summary, #place").all():
            assert control.bounding_box()["height"] >= 44, control  # what a finger hits
        for name in page.locator(".parts span, .big, h1, .model > p").all():
            assert name.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), name.inner_text()
        page.click("#linear")
        assert len(shown(page)) == n


@pytest.mark.parametrize("width", [1024, 1280, 1600])
def test_no_name_of_a_component_is_cut(browser, tmp_path, records, width):
    """The names and bytes of a transformer of 6 MB, beside its like."""
    wide = json.loads(json.dumps(records[0]).replace("context index", "feed-forward"))
    for token in wide["tokens"]:
        token["components"] = {name: {"T": 2_952_960, "U": 1} for name in ("feed-forward", "activations")}
    with opened(browser, written(tmp_path, [wide, wide]), width) as page:
        shown(page)
        for name in page.locator(".parts span").all():
            assert name.evaluate("e => e.scrollWidth <= e.clientWidth"), name.inner_text()


def test_a_map_lights_up(browser, tmp_path, records):
    """Pixels of the colours of reading and writing are there, and go when another page has no touches."""
    count = """() => { const c = document.querySelector('canvas.map');
      const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
      let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] === 63 && d[i + 1] === 143) n++; return n; }"""
    dark = json.loads(json.dumps(records[0]))
    for token in dark["tokens"]:
        token["touches"] = []
    found = []
    for which in (records[0], dark):
        with opened(browser, written(tmp_path, [which])) as page:
            shown(page)
            found.append(page.evaluate(count))
    assert found[0] > 100 and found[1] == 0


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_a_line_lights_up_where_it_lies(browser, tmp_path, share):
    """One line of one tensor of 10,000 lines: its place in reading order is its place in memory, to a row of cells."""
    told = large(n_tokens=1, n_tensors=1)
    line = int(share * 10_000)
    told["tensors"][0] |= {"kind": "weight", "bytes": 640_000, "rows": 10_000, "row_bytes": 64, "row_stride": 64}
    told["touches"][0]["tensors"][0] |= {"reads": [[64 * line, 64]]}
    with opened(browser, written(tmp_path, [told])) as page:
        shown(page)
        found = page.evaluate("""() => { const c = document.querySelector('canvas.map');
          const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, at = [];
          for (let i = 0; i < d.length; i += 4)
            if (d[i] === 63 && d[i + 1] === 143) at.push(Math.floor(i / 4 / c.width));
          return [Math.min(...at), Math.max(...at), c.height]; }""")
    top, bottom, height = found
    first, room = 10 + 17 + 2.25, height - 20 - 17 - 4.5  # margin, head and gap of its component
    assert bottom - top < 12 and abs((top + bottom) / 2 - (first + share * room)) < 14


@pytest.mark.parametrize("text", [HOSTILE, b"\xff\xfe broken \x80 \xe2\x80"])
def test_any_text_is_shown_as_text(browser, tmp_path, models, text):
    told = record(models[0], text)
    told["model"]["name"] = "<b>bold</b>\u2028</script>"
    told["tokens"][2]["text"] = " שלום\u202eevil"  # as a larger vocabulary would have it in one piece
    with opened(browser, written(tmp_path, [told])) as page:
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script, h3 b").count() == 0
        assert page.inner_text("h3") == "<b>bold</b>\u2028</script>"
        assert page.locator("#tokens [role=option]").count() == len(told["tokens"])
        seen = page.inner_text("#tokens")
        assert " שלום‹U+202E›evil" in seen
        assert ("hacked=1</script><img" in seen and "␀ ␛[31m" in seen and "‹e2›‹80›‹ae›" in seen) or "‹ff›" in seen


class Stub(http.server.BaseHTTPRequestHandler):
    """What the page asks of its server, and nothing more."""

    asked: list[dict] = []
    paths: dict = {}

    def do_GET(self):
        page = (html(None).encode(), "text/html; charset=utf-8")
        models = json.dumps({"data": [{"id": name} for name in self.paths]}).encode(), "application/json"
        self._answer(200, *(page if self.path == "/" else models))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        try:
            if body["text"] == REFUSED:
                raise ConfigError("refused by this stub")
            found, code = {"xray": record(self.paths[body["model"]], body["text"])}, 200
        except ConfigError as error:
            found, code = {"error": {"message": str(error)}}, 400
        self._answer(code, json.dumps(found).encode(), "application/json")

    def _answer(self, code, content, kind):
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if kind.startswith("text/html"):
            self.send_header("Content-Security-Policy", policy())
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def served(models):
    Stub.paths, Stub.asked = {path.stem: path for path in models}, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_served_form_asks_its_own_server(browser, served, models):
    with opened(browser, served) as page:
        page.wait_for_selector("#t5")
        until(page, "document.getElementById('status').hidden")
        own = page.input_value("#ask-text")
        assert Stub.asked == [{"model": path.stem, "text": own} for path in models], "at once, of its own text"
        page.fill("#ask-text", TEXT)
        page.click("#ask button")
        until(page, f"document.querySelectorAll('[role=option]').length === {len(ledger(models[0]))}")
        assert Stub.asked[2:] == [{"model": path.stem, "text": TEXT} for path in models]
        page.focus("#tokens")
        page.keyboard.press("Home")
        assert shown(page) == [ledger(path)[0] for path in models]
        page.fill("#ask-text", HOSTILE)
        page.select_option("#ask-second", "")
        page.click("#ask button")
        until(page, "document.querySelectorAll('canvas.map').length === 1")
        assert page.evaluate("window.hacked") is None


def test_the_served_form_tells_what_the_server_says(browser, served):
    with opened(browser, served) as page:
        page.wait_for_selector("#t5")
        page.fill("#ask-text", "")
        page.click("#ask button")
        page.wait_for_selector("#status.wrong")
        assert page.inner_text("#status").startswith("Write a word") and len(Stub.asked) == 2, "nobody was asked"
        page.fill("#ask-text", REFUSED)
        page.click("#ask button")
        until(page, "document.getElementById('status').textContent.includes('by this stub')")
        assert page.said.pop().startswith("Failed to load resource")  # the browser's own word about a 400
        assert page.locator("#ask button").is_enabled()


def large(n_tokens: int = 512, n_tensors: int = 200) -> dict:
    """A record of the largest size that the page is made for; every operator touches its tensors in stretches."""
    rng = np.random.default_rng(5)
    sizes = rng.integers(1 << 10, 1 << 22, n_tensors).tolist()
    tensors = [
        {"name": f"block.{i // 8}.{i % 8}", "component": f"part {i % 9}", "format": "int8", "shape": [63, n // 63]}
        | {"kind": "state" if i % 20 == 0 else "weight", "kept": i % 40 == 0, "rows": 63, "bytes": n}
        | {"row_bytes": n // 63, "row_stride": n // 63}
        for i, n in enumerate(sizes)
    ]
    touches, tokens = [], []
    for i in range(n_tensors):
        for k in range(8):
            runs = [[64 * k, 64]] if i % 3 else [[0, sizes[i]]]
            runs += [[4096 * j, 64] for j in range(1, sizes[i] // 8192)] if i % 3 == 1 else []
            part = {"tensor": i, "read": 64, "written": 0, "lines": 1, "reads": runs, "writes": []}
            touches.append({"op": i, "tensors": [part]})
    for t in range(n_tokens):
        numbers = [8 * i + (t + i) % 8 for i in range(n_tensors)]
        tokens.append(
            {"id": t, "text": f" word{t}", "at": 6 * t, "bytes": 6, "p": 0.5, "nats": 0.7, "bits": 1.0, "rank": 1}
            | {"entropy": 1.0, "top": [], "T": 64 * n_tensors, "U": 64, "lines": 200, "touches": numbers}
            | {"components": {f"part {i}": {"T": 64, "U": 64, "lines": 1} for i in range(9)}}
        )
    model = {"name": "large", "family": "dense", "parameters": 1, "vocab_size": 9, "context": 512, "state": 1}
    totals = {"tokens": n_tokens, "T": 1, "U": 1, "lines": 1, "bytes": 1, "nats": 1, "bits": 1, "left_off": 0}
    return {
        "first": "",
        "model": {**model, "stored": sum(sizes)},
        "components": [f"part {i}" for i in range(9)],
        "tensors": tensors,
        "operators": [{"name": "op", "part": "body", "why": "works"}] * n_tensors,
        "touches": touches,
        "tokens": tokens,
        "totals": totals,
    }


@pytest.mark.slow
def test_no_frame_takes_a_tenth_of_a_second(browser, tmp_path):
    """512 tokens of two models of 200 tensors each, every one of them drawn.

    Where others use the processor a frame waits for its turn, whatever the page does; so the processor time of a
    frame is held to half of that, always, and the clock only where the machine is free.
    """
    with opened(browser, written(tmp_path, [large(), {**large(), "model": large()["model"] | {"name": "b"}}])) as page:
        shown(page)
        inspector = page.context.new_cdp_session(page)
        inspector.send("Performance.enable", {"timeDomain": "threadTicks"})
        before = busy(inspector)
        took = page.evaluate("""async () => {
          const took = [], frame = () => new Promise((done) => requestAnimationFrame(done));
          document.getElementById("tokens").focus();
          let last = await frame();
          for (let i = 0; i < 512; i++) {
            const key = i ? "ArrowRight" : "Home";
            document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
            const now = await frame(); took.push(now - last); last = now;
          }
          return took;
        }""")
        each = (busy(inspector) - before) / len(took)
        assert page.inner_text("#counter") == "512 of 512"
    told = f"median {np.median(took):.0f}, p99 {np.percentile(took, 99):.0f}, longest {max(took):.0f} ms"
    print(f"{len(took)} frames: {told}; {each:.1f} ms of one core each; load {os.getloadavg()[0]:.1f}")
    assert each < 50
    assert max(took) < 100 or os.getloadavg()[0] > 0.7 * (os.cpu_count() or 1)


def busy(inspector) -> float:
    """Milliseconds of processor time that the page's thread has used."""
    found = inspector.send("Performance.getMetrics")["metrics"]
    return 1000 * next(one["value"] for one in found if one["name"] == "TaskDuration")


def test_the_page_allows_its_own_script_and_nothing_else(records):
    page = html(records)
    allowed = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1].replace("&#x27;", "'")
    assert "default-src 'none'" in allowed and "unsafe" not in allowed and "connect-src 'none'" in allowed
    assert "connect-src 'self'" in policy() and not re.search(r"\beval\(|innerHTML|document\.write|https?://", page)
    assert json.loads(re.search(r'id="records">(.*?)</script>', page, re.S)[1]) == records
    assert page.count("<script") == 2 and html(None).count(">null<") == 1


@pytest.mark.parametrize("n", [0, 3])
def test_other_numbers_of_models_are_refused(records, n):
    with pytest.raises(ConfigError, match=f"{n} models"):
        html(records[:1] * n)
