//! `buildkitd.toml` of BuildKit, of which the tables of registries are read:
//!
//! ```toml
//! [registry."docker.io"]
//!   mirrors = ["mirror.example:5000", "harbor.example/hub"]   # tried before it; a table of their own is about them
//!   http = false
//!   insecure = false
//!   ca = ["ca.pem"]
//!   [[registry."docker.io".keypair]]
//!     cert = "client.cert"
//!     key = "client.key"
//! ```

use std::path::PathBuf;

use super::address::{Address, Scheme};
use super::document::{self, Table};
use super::{Purposes, Route, Stop};
use crate::error::Error;
use crate::trust::Identity;

/// The way to `host` by the first file that speaks of it.
pub(super) fn route(paths: &[PathBuf], host: &str) -> Result<Option<Route>, Error> {
    for path in paths {
        let found = document::read(path, |table| match table.table("registry")? {
            Some(registries) => read(registries, host),
            None => Ok(None),
        })?;
        if let Some(Some(route)) = found {
            return Ok(Some(route));
        }
    }
    Ok(None)
}

fn read(registries: Table<'_>, host: &str) -> Result<Option<Route>, Error> {
    let Some(table) = registries.table(host)? else {
        return Ok(None);
    };
    let upstream = stop(host, Purposes::ALL, Some(table), &table)?;
    let mut mirrors = Vec::new();
    for mirror in table.texts("mirrors")?.unwrap_or_default() {
        let authority = Address::parse(&mirror).map_err(|why| table.complain(why))?.authority;
        let own = registries.table(&mirror)?;
        let own = own.map_or_else(|| registries.table(&authority), |own| Ok(Some(own)))?;
        mirrors.push(stop(&mirror, Purposes::MIRROR, own, &table)?);
    }
    Ok(Some(Route { mirrors, upstream }))
}

fn stop(address: &str, purposes: Purposes, own: Option<Table<'_>>, named_in: &Table<'_>) -> Result<Stop, Error> {
    let address = Address::parse(address).map_err(|why| named_in.complain(why))?;
    let mut stop = Stop::new(address, purposes, own.unwrap_or(*named_in).place());
    let Some(table) = own else { return Ok(stop) };
    if table.is_set("http")? {
        stop.address.scheme = Some(Scheme::Plain);
    }
    stop.is_insecure = table.is_set("insecure")?;
    let authorities = table.texts("ca")?.unwrap_or_default();
    stop.trust.authorities = authorities.iter().map(|name| table.file(name)).collect();
    if let Some(pair) = table.list("keypair")?.first() {
        let file = |key: &str| {
            let name = pair.text(key)?;
            let name = name.ok_or_else(|| pair.complain(format!("a `keypair` has no `{key}`")))?;
            Ok::<_, Error>(pair.file(&name))
        };
        stop.trust.identity = Some(Identity {
            certificate: file("cert")?,
            key: file("key")?,
        });
    }
    Ok(stop)
}
