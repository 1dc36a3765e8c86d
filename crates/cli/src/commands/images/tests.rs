use super::*;
use crate::commands::parsed;

fn images() -> Vec<ImageSummary> {
    let references = ["docker.io/library/alpine:3.20", "localhost:5000/a/b:1"].map(str::to_owned).to_vec();
    vec![
        ImageSummary { id: "a".repeat(64), references, size: 7_834_567, ..ImageSummary::default() },
        ImageSummary { id: "b".repeat(64), ..ImageSummary::default() },
    ]
}

fn listed(request: &ImagesRequest) -> String {
    render(&images(), request, 7200 * human::SECOND).unwrap()
}

fn plain() -> ImagesRequest {
    ImagesRequest { quiet: false, no_trunc: false, digests: false, filters: Vec::new(), format: None }
}

#[test]
fn the_table_looks_like_dockers() {
    let text = listed(&plain());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "REPOSITORY           TAG       IMAGE ID       CREATED       SIZE");
    assert_eq!(lines[1], "alpine               3.20      aaaaaaaaaaaa   2 hours ago   7.83MB");
    assert_eq!(lines[2], "localhost:5000/a/b   1         aaaaaaaaaaaa   2 hours ago   7.83MB");
    assert_eq!(lines[3], "<none>               <none>    bbbbbbbbbbbb   2 hours ago   0B");
}

#[test]
fn ids_templates_and_a_repository() {
    assert_eq!(listed(&ImagesRequest { quiet: true, ..plain() }), "aaaaaaaaaaaa\naaaaaaaaaaaa\nbbbbbbbbbbbb\n");
    let format = Some(Format::parse("{{.Repository}}:{{.Tag}}").unwrap());
    let of = |repository: &str| {
        listed(&ImagesRequest {
            format: format.clone(),
            filters: vec![Filter::Reference(repository.to_owned())],
            ..plain()
        })
    };
    assert_eq!(of("alpine"), "alpine:3.20\n");
    assert_eq!(of("docker.io/library/alpine:3.20"), "alpine:3.20\n");
    assert_eq!(of("alpine:3"), "");
}

fn names(words: &[&str]) -> Result<String, CliError> {
    let mut images = images();
    let day = 86_400 * human::SECOND;
    let now = human::now();
    for (age, image) in [1, 3].into_iter().zip(images.iter_mut()) {
        image.created = now - age * day;
    }
    images[0].labels = vec![("tier".to_owned(), "front".to_owned())];
    let mut all = vec!["--format", "{{.Repository}}:{{.Tag}}"];
    all.extend(words);
    let request = flags_of::<ImagesFlags>(&parsed(&ENTRY, &all)?)?.into_request()?;
    render(&images, &request, now).map(|text| text.lines().collect::<Vec<_>>().join(" "))
}

#[test]
fn every_filter_of_docker() {
    assert_eq!(names(&["-f", "dangling=true"]).unwrap(), "<none>:<none>");
    assert_eq!(names(&["-f", "dangling=false"]).unwrap(), "alpine:3.20 localhost:5000/a/b:1");
    assert_eq!(names(&["-f", "label=tier=front", "-f", "label=tier"]).unwrap(), "alpine:3.20 localhost:5000/a/b:1");
    assert_eq!(names(&["-f", "label=tier", "-f", "label=none"]).unwrap(), "");
    assert_eq!(names(&["-f", "before=alpine:3.20"]).unwrap(), "<none>:<none>");
    assert_eq!(names(&["-f", "since=bbbb", "-f", "reference=al*"]).unwrap(), "alpine:3.20");
    assert_eq!(names(&["-f", "until=48h"]).unwrap(), "<none>:<none>");
    assert_eq!(names(&["-f", "reference=*:3.*", "-f", "reference=*/*/b"]).unwrap(), "alpine:3.20 localhost:5000/a/b:1");
    assert_eq!(names(&["al?ine"]).unwrap(), "alpine:3.20");
    for wrong in ["colour=red", "dangling=maybe", "before=nobody", "until=later"] {
        let error = names(&["-f", wrong]).unwrap_err();
        assert_eq!(error.code, 1, "{wrong}: {error}");
    }
    assert!(
        names(&["-f", "colour=red"])
            .unwrap_err()
            .message
            .contains("before, dangling, label, reference, since or until")
    );
    assert_eq!(names(&["-f", "dangling"]).unwrap_err().code, 125);
}

#[test]
fn digests_are_a_column() {
    let text = listed(&ImagesRequest { digests: true, ..plain() });
    assert!(text.starts_with("REPOSITORY           TAG       DIGEST    IMAGE ID"), "{text}");
}
