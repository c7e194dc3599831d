//! `hosts.toml` of containerd, in a folder named after the host:
//!
//! ```toml
//! server = "https://registry.example"          # the registry itself; what stands beside is about it
//! [host."https://mirror.example"]              # tried before it, in the order of the file
//!   capabilities = ["pull", "resolve"]
//!   ca = "mirror.crt"                           # from the folder of the file, also a list
//!   client = [["client.cert", "client.key"]]
//!   skip_verify = false
//!   override_path = false
//!   [host."https://mirror.example".header]
//!     x-team = "builds"
//! ```

use std::path::PathBuf;

use reqwest::header::{HeaderName, HeaderValue};

use super::address::Address;
use super::document::{self, Table};
use super::{Purposes, Route, Stop};
use crate::error::Error;
use crate::trust::Identity;

/// The way to `host` by the first folder that has one.
pub(super) fn route(folders: &[PathBuf], host: &str) -> Result<Option<Route>, Error> {
    for folder in folders {
        for name in names(host) {
            let file = folder.join(name).join("hosts.toml");
            if let Some(route) = document::read(&file, |table| read(table, host))? {
                return Ok(Some(route));
            }
        }
    }
    Ok(None)
}

/// The folders of a host. Some file systems have no colons.
fn names(host: &str) -> Vec<String> {
    let mut names = vec![host.to_owned()];
    if let Some((name, port)) = host.rsplit_once(':') {
        names.push(format!("{name}_{port}_"));
    }
    names.push("_default".to_owned());
    names
}

fn read(table: Table<'_>, host: &str) -> Result<Route, Error> {
    let upstream = match table.text("server")? {
        Some(server) => stop(&table, &server, Purposes::ALL)?,
        None => stop(&table, host, Purposes::ALL)?,
    };
    let mut mirrors = Vec::new();
    for (name, host) in table
        .table("host")?
        .map(|hosts| hosts.named())
        .transpose()?
        .unwrap_or_default()
    {
        let mut one = stop(&host, &name, Purposes::MIRROR)?;
        // The registry itself may be listed among its mirrors.
        if one.address.authority == upstream.address.authority && host.texts("capabilities")?.is_none() {
            one.purposes = Purposes::ALL;
        }
        mirrors.push(one);
    }
    Ok(Route { mirrors, upstream })
}

fn stop(table: &Table<'_>, address: &str, usual: Purposes) -> Result<Stop, Error> {
    let mut address = Address::parse(address).map_err(|why| table.complain(why))?;
    let base = base(&address.path, table.is_set("override_path")?);
    address.path = String::new();
    let mut stop = Stop::new(address, usual, table.place());
    stop.base = base;
    if let Some(words) = table.texts("capabilities")? {
        let may = |word: &str| words.iter().any(|one| one.eq_ignore_ascii_case(word));
        stop.purposes = Purposes {
            pull: may("pull"),
            resolve: may("resolve"),
            push: may("push"),
        };
    }
    stop.trust.is_blind = table.is_set("skip_verify")?;
    stop.trust.authorities = files(table, &table.texts("ca")?.unwrap_or_default());
    stop.trust.identity = match table.groups("client")?.first().map(Vec::as_slice) {
        None => None,
        Some([both]) => Some(identity(table, both, both)),
        Some([certificate, key]) => Some(identity(table, certificate, key)),
        Some(_) => return Err(table.complain("`client` is neither a file nor a pair of files")),
    };
    if let Some(headers) = table.table("header")? {
        for name in headers.keys() {
            for value in headers.texts(name)?.unwrap_or_default() {
                let header = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
                let header = header.ok_or_else(|| headers.complain(format!("`{name}` cannot be a header")))?;
                stop.headers.push(header);
                // It may be a password, and is not to be printed.
                stop.headers.iter_mut().for_each(|(_, value)| value.set_sensitive(true));
            }
        }
    }
    Ok(stop)
}

/// What comes before the repository in a URL.
fn base(path: &str, is_whole: bool) -> String {
    match path {
        "" if is_whole => String::new(),
        "" => "/v2".to_owned(),
        path if is_whole || path == "v2" || path.ends_with("/v2") => format!("/{path}"),
        path => format!("/{path}/v2"),
    }
}

fn files(table: &Table<'_>, names: &[String]) -> Vec<PathBuf> {
    names.iter().map(|name| table.file(name)).collect()
}

fn identity(table: &Table<'_>, certificate: &str, key: &str) -> Identity {
    let [certificate, key] = [certificate, key].map(|name| table.file(name));
    Identity { certificate, key }
}
