//! A double of GitHub's cache service, version 2, with the storage behind it: as strict as the real one where that matters,
//! so that other builders can be tried against it as well.
//!
//! An entry is found once it is finished, by its name or by the beginning of the newest one's; it never changes. The scopes
//! of a token say which entries are seen and where new ones go. The storage takes block blobs, whole or in blocks.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::proxy;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A running service, ended when dropped.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: Vec<Entry>,
    blobs: HashMap<usize, Vec<u8>>,
    blocks: HashMap<(usize, String), Vec<u8>>,
    /// So many questions are answered with `Too Many Requests`.
    throttled: usize,
}

struct Entry {
    scope: String,
    key: String,
    version: String,
    is_finished: bool,
    is_evicted: bool,
}

struct Request {
    method: String,
    path: String,
    query: HashMap<String, String>,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

impl Service {
    pub(crate) fn start() -> Service {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.ends.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || while let Ok(true) = shared.serve(&client, address) {});
            }
        });
        Service {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Answers so many questions with `Too Many Requests`.
    pub(crate) fn throttle(&self, times: usize) {
        self.state().throttled = times;
    }

    /// Forgets the blobs of all entries whose name begins so, and the entries.
    pub(crate) fn evict(&self, beginning: &str) {
        let mut state = self.state();
        let of_name = |entry: &&mut Entry| entry.key.starts_with(beginning);
        state
            .entries
            .iter_mut()
            .filter(of_name)
            .for_each(|entry| entry.is_evicted = true);
    }

    /// Names of the finished entries, in the order they were made.
    pub(crate) fn keys(&self) -> Vec<String> {
        let state = self.state();
        let finished = state.entries.iter().filter(|entry| entry.is_finished);
        finished.map(|entry| entry.key.clone()).collect()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for clients.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A token for jobs of a branch: `(name, permission)`, where 1 is to read and 2 to write.
pub(crate) fn token(scopes: &[(&str, u32)]) -> String {
    let scope = |(scope, permission): &(&str, u32)| json!({"Scope": scope, "Permission": permission});
    let ac = Value::from_iter(scopes.iter().map(scope)).to_string();
    let claims = json!({"ac": ac, "exp": 4_000_000_000_u64, "nbf": 1, "orchid": "1"}).to_string();
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(r#"{"alg":"none"}"#), part(&claims), part("signature"))
}

fn scopes(token: &str) -> Option<Vec<(String, u64)>> {
    let claims = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let scopes: Vec<Value> = serde_json::from_str(claims["ac"].as_str()?).ok()?;
    let scope = |scope: &Value| Some((scope["Scope"].as_str()?.to_owned(), scope["Permission"].as_u64()?));
    scopes.iter().map(scope).collect()
}

impl Shared {
    /// One exchange; whether there may be another.
    fn serve(&self, client: &TcpStream, address: SocketAddr) -> io::Result<bool> {
        let mut reader = BufReader::new(client);
        let Some(request) = Request::read(&mut reader, client)? else {
            return Ok(false);
        };
        let (status, headers, body) = self.answer(&request, address);
        let mut head = format!("HTTP/1.1 {status} Test\r\nx-ms-request-id: 1\r\nx-ms-version: 2024-11-04\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut client = client;
        client.write_all(head.as_bytes())?;
        if request.method != "HEAD" {
            client.write_all(&body)?;
        }
        // What of the next request was read already would be lost; no client here sends two at once.
        Ok(true)
    }

    fn answer(&self, request: &Request, address: SocketAddr) -> Answer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(method) = request
            .path
            .strip_prefix("/twirp/github.actions.results.api.v1.CacheService/")
        {
            if state.throttled > 0 {
                state.throttled -= 1;
                return (429, vec![("Retry-After", "0".to_owned())], Vec::new());
            }
            let authorization = request.headers.get("authorization").map_or("", String::as_str);
            let Some(scopes) = authorization.strip_prefix("Bearer ").and_then(scopes) else {
                return (
                    401,
                    Vec::new(),
                    br#"{"code":"unauthenticated","msg":"no token"}"#.to_vec(),
                );
            };
            let Ok(question) = serde_json::from_slice(&request.body) else {
                return (400, Vec::new(), br#"{"code":"malformed","msg":"no JSON"}"#.to_vec());
            };
            let (status, answer) = state.service(method, &question, &scopes, address);
            let kind = ("Content-Type", "application/json".to_owned());
            return (status, vec![kind], answer.to_string().into_bytes());
        }
        state.storage(request)
    }
}

impl State {
    fn service(
        &mut self,
        method: &str,
        question: &Value,
        scopes: &[(String, u64)],
        address: SocketAddr,
    ) -> (u16, Value) {
        let text = |name: &str| question[name].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        let writable = scopes.iter().find(|(_, permission)| permission & 2 != 0);
        let of_ours = |entry: &&mut Entry| {
            writable.is_some_and(|(scope, _)| *scope == entry.scope) && entry.key == key && entry.version == version
        };
        match method {
            "CreateCacheEntry" => {
                let Some((scope, _)) = writable else {
                    return (
                        403,
                        json!({"code": "permission_denied", "msg": "the token may not write"}),
                    );
                };
                if self
                    .entries
                    .iter_mut()
                    .filter(|entry| !entry.is_evicted)
                    .find(of_ours)
                    .is_some()
                {
                    return (
                        409,
                        json!({"code": "already_exists", "msg": "cache entry already exists"}),
                    );
                }
                self.entries.push(Entry {
                    scope: scope.clone(),
                    key,
                    version,
                    is_finished: false,
                    is_evicted: false,
                });
                let url = format!(
                    "http://{address}/storage/{}?sig=secret&se=later",
                    self.entries.len() - 1
                );
                (200, json!({"ok": true, "signed_upload_url": url}))
            }
            "FinalizeCacheEntryUpload" => {
                let place = self
                    .entries
                    .iter()
                    .rposition(|entry| entry.key == key && entry.version == version);
                let size = match &question["size_bytes"] {
                    Value::String(text) => text.parse().ok(),
                    number => number.as_u64(),
                };
                match place {
                    Some(place) if self.blobs.get(&place).map(|blob| blob.len() as u64) == size => {
                        self.entries[place].is_finished = true;
                        (200, json!({"ok": true, "entry_id": place.to_string()}))
                    }
                    _ => (
                        400,
                        json!({"code": "failed_precondition", "msg": "the upload is not complete"}),
                    ),
                }
            }
            "GetCacheEntryDownloadURL" => {
                let beginnings: Vec<&str> = question["restore_keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                match self.find(&key, &version, &beginnings, scopes) {
                    Some(place) => {
                        let url = format!("http://{address}/storage/{place}?sig=secret&se=later");
                        let key = &self.entries[place].key;
                        (200, json!({"ok": true, "signed_download_url": url, "matched_key": key}))
                    }
                    None => (200, json!({"ok": false, "signed_download_url": "", "matched_key": ""})),
                }
            }
            _ => (404, json!({"code": "bad_route", "msg": method})),
        }
    }

    fn find(&self, key: &str, version: &str, beginnings: &[&str], scopes: &[(String, u64)]) -> Option<usize> {
        let found = |scope: &str, matches: &dyn Fn(&str) -> bool| {
            self.entries.iter().rposition(|entry| {
                let is_there = entry.is_finished && !entry.is_evicted;
                is_there && entry.scope == scope && entry.version == version && matches(&entry.key)
            })
        };
        scopes.iter().find_map(|(scope, _)| {
            let exact = found(scope, &|name| name == key);
            let begins = |beginning: &&str| found(scope, &|name| name.starts_with(beginning));
            exact.or_else(|| beginnings.iter().find_map(begins))
        })
    }

    /// Block blobs.
    fn storage(&mut self, request: &Request) -> Answer {
        let place = request
            .path
            .strip_prefix("/storage/")
            .and_then(|place| place.parse().ok());
        let (Some(place), Some("secret")) = (place, request.query.get("sig").map(String::as_str)) else {
            return (403, Vec::new(), Vec::new());
        };
        if request.headers.contains_key("authorization") {
            return (400, Vec::new(), b"a token is nobody's business here".to_vec());
        }
        let dated = || {
            vec![
                ("ETag", "\"1\"".to_owned()),
                ("Last-Modified", "Mon, 30 Nov 2026 06:00:00 GMT".to_owned()),
            ]
        };
        match (request.method.as_str(), request.query.get("comp").map(String::as_str)) {
            ("PUT", None)
                if request
                    .headers
                    .get("x-ms-blob-type")
                    .is_some_and(|kind| kind == "BlockBlob") =>
            {
                self.blobs.insert(place, request.body.clone());
                (201, dated(), Vec::new())
            }
            ("PUT", Some("block")) => {
                let name = request.query.get("blockid").cloned().unwrap_or_default();
                self.blocks.insert((place, name), request.body.clone());
                (201, dated(), Vec::new())
            }
            ("PUT", Some("blocklist")) => {
                let list = String::from_utf8_lossy(&request.body).into_owned();
                let names = list.split("<Latest>").skip(1).filter_map(|rest| rest.split('<').next());
                let blocks = names.map(|name| self.blocks.remove(&(place, name.to_owned())));
                match blocks.collect::<Option<Vec<_>>>() {
                    Some(blocks) => {
                        self.blobs.insert(place, blocks.concat());
                        (201, dated(), Vec::new())
                    }
                    None => (400, Vec::new(), b"InvalidBlockList".to_vec()),
                }
            }
            ("GET" | "HEAD", None) => {
                let is_evicted = self.entries.get(place).is_none_or(|entry| entry.is_evicted);
                let Some(blob) = self.blobs.get(&place).filter(|_| !is_evicted) else {
                    return (404, Vec::new(), Vec::new());
                };
                let range = request
                    .headers
                    .get("x-ms-range")
                    .or_else(|| request.headers.get("range"));
                let start = range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
                let mut headers = dated();
                headers.push(("x-ms-blob-type", "BlockBlob".to_owned()));
                match start {
                    Some(start) if start <= blob.len() => {
                        let range = format!("bytes {start}-{}/{}", blob.len().max(1) - 1, blob.len());
                        headers.push(("Content-Range", range));
                        (206, headers, blob[start..].to_vec())
                    }
                    Some(_) => (416, Vec::new(), Vec::new()),
                    None => (200, headers, blob.clone()),
                }
            }
            _ => (400, Vec::new(), b"InvalidQueryParameterValue".to_vec()),
        }
    }
}

impl Request {
    /// `None` if nothing came.
    fn read(from: &mut impl BufRead, mut client: &TcpStream) -> io::Result<Option<Request>> {
        let Some(lines) = proxy::lines_of_head(from)? else {
            return Ok(None);
        };
        let mut words = lines.first().map(|line| line.split(' ')).into_iter().flatten();
        let method = words.next().unwrap_or_default().to_owned();
        let target = words.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers: HashMap<String, String> = lines
            .iter()
            .skip(1)
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        if headers.contains_key("expect") {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = match headers.get("content-length").map(|length| length.parse()) {
            Some(Ok(length)) => {
                let mut body = vec![0; length];
                from.read_exact(&mut body)?;
                body
            }
            _ if headers.contains_key("transfer-encoding") => chunks(from)?,
            _ => Vec::new(),
        };
        let field = |field: &str| {
            let (name, value) = field.split_once('=')?;
            Some((name.to_owned(), decoded(value)))
        };
        Ok(Some(Request {
            method,
            path: path.to_owned(),
            query: query.split('&').filter_map(field).collect(),
            headers,
            body,
        }))
    }
}

fn chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
        let mut chunk = vec![0; size + 2];
        from.read_exact(&mut chunk)?;
        body.extend_from_slice(&chunk[..size]);
        if size == 0 {
            return Ok(body);
        }
    }
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| after.get(..2)).flatten();
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
