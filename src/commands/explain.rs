//! `rbuild registry explain`: where an image comes from, and why from there.

use std::fmt::Write as _;
use std::process::ExitCode;

use registry::{Client, ClientOptions, ExplainedEndpoint, Inquiry, WantedScheme, Wants};
use serde_json::{Value, json};

use super::{answer, answer_document};
use crate::cli::{ExplainArgs, TableFormat};
use crate::error::CommandError;

/// Says it. Asks every endpoint unless told not to.
///
/// # Errors
/// When the configuration cannot be read, or no endpoint has the image.
pub(super) async fn run(args: &ExplainArgs, options: &ClientOptions) -> Result<ExitCode, CommandError> {
    let name = args.name.familiar();
    let inquiry = match args.offline {
        true => Inquiry::Offline,
        false => Inquiry::Online,
    };
    let failed = |error: &(dyn std::error::Error + 'static)| {
        CommandError::failed(format!("cannot explain {name}")).because(error)
    };
    let client = Client::new(options.clone()).map_err(|error| failed(&error))?;
    let endpoints = client
        .explain(&args.name, inquiry)
        .await
        .map_err(|error| failed(&error))?;
    let code = match args.format {
        TableFormat::Json => answer_document(&document(args, &endpoints))?,
        TableFormat::Table => answer(text(args, &endpoints))?,
    };
    let is_good = |endpoint: &ExplainedEndpoint| {
        let is_for_pulling = endpoint.purposes.contains(&"pull");
        is_for_pulling && endpoint.answer.as_ref().is_none_or(Result::is_ok)
    };
    if endpoints.iter().any(is_good) {
        return Ok(code);
    }
    Err(CommandError::failed(format!("no endpoint gives {name}")))
}

fn text(args: &ExplainArgs, endpoints: &[ExplainedEndpoint]) -> String {
    let mut text = format!("{}\n", args.name);
    for (position, endpoint) in endpoints.iter().enumerate() {
        let _ = writeln!(text, "\n{}. {}", position + 1, endpoint.url);
        let mut line = |name: &str, words: &str| {
            let _ = writeln!(text, "   {name:<13}{words}");
        };
        line("because of", &endpoint.because);
        line("good for", &endpoint.purposes.join(", "));
        line("transport", &endpoint.transport);
        line("credentials", &endpoint.credentials);
        match &endpoint.wants {
            Some(Ok(wants)) => line("wants", &wants.to_string()),
            Some(Err(why)) => line("wants", &format!("unknown: {why}")),
            None => {}
        }
        match &endpoint.answer {
            Some(Ok(digest)) => line("answers", &format!("the image is {digest}")),
            Some(Err(why)) => line("answers", why),
            None => {}
        }
    }
    text
}

fn document(args: &ExplainArgs, endpoints: &[ExplainedEndpoint]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|endpoint| {
            json!({
                "url": endpoint.url,
                "because": endpoint.because,
                "purposes": endpoint.purposes,
                "transport": endpoint.transport,
                "credentials": endpoint.credentials,
                "wants": endpoint.wants.as_ref().and_then(|wants| wants.as_ref().ok()).map(wanted),
                "digest": endpoint.answer.as_ref().and_then(|answer| answer.as_ref().ok()).map(ToString::to_string),
                "error": endpoint.answer.as_ref().and_then(|answer| answer.as_ref().err()),
            })
        })
        .collect();
    json!({ "name": args.name.to_string(), "endpoints": endpoints })
}

/// An empty list of an endpoint that wants nothing.
fn wanted(wants: &Wants) -> Value {
    let one = |scheme: &WantedScheme| match scheme {
        WantedScheme::Basic => json!({ "scheme": "basic" }),
        WantedScheme::Bearer { realm, service } => json!({ "scheme": "bearer", "realm": realm, "service": service }),
        WantedScheme::Unknown(scheme) => json!({ "scheme": scheme }),
    };
    match wants {
        Wants::Nothing => json!([]),
        Wants::OneOf(schemes) => schemes.iter().map(one).collect(),
    }
}
