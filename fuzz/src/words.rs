//! Words with quotes, escapes and variables: any text has a value or is refused; the words of it hold no more than it does.

use frontend::Environment;

/// Asks for the value and for the words.
pub fn run(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let environment: Environment = [
        ("a", "one two"),
        ("b", ""),
        ("c", "foo/bar.baz"),
        ("d", "$a ${c#f*}"),
        ("long", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab"),
    ]
    .into_iter()
    .collect();
    let value = frontend::expand(text, &environment);
    let words = frontend::words(text, &environment);
    match (value, words) {
        (Ok(value), Ok(words)) => {
            let letters: usize = words.iter().map(String::len).sum();
            assert!(letters <= value.len(), "{words:?} are more than {value:?}");
            if !text.contains(['$', '\\', '\'', '"']) {
                assert_eq!(value, text, "nothing in it has a meaning");
            }
        }
        (Err(one), Err(two)) => assert_eq!(one, two),
        (value, words) => panic!("{value:?} but {words:?}"),
    }
}
