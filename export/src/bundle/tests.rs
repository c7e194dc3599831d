use super::*;
use crate::Annotation;
use crate::testing::{self, Unheard, alone, assembly, two};

#[test]
fn an_index_keeps_the_order_and_loads_as_it_was_made() {
    let (_directory, store) = testing::store();
    let made = two(&store, &assembly(Media::Oci));
    let loaded = Bundle::load(&store, &made.root).unwrap();
    assert_eq!(format!("{made:?}"), format!("{loaded:?}"));
    let platforms: Vec<String> = made.images.iter().map(|image| image.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/arm64", "linux/amd64"]);
    assert!(made.single_image().is_none());
    assert_eq!(made.id(), made.root.digest);
    let alone = alone(&store, &assembly(Media::Oci));
    assert_eq!(alone.id(), alone.images[0].config.digest);
    assert_eq!(Bundle::load(&store, &alone.root).unwrap().id(), alone.id());
}

#[test]
fn what_images_share_is_one_part_and_documents_end_with_the_index() {
    let (_directory, store) = testing::store();
    let bundle = two(&store, &assembly(Media::Oci));
    assert_eq!(bundle.content(&store).unwrap().len(), 3);
    let documents = bundle.documents(&store).unwrap();
    assert_eq!(documents.len(), 3);
    assert_eq!(documents[2].descriptor.digest, bundle.root.digest);
}

#[test]
fn annotations_and_times_are_where_they_belong() {
    let (_directory, store) = testing::store();
    let mut how = assembly(Media::Oci);
    how.epoch = Some(1);
    for text in ["m=1", "manifest-descriptor:d=2", "index:i=3", "index-descriptor:r=4"] {
        how.annotations.0.extend(Annotation::parse(text).unwrap());
    }
    let bundle = two(&store, &how);
    let root: Vec<&str> = bundle.root.annotations.keys().map(String::as_str).collect();
    assert_eq!(root, [CREATED, "r"]);
    let text = String::from_utf8(image::read_blob(&store, &bundle.root.digest).unwrap()).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(index["annotations"], serde_json::json!({"i": "3"}));
    assert_eq!(index["manifests"][0]["annotations"], serde_json::json!({"d": "2"}));
    let manifest = image::read_blob(&store, &bundle.images[0].manifest.digest).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["annotations"], serde_json::json!({"m": "1"}));
    let single = Bundle::single(bundle.images[0].clone(), &how.annotations, None);
    let told = "index annotations not supported for single platform export";
    assert_eq!(single.unwrap_err().to_string(), told);
}

#[test]
fn docker_has_a_type_of_its_own_for_an_index() {
    let (_directory, store) = testing::store();
    let bundle = two(&store, &assembly(Media::Docker));
    assert_eq!(bundle.root.media_type, media_type::DOCKER_INDEX);
    let archive = crate::to_docker_archive(&store, &bundle, &[], Vec::new(), &Unheard);
    assert!(matches!(archive, Err(Error::ManifestList)));
}
