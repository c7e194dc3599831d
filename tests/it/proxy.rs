//! A proxy between a client and a server, which counts what passes and misbehaves as a test wishes.
//!
//! HTTP/1.1, one exchange a connection. It knows of no registry: servers that make addresses from the `Host` header make
//! those of the proxy. Rules are asked in their order; the first that matches a request, and is not used up, is its fault.
#![allow(
    dead_code,
    reason = "each of the test programs that have this file uses a part of it"
)]

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const PIECE: usize = 16 << 10;

/// One request that came, and what became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) method: String,
    /// Without the query.
    pub(crate) path: String,
    /// The query, without `?`.
    pub(crate) query: String,
    /// The value of `Authorization`, or nothing.
    pub(crate) authorization: String,
    /// Of the answer; 0 if the connection ended before one.
    pub(crate) status: u16,
    /// Bytes of the request's body that reached the server.
    pub(crate) sent: u64,
    /// Bytes of the answer's body that reached the client.
    pub(crate) received: u64,
    /// When the request came and when all was over, since the proxy's start.
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// What goes wrong with a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing: a rule that keeps later ones away.
    None,
    /// The server is not asked; the body of the request is read and thrown away.
    Answer(Answer),
    /// The server does what it is asked to; the client gets this answer.
    AnswerAfter(Answer),
    /// After so many bytes of the request's body both connections end.
    CutRequest(u64),
    /// After so many bytes of the answer's body the client's connection ends.
    CutAnswer(u64),
    /// The server does what it is asked to; the client's connection ends without an answer.
    LoseAnswer,
    /// The first byte of the answer's body is another one.
    Corrupt,
    /// So many bytes a second, in each direction.
    Throttle(u64),
    /// Nothing happens for so long.
    Wait(Duration),
}

/// An answer in the place of the server's.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// Which requests go wrong, and how.
#[derive(Clone, Default)]
pub(crate) struct Faults {
    rules: Vec<Rule>,
}

#[derive(Clone)]
struct Rule {
    method: String,
    part: String,
    header: String,
    no_header: String,
    skip: usize,
    times: usize,
    after: Duration,
    fault: Fault,
}

/// A running proxy, ended when dropped.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    upstream: SocketAddr,
    started: Instant,
    ends: AtomicBool,
    faults: Mutex<Faults>,
    log: Mutex<Vec<Exchange>>,
}

