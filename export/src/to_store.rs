//! An image or an index into the store under its names.

use cache::Store;
use oci::Reference;

use crate::{Bundle, Error};

/// Makes each of `names` mean `bundle` in the store, which then keeps what it needs.
///
/// # Errors
/// If the store fails.
pub fn to_store(store: &Store, bundle: &Bundle, names: &[Reference]) -> Result<(), Error> {
    for name in names {
        store.tag(name, &bundle.root)?;
    }
    Ok(())
}
