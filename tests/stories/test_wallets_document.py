"""A stranger copies the program of docs/wallets.md, and the call of the README, and links a wallet."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

from tests.documents.tables import ROOT
from tests.support.gateway import Customer, OpenGateway

WALLETS = (ROOT / "docs" / "wallets.md").read_text()
(PROGRAM,) = re.findall(r"^```python\n(.*?)^```$", WALLETS, re.DOTALL | re.MULTILINE)
(MESSAGE,) = re.findall(r"^```text\n(.*?)\n```$", WALLETS, re.DOTALL | re.MULTILINE)
(CALL,) = re.findall(
    r"^(curl -s \S+/v1/wallet/links/begin .*?)\n```$",
    (ROOT / "README.md").read_text(),
    re.DOTALL | re.MULTILINE,
)
SAMPLE = "127.0.0.1:8080"


def filled(text: str, shop: OpenGateway, customer: Customer) -> str:
    """Put in the gateway's address and the token, as the documents ask for."""
    assert text.count(f"http://{SAMPLE}") == 1
    assert re.search(r'"TOKEN"|Bearer TOKEN', text)
    text = text.replace(f"http://{SAMPLE}", shop.base_url)
    return text.replace('"TOKEN"', f'"{customer.token}"').replace("Bearer TOKEN", f"Bearer {customer.token}")


async def said(*command: str, folder: Path) -> str:
    """Run a program to its end and return what it printed."""
    # A gateway on this machine is not behind a proxy.
    own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(*command, cwd=folder, env=own, stdout=PIPE, stderr=STDOUT)
    output, _ = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0, output.decode()
    return output.decode()


def shape(message: str, site: str) -> str:
    """Return a message to sign with words in the place of everything that differs from one to the next."""
    message = message.replace(site, SAMPLE)
    for label in ("Chain ID", "Nonce", "Issued At", "Expiration Time"):
        word = label.upper().replace(" ", "_")
        message = re.sub(rf"^{label}: \S+$", f"{label}: {word}", message, flags=re.MULTILINE)
    for owner in ("customer", "device"):
        message = re.sub(rf"urn:vitrine:{owner}:\S+", f"urn:vitrine:{owner}:{owner.upper()}_ID", message)
    return re.sub(r"0x[0-9A-Fa-f]{40}", "ADDRESS", message)


async def test_the_program_of_the_document_links_a_wallet(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer()
    program = tmp_path / "link.py"
    program.write_text(filled(PROGRAM, shop, customer))
    output = await said(sys.executable, str(program), folder=tmp_path)
    message, _, rest = output.partition(" \n\nlinked: ")
    assert shape(message, shop.base_url.removeprefix("http://")) == shape(MESSAGE, SAMPLE)
    headers = {"Authorization": f"Bearer {customer.token}"}
    (wallet,) = (await shop.http.get("/v1/wallet/links", headers=headers)).json()["wallets"]
    assert rest == f"{wallet}\nall links: [{wallet}]\n"
    assert wallet["kind"] == "key" and wallet["address"] in message
    await shop.check()


async def test_the_call_of_the_readme_gives_a_message_to_sign(shop: OpenGateway, tmp_path: Path) -> None:
    customer = await shop.customer()
    output = await said("sh", "-c", filled(CALL, shop, customer), folder=tmp_path)
    (address,) = re.findall(r'"address":"(\w+)"', CALL)
    assert f"Ethereum account:\\n{address}\\n" in output, output
    await shop.check()
