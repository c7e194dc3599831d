use super::*;

fn environment() -> Environment {
    [
        ("set", "value"),
        ("empty", ""),
        ("path", "/usr/local/bin"),
        ("p", "foobarbaz"),
        ("two", "a  b"),
    ]
    .into_iter()
    .collect()
}

#[test]
fn variables_are_replaced() {
    for (word, value) in [
        ("$set-${set}", "value-value"),
        ("${none:-w}${empty:-w}${set:-w}", "wwvalue"),
        ("${none-w}${empty-w}", "w"),
        ("${none:+w}${empty:+w}${set:+w}", "w"),
        ("${none+w}${empty+w}", "w"),
        ("${set:?}${set?no}", "valuevalue"),
        ("${none:-${set:-x}}", "value"),
        ("$1$@$.", "$."),
        ("'$set' \"$set\" \\$set", "$set value $set"),
        ("\"\\a\\\"\\$\"", "\\a\"$"),
        ("a\\", "a"),
    ] {
        assert_eq!(expand(word, &environment()).unwrap(), value, "{word}");
    }
}

#[test]
fn patterns_cut_and_replace() {
    for (word, value) in [
        ("${p#*ba}", "rbaz"),
        ("${p##*ba}", "z"),
        ("${p%ba*}", "foobar"),
        ("${p%%ba*}", "foo"),
        ("${p/ba/XX}", "fooXXrbaz"),
        ("${p//ba/XX}", "fooXXrXXz"),
        ("${p//b?/}", "foorz"),
        ("${p/o*a/-}", "f-z"),
        ("${path//\\//_}", "_usr_local_bin"),
        ("${path##*/}", "bin"),
        ("${p#x}", "foobarbaz"),
        ("${none#x}", ""),
        ("${set//\\*/x}", "value"),
    ] {
        assert_eq!(expand(word, &environment()).unwrap(), value, "{word}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (word, message) in [
        ("${}", "failed to process \"${}\": syntax error: bad substitution"),
        ("${set", "failed to process \"${set\": syntax error: missing '}'"),
        ("${set:-a", "failed to process \"${set:-a\": syntax error: missing '}'"),
        (
            "${set:#a}",
            "failed to process \"${set:#a}\": unsupported modifier (:#) in substitution",
        ),
        (
            "'a",
            "failed to process \"'a\": unexpected end of statement while looking for matching single-quote",
        ),
        (
            "${none:?must be set}",
            "failed to process \"${none:?must be set}\": none: must be set",
        ),
        (
            "${empty:?}",
            "failed to process \"${empty:?}\": empty: is not allowed to be empty",
        ),
        (
            "${set#\\a}",
            "failed to process \"${set#\\\\a}\": invalid pattern (\\a) in substitution: invalid escape '\\a'",
        ),
        (
            "${set/a}",
            "failed to process \"${set/a}\": syntax error: missing '/' in ${}",
        ),
    ] {
        assert_eq!(expand(word, &environment()).unwrap_err().to_string(), message);
    }
    let nested = "${none:-".repeat(100_000);
    assert!(matches!(
        expand(&nested, &environment()).unwrap_err().reason,
        Reason::Depth(_)
    ));
}

#[test]
fn values_are_split_but_quoted_ones_are_not() {
    for (word, parts) in [
        ("a$two b", vec!["aa", "b", "b"]),
        ("a\"$two\" b", vec!["aa  b", "b"]),
        ("a\\ b", vec!["a b"]),
        ("x<< EOF y", vec!["x<< EOF", "y"]),
        ("80 ${none:-81} $empty", vec!["80", "81"]),
    ] {
        assert_eq!(words(word, &environment()).unwrap(), parts, "{word}");
    }
}

#[test]
fn values_made_of_values_have_an_end() {
    let tenfold: Environment = [("a", "x".repeat(1 << 20)), ("b", "y".repeat(20))]
        .into_iter()
        .collect();
    for word in ["${a//x/$b}", "\"$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a$a\""] {
        assert!(
            matches!(expand(word, &tenfold).unwrap_err().reason, Reason::Length(_)),
            "{word}"
        );
    }
    let long: Environment = [("a", "x".repeat(9 << 20))].into_iter().collect();
    assert!(matches!(expand("$a$a$a", &long).unwrap_err().reason, Reason::Length(_)));
}
