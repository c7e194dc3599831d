//! Registries that mean harm. Whatever they answer, there is an error in few words, in little time, or the truth.

use std::time::{Duration, Instant};

use oci::{Descriptor, Digest, Fetch, ImageConfig, Index, Manifest, PortError, media_type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Reply, Server, amd64, client_with_config, config_of_one_layer};

/// What a port says went wrong, with its causes.
fn words(error: &PortError) -> String {
    match error {
        PortError::Content { name, source } => format!("{name}: {source}"),
        other => other.to_string(),
    }
}

/// Fails unless the error is short, plain and has those words.
fn check(what: &str, error: &PortError, expected: &str) {
    let said = words(error);
    assert!(
        said.contains(expected),
        "{what}: expected `{expected}`, was told: {said}"
    );
    assert!(said.len() < 4000, "{what}: {} bytes of error", said.len());
}

async fn resolve(server: &Server, tag: &str) -> Result<oci::ResolvedImage, PortError> {
    server
        .client()
        .resolve(&server.name(&format!("app:{tag}")), &amd64())
        .await
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn documents_that_lie_are_refused() {
    let server = Server::plain().await;
    let config = server.blob(media_type::CONFIG, &ImageConfig::scratch(&amd64()).to_bytes());
    let of = |digest: &str, size: &str| format!(r#"{{"mediaType":"x","digest":"{digest}","size":{size}}}"#);
    let good = of(&config.digest.to_string(), &config.size.to_string());
    let manifest = |config: &str, layers: &str| format!(r#"{{"schemaVersion":2,"config":{config},"layers":{layers}}}"#);
    let zeros = format!("sha256:{}", "0".repeat(64));
    let nonsense: Vec<String> = (0..10_000)
        .map(|number| {
            let platform = format!(r#"{{"os":"plan9-{number}","architecture":"\u001b[2Jx"}}"#);
            let kind = media_type::MANIFEST;
            format!(r#"{{"mediaType":"{kind}","digest":"{zeros}","size":1,"platform":{platform}}}"#)
        })
        .collect();
    let index = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let twice = format!(r#"{{"schemaVersion":2,"config":{good},"layers":[],"layers":[]}}"#);
    let (m, i) = (media_type::MANIFEST, media_type::INDEX);
    let mut tried = 0;
    for (what, kind, text, expected) in [
        (
            "a size below nothing",
            m,
            manifest(&of(&zeros, "-1"), "[]"),
            "the image manifest is not valid",
        ),
        (
            "a size beyond all",
            m,
            manifest(&of(&zeros, "1e300"), "[]"),
            "the image manifest is not valid",
        ),
        (
            "a size of words",
            m,
            manifest(&of(&zeros, "\"9\""), "[]"),
            "the image manifest is not valid",
        ),
        (
            "a layer below nothing",
            m,
            manifest(&good, &format!("[{}]", of(&zeros, "-9"))),
            "not valid",
        ),
        (
            "a huge configuration",
            m,
            manifest(&of(&zeros, "5000000000"), "[]"),
            "4194304 are allowed",
        ),
        (
            "another algorithm",
            m,
            manifest(&of(&format!("sha512:{}", "0".repeat(128)), "1"), "[]"),
            "invalid digest",
        ),
        (
            "a digest that is a path",
            m,
            manifest(&of("sha256:../../../../etc/passwd", "1"), "[]"),
            "",
        ),
        (
            "a digest in capitals",
            m,
            manifest(&of(&zeros.to_uppercase(), "1"), "[]"),
            "",
        ),
        ("a digest of nothing", m, manifest(&of("", "1"), "[]"), ""),
        (
            "no layers",
            m,
            format!(r#"{{"schemaVersion":2,"config":{good}}}"#),
            "not valid",
        ),
        ("layers that are none", m, manifest(&good, "null"), "not valid"),
        ("layers that are one", m, manifest(&good, "{}"), "not valid"),
        ("layers twice", m, twice, "duplicate"),
        (
            "no configuration",
            m,
            r#"{"schemaVersion":2,"layers":[]}"#.to_owned(),
            "not valid",
        ),
        ("depth", m, deep.clone(), "not valid"),
        (
            "depth in a place nobody reads",
            m,
            format!(r#"{{"x":{deep}}}"#),
            "not valid",
        ),
        (
            "an index that is a manifest",
            i,
            manifest(&good, "[]"),
            "the image index is not valid",
        ),
        (
            "a manifest that is an index",
            m,
            index(""),
            "the image manifest is not valid",
        ),
        ("an empty index", i, index(""), "no manifest for platform"),
        ("ten thousand platforms", i, index(&nonsense.join(",")), "and 9984 more"),
        ("a page", "text/html", "<html>".to_owned(), "unsupported manifest"),
        (
            "a table of an old kind",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "{}".to_owned(),
            "v1",
        ),
        ("nothing", m, String::new(), "not valid"),
        ("half of it", m, manifest(&good, "[]")[..40].to_owned(), "not valid"),
        ("more than one", m, manifest(&good, "[]").repeat(2), "not valid"),
        ("no text", m, "\u{feff}{}".to_owned(), "not valid"),
    ] {
        server.manifest(kind, "t", text.as_bytes());
        match resolve(&server, "t").await {
            Err(error) => check(what, &error, expected),
            Ok(_) => panic!("{what}: accepted"),
        }
        tried += 1;
    }
    eprintln!("{tried} documents refused");
}

#[tokio::test]
async fn configurations_that_lie_are_refused() {
    let server = Server::plain().await;
    for (what, config, expected) in [
        ("a list", "[7]", "not valid"),
        ("a broken one", "{\"config\":", "image configuration is not valid"),
        (
            "layers without digests",
            r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#,
            "invalid digest",
        ),
        (
            "words for labels",
            r#"{"config":{"Labels":"x"}}"#,
            "image configuration is not valid",
        ),
        (
            "numbers for variables",
            r#"{"config":{"Env":[1]}}"#,
            "image configuration is not valid",
        ),
        ("depth", &"[".repeat(100_000), "not valid"),
    ] {
        let config = server.blob(media_type::CONFIG, config.as_bytes());
        let manifest = Manifest::new(media_type::MANIFEST, config, Vec::new());
        server.manifest(media_type::MANIFEST, "c", &manifest.to_bytes());
        match resolve(&server, "c").await {
            Err(error) => check(what, &error, expected),
            Ok(_) => panic!("{what}: accepted"),
        }
    }
}

#[tokio::test]
async fn documents_have_the_size_that_is_announced() {
    let server = Server::plain().await;
    let mut image = server.image("0", "linux/amd64");
    image.size += 1;
    let bytes = Index::new(vec![image]).to_bytes();
    server.manifest(media_type::INDEX, "1", &bytes);
    check(
        "an image",
        &resolve(&server, "1").await.unwrap_err(),
        "bytes, and it has",
    );
    let mut config = server.blob(media_type::CONFIG, &ImageConfig::scratch(&amd64()).to_bytes());
    config.size -= 1;
    let manifest = Manifest::new(media_type::MANIFEST, config, Vec::new());
    server.manifest(media_type::MANIFEST, "2", &manifest.to_bytes());
    check(
        "a configuration",
        &resolve(&server, "2").await.unwrap_err(),
        "bytes, and it has",
    );
}

#[tokio::test]
async fn indexes_do_not_lead_in_circles() {
    let server = Server::plain().await;
    let mut inner = server.image("0", "linux/amd64");
    for depth in 1..=6 {
        let bytes = Index::new(vec![inner.clone()]).to_bytes();
        inner = server.manifest(media_type::INDEX, &depth.to_string(), &bytes);
        inner.platform = Some(amd64());
    }
    assert_eq!(resolve(&server, "4").await.unwrap().indexes.len(), 4);
    check(
        "five deep",
        &resolve(&server, "5").await.unwrap_err(),
        "more than 4 deep",
    );
    // Whatever digest is asked for, the answer is the same index: it is in itself, if it were believed.
    let zeros: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let mut itself = Descriptor::new(media_type::MANIFEST, zeros, 100);
    itself.platform = Some(amd64());
    let bytes = Index::new(vec![itself]).to_bytes();
    let server = Server::start(move |request| {
        let reply = Reply::of(200, &bytes).with("Docker-Content-Digest", &zeros.to_string());
        request
            .path
            .contains("/manifests/")
            .then(|| reply.with("Content-Type", media_type::INDEX))
    })
    .await;
    check("itself", &resolve(&server, "1").await.unwrap_err(), "has digest");
    assert_eq!(
        server.requests("GET", "").len(),
        2,
        "a wrong digest is not asked for again"
    );
}

#[tokio::test]
async fn what_a_header_says_of_a_digest_is_not_believed() {
    let server = Server::plain().await;
    let image = server.image("1", "linux/amd64");
    let (kind, bytes) = server.stored_manifest("1").unwrap();
    let config = server.blob(media_type::CONFIG, &config_of_one_layer(&amd64()));
    let lie = Digest::of(b"something else").to_string();
    let lying = Server::start(move |request| {
        let reply = Reply::of(200, &bytes).with("Docker-Content-Digest", &lie);
        request
            .is("GET", "/manifests/")
            .then(|| reply.with("Content-Type", &kind))
    })
    .await;
    lying.blob(media_type::CONFIG, &config_of_one_layer(&amd64()));
    assert!(lying.stored_blob(config.digest).is_some());
    assert_eq!(resolve(&lying, "1").await.unwrap().root.digest, image.digest);
}

#[tokio::test]
async fn nobody_is_sent_where_a_registry_would_like() {
    for (what, location, expected) in [
        ("itself", "/v2/app/manifests/1", "more than 10 redirects"),
        ("a file", "file:///etc/passwd", "without a valid Location"),
        ("data", "data:application/json,{}", "without a valid Location"),
        ("another protocol", "ftp://127.0.0.1/x", "without a valid Location"),
        ("a socket", "unix:///var/run/docker.sock", "without a valid Location"),
        ("no host", "http:///x", ""),
        ("nowhere", "", ""),
        (
            "another's door",
            "http://user:password@127.0.0.1:1/x?token=hush",
            "refused",
        ),
    ] {
        let server = Server::start(move |_| Some(Reply::of(307, b"").with("Location", location))).await;
        let began = Instant::now();
        let error = resolve(&server, "1").await.unwrap_err();
        check(what, &error, expected);
        assert!(
            !words(&error).contains("hush") && !words(&error).contains("password"),
            "{error}"
        );
        assert!(
            server.requests("GET", "").len() <= 12 && began.elapsed() < Duration::from_secs(20),
            "{what}"
        );
    }
}

#[tokio::test]
async fn layers_are_not_fetched_from_addresses_in_a_manifest() {
    let elsewhere = Server::plain().await;
    let layer = elsewhere.blob(media_type::LAYER, b"foreign");
    let server = Server::plain().await;
    let config = server.blob(media_type::CONFIG, &config_of_one_layer(&amd64()));
    let text = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"{}","digest":"{}","size":{}}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"{}","size":7,"urls":["http://{}/v2/app/blobs/{}"]}}]}}"#,
        media_type::CONFIG,
        config.digest,
        config.size,
        layer.digest,
        elsewhere.host,
        layer.digest
    );
    server.manifest(media_type::MANIFEST, "1", text.as_bytes());
    let image = resolve(&server, "1").await.unwrap();
    let opened = server.client().blob(&image.name, &image.manifest.layers[0]).await;
    assert!(matches!(opened, Err(PortError::NotFound { .. })));
    assert!(elsewhere.requests("GET", "").is_empty());
}

#[tokio::test]
async fn token_services_are_web_servers_and_tokens_are_words() {
    for (what, realm, expected) in [
        ("a file", "file:///etc/passwd", "not a URL of HTTP"),
        ("a script", "javascript:alert(1)", "not a URL of HTTP"),
        ("no address", "not an address", "not a URL"),
        ("nobody", "http://127.0.0.1:1/token", "refused"),
    ] {
        let server = Server::start(move |_| {
            Some(Reply::of(401, b"").with("WWW-Authenticate", &format!("Bearer realm=\"{realm}\"")))
        })
        .await;
        check(what, &resolve(&server, "1").await.unwrap_err(), expected);
    }
    let large = format!("{{\"token\":\"{}\"}}", "x".repeat(2 << 20));
    for (what, answer, expected) in [
        ("a header", r#"{"token":"x\r\nX-Evil: 1"}"#, "has no token"),
        ("nothing", r#"{"token":""}"#, "has no token"),
        ("a page", "<html>", "not valid"),
        ("two megabytes", &large, "larger than"),
        (
            "a life without end",
            r#"{"token":"x","expires_in":18446744073709551615}"#,
            "",
        ),
        ("a life below nothing", r#"{"token":"x","expires_in":-1}"#, "not valid"),
    ] {
        let answer = answer.to_owned();
        let server = Server::start(move |request| {
            if request.path == "/token" {
                return Some(Reply::of(200, answer.as_bytes()));
            }
            let realm = format!("Bearer realm=\"http://{}/token\"", request.header("host").unwrap());
            Some(Reply::of(401, b"").with("WWW-Authenticate", &realm))
        })
        .await;
        check(what, &resolve(&server, "1").await.unwrap_err(), expected);
        assert!(server.requests("GET", "").len() <= 4, "{what}");
    }
}

#[tokio::test]
async fn a_login_goes_to_its_registry_and_to_nobody_named_by_another() {
    let thief = Server::plain().await;
    let host = thief.host.clone();
    let server = Server::start(move |request| {
        Some(match request.header("authorization") {
            Some(_) => Reply::of(307, b"").with("Location", &format!("http://{host}/v2/")),
            None => Reply::of(401, b"").with("WWW-Authenticate", "Basic realm=\"x\""),
        })
    })
    .await;
    let config = format!(
        r#"{{"auths":{{"{}":{{"auth":"dXNlcjpzZWNyZXQ="}},"https://index.docker.io/v1/":{{"auth":"dXNlcjpzZWNyZXQ="}}}}}}"#,
        server.host
    );
    let (_folder, _, client) = client_with_config(&config);
    let name = server.name("app:1");
    let blob = Descriptor::new(media_type::LAYER, Digest::of(b"x"), 1);
    assert!(client.resolve(&name, &amd64()).await.is_err());
    assert!(client.blob(&name, &blob).await.is_err());
    assert!(
        server
            .requests("GET", "")
            .iter()
            .any(|request| request.header("authorization").is_some())
    );
    let heard = thief.requests("GET", "");
    assert!(!heard.is_empty() && heard.iter().all(|request| request.header("authorization").is_none()));
    assert!(heard.iter().all(|request| request.header("referer").is_none()));
}

#[tokio::test]
async fn complaints_are_short_and_plain_and_do_not_make_us_wait() {
    let noise = "\u{1b}]0;evil\u{7}\u{1b}[2J\r\nhint: run this ".repeat(100_000);
    let document = format!(
        r#"{{"errors":[{{"code":"{}","message":"{}"}}]}}"#,
        "X".repeat(9000),
        "y".repeat(9000)
    );
    for (what, reply) in [
        ("noise", Reply::of(400, noise.as_bytes())),
        ("a long document", Reply::of(400, document.as_bytes())),
        ("a wait of days", Reply::of(429, b"later").with("Retry-After", "999999")),
        (
            "a wait beyond all",
            Reply::of(503, b"later").with("Retry-After", "99999999999999999999"),
        ),
    ] {
        let server = Server::start(move |_| Some(reply.clone())).await;
        let began = Instant::now();
        let error = resolve(&server, "1").await.unwrap_err();
        let said = words(&error);
        assert!(
            said.len() < 1000 && !said.chars().any(char::is_control),
            "{what}: {said}"
        );
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{what}: {:?}",
            began.elapsed()
        );
    }
}

/// A server that reads a request and then writes what it likes.
async fn raw<F>(answer: impl Fn(TcpStream) -> F + Send + Sync + 'static) -> String
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            tokio::spawn(answer(stream));
        }
    });
    host
}

