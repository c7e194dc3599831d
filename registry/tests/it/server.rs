//! A registry in a test: HTTP/1.1 on a loopback port, blobs and manifests in memory, stricter than real ones. A test
//! gives a function that sees each request first and may answer in the registry's stead.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use oci::{Descriptor, Digest, ImageConfig, ImageName, Manifest, Platform, media_type};
use registry::{Client, ClientOptions};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The layer of every image.
const LAYER: &[u8] = b"layer";

/// The configuration of every image.
pub(crate) fn config_of_one_layer(platform: &Platform) -> Vec<u8> {
    let mut config = ImageConfig::scratch(platform);
    config.rootfs.diff_ids = vec![oci::DiffId(Digest::of(LAYER))];
    config.to_bytes()
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// One answer; `cut` ends the connection after so many bytes of the body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) cut: Option<usize>,
}

type Intercept = dyn Fn(&Request) -> Option<Reply> + Send + Sync;

/// A running registry.
pub(crate) struct Server {
    pub(crate) host: String,
    shared: Arc<Shared>,
}

struct Shared {
    intercept: Box<Intercept>,
    store: Mutex<Store>,
}

#[derive(Default)]
struct Store {
    blobs: HashMap<String, Vec<u8>>,
    manifests: HashMap<String, (String, Vec<u8>)>,
    requests: Vec<Request>,
    /// So many uploads are left in the middle of their bodies.
    hang_ups: usize,
    /// Whether bytes of an upload that was left are kept.
    resumes: bool,
    /// What came so far of uploads in pieces.
    partial: Vec<u8>,
    /// Bodies of unknown length are not read to their ends.
    stalls: bool,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    pub(crate) fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }
}

impl Reply {
    pub(crate) fn of(status: u16, body: &[u8]) -> Reply {
        Reply {
            status,
            body: body.to_owned(),
            ..Reply::default()
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Reply {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl Server {
    pub(crate) async fn start(intercept: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            intercept: Box::new(intercept),
            store: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(Arc::clone(&serving), stream));
            }
        });
        Server { host, shared }
    }

    /// A registry that behaves.
    pub(crate) async fn plain() -> Server {
        Server::start(|_| None).await
    }

    /// One that tells the digest of a manifest to who asks for its head.
    pub(crate) async fn plain_with_digests() -> Server {
        let serving: Arc<std::sync::OnceLock<Arc<Shared>>> = Arc::default();
        let known = Arc::clone(&serving);
        let server = Server::start(move |request| {
            let last = request.path.rsplit('/').next()?;
            let store = known.get()?.store.lock().unwrap();
            let (media_type, bytes) = store
                .manifests
                .get(last)
                .filter(|_| request.is("HEAD", "/manifests/"))?;
            let digest = Digest::of(bytes).to_string();
            Some(
                Reply::of(200, b"")
                    .with("Content-Type", media_type)
                    .with("Docker-Content-Digest", &digest),
            )
        })
        .await;
        let _ = serving.set(Arc::clone(&server.shared));
        server
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(ClientOptions::default()).unwrap()
    }

    pub(crate) fn name(&self, rest: &str) -> ImageName {
        ImageName::Registry(self.reference(rest))
    }

    pub(crate) fn reference(&self, rest: &str) -> oci::Reference {
        format!("{}/{rest}", self.host).parse().unwrap()
    }

