"""HTTP edges: merchant API, customer read API, documents and health."""
