//! Pulling: documents verified, blobs whole whatever the connection does.

use std::io::Read;

use oci::{Descriptor, Digest, Fetch, ImageName, Index, PortError, media_type};
use registry::Client;

use crate::server::{Reply, Server, amd64, first, ranged};

async fn resolve(server: &Server, name: &str) -> Result<oci::ResolvedImage, PortError> {
    server.client().resolve(&server.name(name), &amd64()).await
}

async fn read(client: &Client, name: &ImageName, blob: &Descriptor) -> std::io::Result<Vec<u8>> {
    let mut reader = client.blob(name, blob).await.map_err(std::io::Error::other)?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| bytes)
    });
    reading.await.unwrap()
}

/// More than fits into the pieces on their way, so that breaks happen while someone reads.
fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number % 251) as u8).collect()
}

#[tokio::test]
async fn a_tag_leads_through_an_index_to_the_image_of_the_platform() {
    let server = Server::plain().await;
    let (arm, amd) = (server.image("arm", "linux/arm64"), server.image("amd", "linux/amd64"));
    let index = Index::new(vec![arm.clone(), amd.clone()]).to_bytes();
    let index = server.manifest(media_type::INDEX, "1", &index);
    for name in ["app:1".to_owned(), format!("app@{}", index.digest)] {
        let resolved = resolve(&server, &name).await.unwrap();
        assert_eq!(resolved.root, index);
        assert_eq!(resolved.manifest_descriptor, amd);
        assert_eq!(Digest::of(&resolved.manifest_bytes), amd.digest);
        assert_eq!(resolved.config.architecture, "amd64");
    }
    let pinned = resolve(&server, &format!("app:any@{}", arm.digest)).await.unwrap();
    assert_eq!(
        (pinned.root.digest, pinned.config.architecture.as_str()),
        (arm.digest, "arm64")
    );
    let error = server
        .client()
        .resolve(&server.name("app:1"), &"linux/s390x".parse().unwrap())
        .await;
    let Err(PortError::Content { source, .. }) = error else {
        panic!("{error:?}")
    };
    assert!(
        source.to_string().contains("there are: linux/arm64, linux/amd64"),
        "{source}"
    );
}

#[tokio::test]
async fn what_a_tag_points_at_now_is_asked_by_head_and_answered_if_it_can_be() {
    let told = Digest::of(b"index").to_string();
    for (status, header, expected) in [
        (200, Some(told.as_str()), Some(Digest::of(b"index"))),
        (200, Some("sha256:short"), None),
        (200, None, None),
        (404, Some(told.as_str()), None),
        (405, None, None),
        (503, None, None),
    ] {
        let header = header.map(str::to_owned);
        let server = Server::start(move |request| {
            assert!(request.is("HEAD", "/v2/app/manifests/1"), "{}", request.path);
            let reply = Reply::of(status, b"");
            Some(match &header {
                Some(digest) => reply.with("Docker-Content-Digest", digest),
                None => reply,
            })
        });
        let server = server.await;
        let current = server.client().current(&server.reference("app:1")).await.unwrap();
        assert_eq!(current, expected, "{status}");
    }
}

#[tokio::test]
async fn documents_that_are_not_what_was_asked_for_are_refused() {
    let server = Server::start(|request| {
        let wrong = request.path.contains("/manifests/sha256:") || request.path.contains("/blobs/");
        wrong.then(|| Reply::of(200, b"{}"))
    })
    .await;
    let image = server.image("1", "linux/amd64");
    for name in ["app:1".to_owned(), format!("app@{}", image.digest)] {
        let error = resolve(&server, &name).await.unwrap_err();
        let PortError::Content { source, .. } = error else {
            panic!("{error:?}")
        };
        assert!(matches!(source, oci::Error::DigestMismatch { .. }), "{source}");
    }
}

#[tokio::test]
async fn endless_and_foreign_documents_are_refused() {
    let server = Server::plain().await;
    server.manifest(media_type::MANIFEST, "large", &vec![b' '; 5 << 20]);
    server.manifest("application/vnd.docker.distribution.manifest.v1+json", "old", b"{}");
    let error = resolve(&server, "app:large").await.unwrap_err().to_string();
    assert!(error.contains("larger than 4194304 bytes"), "{error}");
    let PortError::Content { source, .. } = resolve(&server, "app:old").await.unwrap_err() else {
        panic!()
    };
    assert!(source.to_string().contains("manifest.v1"), "{source}");
}

