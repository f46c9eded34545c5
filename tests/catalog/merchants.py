"""A small merchant as files on the disk, to be changed by the tests."""

from __future__ import annotations

from pathlib import Path

from tests.catalog.glbs import cube

MERCHANT = """\
merchant:
  slug: shop
  name: The Shop
  country: DE
  currencies: [EUR, JPY, KWD]
  shipping:
    - countries: [DE, AT]
      prices: {EUR: "4.90", JPY: "800", KWD: "1.400"}
      free_from: {EUR: "100.00"}
      days: [1, 3]
  locations:
    - {code: main, name: Main, kind: warehouse, country: DE, priority: 10}
    - {code: store, name: Store, kind: store, country: DE}
  places:
    - code: hall
      kind: virtual_shop
      name: {en: The Hall}
      placements:
        - {sku: BOX-1, position_m: [1, 0, -2.5], yaw_deg: 90}
"""

PRODUCT = """\
product:
  handle: box
  title: {en: A box, de: Eine Kiste}
  failure_policy: digital_first
  tax: {digital: digital_standard, physical: goods_standard}
  variants:
    - sku: BOX-1
      options: {colour: red}
      offers:
        digital:
          prices: {EUR: "12.90", JPY: "1500", KWD: "1.250"}
        physical:
          prices: {EUR: "20.00"}
        bundle:
          prices: {EUR: "30.00"}
          digital_share_percent: 30
      digital:
        delivery: token
        model: box.glb
        edition: {kind: capped, cap: 100}
        royalty_bps: 250
        license: Be kind.
      physical:
        weight_g: 900
        size_mm: [200, 100, 300]
        stock: {main: 5, store: 1}
"""


class Folder:
    """A merchant's folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("products", "models"):
            (path / name).mkdir(parents=True)
        self.merchant(MERCHANT)
        self.product(PRODUCT)
        self.model("box.glb", cube())

    def merchant(self, text: str) -> None:
        (self.path / "merchant.yaml").write_text(text, "utf-8")

    def product(self, text: str, name: str = "box.yaml") -> None:
        (self.path / "products" / name).write_text(text, "utf-8")

    def model(self, name: str, data: bytes) -> None:
        (self.path / "models" / name).write_bytes(data)
