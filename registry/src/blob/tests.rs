//! Mirrors that fall silent. The patience of tests is a second.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use oci::{Fetch, ImageName, media_type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{ClientOptions, Listener, Sources};

/// What a server does with each connection.
#[derive(Clone, Copy)]
enum Manner {
    /// So many bytes of what is asked for, and then nothing.
    FallSilent(usize),
    /// A little every 100 milliseconds.
    Slowly(usize),
    /// All of it.
    AtOnce,
}

/// A server of one blob, and the ranges that were asked for.
async fn serving(bytes: &'static [u8], manner: Manner) -> (String, Arc<Mutex<Vec<usize>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<usize>>> = Arc::default();
    let noting = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let noting = noting.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).to_lowercase();
                let range = request
                    .lines()
                    .find_map(|line| line.strip_prefix("range: bytes=")?.strip_suffix('-'));
                let start: usize = range.map_or(0, |start| start.parse().unwrap());
                noting.lock().unwrap().push(start);
                let (end, whole) = (bytes.len() - 1, bytes.len());
                let mut head = format!("HTTP/1.1 206 Part\r\nContent-Range: bytes {start}-{end}/{whole}\r\n");
                if range.is_none() {
                    head = "HTTP/1.1 200 OK\r\n".to_owned();
                }
                let rest = &bytes[start..];
                let head = format!("{head}Content-Length: {}\r\n\r\n", rest.len());
                let _ = stream.write_all(head.as_bytes()).await;
                match manner {
                    Manner::FallSilent(count) => {
                        let _ = stream.write_all(&rest[..count.min(rest.len())]).await;
                        std::future::pending::<()>().await;
                    }
                    Manner::Slowly(count) => {
                        for piece in rest.chunks(count) {
                            let _ = stream.write_all(piece).await;
                            tokio::time::sleep(Duration::from_millis(100)).await;
                        }
                    }
                    Manner::AtOnce => drop(stream.write_all(rest).await),
                }
            });
        }
    });
    (host, asked)
}

/// Reads the blob by way of a mirror; gives what is said meanwhile.
async fn read(bytes: &'static [u8], upstream: &str, mirror: &str) -> Vec<String> {
    let said: Arc<Mutex<Vec<String>>> = Arc::default();
    let hears = said.clone();
    let mirror = format!("{upstream}={mirror}").parse().unwrap();
    let options = ClientOptions {
        sources: Sources {
            mirrors: vec![mirror],
            ..Sources::default()
        },
        listener: Listener::new(move |text| hears.lock().unwrap().push(text.to_owned())),
        ..ClientOptions::default()
    };
    let client = Client::new(options).unwrap();
    let name = ImageName::Registry(format!("{upstream}/app:1").parse().unwrap());
    let blob = Descriptor::of(media_type::LAYER, bytes);
    let mut reader = client.blob(&name, &blob).await.unwrap();
    let reading = tokio::task::spawn_blocking(move || {
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        read
    });
    assert!(reading.await.unwrap() == bytes);
    drop(client);
    let said = said.lock().unwrap();
    said.clone()
}

fn bytes() -> &'static [u8] {
    let bytes: Vec<u8> = (0..900_000_u32).map(|number| (number % 251) as u8).collect();
    bytes.leak()
}

#[tokio::test]
async fn a_mirror_that_falls_silent_is_left_and_the_registry_goes_on_where_it_was() {
    let bytes = bytes();
    let (mirror, asked) = serving(bytes, Manner::FallSilent(100_000)).await;
    let (upstream, rest) = serving(bytes, Manner::AtOnce).await;
    let began = Instant::now();
    let said = read(bytes, &upstream, &mirror).await;
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(*asked.lock().unwrap(), [0, 100_000, 200_000]);
    assert_eq!(*rest.lock().unwrap(), [300_000]);
    let left: Vec<&String> = said.iter().filter(|line| line.contains("is left")).collect();
    assert_eq!(left.len(), 1, "{said:?}");
    assert!(
        left[0].contains("nothing came for 1 seconds") && left[0].ends_with("from byte 300000"),
        "{left:?}"
    );
}

#[tokio::test]
async fn a_mirror_that_is_slow_and_works_is_kept() {
    let bytes = bytes();
    let (mirror, asked) = serving(bytes, Manner::Slowly(30_000)).await;
    let (upstream, rest) = serving(bytes, Manner::AtOnce).await;
    let said = read(bytes, &upstream, &mirror).await;
    assert_eq!((asked.lock().unwrap().len(), rest.lock().unwrap().len()), (1, 0));
    assert_eq!(said, [""; 0]);
}