    pub(crate) fn blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        let mut store = self.shared.store.lock().unwrap();
        store.blobs.insert(descriptor.digest.to_string(), bytes.to_owned());
        descriptor
    }

    /// Puts a manifest or an index under its digest and under `tag`.
    pub(crate) fn manifest(&self, media_type: &str, tag: &str, bytes: &[u8]) -> Descriptor {
        let descriptor = Descriptor::of(media_type, bytes);
        let mut store = self.shared.store.lock().unwrap();
        for key in [tag.to_owned(), descriptor.digest.to_string()] {
            store.manifests.insert(key, (media_type.to_owned(), bytes.to_owned()));
        }
        descriptor
    }

    /// An image of one layer; the platform is in its configuration and in the descriptor.
    pub(crate) fn image(&self, tag: &str, platform: &str) -> Descriptor {
        let platform: Platform = platform.parse().unwrap();
        let layer = self.blob(media_type::LAYER, LAYER);
        let config = self.blob(media_type::CONFIG, &config_of_one_layer(&platform));
        let manifest = Manifest::new(media_type::MANIFEST, config, vec![layer]);
        let mut descriptor = self.manifest(media_type::MANIFEST, tag, &manifest.to_bytes());
        descriptor.platform = Some(platform);
        descriptor
    }

    pub(crate) fn stored_manifest(&self, key: &str) -> Option<(String, Vec<u8>)> {
        self.shared.store.lock().unwrap().manifests.get(key).cloned()
    }

    pub(crate) fn stored_blob(&self, digest: Digest) -> Option<Vec<u8>> {
        self.shared
            .store
            .lock()
            .unwrap()
            .blobs
            .get(&digest.to_string())
            .cloned()
    }

    /// Closes the connection in the middle of the next `times` uploads.
    pub(crate) fn hang_up(&self, times: usize) {
        self.shared.store.lock().unwrap().hang_ups = times;
    }

    /// Uploads that break off can be taken up again from now on.
    pub(crate) fn resume(&self) {
        self.shared.store.lock().unwrap().resumes = true;
    }

    /// Who sends a body without a length waits for ever from now on.
    pub(crate) fn stall(&self) {
        self.shared.store.lock().unwrap().stalls = true;
    }

    /// The requests whose method and path match, in the order they came.
    pub(crate) fn requests(&self, method: &str, part: &str) -> Vec<Request> {
        let store = self.shared.store.lock().unwrap();
        store
            .requests
            .iter()
            .filter(|request| request.is(method, part))
            .cloned()
            .collect()
    }
}

/// A client with that `config.json`. The directory must outlive it.
pub(crate) fn client_with_config(config: &str) -> (tempfile::TempDir, PathBuf, Client) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config).unwrap();
    let options = ClientOptions {
        credentials: vec![registry::CredentialSource::Docker(path.clone())],
        ..ClientOptions::default()
    };
    (folder, path, Client::new(options).unwrap())
}

/// Fires for the first `times` requests that match.
pub(crate) fn first(
    times: usize,
    method: &'static str,
    part: &'static str,
    reply: impl Fn(&Request) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static {
    let left = Mutex::new(times);
    move |request| {
        let mut left = left.lock().unwrap();
        if *left == 0 || !request.is(method, part) {
            return None;
        }
        *left -= 1;
        Some(reply(request))
    }
}

pub(crate) fn amd64() -> Platform {
    "linux/amd64".parse().unwrap()
}

async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let Some(mut request) = read_head(&mut reader).await else {
        return;
    };
    let length = request
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let is_body = (request.is("PUT", "/blobs/") || request.is("PATCH", "/blobs/")) && length > 0;
    if is_body && shared.store.lock().unwrap().hangs_up() {
        let mut half = vec![0; length / 2];
        let _ = reader.read_exact(&mut half).await;
        let mut store = shared.store.lock().unwrap();
        if store.resumes {
            store.partial.extend_from_slice(&half);
        }
        return;
    }
    if request.header("transfer-encoding") == Some("chunked") {
        if read_chunks(&mut reader, &shared, &mut request.body).await.is_none() {
            return;
        }
    } else {
        request.body = vec![0; length];
        if reader.read_exact(&mut request.body).await.is_err() {
            return;
        }
    }
    shared.store.lock().unwrap().requests.push(request.clone());
    let reply = (shared.intercept)(&request).unwrap_or_else(|| shared.store.lock().unwrap().answer(&request));
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    let has_length = reply.headers.iter().any(|(name, _)| name == "Content-Length");
    if !has_length {
        head.push_str(&format!("Content-Length: {}\r\n", reply.body.len()));
    }
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if request.method != "HEAD" {
        let whole = reply.body.len();
        bytes.extend_from_slice(&reply.body[..reply.cut.unwrap_or(whole).min(whole)]);
    }
    if writer.write_all(&bytes).await.is_ok() {
        let _ = writer.shutdown().await;
    }
}

