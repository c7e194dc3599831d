//! Uploads that go on where they broke, go in chunks where they must, or do not go at all because the registry has the
//! blob next door.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oci::{Descriptor, PortError, Push, Reference, media_type};
use registry::{Client, ClientOptions, Listener};

use crate::server::{Reply, Request, Server, client_with_config, first};

struct Layer {
    folder: tempfile::TempDir,
    bytes: Vec<u8>,
    descriptor: Descriptor,
}

fn layer(size: usize) -> Layer {
    let folder = tempfile::tempdir().unwrap();
    let bytes: Vec<u8> = (0..size).map(|number| (number % 251) as u8).collect();
    std::fs::write(folder.path().join("layer"), &bytes).unwrap();
    Layer {
        folder,
        descriptor: Descriptor::of(media_type::LAYER, &bytes),
        bytes,
    }
}

fn chunked(size: u64) -> Client {
    let options = ClientOptions {
        chunk_size: Some(size),
        ..ClientOptions::default()
    };
    Client::new(options).unwrap()
}

/// A client and what it says.
fn listening() -> (Client, Arc<Mutex<Vec<String>>>) {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = said.clone();
    let options = ClientOptions {
        listener: Listener::new(move |text| hears.lock().unwrap().push(text.to_owned())),
        ..ClientOptions::default()
    };
    (Client::new(options).unwrap(), said)
}

async fn send(client: &Client, name: &Reference, layer: &Layer) -> (Result<(), PortError>, u64) {
    let told = AtomicU64::new(0);
    let sent = |count| {
        told.fetch_add(count, Ordering::Relaxed);
    };
    let path = layer.folder.path().join("layer");
    let pushed = client.push_blob(name, &layer.descriptor, path, &sent).await;
    (pushed, told.into_inner())
}

fn lengths(requests: &[Request]) -> Vec<usize> {
    requests.iter().map(|request| request.body.len()).collect()
}

#[tokio::test]
async fn a_broken_upload_goes_on_where_the_registry_is() {
    let server = Server::plain().await;
    server.resume();
    server.hang_up(2);
    let layer = layer(4_000_000);
    let (sent, told) = send(&server.client(), &server.reference("app:1"), &layer).await;
    assert_eq!((sent.unwrap(), told), ((), 4_000_000));
    assert_eq!(server.requests("POST", "/uploads/").len(), 1);
    // The half of all, the half of the rest, and then what is left.
    assert_eq!(lengths(&server.requests("PATCH", "/uploads/")), [1_000_000]);
    let patch = &server.requests("PATCH", "/uploads/")[0];
    assert_eq!(patch.header("content-range"), Some("3000000-3999999"));
    assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
}

#[tokio::test]
async fn an_upload_whose_pieces_make_another_blob_is_sent_whole() {
    // Says that it has more than it got.
    let server = Server::start(first(1, "GET", "/uploads/", |_| {
        Reply::of(204, b"").with("Range", "0-1999999")
    }))
    .await;
    server.hang_up(1);
    let layer = layer(4_000_000);
    let (sent, _) = send(&server.client(), &server.reference("app:1"), &layer).await;
    sent.unwrap();
    assert_eq!(server.requests("POST", "/uploads/").len(), 2);
    assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
}

#[tokio::test]
async fn a_blob_whose_last_answer_was_lost_is_not_sent_again() {
    let layer = layer(1_000_000);
    let server = Server::start(first(1, "PUT", "/blobs/", |_| Reply::of(502, b""))).await;
    server.blob(media_type::LAYER, &layer.bytes);
    send(&server.client(), &server.reference("app:1"), &layer)
        .await
        .0
        .unwrap();
    assert_eq!(server.requests("PUT", "/blobs/").len(), 1);
    assert_eq!(server.requests("HEAD", "/blobs/").len(), 1);
}

#[tokio::test]
async fn chunks_have_the_size_that_was_asked_for_and_at_least_what_the_registry_wants() {
    for (least, expected) in [
        (None, vec![300_000, 300_000, 300_000, 100_000]),
        (Some("400000"), vec![400_000, 400_000, 200_000]),
    ] {
        let server = Server::start(first(1, "POST", "/uploads/", move |request| {
            let place = format!("{}one?_state=a%2Fb", request.path);
            let reply = Reply::of(202, b"").with("Location", &place);
            least.map_or(reply.clone(), |least| reply.with("OCI-Chunk-Min-Length", least))
        }))
        .await;
        let layer = layer(1_000_000);
        let (sent, told) = send(&chunked(300_000), &server.reference("app:1"), &layer).await;
        assert_eq!((sent.unwrap(), told), ((), 1_000_000));
        assert_eq!(lengths(&server.requests("PATCH", "/uploads/")), expected);
        assert_eq!(lengths(&server.requests("PUT", "/uploads/")), [0]);
        assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
    }
}

