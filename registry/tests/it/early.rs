//! Blobs that are sent while they are made.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use oci::{Descriptor, End, Growing, Push as _, Reference, media_type};
use registry::Client;
use tokio::task::JoinHandle;

use crate::server::{Reply, Server, first};

const MIB: usize = 1 << 20;
/// More than makes it worth to begin.
const SOME: usize = 10 * MIB;
const ALL: usize = 24 * MIB;

/// A blob in the making.
struct Maker {
    _folder: tempfile::TempDir,
    path: PathBuf,
    file: File,
    bytes: Vec<u8>,
    growing: Arc<Growing>,
}

impl Maker {
    fn start() -> Maker {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("layer");
        let file = File::create(&path).unwrap();
        let growing = Arc::new(Growing::of(File::open(&path).unwrap()));
        Maker {
            _folder: folder,
            path,
            file,
            bytes: (0..ALL).map(|number| (number % 251) as u8).collect(),
            growing,
        }
    }

    fn grow_to(&mut self, length: usize) {
        let from = self.growing.length() as usize;
        self.file.write_all(&self.bytes[from..length]).unwrap();
        self.growing.reached(length as u64);
    }

    /// What it became.
    fn end(&self) -> Descriptor {
        let blob = Descriptor::of(media_type::LAYER, &self.bytes[..self.growing.length() as usize]);
        self.growing.ended(End::Blob(blob.digest));
        blob
    }
}

fn send(client: &Client, name: &Reference, maker: &Maker) -> JoinHandle<bool> {
    let (client, name, growing) = (client.clone(), name.clone(), Arc::clone(&maker.growing));
    tokio::spawn(async move { client.push_growing(&name, &growing, &|_| {}).await })
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

async fn push(client: &Client, name: &Reference, blob: &Descriptor, content: &Path) {
    assert!(!client.find_blob(name, blob, &[]).await.unwrap());
    client.push_blob(name, blob, content.to_owned(), &|_| {}).await.unwrap();
}

#[tokio::test]
async fn a_large_blob_leaves_before_it_is_whole_and_is_there_then() {
    let server = Server::plain().await;
    let (client, name) = (server.client(), server.reference("app:1"));
    let mut maker = Maker::start();
    let sending = send(&client, &name, &maker);
    maker.grow_to(SOME);
    until(|| server.requests("POST", "/uploads/").len() == 1).await;
    maker.grow_to(ALL);
    let blob = maker.end();
    assert!(sending.await.unwrap());
    assert!(server.stored_blob(blob.digest).unwrap() == maker.bytes);

    let patch = &server.requests("PATCH", "/uploads/")[0];
    assert_eq!((patch.body.len(), patch.header("content-length")), (ALL, None));
    let put = &server.requests("PUT", "/uploads/")[0];
    assert_eq!(put.header("content-length"), Some("0"));
    // Nobody has to ask any more.
    let asked = server.requests("HEAD", "/blobs/").len();
    assert!(client.find_blob(&name, &blob, &[]).await.unwrap());
    assert_eq!(server.requests("HEAD", "/blobs/").len(), asked);
}

#[tokio::test]
async fn a_small_blob_and_one_that_is_given_up_are_not_sent() {
    let server = Server::plain().await;
    let (client, name) = (server.client(), server.reference("app:1"));
    let mut small = Maker::start();
    small.grow_to(MIB);
    let sending = send(&client, &name, &small);
    small.end();
    assert!(!sending.await.unwrap());
    assert!(server.requests("POST", "").is_empty() && server.requests("HEAD", "").is_empty());

    let mut void = Maker::start();
    void.grow_to(SOME);
    let sending = send(&client, &name, &void);
    until(|| server.requests("POST", "/uploads/").len() == 1).await;
    void.growing.ended(End::GivenUp);
    assert!(!sending.await.unwrap());
    assert_eq!(
        server.requests("DELETE", "/uploads/").len(),
        1,
        "the upload is given back"
    );
    assert!(server.requests("PUT", "").is_empty());
}

#[tokio::test]
async fn what_breaks_off_goes_on_the_ordinary_way_from_where_it_was() {
    let server = Server::plain().await;
    server.resume();
    server.hang_up(1);
    let (client, name) = (server.client(), server.reference("app:1"));
    let mut maker = Maker::start();
    let sending = send(&client, &name, &maker);
    maker.grow_to(ALL);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let blob = maker.end();
    assert!(!sending.await.unwrap());
    push(&client, &name, &blob, &maker.path).await;
    assert!(server.stored_blob(blob.digest).unwrap() == maker.bytes);
    assert_eq!(server.requests("POST", "/uploads/").len(), 1, "the same upload");
    let rest = server.requests("PATCH", "/uploads/").last().unwrap().clone();
    assert!(
        rest.header("content-range").is_some() && rest.body.len() < ALL,
        "{}",
        rest.body.len()
    );
}

#[tokio::test]
async fn who_takes_no_bodies_without_a_length_is_sent_none_again() {
    let server = Server::start(first(9, "PATCH", "/uploads/", |_| Reply::of(411, b""))).await;
    let (client, name) = (server.client(), server.reference("app:1"));
    let mut maker = Maker::start();
    let sending = send(&client, &name, &maker);
    maker.grow_to(SOME);
    until(|| server.requests("POST", "/uploads/").len() == 1).await;
    let blob = maker.end();
    assert!(!sending.await.unwrap());
    push(&client, &name, &blob, &maker.path).await;
    assert!(server.stored_blob(blob.digest).unwrap() == maker.bytes[..SOME]);

    let before = server.requests("POST", "").len();
    let mut next = Maker::start();
    let sending = send(&client, &name, &next);
    next.grow_to(SOME);
    assert!(!sending.await.unwrap());
    assert_eq!(server.requests("POST", "").len(), before);
}

#[tokio::test]
async fn what_turns_out_to_be_there_is_not_sent_to_its_end() {
    let server = Server::plain().await;
    server.stall();
    let (client, name) = (server.client(), server.reference("app:1"));
    let mut maker = Maker::start();
    server.blob(media_type::LAYER, &maker.bytes);
    let sending = send(&client, &name, &maker);
    maker.grow_to(ALL);
    until(|| server.requests("POST", "/uploads/").len() == 1).await;
    let blob = maker.end();
    assert!(sending.await.unwrap());
    assert_eq!(server.requests("HEAD", "/blobs/").len(), 1);
    assert_eq!(
        server.requests("DELETE", "/uploads/").len(),
        1,
        "the upload is given back"
    );
    assert!(client.find_blob(&name, &blob, &[]).await.unwrap());
}
