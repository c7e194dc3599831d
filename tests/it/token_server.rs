//! A token service: gives tokens, of which the answer to the n-th question is `t<n>`, and notes what it was asked for.
//!
//! It knows of no registry. A test has its proxy refuse requests without a token, or with one that shall be over.
#![allow(
    dead_code,
    reason = "each of the test programs that have this file uses a part of it"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::proxy::Answer;

/// One question.
#[derive(Clone, Debug, Default)]
pub(crate) struct Question {
    /// As it came, with `%3A` and the like.
    pub(crate) query: String,
    /// The value of `Authorization`, or nothing.
    pub(crate) authorization: String,
}

/// A running service. Its thread ends with the test program.
#[derive(Debug)]
pub(crate) struct TokenServer {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Vec<Question>>>,
}

impl TokenServer {
    /// One that gives to everyone.
    pub(crate) fn start() -> TokenServer {
        TokenServer::giving(|_| true)
    }

    /// One that gives to some.
    pub(crate) fn giving(suits: impl Fn(&Question) -> bool + Send + 'static) -> TokenServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log: Arc<Mutex<Vec<Question>>> = Arc::default();
        let noting = log.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(question) = read(&client) else { continue };
                let suits = suits(&question);
                let mut log = noting.lock().unwrap_or_else(PoisonError::into_inner);
                log.push(question);
                let (status, body) = match suits {
                    true => ("200 OK", format!(r#"{{"token":"t{}","expires_in":300}}"#, log.len())),
                    false => (
                        "401 Unauthorized",
                        r#"{"details":"incorrect username or password"}"#.to_owned(),
                    ),
                };
                let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json");
                let _ = write!(&client, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
        });
        TokenServer { address, log }
    }

    /// The answer to a request that lacks a token.
    pub(crate) fn challenge(&self) -> Answer {
        let realm = format!(r#"Bearer realm="http://{}/token",service="tests""#, self.address);
        Answer::of(401).with("WWW-Authenticate", &realm)
    }

    /// What was asked so far.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn read(client: &TcpStream) -> Option<Question> {
    let mut lines = BufReader::new(client).lines();
    let first = lines.next()?.ok()?;
    let (_, query) = first.split(' ').nth(1)?.split_once('?')?;
    let mut question = Question {
        query: query.to_owned(),
        ..Question::default()
    };
    for line in lines {
        let line = line.ok()?;
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("authorization") => {
                value.clone_into(&mut question.authorization);
            }
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    Some(question)
}
