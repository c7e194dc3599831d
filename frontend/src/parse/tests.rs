use super::*;
use crate::ast_dump;

fn dump(text: &str) -> String {
    ast_dump(&parse(text.as_bytes()).unwrap())
}

fn refusal(text: &str) -> String {
    parse(text.as_bytes()).unwrap_err().message
}

#[test]
fn lines_are_joined_and_comments_left_out() {
    for (text, tree) in [
        ("RUN a \\\n  b", r#"(run "a   b")"#),
        ("RUN a \\  \n# comment\n\n b", r#"(run "a  b")"#),
        ("RUN a \\\\\nRUN b", "(run \"a \\\\\\\\\")\n(run \"b\")"),
        ("RUN \\\n\\\na", r#"(run "a")"#),
        ("# escape=`\nRUN a `\nb\\\nRUN c", "(run \"a b\\\\\")\n(run \"c\")"),
        (
            "\u{feff}from x\r\n  # no comment \r\nRUN y\r\n",
            "(from \"x\")\n(run \"y\")",
        ),
        ("RUN a # b", r#"(run "a # b")"#),
        ("RUN a \\", r#"(run "a")"#),
    ] {
        assert_eq!(dump(text), tree, "{text}");
    }
}

#[test]
fn each_instruction_cuts_its_arguments() {
    for (text, tree) in [
        (r#"CMD ["a", "b c"]"#, r#"(cmd "a" "b c")"#),
        ("CMD \u{a0}[\"a\"]", r#"(cmd "a")"#),
        (r#"CMD ["\ud800"]"#, "(cmd \"\u{fffd}\")"),
        (r#"CMD ["\x"]"#, r#"(cmd "[\"\\x\"]")"#),
        ("CMD [1e999]", r#"(cmd "[1e999]")"#),
        ("CMD ['a']", r#"(cmd "['a']")"#),
        ("CMD [] x", r#"(cmd "[] x")"#),
        (
            r#"COPY --from=a --chown="b c" -- --x y"#,
            r#"(copy ["--from=a" "--chown=b c"] "--x" "y")"#,
        ),
        (
            "ENV a=1 b='2 3' c=\\ d",
            r#"(env "a" "1" "=" "b" "'2 3'" "=" "c" "\\ d" "=")"#,
        ),
        ("ENV a b  c", r#"(env "a" "b  c" "")"#),
        ("ARG a b=1", r#"(arg "a" "b=1")"#),
        (
            "HEALTHCHECK --retries=1 CMD a b",
            r#"(healthcheck ["--retries=1"] "CMD" "a b")"#,
        ),
        ("ONBUILD RUN [\"a\"]", r#"(onbuild (run "a"))"#),
        ("EXPOSE 80  90", r#"(expose "80" "90")"#),
        ("VOLUME", "(volume)"),
    ] {
        assert_eq!(dump(text), tree, "{text}");
    }
}

#[test]
fn what_cannot_be_cut_is_refused() {
    for (text, message) in [
        ("", "the Dockerfile cannot be empty"),
        ("\n# nothing\n", "file with no instructions"),
        (
            "ENV a=1 b",
            "Syntax error - can't find = in \"b\". Must be of the form: name=value",
        ),
        ("ENV PATH", "ENV must have two arguments"),
        (
            "CMD [\"a\", [\"b\"]]",
            "when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("# escape= \nFROM a", "invalid escape token ' ' does not match ` or \\"),
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"),
        (
            "# escape=`\n# escape=`\n",
            "only one escape parser directive can be used",
        ),
        ("RUN <<A\nx\n", "unterminated heredoc"),
    ] {
        assert_eq!(refusal(text), message, "{text}");
    }
    assert_eq!(
        parse(b"FROM a\nRUN \xff\n").unwrap_err().lines,
        [SourceLines(2..3)],
        "invalid UTF-8 is found on its line"
    );
}

#[test]
fn directives_stand_at_the_top_only() {
    let dockerfile = parse(b"# syntax=docker/dockerfile:1 x\n#check = skip=all\n# other\n# escape=`\nFROM a").unwrap();
    let found: Vec<(&str, &str, usize)> = dockerfile
        .directives
        .iter()
        .map(|directive| (directive.name.as_str(), directive.value.as_str(), directive.line))
        .collect();
    assert_eq!(
        found,
        [("syntax", "docker/dockerfile:1 x", 1), ("check", "skip=all", 2)]
    );
    assert_eq!(dockerfile.escape, '\\');
}

#[test]
fn heredocs_belong_to_their_instruction() {
    let text = "RUN cat <<A <<-'B' 3<<\"C\" <<<x\n$a\nA\n\tb\n\tB\nc\r\nC\nCOPY <<D [\"/d\"]\nD\nONBUILD COPY <<E /e\ne\nE\nRUN echo '<<F'\n";
    let dockerfile = parse(text.as_bytes()).unwrap();
    type Document<'a> = (&'a str, u32, bool, bool, &'a str);
    let documents: Vec<Vec<Document<'_>>> = dockerfile
        .instructions
        .iter()
        .map(|instruction| {
            let documents = instruction.heredocs.iter();
            documents
                .map(|d| {
                    (
                        d.name.as_str(),
                        d.descriptor,
                        d.expand,
                        d.strip_tabs,
                        d.content.as_str(),
                    )
                })
                .collect()
        })
        .collect();
    assert_eq!(
        documents,
        [
            vec![
                ("A", 0, true, false, "$a\n"),
                ("B", 0, false, true, "\tb\n"),
                ("C", 3, false, false, "c\r\n")
            ],
            vec![("D", 0, true, false, "")],
            vec![("E", 0, true, false, "e\n")],
            vec![],
        ]
    );
    assert_eq!(dockerfile.instructions[0].lines, SourceLines(1..8));
}

#[test]
fn a_json_list_announces_no_heredoc() {
    assert_eq!(
        dump("RUN [\"cat\", \"<<A\"]\nRUN b"),
        "(run \"cat\" \"<<A\")\n(run \"b\")"
    );
}

#[test]
fn comments_document_the_instruction_below() {
    let dockerfile = parse(b"# lost\n#\n# base the base\n# of all\nFROM a AS base\nRUN b\n").unwrap();
    assert_eq!(dockerfile.instructions[0].comments, ["base the base", "of all"]);
    assert!(dockerfile.instructions[1].comments.is_empty());
}

#[test]
fn an_empty_continuation_is_noted_at_the_last_line() {
    let dockerfile = parse(b"FROM a\nRUN b \\\n\n  c\n").unwrap();
    assert_eq!(dockerfile.empty_continuations, [SourceLines(4..5)]);
}

#[test]
fn onbuild_in_onbuild_is_not_followed() {
    let text = "ONBUILD ".repeat(100_000);
    assert_eq!(dump(&text), "(onbuild (onbuild))");
}