async fn resolve_at(host: &str) -> PortError {
    let name = oci::ImageName::Registry(format!("{host}/app:1").parse().unwrap());
    let client = registry::Client::new(registry::ClientOptions::default()).unwrap();
    client.resolve(&name, &amd64()).await.unwrap_err()
}

#[tokio::test]
async fn answers_without_end_come_to_one() {
    let headers = raw(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n").await;
        while stream
            .write_all(b"X-More: and more and more and more\r\n")
            .await
            .is_ok()
        {}
    })
    .await;
    check("headers", &resolve_at(&headers).await, "");
    let header = raw(|mut stream| async move {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nX-Long: ").await;
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    })
    .await;
    check("one header", &resolve_at(&header).await, "");
    let body = raw(|mut stream| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let chunk = [&b"1000\r\n"[..], &[b' '; 4096], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    check("a body", &resolve_at(&body).await, "larger than 4194304 bytes");
    let lie = raw(|mut stream| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}")
            .await;
    })
    .await;
    check("a length", &resolve_at(&lie).await, "connection broke");
    let noise = raw(|mut stream| async move {
        let _ = stream.write_all(&[0x16, 3, 1, 0, 0, b'\r', b'\n', 7, 7]).await;
    })
    .await;
    // What is no HTTP now will be none in a second.
    let began = Instant::now();
    check("noise", &resolve_at(&noise).await, "not valid HTTP");
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
    let frames = raw(|mut stream| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nlarge\r\n")
            .await;
    })
    .await;
    let began = Instant::now();
    check("frames", &resolve_at(&frames).await, "not valid HTTP");
    assert!(began.elapsed() < Duration::from_millis(300), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_blob_without_end_is_cut_at_its_size() {
    let host = raw(|mut stream| async move {
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let chunk = [&b"1000\r\n"[..], &[b' '; 4096], b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let name = oci::ImageName::Registry(format!("{host}/app:1").parse().unwrap());
    let client = registry::Client::new(registry::ClientOptions::default()).unwrap();
    let blob = Descriptor::new(media_type::LAYER, Digest::of(b"x"), 10_000);
    let mut reader = client.blob(&name, &blob).await.unwrap();
    let read = tokio::task::spawn_blocking(move || std::io::read_to_string(&mut reader));
    let error = read.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("more bytes came"), "{error}");
}
