//! Mirrors: who is asked, in which order, with whose credentials, and what the user is told.

use std::io::Read;
use std::sync::{Arc, Mutex};

use oci::{Descriptor, Fetch, ImageName, Push, media_type};
use registry::{Client, ClientOptions, Listener, Sources};

use crate::server::{Reply, Server, amd64, ranged};

/// A client that asks `mirrors` before `upstream`, and what it says meanwhile.
fn client(upstream: &Server, mirrors: &[&str], config: Option<&str>) -> (tempfile::TempDir, Client, Heard) {
    let folder = tempfile::tempdir().unwrap();
    let credentials = config.map(|text| {
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        registry::CredentialSource::Docker(path)
    });
    let heard = Heard::default();
    let hearing = heard.clone();
    let mirrors = mirrors
        .iter()
        .map(|mirror| format!("{}={mirror}", upstream.host).parse().unwrap());
    let options = ClientOptions {
        credentials: credentials.into_iter().collect(),
        sources: Sources {
            mirrors: mirrors.collect(),
            ..Sources::default()
        },
        listener: Listener::new(move |text| hearing.0.lock().unwrap().push(text.to_owned())),
        ..ClientOptions::default()
    };
    (folder, Client::new(options).unwrap(), heard)
}

#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A blob that takes a while.
fn large() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| (number % 251) as u8).collect()
}

/// One that gives so many bytes of a blob in a connection.
async fn breaking(bytes: &[u8], cut: usize) -> Server {
    let served = bytes.to_owned();
    Server::start(move |request| {
        let is_blob = request.is("GET", "/blobs/");
        is_blob.then(|| Reply {
            cut: Some(cut),
            ..ranged(&served, request.header("range"))
        })
    })
    .await
}

fn ranges(server: &Server) -> Vec<String> {
    let asked = server.requests("GET", "/blobs/");
    let range = |one: &crate::server::Request| one.header("range").unwrap_or("all").to_owned();
    asked.iter().map(range).collect()
}

async fn read(client: &Client, name: &ImageName, blob: &Descriptor) -> Vec<u8> {
    let mut reader = client.blob(name, blob).await.unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    reading.await.unwrap()
}

#[tokio::test]
async fn a_mirror_that_breaks_off_again_and_again_is_left_and_others_go_on_where_it_was() {
    let bytes = large();
    let upstream = Server::plain().await;
    let blob = upstream.blob(media_type::LAYER, &bytes);
    let (first, second) = (breaking(&bytes, 200_000).await, breaking(&bytes, 100_000).await);
    let (_folder, client, heard) = client(&upstream, &[&first.host, &second.host], None);
    let name = upstream.name("app:1");
    assert!(read(&client, &name, &blob).await == bytes);
    assert_eq!(ranges(&first), ["all", "bytes=200000-", "bytes=400000-"]);
    assert_eq!(ranges(&second), ["bytes=600000-", "bytes=700000-", "bytes=800000-"]);
    assert_eq!(ranges(&upstream), ["bytes=900000-"]);
    let left: Vec<String> = heard
        .all()
        .into_iter()
        .filter(|said| said.contains("is left"))
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");
    let expected = format!("mirror `{}` is left for `app`: GET http://{}", first.host, first.host);
    assert!(
        left[0].starts_with(&expected) && left[0].contains("the connection broke"),
        "{left:?}"
    );
    assert!(
        left[0].ends_with(&format!("`{}` goes on from byte 600000", second.host)),
        "{left:?}"
    );

    assert!(read(&client, &name, &blob).await == bytes);
    assert_eq!(
        (ranges(&first).len(), ranges(&second).len()),
        (3, 3),
        "they are not asked any more"
    );
}

#[tokio::test]
async fn a_mirror_that_breaks_off_and_gets_on_is_not_left() {
    let bytes = large();
    let upstream = Server::plain().await;
    let blob = upstream.blob(media_type::LAYER, &bytes);
    let mirror = breaking(&bytes, 1_100_000).await;
    let (_folder, client, _heard) = client(&upstream, &[&mirror.host], None);
    assert!(read(&client, &upstream.name("app:1"), &blob).await == bytes);
    assert_eq!((ranges(&mirror).len(), ranges(&upstream).len()), (3, 0));
}

