"""The public pages of an opt-in form as HTML: no script, nothing fetched from elsewhere, labels on everything; pure."""

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path

import segno

from core.services.forms import Offer

TEXTS: Mapping[str, Mapping[str, str]] = json.loads(Path(__file__).with_name("form_texts.json").read_text("utf-8"))
NAMES = {"en": "English", "de": "Deutsch", "es": "Español", "fr": "Français", "ja": "日本語"}
STYLE = """
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0;padding:1.5rem 1rem;background:#f4f5f7;color:#1c2733;font:1rem/1.5 system-ui,sans-serif}
main{max-width:34rem;margin:0 auto;padding:1.5rem;background:#fff;border:1px solid #d5dae1;border-radius:12px}
h1{margin:0 0 .5rem;font-size:1.4rem;line-height:1.25}
p{margin:.5rem 0}
fieldset{margin:1.25rem 0;padding:0;border:0}
legend,.name{padding:0;font-weight:600}
.box{display:flex;gap:.75rem;margin:.75rem 0;padding:.9rem;border:1px solid #8a94a3;border-radius:8px}
.box input{flex:none;width:1.35rem;height:1.35rem;margin:.1rem 0 0}
.box label{font-weight:600}
.notice,.hint,.fine{color:#46525f;font-size:.92rem}
.notice{white-space:pre-line}
input[type=tel]{display:block;width:100%;margin:.35rem 0;padding:.65rem;border:1px solid #5f6b7a;
 border-radius:8px;font:inherit}
button,.open{display:inline-block;padding:.75rem 1.4rem;border:0;border-radius:8px;background:#0b6e4f;color:#fff;
 font:inherit;font-weight:600;text-decoration:none;cursor:pointer}
:focus-visible{outline:3px solid #1a56db;outline-offset:2px}
.wrong{padding:.75rem;border-left:4px solid #b42318;background:#fef3f2;color:#7a1a12}
.qr svg{display:block;width:13rem;max-width:100%;height:auto}
code{display:inline-block;padding:.3rem .5rem;background:#eef0f3;border-radius:6px;font-size:1.05rem;
 overflow-wrap:anywhere}
nav{max-width:34rem;margin:1rem auto 0;font-size:.92rem}
nav a{display:inline-block;margin-right:.9rem;padding:.2rem 0;color:#174ea6}
nav a[aria-current]{color:#1c2733;font-weight:600;text-decoration:none}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


def headers(origins: Sequence[str]) -> dict[str, str]:
    """What a browser may do with the page: show it in a frame of the named sites only, and fetch nothing."""
    frames = " ".join(origins) or "'none'"
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none';"
        f" frame-ancestors {frames}"
    )
    own = {} if origins else {"x-frame-options": "DENY"}
    return {
        "content-security-policy": policy,
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "x-robots-tag": "noindex",
        **own,
    }


def form_page(
    language: str,
    languages: Sequence[str],
    brand: str,
    offers: Sequence[Offer],
    *,
    asks_number: bool,
    wrong: str = "",
    ticked: Collection[str] = (),
    number: str = "",
) -> str:
    """The form; `wrong` names the text that says what to mend, then what was ticked and typed is kept."""
    say = TEXTS[language]
    problem = f'<p class="wrong" id="wrong" role="alert">{escape(say[wrong])}</p>' if wrong else ""
    boxes = "".join(_box(place, offer, offer.purpose in ticked) for place, offer in enumerate(offers))
    body = f"""<h1>{escape(say["heading"].format(brand=brand))}</h1>
<p>{escape(say["intro"])}</p>
{problem}<form method="post" action="?lang={language}" novalidate>
<fieldset><legend>{escape(say["boxes"])}</legend>{boxes}</fieldset>
{_number(say, number, is_wrong=wrong == "bad_number") if asks_number else ""}
<p><button type="submit">{escape(say["go_on"])}</button></p>
</form>"""
    return _page(language, say["heading"].format(brand=brand), body, _languages(say, language, languages))


def _box(place: int, offer: Offer, is_ticked: bool) -> str:
    notice, ticked = offer.notice, " checked" if is_ticked else ""
    return f"""<div class="box"><input type="checkbox" id="box{place}" name="purpose" value="{escape(offer.purpose)}"
 aria-describedby="notice{place}"{ticked}>
<div><label for="box{place}">{escape(offer.label)}</label>
<div id="notice{place}" lang="{escape(notice.language)}"><p class="notice">{escape(notice.text)}</p>
<p class="notice">{escape(notice.withdrawal_info)}</p></div>
<input type="hidden" name="notice.{escape(offer.purpose)}" value="{notice.id}"></div></div>"""


def _number(say: Mapping[str, str], number: str, *, is_wrong: bool) -> str:
    described = "hint wrong" if is_wrong else "hint"
    invalid = ' aria-invalid="true"' if is_wrong else ""
    return f"""<label class="name" for="number">{escape(say["number"])}</label>
<input type="tel" id="number" name="number" autocomplete="tel" maxlength="40" value="{escape(number)}"
 aria-describedby="{described}"{invalid}>
<p class="hint" id="hint">{escape(say["number_hint"])}</p>"""


def _languages(say: Mapping[str, str], current: str, languages: Sequence[str]) -> str:
    if len(languages) < 2:
        return ""
    links = "".join(
        f'<a href="?lang={each}" lang="{each}" hreflang="{each}"{" aria-current=true" if each == current else ""}>'
        f"{NAMES[each]}</a>"
        for each in languages
    )
    return f'<nav aria-label="{escape(say["languages"])}">{links}</nav>'


def confirm_page(language: str, link: str, code: str, number: str) -> str:
    """What to do with the code: a link, the same as a QR code, and the code to type."""
    say = TEXTS[language]
    picture = segno.make(link, error="m").svg_inline(
        border=2, omitsize=True, title=say["qr"], dark="#000", light="#fff"
    )
    body = f"""<h1>{escape(say["confirm_heading"])}</h1>
<p>{escape(say["confirm_intro"])}</p>
<p><a class="open" href="{escape(link)}" target="_blank" rel="noopener noreferrer">{escape(say["open"])}</a></p>
<p>{escape(say["scan"])}</p>
<div class="qr" role="img" aria-label="{escape(say["qr"])}">{picture}</div>
<p>{escape(say["by_hand"].format(number=number))}<br><code>{escape(code)}</code></p>
<p class="fine">{escape(say["until"])}</p>"""
    return _page(language, say["confirm_heading"], body)


def message(language: str, code: str) -> str:
    """What the person sends; the words around the code mean nothing."""
    return TEXTS[language]["message"].format(code=code)


def gone_page(language: str) -> str:
    say = TEXTS[language]
    body = f"<h1>{escape(say['gone_heading'])}</h1><p>{escape(say['gone'])}</p>"
    return _page(language, say["gone_heading"], body)


def wait_page(language: str, seconds: int) -> str:
    say = TEXTS[language]
    body = f'<p class="wrong" role="alert">{escape(say["too_many"].format(minutes=-(-seconds // 60)))}</p>'
    return _page(language, say["gone_heading"], body)


def _page(language: str, title: str, body: str, after: str = "") -> str:
    return f"""<!doctype html>
<html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title><style>{STYLE}</style></head>
<body><main>{body}</main>{after}</body></html>"""
