//! Pushing: what is there is not sent, what breaks is sent again, what is stored is what was sent.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use oci::{Descriptor, Fetch, Manifest, PortError, Push, media_type};

use crate::server::{Reply, Server, amd64, first};

struct Layer {
    _folder: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    descriptor: Descriptor,
}

fn layer(size: usize) -> Layer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer");
    let bytes: Vec<u8> = (0..size).map(|number| (number % 253) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let descriptor = Descriptor::of(media_type::LAYER, &bytes);
    Layer {
        _folder: folder,
        path,
        bytes,
        descriptor,
    }
}

/// Pushes the layer unless it is there; says whether it was sent, and how many bytes were told of.
async fn push(server: &Server, layer: &Layer) -> (Result<bool, PortError>, u64) {
    let told = AtomicU64::new(0);
    let sent = |count| {
        told.fetch_add(count, Ordering::Relaxed);
    };
    let name = server.reference("app:1");
    let client = server.client();
    let pushed = match client.find_blob(&name, &layer.descriptor, &[]).await {
        Ok(false) => client
            .push_blob(&name, &layer.descriptor, layer.path.clone(), &sent)
            .await
            .map(|()| true),
        found => found.map(|_| false),
    };
    (pushed, told.into_inner())
}

#[tokio::test]
async fn a_blob_is_sent_once() {
    let server = Server::plain().await;
    let layer = layer(3_000_000);
    let (pushed, told) = push(&server, &layer).await;
    assert_eq!((pushed.unwrap(), told), (true, 3_000_000));
    assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
    let put = &server.requests("PUT", "/blobs/")[0];
    assert_eq!(put.header("content-length"), Some("3000000"));
    assert_eq!(put.header("transfer-encoding"), None);
    let (pushed, told) = push(&server, &layer).await;
    assert_eq!((pushed.unwrap(), told), (false, 0));
}

#[tokio::test]
async fn an_upload_that_fails_starts_again_and_is_told_of_once() {
    for reply in [Reply::of(500, b""), Reply::of(429, b"").with("Retry-After", "1")] {
        let server = Server::start(first(2, "PUT", "/blobs/", move |_| reply.clone())).await;
        let layer = layer(1_000_000);
        let (pushed, told) = push(&server, &layer).await;
        assert_eq!((pushed.unwrap(), told), (true, 1_000_000));
        assert_eq!(server.requests("POST", "/uploads/").len(), 3);
        assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
    }
}

#[tokio::test]
async fn an_upload_whose_connection_breaks_starts_again() {
    let server = Server::plain().await;
    server.hang_up(2);
    let layer = layer(5_000_000);
    let (pushed, told) = push(&server, &layer).await;
    assert_eq!((pushed.unwrap(), told), (true, 5_000_000));
    assert_eq!(server.requests("POST", "/uploads/").len(), 3);
    assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
}

#[tokio::test]
async fn a_refused_upload_is_not_repeated() {
    let body = br#"{"errors":[{"code":"SIZE_INVALID","message":"too much"}]}"#;
    let server = Server::start(first(9, "PUT", "/blobs/", |_| Reply::of(413, body))).await;
    let error = push(&server, &layer(10)).await.0.unwrap_err();
    assert!(matches!(error, PortError::Protocol { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("413 Payload Too Large: SIZE_INVALID: too much"), "{text}");
    assert!(text.contains(&server.host) && !text.contains("_state"), "{text}");
    assert_eq!(server.requests("PUT", "/blobs/").len(), 1);
}

#[tokio::test]
async fn another_digest_than_was_sent_is_an_error() {
    let wrong = oci::Digest::of(b"else").to_string();
    let reply = Reply::of(201, b"").with("Docker-Content-Digest", &wrong);
    let server = Server::start(first(1, "PUT", "/blobs/", move |_| reply.clone())).await;
    let error = push(&server, &layer(10)).await.0.unwrap_err().to_string();
    assert!(
        error.contains(&format!("the registry says it stored `{}`", oci::Digest::of(b"else"))),
        "{error}"
    );
}

#[tokio::test]
async fn a_file_that_changed_is_not_sent() {
    let server = Server::plain().await;
    let layer = layer(10);
    std::fs::write(&layer.path, b"short").unwrap();
    let PortError::Content { source, .. } = push(&server, &layer).await.0.unwrap_err() else {
        panic!()
    };
    assert!(
        source.to_string().contains("has 5 bytes, its descriptor says 10"),
        "{source}"
    );
    assert!(server.requests("PUT", "").is_empty());
}

#[tokio::test]
async fn a_pushed_manifest_is_under_its_tag_and_its_digest() {
    let server = Server::plain().await;
    let image = server.image("source", "linux/amd64");
    let bytes = server.stored_manifest("source").unwrap().1;
    let client = server.client();
    client
        .push_manifest(&server.reference("app:new"), &image, &bytes)
        .await
        .unwrap();
    for name in ["app:new".to_owned(), format!("app@{}", image.digest)] {
        let resolved = client.resolve(&server.name(&name), &amd64()).await.unwrap();
        assert_eq!(resolved.root.digest, image.digest);
    }
    let put = &server.requests("PUT", "/manifests/")[0];
    assert_eq!(
        (put.path.as_str(), put.header("content-type")),
        ("/v2/app/manifests/new", Some(media_type::MANIFEST))
    );
    let pinned = server.reference("app:new").pinned(image.digest);
    client.push_manifest(&pinned, &image, &bytes).await.unwrap();
    assert!(
        server.requests("PUT", "/manifests/")[1]
            .path
            .ends_with(&image.digest.to_string())
    );
}

#[tokio::test]
async fn a_manifest_must_be_what_its_descriptor_says() {
    let server = Server::plain().await;
    let config = Descriptor::of(media_type::CONFIG, b"{}");
    let manifest = Manifest::new(media_type::MANIFEST, config, Vec::new());
    let descriptor = Descriptor::of(media_type::MANIFEST, b"else");
    let error = server
        .client()
        .push_manifest(&server.reference("app:1"), &descriptor, &manifest.to_bytes())
        .await;
    assert!(matches!(error, Err(PortError::Content { .. })), "{error:?}");
}

#[tokio::test]
async fn storage_that_cannot_be_asked_gets_an_upload() {
    let server = Server::start(|request| {
        request
            .is("HEAD", "/blobs/")
            .then(|| Reply::of(307, b"").with("Location", "http://localhost:1/signed?secret"))
    })
    .await;
    // Nobody listens at the other end: that is an error of its own.
    let error = push(&server, &layer(10)).await.0.unwrap_err();
    assert!(matches!(error, PortError::Unreachable { .. }), "{error:?}");
    let storage = Server::start(|_| Some(Reply::of(403, b""))).await;
    let signed = format!("http://{}/signed?secret", storage.host);
    let server = Server::start(first(1, "HEAD", "/blobs/", move |_| {
        Reply::of(307, b"").with("Location", &signed)
    }))
    .await;
    assert!(push(&server, &layer(10)).await.0.unwrap());
}