#[tokio::test]
async fn what_a_mirror_sent_wrongly_is_had_elsewhere_when_it_is_told_so() {
    let bytes = large();
    let upstream = Server::plain().await;
    let blob = upstream.blob(media_type::LAYER, &bytes);
    let wrong: Vec<u8> = bytes.iter().map(|byte| byte ^ 1).collect();
    // The one sends wrong bytes and breaks off, the other goes on rightly: what comes of it is wrong all the same.
    let (liar, honest) = (breaking(&wrong, 200_000).await, breaking(&bytes, usize::MAX).await);
    let (_folder, client, heard) = client(&upstream, &[&liar.host, &honest.host], None);
    let name = upstream.name("app:1");
    assert!(read(&client, &name, &blob).await != bytes);
    assert!(client.distrust(&name, &blob), "there is somebody else");
    assert!(read(&client, &name, &blob).await == bytes);
    assert_eq!(ranges(&upstream), ["all"], "nothing of theirs is kept");
    assert!(!client.distrust(&name, &blob), "the registry itself is the last");
    let told = format!("is left for `app`: what it sent is not `{}`", blob.digest);
    assert_eq!(
        heard.all().iter().filter(|said| said.contains(&told)).count(),
        2,
        "{:?}",
        heard.all()
    );

    let other = upstream.blob(media_type::LAYER, b"other");
    read(&client, &name, &other).await;
    assert_eq!(
        honest.requests("GET", &other.digest.to_string()).len(),
        1,
        "it may be right about others"
    );
}

#[tokio::test]
async fn what_a_mirror_has_comes_from_it_and_the_registry_is_left_alone() {
    let (upstream, mirror) = (Server::plain().await, Server::plain().await);
    mirror.image("1", "linux/amd64");
    let blob = mirror.blob(media_type::LAYER, b"layer");
    let (_folder, client, heard) = client(&upstream, &[&mirror.host], None);
    let name = upstream.name("app:1");
    client.current(&upstream.reference("app:1")).await.unwrap();
    client.resolve(&name, &amd64()).await.unwrap();
    let mut bytes = String::new();
    let mut reader = client.blob(&name, &blob).await.unwrap();
    let bytes = tokio::task::spawn_blocking(move || reader.read_to_string(&mut bytes).map(|_| bytes));
    assert_eq!(bytes.await.unwrap().unwrap(), "layer");
    assert!(upstream.requests("", "").is_empty() && upstream.requests("GET", "").is_empty());
    let asked = mirror.requests("GET", "/manifests/1");
    assert_eq!(asked[0].query, format!("ns={}", upstream.host));
    assert!(heard.all().is_empty());
}

#[tokio::test]
async fn a_mirror_that_is_down_or_lacks_it_or_fails_is_passed_over_with_a_word() {
    let down = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let empty = Server::plain().await;
    let ill = Server::start(|_| Some(Reply::of(503, b"overloaded"))).await;
    let upstream = Server::plain().await;
    let expected = upstream.image("1", "linux/amd64");
    let blob = upstream.blob(media_type::LAYER, b"layer");
    let (_folder, client, heard) = client(&upstream, &[&down, &empty.host, &ill.host], None);
    let name = upstream.name("app:1");
    let resolved = client.resolve(&name, &amd64()).await.unwrap();
    assert_eq!(resolved.root.digest, expected.digest);
    client.blob(&name, &blob).await.unwrap();
    let heard = heard.all();
    assert_eq!(heard.len(), 3, "each is told of once: {heard:?}");
    for (said, part) in heard.iter().zip(["connection refused", "not found", "503"]) {
        assert!(said.contains(part) && said.contains("passed over for `app`"), "{said}");
    }
    assert_eq!(
        ill.requests("GET", "/manifests/1").len(),
        1,
        "a mirror is not asked again"
    );
}