#[tokio::test]
async fn a_small_blob_needs_no_chunks() {
    let server = Server::plain().await;
    let layer = layer(300_000);
    send(&chunked(300_000), &server.reference("app:1"), &layer)
        .await
        .0
        .unwrap();
    assert!(server.requests("PATCH", "").is_empty());
}

#[tokio::test]
async fn a_proxy_that_takes_no_large_bodies_gets_small_ones_and_is_remembered() {
    let most = 1 << 20;
    let server = Server::start(move |request| (request.body.len() > most).then(|| Reply::of(413, b""))).await;
    let (client, said) = listening();
    let layer = layer(5 << 20);
    send(&client, &server.reference("app:1"), &layer).await.0.unwrap();
    assert_eq!(lengths(&server.requests("PUT", "/uploads/")), [5 << 20, 0]);
    assert_eq!(lengths(&server.requests("PATCH", "/uploads/"))[..2], [4 << 20, 1 << 20]);
    assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
    let said = said.lock().unwrap().join("\n");
    assert!(said.contains("413") && said.contains("chunks of 1 MiB"), "{said}");

    let again = self::layer(3 << 20);
    send(&client, &server.reference("app:1"), &again).await.0.unwrap();
    assert_eq!(
        server.requests("PUT", "/uploads/").len(),
        3,
        "no large body is tried again"
    );
}

