//! Another parser of the language agrees where it knows the language: no heredocs, no directives, no flags on RUN or FROM, one
//! variable an ARG.

use std::fs;
use std::path::Path;

use dockerfile_parser::{Dockerfile, Instruction};

const GRAMMAR: &str = "FROM a AS b\n# comment\nARG c=d\nENV e=f g=h\nENV i j\nLABEL k=l\nRUN m \\\n  # within\n  && n\n\
    RUN [\"o\", \"p\"]\nCOPY --from=b q r\nADD s t\nWORKDIR /u\nUSER v\nEXPOSE 80\nVOLUME /w\nENTRYPOINT [\"x\"]\n\
    CMD y z\nSTOPSIGNAL 9\n";

fn kinds_there(text: &str) -> Vec<String> {
    let name = |instruction: &Instruction| match instruction {
        Instruction::From(_) => "from".to_owned(),
        Instruction::Arg(_) => "arg".to_owned(),
        Instruction::Label(_) => "label".to_owned(),
        Instruction::Run(_) => "run".to_owned(),
        Instruction::Entrypoint(_) => "entrypoint".to_owned(),
        Instruction::Cmd(_) => "cmd".to_owned(),
        Instruction::Copy(_) => "copy".to_owned(),
        Instruction::Env(_) => "env".to_owned(),
        Instruction::Misc(misc) => misc.instruction.content.to_lowercase(),
    };
    let dockerfile = Dockerfile::parse(text).unwrap();
    dockerfile.instructions.iter().map(name).collect()
}

fn kinds_here(text: &str) -> Vec<String> {
    let dockerfile = frontend::parse(text.as_bytes()).unwrap();
    let names = dockerfile.instructions.iter();
    names.map(|instruction| instruction.name.to_lowercase()).collect()
}

#[test]
fn another_parser_finds_the_same_instructions() {
    assert_eq!(kinds_here(GRAMMAR), kinds_there(GRAMMAR));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/dockerfiles");
    let mut count = 0;
    for entry in fs::read_dir(root).unwrap() {
        let file = entry.unwrap().path().join("Dockerfile");
        let text = fs::read_to_string(&file).unwrap();
        if ["<<", "escape=", "RUN --", "FROM --", "FLAGS"]
            .iter()
            .any(|beyond| text.contains(beyond))
        {
            continue;
        }
        assert_eq!(kinds_here(&text), kinds_there(&text), "{}", file.display());
        count += 1;
    }
    assert!(count > 0);
}
