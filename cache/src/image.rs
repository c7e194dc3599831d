//! Images by name: which manifest or index a name stands for. Documents and layers are blobs.

use oci::{Descriptor, Reference};
use rusqlite::{OptionalExtension, Row, params};

use crate::error::index_failed;
use crate::lease::Hold;
use crate::store::{LAST_USE_GRAIN, now};
use crate::{Error, Store};

/// An image with a name in this store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// The name.
    pub name: Reference,
    /// Its manifest, or an index of several.
    pub manifest: Descriptor,
    /// When the name was given, in Unix seconds; again the same, it counts only after a while.
    pub updated: i64,
}

impl Store {
    /// Lets `name` stand for `manifest`. What the manifest points at is kept as long as the name is.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn tag(&self, name: &Reference, manifest: &Descriptor) -> Result<(), Error> {
        let known = self.read_image(name)?;
        // A build that finds everything done writes nothing.
        let plain = Descriptor::new(&manifest.media_type, manifest.digest, manifest.size);
        if known.is_some_and(|known| known.manifest == plain && now() - known.updated <= LAST_USE_GRAIN) {
            return Ok(());
        }
        self.index().write("name an image", |transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO images (name, media_type, digest, size, updated) VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    name.to_string(),
                    manifest.media_type,
                    manifest.digest.to_string(),
                    manifest.size.cast_signed(),
                    now()
                ],
            )
        })?;
        Ok(())
    }

    /// Takes a name away; says whether there was one. Its blobs stay until the next [`Store::prune`].
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn untag(&self, name: &Reference) -> Result<bool, Error> {
        let removed = self.index().write("take a name away", |transaction| {
            transaction.execute("DELETE FROM images WHERE name = ?1", params![name.to_string()])
        })?;
        Ok(removed > 0)
    }

    /// What `name` stands for. All that this leads to stays as long as this process, whatever becomes of the name.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn image(&self, name: &Reference) -> Result<Option<StoredImage>, Error> {
        self.find_and_hold(|| {
            let image = self.read_image(name)?;
            Ok(image.map(|image| (Hold::Image(image.manifest.clone()), image)))
        })
    }

    fn read_image(&self, name: &Reference) -> Result<Option<StoredImage>, Error> {
        let found = self
            .index()
            .read()
            .query_row(
                "SELECT name, media_type, digest, size, updated FROM images WHERE name = ?1",
                params![name.to_string()],
                |row| Ok(stored_image(row)),
            )
            .optional()
            .map_err(index_failed("look for an image"))?;
        Ok(found.flatten())
    }

    /// All named images, by name. Who wants to use one asks for it again by its name: until then others may remove it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>, Error> {
        let connection = self.index().read();
        let list = || {
            let mut statement =
                connection.prepare("SELECT name, media_type, digest, size, updated FROM images ORDER BY name")?;
            let rows = statement.query_map([], |row| Ok(stored_image(row)))?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let images = list().map_err(index_failed("list images"))?;
        Ok(images.into_iter().flatten().collect())
    }
}

/// A row that does not read as an image names none.
fn stored_image(row: &Row<'_>) -> Option<StoredImage> {
    let text = |column: usize| row.get::<_, String>(column).ok();
    let number = |column: usize| row.get::<_, i64>(column).ok();
    Some(StoredImage {
        name: text(0)?.parse().ok()?,
        manifest: Descriptor::new(&text(1)?, text(2)?.parse().ok()?, number(3)?.cast_unsigned()),
        updated: number(4)?,
    })
}
