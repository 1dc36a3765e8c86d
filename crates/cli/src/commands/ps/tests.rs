use super::*;
use crate::commands::parsed;

const NOW: i64 = 1_000_000 * human::SECOND;

fn container(id: char, name: &str, state: State) -> ContainerSummary {
    ContainerSummary {
        id: id.to_string().repeat(64),
        name: name.to_owned(),
        image: "docker.io/library/alpine:latest".to_owned(),
        image_id: Some("f".repeat(64)),
        command: ["sh", "-c", "while true; do sleep 1; done"].map(str::to_owned).to_vec(),
        created: NOW - 7200 * human::SECOND,
        state,
        health: None,
        ports: vec!["127.0.0.1:8080->80/tcp".to_owned()],
        labels: vec![("tier".to_owned(), "front".to_owned())],
        networks: Vec::new(),
        mounts: Vec::new(),
        grants: Vec::new(),
        size: None,
    }
}

fn containers() -> Vec<ContainerSummary> {
    let mut weak = container('b', "db", State::Paused { since: NOW - 60 * human::SECOND });
    weak.grants = vec!["seccomp".to_owned()];
    weak.labels.clear();
    vec![
        container('a', "web", State::Running { since: NOW - 180 * human::SECOND }),
        weak,
        container('c', "old-web", State::Exited { code: 3, at: NOW - 4 * human::SECOND }),
        container('d', "new", State::Created),
    ]
}

fn listed(words: &[&str]) -> Result<String, CliError> {
    let request = flags_of::<PsFlags>(&parsed(&ENTRY, words)?)?.into_request()?;
    render(&containers(), &request, NOW)
}

#[test]
fn the_table_looks_like_dockers() {
    let text = listed(&["-a"]).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("CONTAINER ID   IMAGE           COMMAND                  CREATED       STATUS"),
        "{text}"
    );
    assert!(
        lines[1].starts_with("aaaaaaaaaaaa   alpine:latest   \"sh -c while true; d…\"   2 hours ago   Up 3 minutes"),
        "{text}"
    );
    assert!(lines[2].contains("Up About a minute (Paused) (weakened: seccomp)"), "{text}");
    assert!(lines[3].contains("Exited (3) 4 seconds ago"), "{text}");
    assert!(lines[4].contains("Created ") && lines[4].ends_with("   new"), "{text}");
    assert_eq!(listed(&[]).unwrap().lines().count(), 3);
}

#[test]
fn ids_limits_and_templates() {
    assert_eq!(listed(&["-q"]).unwrap(), "aaaaaaaaaaaa\nbbbbbbbbbbbb\n");
    assert_eq!(listed(&["-aq", "-n", "3"]).unwrap().lines().count(), 3);
    assert_eq!(listed(&["-ql"]).unwrap(), "aaaaaaaaaaaa\n");
    assert_eq!(listed(&["-q", "--no-trunc"]).unwrap().lines().next().unwrap().len(), 64);
    assert_eq!(listed(&["--format", "{{.Names}} {{.State}}"]).unwrap(), "web running\ndb paused\n");
    assert_eq!(listed(&["--format", "table {{.Names}}"]).unwrap(), "NAMES\nweb\ndb\n");
    let json: Value = serde_json::from_str(listed(&["--format=json", "-l"]).unwrap().trim()).unwrap();
    assert_eq!(json["Ports"], "127.0.0.1:8080->80/tcp");
    assert_eq!(listed(&["--format", "{{.Nope}}"]).unwrap_err().code, 1);
}

#[test]
fn filters_of_one_kind_are_alternatives() {
    let names = |filters: &[&str]| {
        let mut words = vec!["-a", "--format", "{{.Names}}"];
        words.extend(filters.iter().flat_map(|filter| ["-f", filter]));
        listed(&words).map(|text| text.lines().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names(&["name=web"]).unwrap(), "web old-web");
    assert_eq!(names(&["name=^web"]).unwrap(), "web");
    assert_eq!(names(&["name=^/web$"]).unwrap(), "web");
    assert_eq!(names(&["name=web", "name=db"]).unwrap(), "web db old-web");
    assert_eq!(names(&["name=web", "status=exited"]).unwrap(), "old-web");
    assert_eq!(names(&["id=b"]).unwrap(), "db");
    assert_eq!(names(&["label=tier", "label=tier=front"]).unwrap(), "web old-web new");
    assert_eq!(names(&["label=tier=back"]).unwrap(), "");
    assert_eq!(names(&["ancestor=alpine", "id=a"]).unwrap(), "web");
    assert_eq!(names(&["ancestor=fff", "id=a"]).unwrap(), "web");
    assert_eq!(names(&["ancestor=debian"]).unwrap(), "");
    assert_eq!(listed(&["-q", "-f", "status=exited"]).unwrap(), "cccccccccccc\n");
    for wrong in ["x", "colour=red", "status=asleep"] {
        assert_eq!(names(&[wrong]).unwrap_err().code, 125, "{wrong}");
    }
}
