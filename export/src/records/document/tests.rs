//! Documents written, read, and refused.

use super::*;

fn key(name: &str) -> CacheKey {
    CacheKey(Digest::of(name.as_bytes()))
}

fn layer(name: &str) -> StackLayer {
    let blob = Descriptor::of(oci::media_type::LAYER_GZIP, name.as_bytes());
    (blob, DiffId(Digest::of(format!("{name} unpacked").as_bytes())))
}

#[test]
fn stacks_with_the_same_beginning_share_it() {
    let listed = |keys: &[&str], layers: &[&str]| Listed {
        keys: keys.iter().map(|name| key(name)).collect(),
        stack: layers.iter().map(|name| layer(name)).collect(),
        used: Some(1_700_000_000),
        origin: Some(Origin {
            step: "RUN make".to_owned(),
            inputs: vec![("file a".to_owned(), "abc".to_owned())],
        }),
    };
    let both = [listed(&["one"], &["a", "b"]), listed(&["two", "quick"], &["a", "c"])];
    let bytes = Document::of(&both).to_bytes();
    let document = Document::parse(&bytes).unwrap();
    assert_eq!(Document::parse_inline(&document.to_inline()).unwrap().to_bytes(), bytes);
    assert_eq!(document.layers.len(), 3);
    let mut results = document.results().unwrap();
    results.sort_by_key(|listed| listed.keys.len());
    assert_eq!(results, both);
}

#[test]
fn nothing_is_written_twice_and_the_former_form_is_read() {
    let former = r#"{"keys":"rbuild","layers":[{"blob":"LAYER","parent":-1,"annotations":{"mediaType":"GZIP","size":1,
        "diffID":"LAYER"}}],"records":[{"digest":"ONE","layers":[{"layer":0}],"step":"COPY . .",
        "inputs":[["instruction","00000000"],["src/a file.c","ffffffff"]]},
        {"digest":"TWO","layers":[{"layer":0}],"step":"COPY . .",
        "inputs":[["instruction","00000000"],["src/a file.c","abcdef01"]]}]}"#;
    let digest = |name: &str| Digest::of(name.as_bytes()).to_string();
    let former = former.replace("GZIP", oci::media_type::LAYER_GZIP);
    let former = ["LAYER", "ONE", "TWO"]
        .iter()
        .fold(former, |text, name| text.replace(name, &digest(name)));
    let results = Document::parse(former.as_bytes()).unwrap().results().unwrap();
    assert_eq!(results.len(), 2);
    let inputs = &results
        .iter()
        .find(|result| result.keys == [key("ONE")])
        .unwrap()
        .origin;
    let input = |name: &str, print: &str| (name.to_owned(), print.to_owned());
    assert_eq!(
        inputs.as_ref().unwrap().inputs,
        [input("instruction", "AAA"), input("src/a file.c", "___")]
    );
    let text = String::from_utf8(Document::of(&results).to_bytes()).unwrap();
    for word in ["COPY . .", "src/a file.c", "instruction"] {
        assert_eq!(text.matches(word).count(), 1, "{word}: {text}");
    }
    assert!(!text.contains("mediaType") && !text.contains("\"inputs\""), "{text}");
    assert_eq!(Document::parse(text.as_bytes()).unwrap().results().unwrap(), results);
}

/// As much of a document as BuildKit reads; what it does not know it passes over.
#[derive(Deserialize)]
struct Theirs {
    layers: Vec<TheirLayer>,
    records: Vec<TheirRecord>,
}

