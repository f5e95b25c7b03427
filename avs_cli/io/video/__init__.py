"""Videos and pictures: finding, decoding and sampling them, in processes of their own."""
