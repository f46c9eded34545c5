"""Physical goods: stock, routing, shipments and the order backends."""
