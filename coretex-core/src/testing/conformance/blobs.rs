//! What every adapter of the blobs port must do.