#[tokio::test]
async fn a_broken_connection_is_taken_up_where_it_broke() {
    let bytes = large();
    let served = bytes.clone();
    let server = Server::start(first(3, "GET", "/blobs/", move |request| {
        let mut reply = ranged(&served, request.header("range"));
        reply.cut = Some(500_000);
        reply
    }))
    .await;
    let blob = server.blob(media_type::LAYER, &bytes);
    let read = read(&server.client(), &server.name("app"), &blob).await.unwrap();
    assert_eq!(Digest::of(&read), blob.digest);
    let ranges: Vec<_> = server
        .requests("GET", "/blobs/")
        .iter()
        .map(|r| r.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges.len(), 4);
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1].as_deref(), Some("bytes=500000-"));
    assert_eq!(ranges[3].as_deref(), Some("bytes=1500000-"));
}

#[tokio::test]
async fn a_server_that_ignores_ranges_does_no_harm() {
    let bytes = large();
    let served = bytes.clone();
    let cut = std::sync::Mutex::new(Some(1_234_567));
    let server = Server::start(move |request| {
        request.is("GET", "/blobs/").then(|| Reply {
            cut: cut.lock().unwrap().take(),
            ..Reply::of(200, &served)
        })
    })
    .await;
    let blob = server.blob(media_type::LAYER, &bytes);
    let read = read(&server.client(), &server.name("app"), &blob).await.unwrap();
    assert_eq!(Digest::of(&read), blob.digest);
}

#[tokio::test]
async fn a_range_that_was_not_asked_for_is_an_error_of_the_reader() {
    let bytes = large();
    let served = bytes.clone();
    let server = Server::start(move |request| match request.header("range") {
        None => Some(Reply {
            cut: Some(1000),
            ..Reply::of(200, &served)
        }),
        Some(_) => Some(ranged(&served, Some("bytes=5-"))),
    })
    .await;
    let blob = Descriptor::of(media_type::LAYER, &bytes);
    let error = read(&server.client(), &server.name("app"), &blob)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("asked for bytes from 1000"), "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_every_range_is_asked_for_all_of_it() {
    let bytes = large();
    let served = bytes.clone();
    let server = Server::start(first(2, "GET", "/blobs/", move |request| {
        match request.header("range") {
            None => Reply {
                cut: Some(1000),
                ..Reply::of(200, &served)
            },
            Some(_) => Reply::of(416, b""),
        }
    }))
    .await;
    let blob = server.blob(media_type::LAYER, &bytes);
    let read = read(&server.client(), &server.name("app"), &blob).await.unwrap();
    assert_eq!(read, bytes);
    assert_eq!(server.requests("GET", "/blobs/").len(), 3);
}

#[tokio::test]
async fn a_blob_that_has_become_another_is_an_error_of_the_reader() {
    let bytes = large();
    let served = bytes.clone();
    let server = Server::start(move |request| match request.header("range") {
        None => Some(Reply {
            cut: Some(1000),
            ..Reply::of(200, &served)
        }),
        Some(_) => Some(Reply::of(200, b"another")),
    })
    .await;
    let blob = Descriptor::of(media_type::LAYER, &bytes);
    let error = read(&server.client(), &server.name("app"), &blob)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("has 7 bytes, its descriptor says"), "{error}");
}

#[tokio::test]
async fn a_blob_of_another_size_is_refused() {
    let server = Server::plain().await;
    let mut blob = server.blob(media_type::LAYER, b"layer");
    blob.size += 1;
    let error = read(&server.client(), &server.name("app"), &blob)
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("has 5 bytes, its descriptor says 6"), "{error}");
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let server = Server::plain().await;
    let blob = server.blob(media_type::LAYER, b"");
    assert_eq!(read(&server.client(), &server.name("app"), &blob).await.unwrap(), b"");
}

#[tokio::test]
async fn servers_in_trouble_are_asked_again() {
    for (status, retry_after) in [(503, None), (429, Some("1")), (500, None)] {
        let server = Server::start(first(1, "GET", "/manifests/", move |_| {
            let reply = Reply::of(status, b"later");
            match retry_after {
                Some(seconds) => reply.with("Retry-After", seconds),
                None => reply,
            }
        }))
        .await;
        server.image("1", "linux/amd64");
        let started = std::time::Instant::now();
        resolve(&server, "app:1").await.unwrap();
        assert_eq!(server.requests("GET", "/manifests/").len(), 2);
        assert!(retry_after.is_none() || started.elapsed().as_millis() >= 1000);
    }
}

#[tokio::test]
async fn a_dropped_reader_ends_the_download() {
    let bytes = vec![1; 64 << 20];
    let server = Server::plain().await;
    let blob = server.blob(media_type::LAYER, &bytes);
    let client = server.client();
    let reader = client.blob(&server.name("app"), &blob).await.unwrap();
    drop(reader);
    tokio::time::sleep(std::time::Duration::from_millis(600)).await;
    assert_eq!(
        server.requests("GET", "/blobs/").len(),
        1,
        "nothing is resumed for no one"
    );
}
