//! The readers of what a web server says in headers, for those who try them with text of their own making. Nothing else
//! needs them, so they are no part of what this crate offers.

/// The seconds since 1970 that a date in a header means.
#[must_use]
pub fn time(text: &str) -> Option<i64> {
    crate::http::time(text)
}

/// The name of a file in a `Content-Disposition` header.
#[must_use]
pub fn file_name(disposition: &str) -> Option<String> {
    crate::http::file_name(disposition)
}
