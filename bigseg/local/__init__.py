"""NumPy in, NumPy out, one block: kernels that know no store, no volume and no Dask."""
