//! An HTTP service on Recstore.
fn main() {}
