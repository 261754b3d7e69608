"""The form of a webhook source: who signs how, which field is where in their JSON, and a body to try it with."""

import json
from typing import Any

import polars as pl
import streamlit as st

from core.settings import get_settings
from dashboard import controls, session, words
from dashboard.payloads import Json
from dashboard.sources_client import Field, Source, Tried

SCHEMES = {
    "standard": "Standard Webhooks (webhook-signature)",
    "hmac_hex": "HMAC of the body, hex (as GitHub)",
    "hmac_base64": "HMAC of the body, base64 (as Shopify)",
}
MAKES = {"contact": "People", "order": "Orders and refunds", "event": "Events: what people did"}
MEMBERSHIPS = {"add": "put on it", "remove": "taken off it", "mapped": "as the field “member” says"}
START = {
    "contact": {"phone": "phone", "name": "first_name + last_name"},
    "order": {
        "order_id": "id",
        "occurred_at": "created_at",
        "amount": "total_price",
        "currency": "currency",
        "phone": "customer.phone | phone",
    },
    "event": {"event": "event", "occurred_at": "timestamp", "event_id": "id", "phone": "phone"},
}
HELP = """`customer.addresses[0].country` leads into their JSON, `["a name with.dots"]` names what has odd letters,
`first | second` takes the first that is not blank, `first + last` joins two with a blank, `=DE` is the text DE itself.
What leads nowhere leaves the field as it is."""


def form(source: Source | None, fields: list[Field]) -> None:
    """Made anew, or changed; saved when the button is pressed."""
    tag = source.id if source else "new"
    wanted = _wanted(source, fields, tag)
    secret = ""
    if source is None:
        secret = st.text_input(
            "Their own secret",
            key=f"source_secret_{tag}",
            type="password",
            help="Only for systems that give you a secret, as Shopify does. Left empty, Kairan makes one for you.",
        )
    _try(wanted, tag)
    if st.button("Save" if source else "Add", type="primary", key=f"source_save_{tag}"):
        if source is None:
            body = {**wanted, "secret": secret.strip()} if secret and secret.strip() else wanted
            made = session.sources().add(body, controls.once_key("source"))
            controls.done_with("source")
            st.session_state["made_source"] = made
        else:
            session.sources().change(source.id, wanted)
            st.session_state["edited_source"] = None
        st.rerun()


def _wanted(source: Source | None, fields: list[Field], tag: str) -> Json:
    """What the form says, as the API takes it."""
    name = st.text_input(
        "Name", source.name if source else "", key=f"source_name_{tag}", max_chars=100, placeholder="Shop: customers"
    )
    left, right = st.columns(2)
    with left:
        makes = st.selectbox(
            "It brings",
            list(MAKES),
            list(MAKES).index(source.makes) if source else 0,
            format_func=MAKES.__getitem__,
            key=f"source_makes_{tag}",
        )
    with right:
        scheme = st.selectbox(
            "Signed with",
            list(SCHEMES),
            list(SCHEMES).index(source.scheme) if source else 0,
            format_func=SCHEMES.__getitem__,
            key=f"source_scheme_{tag}",
            disabled=source is not None,
        )
    headers = _headers(source, scheme, tag)
    st.markdown("**Where is it in their JSON?**")
    st.caption(HELP)
    mapping = _mapping(source, makes, [field for field in fields if field.makes == makes], tag)
    left, right = st.columns(2)
    with left:
        items = st.text_input(
            "Path of the list, if it sends several at once",
            (source.items if source else None) or "",
            key=f"source_items_{tag}",
            placeholder="results",
        )
    with right:
        region = st.text_input(
            "Country of numbers without a prefix",
            (source.region if source else None) or "",
            key=f"source_region_{tag}",
            max_chars=2,
            placeholder=get_settings().country,
        )
    filled = {"items": items.strip() or None, "region": region.strip().upper() or None}
    lists = _membership(source, tag) if makes == "contact" else {}
    return {"name": name.strip(), "makes": makes, "scheme": scheme, "mapping": mapping, **headers, **filled, **lists}


