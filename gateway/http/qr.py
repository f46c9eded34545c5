"""An address as a QR code, for a second screen."""

from __future__ import annotations

from io import BytesIO


def qr_svg(address: str, title: str) -> bytes:
    """Return a QR code as SVG: dark on white with its quiet zone, whatever is behind."""
    # Loaded here: most gateways never draw one.
    import segno

    made = BytesIO()
    segno.make(address, error="m", micro=False).save(
        made, kind="svg", scale=8, border=4, dark="#000", light="#fff", xmldecl=False, title=title
    )
    return made.getvalue()