/// A body in chunks. `None` is one that breaks off; who hangs up does so after the first mebibyte.
async fn read_chunks(
    reader: &mut (impl AsyncBufReadExt + AsyncReadExt + Unpin),
    shared: &Shared,
    body: &mut Vec<u8>,
) -> Option<()> {
    let hangs_up = shared.store.lock().unwrap().hangs_up();
    loop {
        if shared.store.lock().unwrap().stalls && !body.is_empty() {
            std::future::pending::<()>().await;
        }
        if hangs_up && body.len() >= 1 << 20 {
            let mut store = shared.store.lock().unwrap();
            if store.resumes {
                store.partial.extend_from_slice(body);
            }
            return None;
        }
        let mut line = String::new();
        reader.read_line(&mut line).await.ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let from = body.len();
        body.resize(from + length, 0);
        reader.read_exact(&mut body[from..]).await.ok()?;
        reader.read_line(&mut line).await.ok()?;
        if length == 0 {
            return Some(());
        }
    }
}

async fn read_head(reader: &mut (impl AsyncBufReadExt + AsyncReadExt + Unpin)) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).await.ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    Some(Request {
        method,
        path: path.to_owned(),
        query: query.replace("%3A", ":"),
        headers,
        body: Vec::new(),
    })
}

impl Store {
    fn hangs_up(&mut self) -> bool {
        let hangs_up = self.hang_ups > 0;
        self.hang_ups = self.hang_ups.saturating_sub(1);
        hangs_up
    }

    fn begins_upload(&mut self) -> bool {
        self.partial.clear();
        true
    }

    fn answer(&mut self, request: &Request) -> Reply {
        let last = request.path.rsplit('/').next().unwrap_or_default().to_owned();
        let missing = Reply::of(404, br#"{"errors":[{"code":"UNKNOWN","message":"it is not here"}]}"#);
        match (request.method.as_str(), request.path.contains("/manifests/")) {
            ("GET", true) => match self.manifests.get(&last) {
                Some((media_type, bytes)) => Reply::of(200, bytes).with("Content-Type", media_type),
                None => missing,
            },
            ("PUT", true) => {
                let digest = Digest::of(&request.body).to_string();
                let media_type = request.header("content-type").unwrap_or_default().to_owned();
                for key in [last, digest.clone()] {
                    self.manifests.insert(key, (media_type.clone(), request.body.clone()));
                }
                Reply::of(201, b"").with("Docker-Content-Digest", &digest)
            }
            ("GET", false) if request.path.contains("/uploads/") => match (self.resumes, self.partial.len()) {
                (true, 1..) => Reply::of(204, b"").with("Range", &format!("0-{}", self.partial.len() - 1)),
                _ => missing,
            },
            ("DELETE", false) => Reply::of(204, b""),
            // Chunks come in order, and say where they belong.
            ("PATCH", false) => {
                let from = self.partial.len();
                let range = format!("{from}-{}", from + request.body.len() - 1);
                let is_all = from == 0 && request.header("transfer-encoding").is_some();
                if request.header("content-range") != Some(&range) && !is_all {
                    return Reply::of(416, b"");
                }
                self.partial.extend_from_slice(&request.body);
                Reply::of(202, b"")
                    .with("Location", &format!("{}?_state=a%2Fb", request.path))
                    .with("Range", &format!("0-{}", self.partial.len() - 1))
            }
            ("GET" | "HEAD", false) => match self.blobs.get(&last) {
                Some(bytes) => ranged(bytes, request.header("range")),
                None => missing,
            },
            // The place is relative and has a query of its own, as the specification allows.
            ("POST", false) if self.begins_upload() => {
                Reply::of(202, b"").with("Location", &format!("{}one?_state=a%2Fb", request.path))
            }
            ("PUT", false) => {
                self.partial.extend_from_slice(&request.body);
                let body = std::mem::take(&mut self.partial);
                let digest = Digest::of(&body).to_string();
                if request.query != format!("_state=a%2Fb&digest={digest}") {
                    return Reply::of(400, b"wrong query");
                }
                self.blobs.insert(digest.clone(), body);
                Reply::of(201, b"").with("Docker-Content-Digest", &digest)
            }
            _ => Reply::of(405, b""),
        }
    }
}

/// The bytes asked for by `bytes=N-`, or all.
pub(crate) fn ranged(bytes: &[u8], range: Option<&str>) -> Reply {
    let start = range.and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match start {
        Some(start) => {
            let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
            Reply::of(206, &bytes[start..]).with("Content-Range", &range)
        }
        None => Reply::of(200, bytes),
    }
}
