"""Feature stores: the HDF5 schema, reading, writing, and galleries of many stores."""