def _headers(source: Source | None, scheme: str, tag: str) -> Json:
    if scheme == "standard":
        return {}
    usual = "X-Hub-Signature-256" if scheme == "hmac_hex" else "X-Shopify-Hmac-Sha256"
    left, right = st.columns(2)
    with left:
        signature = st.text_input(
            "Header with the signature",
            (source.signature_header if source else None) or "",
            key=f"source_signature_{tag}",
            placeholder=usual,
        )
    with right:
        known = st.text_input(
            "Header with the delivery's id",
            (source.id_header if source else None) or "",
            key=f"source_id_header_{tag}",
            placeholder="none: known by the body",
        )
    return {"signature_header": signature.strip() or None, "id_header": known.strip() or None}


def _mapping(source: Source | None, makes: str, fields: list[Field], tag: str) -> dict[str, str]:
    """Our field → path, edited as a table; `attributes.NAME` may be added below."""
    given = source.mapping if source and source.makes == makes else START[makes]
    listed = [field.name for field in fields]
    more = [name for name in given if name not in listed]
    meanings = {field.name: field.meaning + (" (needed)" if field.needed else "") for field in fields}
    rows = pl.DataFrame(
        {
            "Our field": [*listed, *more],
            "Path in their JSON": [given.get(name, "") for name in (*listed, *more)],
            "What it is": [meanings.get(name, "an attribute") for name in (*listed, *more)],
        }
    )
    edited = st.data_editor(
        rows,
        key=f"source_mapping_{tag}_{makes}",
        num_rows="dynamic" if makes == "contact" else "fixed",
        hide_index=True,
        disabled=["What it is"],
        width="stretch",
    )
    if makes == "contact":
        st.caption("For an attribute add a row, such as attributes.tier. Fields without a path stay as they are.")
    pairs = zip(edited["Our field"].to_list(), edited["Path in their JSON"].to_list(), strict=True)
    return {str(name).strip(): str(path).strip() for name, path in pairs if name and path and str(path).strip()}


def _membership(source: Source | None, tag: str) -> Json:
    lists = {each.id: each.name for each in session.client().audiences() if each.kind == "static"}
    known = source.audience_id if source else None
    options = ["", *lists, *([known] if known and known not in lists else [])]
    left, right = st.columns(2)
    with left:
        audience = st.selectbox(
            "List its people belong to",
            options,
            options.index(known or ""),
            format_func=lambda each: lists.get(each, "another list") if each else "none",
            key=f"source_audience_{tag}",
        )
    if not audience:
        return {}
    with right:
        way = (source.membership if source else None) or "add"
        membership = st.selectbox(
            "Its people are",
            list(MEMBERSHIPS),
            list(MEMBERSHIPS).index(way),
            format_func=MEMBERSHIPS.__getitem__,
            key=f"source_membership_{tag}",
        )
    return {"audience_id": audience, "membership": membership}


def _try(wanted: Json, tag: str) -> None:
    body = st.text_area(
        "A body to try it with",
        key=f"source_body_{tag}",
        height=180,
        placeholder='{"phone": "+49 170 1234567", "first_name": "Ana"}',
        help="Paste what the other system sends. Nothing is changed by trying.",
    )
    if st.button("Try it", key=f"source_try_{tag}", disabled=not (body or "").strip()):
        name = wanted["name"] or "new"
        st.session_state[f"source_tried_{tag}"] = session.sources().attempt({**wanted, "name": name}, body or "")
    tried = st.session_state.get(f"source_tried_{tag}")
    if isinstance(tried, Tried):
        show(tried)


def show(tried: Tried) -> None:
    """What a body would do, or did."""
    if tried.reason and not tried.items:
        st.error(f"Nothing can be read: {tried.reason}.")
        return
    controls.table(
        {
            "Item": [str(item.index + 1) for item in tried.items[:50]],
            "What follows": [words.plain(item.verdict) for item in tried.items[:50]],
            "Read as": [_values(item.values) for item in tried.items[:50]],
            "Why not": [item.reason or "" for item in tried.items[:50]],
        }
    )
    if len(tried.items) > 50:
        st.caption(f"The first 50 of {len(tried.items):,} items.")


def _values(values: dict[str, Any] | None) -> str:
    return json.dumps(values, ensure_ascii=False)[1:-1] if values else "nothing"
