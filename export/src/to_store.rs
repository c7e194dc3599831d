//! An image into the store under its names.

use cache::Store;
use oci::Reference;

use crate::{Error, Image};

/// Makes each of `names` mean `image` in the store, which then keeps what the image needs.
///
/// # Errors
/// If the store fails.
pub fn to_store(store: &Store, image: &Image, names: &[Reference]) -> Result<(), Error> {
    for name in names {
        store.tag(name, &image.manifest)?;
    }
    Ok(())
}
