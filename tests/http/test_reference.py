"""The page that describes the HTTP API: complete, and nothing on it can run or comes from elsewhere."""

from __future__ import annotations

import re

from gateway.http.reference import reference_page


async def test_the_page_names_every_operation_of_the_document(api):
    page = (await api.http.get("/docs")).text
    document = (await api.http.get("/v1/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()}</span> <code>{path}</code>" in page


async def test_nothing_on_the_page_runs_or_comes_from_elsewhere(api):
    answer = await api.http.get("/docs")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script" not in answer.text
    assert all(
        address.startswith(("/", "#")) for address in re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    )
    styles = await api.http.get("/docs/reference.css")
    assert styles.headers["content-type"].startswith("text/css")
    assert "url(" not in styles.text and "@import" not in styles.text


async def test_whoever_opens_the_gateway_in_a_browser_finds_it(api):
    assert (await api.http.get("/")).headers["location"] == "/docs"


def test_fields_of_inner_objects_and_what_they_may_be_are_shown_and_text_is_escaped():
    page = reference_page(
        {
            "info": {"title": "<Shop>"},
            "paths": {
                "/v1/things/{id}": {
                    "put": {
                        "tags": ["merchant"],
                        "description": "Change a <thing>.\n\nAll of ``it`` & at once.",
                        "parameters": [
                            {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                            {"name": "Authorization", "in": "header", "schema": {"type": "string"}},
                        ],
                        "requestBody": {
                            "content": {
                                "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}
                            }
                        },
                        "responses": {"200": {}, "422": {}},
                    }
                }
            },
            "components": {
                "schemas": {
                    "Thing": {
                        "type": "object",
                        "required": ["price"],
                        "properties": {
                            "price": {"$ref": "#/components/schemas/Price"},
                            "names": {"type": "array", "items": {"type": "string", "maxLength": 9}},
                            "kind": {"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]},
                        },
                    },
                    "Price": {
                        "type": "object",
                        "properties": {"minor": {"type": "integer", "minimum": 0, "maximum": 5}},
                    },
                }
            },
        }
    )
    assert (
        "&lt;Shop&gt;" in page
        and "Change a &lt;thing&gt;." in page
        and "All of <code>it</code> &amp; at once." in page
    )
    assert "<code>price.minor</code>" in page and "integer, 0 to 5" in page
    assert "list of string, at most 9 characters" in page and "a | b or null" in page
    assert "Authorization" not in page and "Answers 200;" in page
