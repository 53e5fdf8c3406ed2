"""The Dask executor, and finding or starting the cluster it runs on: the only package that imports distributed."""
