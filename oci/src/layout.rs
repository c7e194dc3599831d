//! OCI layouts.
/// placeholder
#[derive(Debug)]
pub struct Layout;
