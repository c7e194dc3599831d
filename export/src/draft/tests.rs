use std::sync::atomic::AtomicBool;

use super::*;
use crate::testing::{self, Unheard, assembly, config};
use crate::{Assembly, Image, Media, assemble, to_layout_archive};

/// What is worth a draft, and cannot be compressed before that shows.
const LARGE: usize = 32 << 20;

/// A tree of one more file of noise.
fn tree(store: &Store, parent: Option<&Snapshot>, (name, size): (&str, usize)) -> Snapshot {
    let active = store.prepare(parent).unwrap();
    let noise = (0..size / 32).flat_map(|n| *Digest::of(format!("{name} {n}").as_bytes()).raw());
    std::fs::write(active.upper().join(name), noise.collect::<Vec<u8>>()).unwrap();
    active.commit().unwrap()
}

fn image(store: &Store, tree: &Snapshot, how: &Assembly) -> Image {
    assemble(store, Some(tree), config(), how, &Unheard).unwrap()
}

fn begin(store: &Store, tree: &Snapshot, how: &Assembly, dest: &Path, go_on: GoOn) -> Draft {
    Draft::begin(store, tree, (how.compression, false), dest, go_on).unwrap()
}

fn without_end() -> GoOn {
    Arc::new(|| Ok(()))
}

/// What the archive of a bundle is without a draft.
fn plain(store: &Store, bundle: &Bundle) -> Vec<u8> {
    let mut bytes = Vec::new();
    to_layout_archive(store, bundle, &[], &mut bytes, &Unheard).unwrap();
    bytes
}

#[test]
fn an_archive_begun_early_is_the_same() {
    let (directory, store) = testing::store();
    let how = assembly(Media::Oci);
    let small = tree(&store, None, ("small", 1000));
    let made = tree(&store, Some(&small), ("made", 1000));
    image(&store, &made, &how);
    let large = tree(&store, Some(&made), ("large", LARGE));
    let top = tree(&store, Some(&large), ("top", 1000));
    let dest = directory.path().join("below/image.tar");
    let draft = begin(&store, &top, &how, &dest, without_end());
    let bundle = Bundle::from(image(&store, &top, &how));
    let begun = draft.finish().expect("a large layer was seen growing");
    for layer in &bundle.images[0].layers {
        assert!(begun.has(&layer.digest));
    }
    begun
        .complete(&store, (&bundle, &[]), ArchiveForm::Oci, &Unheard)
        .unwrap();
    assert!(std::fs::read(&dest).unwrap() == plain(&store, &bundle));
    assert_eq!(std::fs::read_dir(dest.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn what_the_image_does_not_agree_with_is_written_anew() {
    let (directory, store) = testing::store();
    let how = assembly(Media::Oci);
    let small = tree(&store, None, ("small", 1000));
    let large = tree(&store, Some(&small), ("large", LARGE));
    let other = tree(&store, Some(&small), ("other", 2000));
    let dest = directory.path().join("image.tar");
    let draft = begin(&store, &large, &how, &dest, without_end());
    image(&store, &large, &how);
    let bundle = Bundle::from(image(&store, &other, &how));
    let begun = draft.finish().expect("a large layer was seen growing");
    begun
        .complete(&store, (&bundle, &[]), ArchiveForm::Oci, &Unheard)
        .unwrap();
    assert!(std::fs::read(&dest).unwrap() == plain(&store, &bundle));
}

#[test]
fn a_draft_that_is_given_up_leaves_nothing() {
    let (directory, store) = testing::store();
    let how = assembly(Media::Oci);
    let large = tree(&store, None, ("large", LARGE));
    let dest = directory.path().join("here/image.tar");
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let go_on: GoOn = Arc::new(move || match seen.load(Ordering::Relaxed) {
        true => Err(io::Error::other("enough")),
        false => Ok(()),
    });
    drop(begin(&store, &large, &how, &dest, Arc::clone(&go_on)));
    let draft = begin(&store, &large, &how, &dest, go_on);
    is_over.store(true, Ordering::Relaxed);
    image(&store, &large, &how);
    assert!(draft.finish().is_none());
    assert_eq!(std::fs::read_dir(dest.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn small_layers_and_what_is_no_file_get_no_draft() {
    let (directory, store) = testing::store();
    let how = assembly(Media::Oci);
    let small = tree(&store, None, ("small", 1000));
    let dest = directory.path().join("image.tar");
    let draft = begin(&store, &small, &how, &dest, without_end());
    image(&store, &small, &how);
    assert!(draft.finish().is_none());
    for place in ["/dev/null", "/"] {
        let form = (how.compression, false);
        assert!(Draft::begin(&store, &small, form, Path::new(place), without_end()).is_none());
    }
}
