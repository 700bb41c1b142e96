"""Artifacts as tools upload them: a small application, minified by esbuild 0.27, with its source map, and bundles."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from typing import Any

from schemas.artifacts.bundle import read_bundle
from schemas.artifacts.entry import BUNDLE, Artifact
from schemas.artifacts.zip_directory import ZipLimits

DEBUG_ID = "6a1d6b0e-6f2f-5c3f-9f7a-8c1f6a3f2b10"
MINIFIED = (
    '(()=>{function e(o,t){if(!t)throw new TypeError("no item to add to "+o.name);return o.items.push(t),o}'
    'function r(o,t){for(let n of t)e(o,n)}function i(){r({name:"basket",items:[]},["book",void 0])}'
    "globalThis.start=i;})();\n//# sourceMappingURL=app.min.js.map\n"
)
SHOP = """export function addToBasket(basket, item) {
  if (!item) {
    throw new TypeError("no item to add to " + basket.name);
  }
  basket.items.push(item);
  return basket;
}
"""
INDEX = """import { addToBasket } from "./shop.js";

function checkout(basket, items) {
  for (const item of items) {
    addToBasket(basket, item);
  }
}

export function start() {
  checkout({ name: "basket", items: [] }, ["book", undefined]);
}
globalThis.start = start;
"""
MAPPINGS = (
    "MAAO,SAASA,EAAYC,EAAQC,EAAM,CACxC,GAAI,CAACA,EACH,MAAM,IAAI,UAAU,qBAAuBD,EAAO,IAAI,EAExD,OAAAA,EAAO,"
    "MAAM,KAAKC,CAAI,EACfD,CACT,CCJA,SAASE,EAASC,EAAQC,EAAO,CAC/B,QAAWC,KAAQD,EACjBE,EAAYH,EAAQE,CAAI,CAE"
    "5B,CAEO,SAASE,GAAQ,CACtBL,EAAS,CAAE,KAAM,SAAU,MAAO,CAAC,CAAE,EAAG,CAAC,OAAQ,MAAS,CAAC,CAC7D,CACA,WAA"
    "W,MAAQK"
)
NAMES: list[str] = ["addToBasket", "basket", "item", "checkout", "basket", "items", "item", "addToBasket", "start"]
# (line, column) of each call in the minified file, both from 1: thrown in addToBasket, called by checkout, by start.
THROWN, LOOP, START = ((1, 29), (1, 134), (1, 154))


def source_map(**more: Any) -> bytes:
    """The source map of MINIFIED."""
    fields = {"version": 3, "sources": ["../src/shop.js", "../src/index.js"], "sourcesContent": [SHOP, INDEX]}
    return json.dumps({**fields, "mappings": MAPPINGS, "names": NAMES, **more}).encode()


def inlined(minified: str = MINIFIED) -> str:
    """The minified file with its map inside."""
    data = base64.b64encode(source_map()).decode()
    return minified.partition("//# source")[0] + f"//# sourceMappingURL=data:application/json;base64,{data}\n"


def entry(kind: str, url: str, **headers: str) -> dict[str, Any]:
    """A file in a manifest."""
    return {"type": kind, "url": url, "headers": headers}


def _member(path: str) -> zipfile.ZipInfo:
    """With a time of its own: the same files are the same bytes whenever they are packed."""
    made = zipfile.ZipInfo(path, (2026, 1, 1, 0, 0, 0))
    made.compress_type = zipfile.ZIP_DEFLATED
    return made


def bundle_bytes(files: dict[str, tuple[dict[str, Any], bytes]], **manifest: Any) -> bytes:
    """An artifact bundle of these files: path -> (what the manifest says, content)."""
    packed = io.BytesIO(b"SYSB\x02\0\0\0")
    packed.seek(8)
    with zipfile.ZipFile(packed, "a", zipfile.ZIP_DEFLATED) as archive:
        for path, (_, content) in files.items():
            archive.writestr(_member(path), content)
        described = {path: about for path, (about, _) in files.items()}
        archive.writestr(_member("manifest.json"), json.dumps({"files": described, **manifest}))
    return packed.getvalue()


def app_bundle(base_url: str = "~/static", debug_id: str = DEBUG_ID, **manifest: Any) -> bytes:
    """The application's minified file and its map, as `sentry-cli sourcemaps upload` packs them."""
    named = {"debug-id": debug_id} if debug_id else {}
    return bundle_bytes(
        {
            "files/_/_/static/app.min.js": (
                entry("minified_source", f"{base_url}/app.min.js", Sourcemap="app.min.js.map", **named),
                MINIFIED.encode(),
            ),
            "files/_/_/static/app.min.js.map": (
                entry("source_map", f"{base_url}/app.min.js.map", **named),
                source_map(),
            ),
        },
        **manifest,
    )


def artifact_of(data: bytes, *, organisation: str = "default", release: str = "", **more: Any) -> Artifact:
    """The artifact of a bundle that is stored as one chunk."""
    sha1 = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    bundle = read_bundle(io.BytesIO(data), ZipLimits())
    fields: dict[str, Any] = {
        "organisation": organisation,
        "sha1": sha1,
        "kind": BUNDLE,
        "release": release or bundle.release,
        "dist": bundle.dist,
        "channel_ids": (),
        "label": "",
        "size_bytes": len(data),
        "uploaded_at_ns": 1,
        "chunks": ((sha1, len(data)),),
        "files": bundle.files,
    }
    return Artifact(**{**fields, **more})


def frame(place: tuple[int, int], function: str, abs_path: str = "https://shop.example/static/app.min.js") -> Any:
    """A frame as the browser SDK sends it."""
    line, column = place
    return {
        "abs_path": abs_path,
        "filename": abs_path,
        "function": function,
        "lineno": line,
        "colno": column,
        "in_app": True,
    }


def browser_event(*, debug_id: str = "", abs_path: str = "https://shop.example/static/app.min.js", **more: Any) -> Any:
    """The error of the application, as the browser SDK sends it."""
    frames = [frame(START, "i", abs_path), frame(LOOP, "r", abs_path), frame(THROWN, "e", abs_path)]
    error = {"type": "TypeError", "value": "no item to add to basket", "stacktrace": {"frames": frames}}
    images = [{"type": "sourcemap", "code_file": abs_path, "debug_id": debug_id}] if debug_id else []
    event = {"platform": "javascript", "exception": {"values": [error]}, "event_id": "f" * 32, **more}
    return {**event, "debug_meta": {"images": images}} if images else event


# A mapping of R8 as the Android build makes it, and what `sentry-cli debug-files check` calls it.
MAPPING = b"""# compiler: R8
# compiler_version: 8.1.56
com.example.shop.Basket -> a.b.c:
    int count -> a
    1:1:void add(java.lang.String):14:14 -> a
    2:3:void addAll(java.util.List):20:21 -> b
    2:3:void checkout():30 -> b
com.example.shop.EmptyItemException -> a.b.d:
"""
PROGUARD_ID = "8bf80eeb-eb34-53af-9efb-a648a0cfdcf6"