/// A registry that lacks everything in `app`, and is asked to take blobs from elsewhere.
async fn with_neighbours(answer: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Server {
    Server::start(move |request| {
        if request.is("HEAD", "/v2/app/blobs/") {
            return Some(Reply::of(404, b""));
        }
        (request.method == "POST" && request.query.contains("mount=")).then(|| answer(request))?
    })
    .await
}

#[tokio::test]
async fn a_blob_of_a_neighbour_is_not_sent() {
    let server = with_neighbours(|_| Some(Reply::of(201, b""))).await;
    let (client, layer) = (server.client(), layer(1_000));
    let from = [
        "elsewhere.example/base:1".parse().unwrap(),
        server.reference("app:other"),
        server.reference("team/base:1"),
    ];
    for _ in 0..2 {
        let found = client
            .find_blob(&server.reference("app:1"), &layer.descriptor, &from)
            .await;
        assert!(found.unwrap());
    }
    let asked = server.requests("POST", "/v2/app/blobs/uploads/");
    assert_eq!(asked.len(), 1, "what is known is not asked again");
    let expected = format!("mount={}&from=team%2Fbase", layer.descriptor.digest);
    assert_eq!(asked[0].query, expected);
}

#[tokio::test]
async fn an_upload_begun_in_the_place_of_a_mount_is_gone_on_with() {
    let server = with_neighbours(|_| None).await;
    let (client, layer, name) = (server.client(), layer(1_000), server.reference("app:1"));
    let from = [server.reference("base:1")];
    assert!(!client.find_blob(&name, &layer.descriptor, &from).await.unwrap());
    send(&client, &name, &layer).await.0.unwrap();
    assert_eq!(server.requests("POST", "/uploads/").len(), 1);
    assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
}

#[tokio::test]
async fn an_upload_that_nobody_goes_on_with_is_cancelled() {
    let server = with_neighbours(|_| None).await;
    let (client, layer, name) = (server.client(), layer(1_000), server.reference("app:1"));
    let from = [server.reference("base:1")];
    client.find_blob(&name, &layer.descriptor, &from).await.unwrap();
    client.abandon(&name).await;
    client.abandon(&name).await;
    let cancelled = server.requests("DELETE", "/uploads/one");
    assert_eq!(cancelled.len(), 1);
    assert_eq!(cancelled[0].query, "_state=a%2Fb");
}

#[tokio::test]
async fn a_neighbour_that_may_not_be_read_costs_nothing_but_the_question() {
    let asks = Arc::new(AtomicUsize::new(0));
    let counts = asks.clone();
    let tokens = Server::start(move |request| {
        let is_of_both = request.query.contains("secret");
        counts.fetch_add(usize::from(is_of_both), Ordering::Relaxed);
        Some(match is_of_both {
            true => Reply::of(403, b"{}"),
            false => Reply::of(200, br#"{"token":"t","expires_in":300}"#),
        })
    })
    .await;
    let realm = format!(r#"Bearer realm="http://{}/token",service="s""#, tokens.host);
    let server = Server::start(move |request| match request.header("authorization") {
        None => Some(Reply::of(401, b"").with("WWW-Authenticate", &realm)),
        Some(_) => None,
    })
    .await;
    let client = server.client();
    for size in [10, 20, 30, 40] {
        let (layer, name) = (layer(size), server.reference("app:1"));
        let from = [server.reference("secret:1")];
        assert!(!client.find_blob(&name, &layer.descriptor, &from).await.unwrap());
        send(&client, &name, &layer).await.0.unwrap();
        assert_eq!(server.stored_blob(layer.descriptor.digest).unwrap(), layer.bytes);
    }
    assert_eq!(
        asks.load(Ordering::Relaxed),
        1,
        "a refusal holds for a while, and who refuses twice is not asked any more"
    );
}

#[tokio::test]
async fn a_mount_asks_for_the_right_to_read_the_neighbour() {
    let tokens = Server::start(|_| Some(Reply::of(200, br#"{"token":"t"}"#))).await;
    let realm = format!(r#"Bearer realm="http://{}/token",service="s""#, tokens.host);
    let server = Server::start(move |request| match request.header("authorization") {
        None => Some(Reply::of(401, b"").with("WWW-Authenticate", &realm)),
        Some(_) if request.query.contains("mount=") => Some(Reply::of(201, b"")),
        Some(_) => None,
    })
    .await;
    let found = server
        .client()
        .find_blob(
            &server.reference("app:1"),
            &layer(9).descriptor,
            &[server.reference("base:1")],
        )
        .await;
    assert!(found.unwrap());
    let scopes: Vec<String> = tokens
        .requests("GET", "/token")
        .into_iter()
        .map(|asked| asked.query)
        .collect();
    assert!(
        scopes[1].contains("scope=repository:app:pull%2Cpush&scope=repository:base:pull"),
        "{scopes:?}"
    );
}

#[tokio::test]
async fn who_sends_the_same_blob_twice_at_once_sends_it_once() {
    let server = Server::plain().await;
    let (client, layer, name) = (server.client(), layer(2_000_000), server.reference("app:1"));
    let (one, other) = tokio::join!(send(&client, &name, &layer), send(&client, &name, &layer));
    one.0.unwrap();
    other.0.unwrap();
    assert_eq!(server.requests("PUT", "/blobs/").len(), 1);
}

#[tokio::test]
async fn the_right_to_push_is_asked_for_without_leaving_anything() {
    let server = Server::plain().await;
    let client = server.client();
    let granted = client.may_push(&server.reference("app:1")).await.unwrap();
    client.give_back(granted).await;
    assert_eq!(server.requests("POST", "/v2/app/blobs/uploads/").len(), 1);
    assert_eq!(server.requests("DELETE", "/v2/app/blobs/uploads/one").len(), 1);

    let server = Server::start(|_| Some(Reply::of(403, b"{}"))).await;
    let (_folder, _, client) = client_with_config("{}");
    let error = client.may_push(&server.reference("app:1")).await.unwrap_err();
    let PortError::Denied { name, detail } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*name, format!("{}/app", server.host));
    assert!(detail.contains("docker login"), "{detail}");
}

#[tokio::test]
async fn who_is_told_to_wait_waits_and_says_so_once() {
    let server = Server::start(first(1, "HEAD", "/blobs/", |_| {
        Reply::of(429, b"").with("Retry-After", "1")
    }))
    .await;
    let (client, said) = listening();
    let since = Instant::now();
    let found = client
        .find_blob(&server.reference("app:1"), &layer(9).descriptor, &[])
        .await;
    assert!(!found.unwrap());
    assert!(since.elapsed() >= Duration::from_secs(1));
    let said = said.lock().unwrap().clone();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains("429 Too Many Requests") && said[0].contains("trying again in 1."),
        "{said:?}"
    );
}

#[tokio::test]
async fn no_more_blobs_move_at_once_than_there_are_lanes() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (entering, peak) = (now.clone(), most.clone());
    // Counts uploads between their beginning and their end: the server reads one request a task.
    let server = Server::start(move |request| {
        if request.is("PUT", "/blobs/") {
            let inside = entering.fetch_add(1, Ordering::SeqCst) + 1;
            peak.fetch_max(inside, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
            entering.fetch_sub(1, Ordering::SeqCst);
        }
        None
    })
    .await;
    let options = ClientOptions {
        connections: Some(1),
        ..ClientOptions::default()
    };
    let client = Client::new(options).unwrap();
    assert_eq!(Push::at_once(&client), 1);
    let (name, layers) = (server.reference("app:1"), [layer(1), layer(2), layer(3)]);
    let sent = tokio::join!(
        send(&client, &name, &layers[0]),
        send(&client, &name, &layers[1]),
        send(&client, &name, &layers[2])
    );
    for (sent, _) in [sent.0, sent.1, sent.2] {
        sent.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}
