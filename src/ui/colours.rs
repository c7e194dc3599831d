//! The colours of steps on a terminal, and the text that changes them: `run=green:cancel=200,100,0:error=red`.
//!
//! The keys and names are those of BuildKit's `BUILDKIT_COLORS`. What is not understood is left as it was, and told.

use console::Color;

/// The colours of steps, by how they ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Colours {
    pub(crate) done: Color,
    pub(crate) failed: Color,
    pub(crate) cancelled: Color,
    pub(crate) warning: Color,
}

impl Default for Colours {
    fn default() -> Colours {
        Colours {
            done: Color::Blue,
            failed: Color::Red,
            cancelled: Color::Yellow,
            warning: Color::Yellow,
        }
    }
}

impl Colours {
    /// The usual ones, changed by `text`; and the parts of it that mean nothing.
    pub(crate) fn parse(text: &str) -> (Colours, Vec<&str>) {
        let (mut colours, mut unknown) = (Colours::default(), Vec::new());
        for field in text.split(':').filter(|field| !field.is_empty()) {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            let place = match key {
                "run" => Some(&mut colours.done),
                "cancel" => Some(&mut colours.cancelled),
                "error" => Some(&mut colours.failed),
                "warning" => Some(&mut colours.warning),
                _ => None,
            };
            match (place, colour(value)) {
                (Some(place), Some(colour)) => *place = colour,
                _ => unknown.push(field),
            }
        }
        (colours, unknown)
    }
}

/// A name, or red, green and blue as numbers up to 255.
fn colour(text: &str) -> Option<Color> {
    Some(match text.to_ascii_lowercase().as_str() {
        "black" => Color::Black,
        "red" | "lightred" => Color::Red,
        "green" | "lightgreen" => Color::Green,
        "yellow" | "lightyellow" => Color::Yellow,
        "blue" | "lightblue" => Color::Blue,
        "magenta" | "lightmagenta" => Color::Magenta,
        "cyan" | "lightcyan" => Color::Cyan,
        "white" | "lightwhite" | "lightblack" => Color::White,
        numbers => {
            let parts: Option<Vec<u8>> = numbers.split(',').map(|part| part.trim().parse().ok()).collect();
            match parts?[..] {
                [red, green, blue] => Color::TrueColor(red, green, blue),
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_named_or_mixed_and_the_rest_is_told() {
        let (colours, unknown) = Colours::parse("run=green:cancel=1,2,3:error=mauve:x=red:warning=9");
        assert_eq!(
            colours,
            Colours {
                done: Color::Green,
                cancelled: Color::TrueColor(1, 2, 3),
                ..Colours::default()
            }
        );
        assert_eq!(unknown, ["error=mauve", "x=red", "warning=9"]);
        assert_eq!(Colours::parse(""), (Colours::default(), vec![]));
    }
}
