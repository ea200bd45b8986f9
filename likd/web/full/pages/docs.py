"""The description of the API as a page: what is sent and what is returned, field by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import msgspec
from quart import Response
from quart_trio import QuartTrio

from likd.web.access.tokens import Role
from likd.web.full.auth import needs
from likd.web.full.pages.render import Pages

_Schema = Mapping[str, Any]


@attrs.frozen
class Field:
    """One field of a schema. `of` is the name of its own schema, "" if it has none; `path` is "" for the whole."""

    path: str
    kind: str
    of: str
    required: bool
    description: str


def add_docs(app: QuartTrio, *, pages: Pages, description: _Schema) -> None:
    """Add the page for the API that `description` (OpenAPI) describes."""

    def resolve(part: _Schema) -> _Schema:
        while "$ref" in part:
            found: Any = description
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part

    @app.get("/docs")
    @needs(Role.NOBODY)
    async def docs() -> Response:
        return await pages(
            "docs.html",
            api=description,
            resolve=resolve,
            fields=lambda schema: list(fields(schema)),
            example_text=lambda value: msgspec.json.encode(value).decode(),
        )


def fields(schema: _Schema, path: str = "", *, required: bool = True) -> Iterator[Field]:
    """The fields of `schema`, those of nested objects by path; a named schema is one field."""
    if "$ref" in schema:
        yield Field(path, "", _name(schema), required, schema.get("description", ""))
        return
    for keyword in ("oneOf", "anyOf"):
        if keyword in schema:
            for alternative in schema[keyword]:
                yield from fields(alternative, path, required=required)
            return
    if "properties" in schema:
        if path:
            yield Field(path, "object", "", required, schema.get("description", ""))
        for name, each in schema["properties"].items():
            yield from fields(each, f"{path}.{name}" if path else name, required=name in schema.get("required", ()))
    elif schema.get("type") == "array" and "items" in schema:
        items = schema["items"]
        if "$ref" in items:
            yield Field(path, "array of", _name(items), required, schema.get("description", ""))
        else:
            yield from fields(items, f"{path}[]", required=required)
    else:
        yield Field(path, _kind(schema), "", required, _told(schema))


def _name(schema: _Schema) -> str:
    name: str = schema["$ref"].rpartition("/")[2]
    return name


def _kind(schema: _Schema) -> str:
    kind = schema.get("type", "any")
    kind = " or ".join(kind) if isinstance(kind, list) else kind
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _told(schema: _Schema) -> str:
    """The description, and the limits of the value."""
    said = [schema["description"]] if "description" in schema else []
    if "enum" in schema:
        said.append(f"One of {', '.join(map(str, schema['enum']))}.")
    bounds = (("minimum", "At least {}."), ("maximum", "At most {}."), ("maxLength", "At most {} characters."))
    said += [text.format(schema[keyword]) for keyword, text in bounds if keyword in schema]
    if "default" in schema:
        said.append(f"Default {schema['default']}.")
    return " ".join(said)