#[derive(Deserialize)]
struct TheirLayer {
    blob: Digest,
    #[serde(default)]
    parent: i64,
    annotations: TheirAnnotations,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TheirAnnotations {
    #[serde(rename = "diffID")]
    diff_id: Digest,
    size: i64,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct TheirRecord {
    digest: Digest,
    layers: Vec<TheirResult>,
    inputs: Option<Vec<Vec<TheirInput>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TheirResult {
    layer: usize,
    created_at: Option<String>,
}

#[derive(Deserialize)]
struct TheirInput {}

#[test]
fn another_builder_can_read_the_list() {
    let (blob, diff_id) = layer("a");
    let listed = Listed {
        keys: vec![key("one"), key("quick")],
        stack: vec![(super::dated(blob.clone(), 1_700_000_000), diff_id)],
        used: Some(1_700_000_000),
        origin: Some(Origin {
            step: "RUN make".to_owned(),
            inputs: vec![("a".to_owned(), "abc".to_owned())],
        }),
    };
    let theirs: Theirs = serde_json::from_slice(&Document::of(&[listed]).to_bytes()).unwrap();
    let (layer, record) = (&theirs.layers[0], &theirs.records[0]);
    assert_eq!((layer.blob, layer.parent), (blob.digest, -1));
    assert_eq!(layer.annotations.diff_id, diff_id.0);
    assert_eq!(layer.annotations.size, i64::try_from(blob.size).unwrap());
    let time = Some("2023-11-14T22:13:20Z");
    assert_eq!(layer.annotations.created_at.as_deref(), time);
    assert_eq!(record.layers[0].created_at.as_deref(), time);
    assert_eq!((record.digest, record.layers[0].layer), (key("one").0, 0));
    assert!(record.inputs.is_none(), "what we call so would be no input to them");
}

#[test]
fn a_list_of_another_builder_is_as_good_as_empty() {
    let text = r#"{"layers":[{"blob":"sha256:12"}],"records":[{"digest":"x","inputs":[[{"selector":"","link":0}]]}]}"#;
    assert!(Document::parse(text.as_bytes()).unwrap().results().unwrap().is_empty());
}

#[test]
fn a_small_document_lists_no_gigabytes() {
    let digest = Digest::of(b"x");
    let layer = |place: i64, media_type: &str| {
        let below = place - 1;
        format!(
            r#"{{"blob":"{digest}","parent":{below},"annotations":{{"mediaType":"{media_type}","size":1,"diffID":"{digest}"}}}}"#
        )
    };
    let record = format!(r#"{{"digest":"{digest}","layers":[{{"layer":4095}}]}}"#);
    let layers: Vec<String> = (0..4096).map(|place| layer(place, "t")).collect();
    let of = |records: usize| {
        let text = format!(
            r#"{{"keys":"rbuild","layers":[{}],"records":[{}]}}"#,
            layers.join(","),
            vec![record.as_str(); records].join(",")
        );
        Document::parse(text.as_bytes())
            .unwrap()
            .results()
            .map(|results| results.len())
    };
    assert_eq!(of(64).unwrap(), 64);
    let error = of(65).unwrap_err().to_string();
    assert!(error.contains("262144 layers"), "{error}");
    let text = format!(r#"{{"keys":"rbuild","layers":[{}]}}"#, layer(0, &"t".repeat(256)));
    let error = Document::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("layer 0"), "{error}");
}

#[test]
fn layers_that_lie_nowhere_are_refused() {
    let digest = Digest::of(b"x");
    let entry = |parent| {
        format!(
            r#"{{"blob":"{digest}","parent":{parent},"annotations":{{"mediaType":"t","size":1,"diffID":"{digest}"}}}}"#
        )
    };
    for text in [
        format!(r#"{{"keys":"rbuild","layers":[{}]}}"#, entry(0)),
        format!(r#"{{"keys":"rbuild","layers":[{},{}]}}"#, entry(1), entry(0)),
        format!(r#"{{"keys":"rbuild","layers":[{}]}}"#, entry(7)),
        format!(r#"{{"keys":"rbuild","records":[{{"digest":"{digest}","layers":[{{"layer":3}}]}}]}}"#),
        "[3]".to_owned(),
        "{".to_owned(),
    ] {
        assert!(
            matches!(Document::parse(text.as_bytes()), Err(Error::Records(_))),
            "{text}"
        );
    }
    assert!(Document::parse(b"{}").unwrap().results().unwrap().is_empty());
    let of_others = format!(
        r#"{{"layers":[{}],"records":[{{"digest":"{digest}","layers":[{{"layer":0}}]}}]}}"#,
        entry(-1)
    );
    let of_others = Document::parse(of_others.as_bytes()).unwrap();
    assert!(
        of_others.results().unwrap().is_empty(),
        "keys of another builder mean nothing here"
    );
}
