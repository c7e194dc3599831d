use super::*;

fn parse(text: &str) -> OutputSpec {
    OutputSpec::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn options(text: &str) -> ImageOptions {
    parse(text).options_mut().expect("an image").clone()
}

/// One line for what an output does.
fn summary(text: &str) -> String {
    let of = |split: Option<bool>| split.map(|split| format!(" split={split}")).unwrap_or_default();
    match parse(text) {
        OutputSpec::Image { push, store, .. } => format!("image push={push} store={store}"),
        OutputSpec::Archive { form, dest, .. } => format!("{form:?} {dest:?}"),
        OutputSpec::Directory { dest, epoch, split, .. } => {
            format!("directory {} {epoch:?}{}", dest.display(), of(split))
        }
        OutputSpec::Tar { dest, epoch, split } => format!("tar {dest:?} {epoch:?}{}", of(split)),
        OutputSpec::CacheOnly => "nothing".to_owned(),
    }
}

#[test]
fn destinations_are_understood() {
    for (text, meant) in [
        ("out/dir", "directory out/dir OfBuild"),
        ("-", "tar Stdout OfBuild"),
        ("dest=x", "directory dest=x OfBuild"),
        ("type=local,dest=out", "directory out OfBuild"),
        (
            " TYPE =local, Dest =out,mode=copy,platform-split=0",
            "directory out OfBuild split=false",
        ),
        ("type=tar", "tar Stdout OfBuild"),
        ("type=tar,source-date-epoch=", "tar Stdout Own(None)"),
        (
            "type=tar,dest=a b.tar,source-date-epoch=7",
            r#"tar File("a b.tar") Own(Some(7))"#,
        ),
        ("type=oci", "Oci File(Stdout)"),
        ("type=oci,dest=x.tar", r#"Oci File(File("x.tar"))"#),
        ("type=oci,dest=x,tar=false", r#"Oci Directory("x")"#),
        ("type=docker", "Docker Load"),
        ("type=docker,dest=-", "Docker File(Stdout)"),
        ("type=image", "image push=false store=true"),
        ("type=image,push=", "image push=true store=true"),
        ("type=registry,unpack=false", "image push=true store=true"),
        (
            "type=image,push=true,store=0,oci-artifact=f",
            "image push=true store=false",
        ),
        ("type=cacheonly", "nothing"),
    ] {
        assert_eq!(summary(text), meant, "{text}");
    }
}

#[test]
fn only_outputs_to_standard_output_say_so() {
    for (text, stdout) in [
        ("-", true),
        ("type=oci", true),
        ("type=docker,dest=-", true),
        ("type=docker", false),
        ("type=tar,dest=x", false),
        ("x", false),
        ("type=image", false),
    ] {
        assert_eq!(parse(text).writes_stdout(), stdout, "{text}");
    }
}

#[test]
fn the_making_of_an_image_is_understood() {
    let given = options(
        r#"type=image,"name=a:1, localhost:5000/b",compression=zstd,compression-level=19,force-compression=true,source-date-epoch=5,annotation.Some.Key=a=b,annotation-manifest.c=d"#,
    );
    let names: Vec<String> = given.names.iter().map(Reference::to_string).collect();
    assert_eq!(names, ["docker.io/library/a:1", "localhost:5000/b:latest"]);
    let how = given.assembly(Some(9));
    assert_eq!(how.compression, Compression::Zstd { level: Some(19) });
    assert!(how.force_compression);
    assert_eq!(how.epoch, Some(5));
    assert_eq!(how.media, Media::Oci);
    let annotations = how.annotations.of(crate::AnnotationTarget::Manifest, None);
    let annotations: Vec<(&str, &str)> = annotations.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(annotations, [("Some.Key", "a=b"), ("c", "d")]);

    let default = options("type=oci").assembly(Some(9));
    assert_eq!(default.compression, Compression::Gzip { level: None });
    assert_eq!(default.epoch, Some(9));
    for (text, media) in [
        ("type=image,oci-mediatypes=false", Media::Docker),
        ("type=image,oci-mediatypes=false,compression=zstd", Media::Oci),
        (
            "type=image,oci-mediatypes=false,annotation[linux/arm64].a=b",
            Media::Oci,
        ),
    ] {
        assert_eq!(options(text).assembly(None).media, media, "{text}");
    }
    assert_eq!(
        options("type=image,compression-level=9").compression,
        Some(Compression::Gzip { level: Some(9) })
    );
}

#[test]
fn refusals_name_what_is_wrong() {
    for (text, message) in [
        ("", "`type` is required in output ``"),
        ("a,b", "invalid output field `a`: expected `key=value`"),
        ("dest=x,push=true", "`type` is required in output `dest=x,push=true`"),
        ("type=ocl,dest=x", "unknown output type `ocl`; did you mean `oci`?"),
        ("type=frobnicate", "unknown output type `frobnicate`"),
        (
            "type=oci,dst=x",
            "unknown key `dst` for output type `oci`; did you mean `dest`?",
        ),
        (
            "type=local,dest=x,push=true",
            "unknown key `push` for output type `local`",
        ),
        (
            "type=cacheonly,dest=x",
            "unknown key `dest` for output type `cacheonly`",
        ),
        ("type=local", "`dest` is required for output type `local`"),
        ("type=oci,tar=false", "`dest` is required for output type `oci`"),
        (
            "type=docker,tar=false,dest=-",
            "`dest` is required for output type `docker`",
        ),
        ("type=tar,dest=a,dest=b", "output key `dest` is given twice"),
        (
            "type=image,push=maybe",
            "invalid value `maybe` for output key `push`: expected `true` or `false`",
        ),
        (
            "type=image,compression=lzma",
            "invalid value `lzma` for output key `compression`: expected `gzip`, `zstd` or `uncompressed`",
        ),
        (
            "type=image,compression-level=10",
            "invalid value `10` for output key `compression-level`: expected a number from 0 to 9",
        ),
        (
            "type=image,rewrite-timestamp=true,unpack=true",
            "exporter option \"rewrite-timestamp\" conflicts with \"unpack\"",
        ),
        (
            "type=oci,source-date-epoch=-1",
            "invalid value `-1` for output key `source-date-epoch`: expected seconds since 1970",
        ),
        (
            "type=image,compression=estargz",
            "output `compression=estargz` is not supported yet",
        ),
        (
            "type=local,dest=x,mode=move",
            "invalid value `move` for output key `mode`: expected `copy` or `delete`",
        ),
        ("type=image,annotation-foo.a=b", "unknown annotation type \"foo\""),
        (
            "type=image,annotation[a/b/c/d].a=b",
            "unknown annotation type \"manifest[a/b/c/d]\"",
        ),
        (
            "type=image,annotation.=b",
            "invalid output field `annotation.=b`: expected `key=value`",
        ),
        (
            "type=tar,platform-split=x",
            "invalid value `x` for output key `platform-split`: expected `true` or `false`",
        ),
    ] {
        let error = OutputSpec::parse(text).unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }
    assert!(OutputSpec::parse("type=image,name=Bad").is_err());
    assert!(OutputSpec::parse(r#"type=image,"name=a"#).is_err());
}