#[tokio::test]
async fn a_mirror_that_sends_other_bytes_is_not_believed() {
    let upstream = Server::plain().await;
    let image = upstream.image("1", "linux/amd64");
    let liar = Server::start(|request| {
        let is_document = request.is("GET", "/manifests/");
        is_document.then(|| Reply::of(200, b"{}").with("Content-Type", media_type::MANIFEST))
    })
    .await;
    let (_folder, client, heard) = client(&upstream, &[&liar.host], None);
    let name = upstream.name(&format!("app@{}", image.digest));
    client.resolve(&name, &amd64()).await.unwrap();
    assert_eq!(heard.all().len(), 1, "{:?}", heard.all());
}

#[tokio::test]
async fn a_mirror_gets_its_own_credentials_and_never_those_of_the_registry() {
    let challenge = |request: &crate::server::Request| {
        let is_stranger = request.header("authorization").is_none();
        is_stranger.then(|| Reply::of(401, b"").with("WWW-Authenticate", "Basic"))
    };
    let (upstream, mirror) = (Server::start(challenge).await, Server::start(challenge).await);
    upstream.image("1", "linux/amd64");
    // up:stream and mi:rror
    let of_upstream = format!(r#""{}":{{"auth":"dXA6c3RyZWFt"}}"#, upstream.host);
    let of_mirror = format!(r#""{}":{{"auth":"bWk6cnJvcg=="}}"#, mirror.host);
    let name = upstream.name("app:1");

    let only_upstream = format!(r#"{{"auths":{{{of_upstream}}}}}"#);
    let (_folder, asking, heard) = client(&upstream, &[&mirror.host], Some(&only_upstream));
    asking.resolve(&name, &amd64()).await.unwrap();
    let told = mirror.requests("", "");
    assert!(
        told.iter()
            .chain(&mirror.requests("GET", ""))
            .all(|one| one.header("authorization").is_none())
    );
    assert!(
        heard.all()[0].contains("wants a user and a password"),
        "{:?}",
        heard.all()
    );

    let both = format!(r#"{{"auths":{{{of_upstream},{of_mirror}}}}}"#);
    let (_folder, asking, _heard) = client(&upstream, &[&mirror.host], Some(&both));
    asking.resolve(&name, &amd64()).await.unwrap();
    let sent = mirror.requests("GET", "/manifests/1");
    let sent: Vec<_> = sent.iter().filter_map(|one| one.header("authorization")).collect();
    assert_eq!(sent, ["Basic bWk6cnJvcg=="]);
}

#[tokio::test]
async fn nothing_is_pushed_to_a_mirror() {
    let (upstream, mirror) = (Server::plain().await, Server::plain().await);
    let image = upstream.image("1", "linux/amd64");
    let bytes = upstream.stored_manifest("1").unwrap().1;
    let (_folder, client, _heard) = client(&upstream, &[&mirror.host], None);
    client
        .push_manifest(&upstream.reference("app:2"), &image, &bytes)
        .await
        .unwrap();
    assert!(upstream.stored_manifest("2").is_some());
    assert!(mirror.stored_manifest("2").is_none());
}

#[tokio::test]
async fn a_mirror_for_digests_only_serves_what_the_registry_says_the_tag_is() {
    let (upstream, mirror) = (Server::plain_with_digests().await, Server::plain().await);
    let expected = upstream.image("1", "linux/amd64");
    mirror.image("1", "linux/amd64");
    mirror.image("1", "linux/arm64");
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("registries.conf");
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"{}\"\n",
        upstream.host, mirror.host
    );
    std::fs::write(&conf, text).unwrap();
    let options = ClientOptions {
        sources: Sources {
            registries_conf: vec![conf],
            ..Sources::default()
        },
        ..ClientOptions::default()
    };
    let client = Client::new(options).unwrap();
    let resolved = client.resolve(&upstream.name("app:1"), &amd64()).await.unwrap();
    assert_eq!(resolved.root.digest, expected.digest);
    assert!(
        mirror.requests("GET", "/manifests/1").is_empty(),
        "the tag is not the mirror's to say"
    );
    assert_eq!(mirror.requests("GET", "/manifests/sha256").len(), 1);
    assert!(upstream.requests("GET", "").is_empty());
}
