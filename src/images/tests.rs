//! What is asked of a registry, and what is not.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use oci::{ImageConfig, Index, Manifest, media_type};

use super::*;

/// A registry of one image: `app:1` is an index of an index of it.
struct Registry {
    host: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// Path, media type and bytes of a document.
type Document = (String, &'static str, Vec<u8>);

impl Registry {
    fn start() -> Registry {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (documents, heard) = (documents(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = answer(stream.unwrap(), &documents, &heard);
            }
        });
        Registry { host, requests }
    }

    /// What `app:1` is to a new build on that store, and what the registry was asked for it.
    async fn resolve(&self, store: &Store) -> (ResolvedImage, Vec<String>) {
        let images = Images::new(
            store.clone(),
            registry::ClientOptions::default(),
            Pull::Missing,
            Reporter::silent(),
        );
        let name = ImageName::Registry(format!("{}/app:1", self.host).parse().unwrap());
        let resolved = images.resolve(&name, &Platform::host()).await.unwrap();
        (resolved, std::mem::take(&mut *self.requests.lock().unwrap()))
    }
}

fn documents() -> Vec<Document> {
    let config = ImageConfig::scratch(&Platform::host()).to_bytes();
    let config_descriptor = Descriptor::of(media_type::CONFIG, &config);
    let manifest = Manifest::new(media_type::MANIFEST, config_descriptor.clone(), Vec::new()).to_bytes();
    let mut entry = Descriptor::of(media_type::MANIFEST, &manifest);
    entry.platform = Some(Platform::host());
    let inner = Index::new(vec![entry.clone()]).to_bytes();
    let inner_descriptor = Descriptor::of(media_type::INDEX, &inner);
    let index = Index::new(vec![inner_descriptor.clone()]).to_bytes();
    vec![
        ("/v2/app/manifests/1".to_owned(), media_type::INDEX, index),
        (
            format!("/v2/app/manifests/{}", inner_descriptor.digest),
            media_type::INDEX,
            inner,
        ),
        (
            format!("/v2/app/manifests/{}", entry.digest),
            media_type::MANIFEST,
            manifest,
        ),
        (
            format!("/v2/app/blobs/{}", config_descriptor.digest),
            media_type::CONFIG,
            config,
        ),
    ]
}

fn answer(mut stream: TcpStream, documents: &[Document], heard: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let (method, path) = first.trim_end_matches(" HTTP/1.1").split_once(' ').unwrap_or_default();
    heard.lock().unwrap().push(format!("{method} {path}"));
    let Some((_, media_type, bytes)) = documents.iter().find(|(place, ..)| place == path) else {
        return stream.write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    write!(
        stream,
        "HTTP/1.1 200 X\r\nConnection: close\r\nContent-Length: {}\r\nContent-Type: {media_type}\r\n\
         Docker-Content-Digest: {}\r\n\r\n",
        bytes.len(),
        Digest::of(bytes)
    )?;
    if method == "GET" {
        stream.write_all(bytes)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_tag_that_still_means_the_same_costs_one_request() {
    let registry = Registry::start();
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (first, asked) = registry.resolve(&store).await;
    assert_eq!(asked.len(), 5, "{asked:?}");
    let (again, asked) = registry.resolve(&store).await;
    assert_eq!(asked, ["HEAD /v2/app/manifests/1"]);
    assert_eq!((again.root, again.name), (first.root, first.name));
    assert_eq!(again.manifest_descriptor.digest, first.manifest_descriptor.digest);
}
