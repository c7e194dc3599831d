//! `--call`: a question about the Dockerfile instead of a build.

use clap::Args;

use super::go_style::boolean;

/// What is asked instead of a build.
#[derive(Debug, Args)]
#[command(next_help_heading = "Questions")]
pub(crate) struct CallArgs {
    /// Ask about the Dockerfile instead of building: check, outline, targets; `,format=json` for JSON
    #[arg(long, value_name = "QUESTION", value_parser = Call::parse)]
    call: Option<Call>,

    /// The same as --call=check
    #[arg(long)]
    check: bool,

    /// The older spelling of --call
    #[arg(long, hide = true, value_name = "QUESTION", value_parser = Call::parse)]
    print: Option<Call>,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Which, as typed.
    pub(crate) name: String,
    /// How the answer is written.
    pub(crate) format: Format,
    /// Whether findings leave the exit code alone.
    pub(crate) ignores_status: bool,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl CallArgs {
    /// The question; none asks for a build.
    pub(crate) fn into_call(self) -> Option<Call> {
        let check = self.check.then(|| Call::named("check"));
        check
            .or(self.call)
            .or(self.print)
            .filter(|call| !matches!(call.name.as_str(), "" | "build"))
    }
}

impl Call {
    fn named(name: &str) -> Call {
        Call {
            name: name.to_owned(),
            format: Format::default(),
            ignores_status: false,
        }
    }

    /// `name[,format=text|json][,ignorestatus=true]`.
    fn parse(text: &str) -> Result<Call, String> {
        let mut call = Call::named("");
        for field in text.split(',') {
            match field.split_once('=') {
                None if call.name.is_empty() => call.name = field.to_owned(),
                None => return Err(format!("invalid print value: {text}")),
                Some(("format", "json")) => call.format = Format::Json,
                Some(("format", "text" | "")) => call.format = Format::Text,
                Some(("format", other)) => return Err(format!("no format is called `{other}`; there are: text, json")),
                Some(("ignorestatus", value)) => {
                    call.ignores_status =
                        boolean(value).ok_or_else(|| format!("invalid ignorestatus print value: {value}"))?;
                }
                Some(_) => return Err(format!("invalid print field: {field}")),
            }
        }
        Ok(call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_a_name_and_fields() {
        let asked = |text: &str| {
            let call = Call::parse(text).unwrap();
            (call.name, call.format, call.ignores_status)
        };
        assert_eq!(asked("check"), ("check".to_owned(), Format::Text, false));
        assert_eq!(
            asked("format=json,outline,ignorestatus=1"),
            ("outline".to_owned(), Format::Json, true)
        );
        for (text, message) in [
            ("a,b", "invalid print value: a,b"),
            ("check,foo=1", "invalid print field: foo=1"),
            ("check,ignorestatus=x", "invalid ignorestatus print value: x"),
            ("check,format=xml", "no format is called `xml`; there are: text, json"),
        ] {
            assert_eq!(Call::parse(text).unwrap_err(), message);
        }
    }
}