impl Answer {
    pub(crate) fn of(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Answer {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn saying(mut self, body: &str) -> Answer {
        self.body = body.as_bytes().to_owned();
        self
    }
}

impl Faults {
    pub(crate) fn none() -> Faults {
        Faults::default()
    }

    /// A fault of requests of `method` (empty: all) whose path has `part` in it.
    pub(crate) fn on(mut self, method: &str, part: &str, fault: Fault) -> Faults {
        self.rules.push(Rule {
            method: method.to_owned(),
            part: part.to_owned(),
            header: String::new(),
            no_header: String::new(),
            skip: 0,
            times: usize::MAX,
            after: Duration::ZERO,
            fault,
        });
        self
    }

    /// The last fault only for requests with a header line that has `part` in it, both in lower case: `content-type: …`.
    pub(crate) fn with_header(self, part: &str) -> Faults {
        self.last(|rule| part.clone_into(&mut rule.header))
    }

    /// The last fault only for requests without such a header line.
    pub(crate) fn without_header(self, part: &str) -> Faults {
        self.last(|rule| part.clone_into(&mut rule.no_header))
    }

    /// The last fault only for the first `times` that match.
    pub(crate) fn times(self, times: usize) -> Faults {
        self.last(|rule| rule.times = times)
    }

    /// The last fault not for the first `count` that match.
    pub(crate) fn skipping(self, count: usize) -> Faults {
        self.last(|rule| rule.skip = count)
    }

    /// The last fault only from then on, since the proxy's start.
    pub(crate) fn after(self, time: Duration) -> Faults {
        self.last(|rule| rule.after = time)
    }

    fn last(mut self, change: impl FnOnce(&mut Rule)) -> Faults {
        change(self.rules.last_mut().expect("a fault comes first"));
        self
    }

    fn of(&mut self, head: &Head, age: Duration) -> Fault {
        for rule in &mut self.rules {
            let of_method = rule.method.is_empty() || rule.method == head.method;
            let has = |part: &String| head.lines.iter().any(|line| line.to_lowercase().contains(part));
            let of_header =
                (rule.header.is_empty() || has(&rule.header)) && (rule.no_header.is_empty() || !has(&rule.no_header));
            if !of_method || !of_header || !head.path.contains(&rule.part) || age < rule.after || rule.times == 0 {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.times -= 1;
            return rule.fault.clone();
        }
        Fault::None
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy at {}", self.address)
    }
}

impl Proxy {
    /// A proxy of `upstream` on a port of the loopback.
    pub(crate) fn start(upstream: SocketAddr, faults: Faults) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            upstream,
            started: Instant::now(),
            ends: AtomicBool::new(false),
            faults: Mutex::new(faults),
            log: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.ends.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(&client));
            }
        });
        Proxy {
            address,
            shared,
            thread: Some(thread),
        }
    }

    /// All exchanges so far, in the order they ended.
    pub(crate) fn log(&self) -> Vec<Exchange> {
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The exchanges of `method` (empty: all) whose path has `part` in it.
    pub(crate) fn exchanges(&self, method: &str, part: &str) -> Vec<Exchange> {
        let mut log = self.log();
        log.retain(|exchange| (method.is_empty() || exchange.method == method) && exchange.path.contains(part));
        log
    }

    /// Forgets what has passed and fails from now on as `faults` say; the time of the start is now.
    pub(crate) fn again(&self, faults: Faults) {
        *self.shared.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
        self.shared.log.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for clients.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The lines before a body, and how long that is.
struct Head {
    method: String,
    path: String,
    query: String,
    status: u16,
    lines: Vec<String>,
}

#[derive(Clone, Copy)]
enum Length {
    Exactly(u64),
    Chunked,
    ToTheEnd,
}

/// How far a copy may go.
struct Limits {
    bytes: u64,
    per_second: Option<u64>,
    corrupt: bool,
}

impl Limits {
    const NONE: Limits = Limits {
        bytes: u64::MAX,
        per_second: None,
        corrupt: false,
    };
}

impl Shared {
    fn serve(&self, client: &TcpStream) {
        let mut from_client = BufReader::new(client);
        let Ok(Some(head)) = Head::read(&mut from_client) else {
            return;
        };
        let mut exchange = Exchange {
            method: head.method.clone(),
            path: head.path.clone(),
            query: head.query.clone(),
            authorization: head.value("authorization").unwrap_or_default().to_owned(),
            from: self.started.elapsed(),
            ..Exchange::default()
        };
        let fault = self
            .faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .of(&head, self.started.elapsed());
        // A broken connection is the end of the exchange, and often what the test wants.
        let _ = self.exchange(&head, &mut from_client, client, &fault, &mut exchange);
        exchange.until = self.started.elapsed();
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(exchange);
        let _ = client.shutdown(Shutdown::Both);
    }

    fn exchange(
        &self,
        head: &Head,
        from_client: &mut BufReader<&TcpStream>,
        mut client: &TcpStream,
        fault: &Fault,
        exchange: &mut Exchange,
    ) -> io::Result<()> {
        if head.value("expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let (mut up, mut down) = (Limits::NONE, Limits::NONE);
        match fault {
            Fault::Answer(answer) => {
                let mut thrown_away = 0;
                copy(from_client, &mut io::sink(), head.length(true), &up, &mut thrown_away)?;
                exchange.status = answer.status;
                return answer.write(client, &head.method, &mut exchange.received);
            }
            Fault::CutRequest(bytes) => up.bytes = *bytes,
            Fault::CutAnswer(bytes) => down.bytes = *bytes,
            Fault::Corrupt => down.corrupt = true,
            Fault::Throttle(rate) => (up.per_second, down.per_second) = (Some(*rate), Some(*rate)),
            Fault::Wait(time) => thread::sleep(*time),
            Fault::None | Fault::AnswerAfter(_) | Fault::LoseAnswer => {}
        }
        let server = TcpStream::connect(self.upstream)?;
        let mut to_server = &server;
        to_server.write_all(&head.bytes())?;
        copy(from_client, &mut to_server, head.length(true), &up, &mut exchange.sent)?;
        let mut from_server = BufReader::new(&server);
        let Some(answer) = Head::read(&mut from_server)? else {
            return Ok(());
        };
        exchange.status = answer.status;
        match fault {
            Fault::LoseAnswer => return Ok(()),
            Fault::AnswerAfter(other) => {
                exchange.status = other.status;
                return other.write(client, &head.method, &mut exchange.received);
            }
            _ => {}
        }
        client.write_all(&answer.bytes())?;
        let is_empty = head.method == "HEAD" || matches!(answer.status, 204 | 304);
        let length = if is_empty {
            Length::Exactly(0)
        } else {
            answer.length(false)
        };
        copy(&mut from_server, &mut client, length, &down, &mut exchange.received)
    }
}

/// The lines before a body; `None` if the other side ended before the last of them.
pub(crate) fn lines_of_head(from: &mut impl BufRead) -> io::Result<Option<Vec<String>>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        match line.trim_end() {
            "" => return Ok(Some(lines)),
            line => lines.push(line.to_owned()),
        }
    }
}

impl Head {
    /// `None` if nothing came.
    fn read(from: &mut impl BufRead) -> io::Result<Option<Head>> {
        let Some(mut lines) = lines_of_head(from)? else {
            return Ok(None);
        };
        let first = if lines.is_empty() {
            String::new()
        } else {
            lines.remove(0)
        };
        let words: Vec<&str> = first.split(' ').collect();
        let second = words.get(1).copied().unwrap_or_default();
        let (path, query) = second.split_once('?').unwrap_or((second, ""));
        lines.retain(|line| !is_of(line, "connection") && !is_of(line, "expect"));
        Ok(Some(Head {
            method: words[0].to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            status: second.parse().unwrap_or_default(),
            lines: [first].into_iter().chain(lines).collect(),
        }))
    }

    fn value(&self, name: &str) -> Option<&str> {
        let line = self.lines.iter().find(|line| is_of(line, name))?;
        Some(line.split_once(':')?.1.trim())
    }

    fn length(&self, of_request: bool) -> Length {
        match (self.value("transfer-encoding"), self.value("content-length")) {
            (Some(_), _) => Length::Chunked,
            (None, Some(length)) => Length::Exactly(length.parse().unwrap_or_default()),
            (None, None) if of_request => Length::Exactly(0),
            (None, None) => Length::ToTheEnd,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = self.lines.join("\r\n");
        text.push_str("\r\nConnection: close\r\n\r\n");
        text.into_bytes()
    }
}

fn is_of(line: &str, name: &str) -> bool {
    line.split_once(':')
        .is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
}

impl Answer {
    fn write(&self, mut client: &TcpStream, method: &str, received: &mut u64) -> io::Result<()> {
        let mut head = format!("HTTP/1.1 {} Test\r\nConnection: close\r\n", self.status);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", self.body.len()));
        client.write_all(head.as_bytes())?;
        if method != "HEAD" {
            client.write_all(&self.body)?;
            *received += self.body.len() as u64;
        }
        Ok(())
    }
}

/// Copies a body as it is framed; `passed` counts bytes of content, without those of the framing.
fn copy(
    from: &mut impl BufRead,
    to: &mut impl Write,
    length: Length,
    limits: &Limits,
    passed: &mut u64,
) -> io::Result<()> {
    match length {
        Length::Exactly(bytes) => copy_bytes(from, to, bytes, limits, passed),
        Length::ToTheEnd => match copy_bytes(from, to, u64::MAX, limits, passed) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
            other => other,
        },
        Length::Chunked => loop {
            let mut line = String::new();
            from.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            to.write_all(line.as_bytes())?;
            copy_bytes(from, to, size, limits, passed)?;
            let mut end = String::new();
            from.read_line(&mut end)?;
            to.write_all(end.as_bytes())?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}

fn copy_bytes(
    from: &mut impl Read,
    to: &mut impl Write,
    mut left: u64,
    limits: &Limits,
    passed: &mut u64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let room = left.min(PIECE as u64).min(limits.bytes - *passed);
        if room == 0 {
            return Err(io::Error::other("cut"));
        }
        let count = from.read(&mut piece[..usize::try_from(room).unwrap()])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if limits.corrupt && *passed == 0 {
            piece[0] ^= 1;
        }
        to.write_all(&piece[..count])?;
        *passed += count as u64;
        left -= count as u64;
        if let Some(rate) = limits.per_second {
            thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
        }
    }
    Ok(())
}

#[test]
fn what_passes_is_counted_and_faults_come_when_they_are_due() {
    let upstream = echo();
    let late = Answer::of(503).with("Retry-After", "1");
    let faults = Faults::none()
        .on("PUT", "/a", Fault::Answer(late))
        .skipping(1)
        .times(1)
        .on("PUT", "/b", Fault::CutRequest(3));
    let proxy = Proxy::start(upstream, faults);
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(proxy.address).unwrap();
        let request = format!("PUT {path}?q=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(ask("/a").ends_with("\r\n\r\nhello"));
    assert!(ask("/a").starts_with("HTTP/1.1 503 "));
    assert!(ask("/a").ends_with("\r\n\r\nhello"));
    assert_eq!(ask("/b"), "");
    let counts = |path| {
        let seen = proxy.exchanges("PUT", path).into_iter();
        seen.map(|seen| (seen.status, seen.sent, seen.received))
            .collect::<Vec<_>>()
    };
    assert_eq!(counts("/a"), [(200, 5, 5), (503, 0, 0), (200, 5, 5)]);
    assert_eq!(counts("/b"), [(0, 3, 0)]);
}

/// A server that answers each request with its body.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(&client);
            let Ok(Some(head)) = Head::read(&mut reader) else {
                continue;
            };
            let mut body = Vec::new();
            let mut count = 0;
            if copy(&mut reader, &mut body, head.length(true), &Limits::NONE, &mut count).is_ok() {
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {count}\r\n\r\n");
                let _ = (&client).write_all(&[answer.as_bytes(), &body].concat());
            }
        }
    });
    address
}
