"""Small 3D models written as code: shapes, materials and a GLB writer."""
