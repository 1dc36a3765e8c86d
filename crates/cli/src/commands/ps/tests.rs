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
        networks: vec!["none".to_owned()],
        mounts: vec!["data".to_owned(), "/srv/a-long-name-here".to_owned()],
        targets: vec!["/var/lib/data".to_owned(), "/srv".to_owned()],
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
        lines[1].starts_with("aaaaaaaaaaaa   alpine:latest   \"sh -c 'while true; …\"   2 hours ago   Up 3 minutes"),
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
    assert_eq!(names(&["name=^(new|d.)$"]).unwrap(), "db new");
    assert_eq!(names(&["label=tier", "label=other"]).unwrap(), "");
}

#[test]
fn every_filter_of_docker() {
    let names = |filters: &[&str]| {
        let mut containers = containers();
        for (age, container) in containers.iter_mut().enumerate() {
            container.created = NOW - i64::try_from(age).unwrap() * human::SECOND;
        }
        containers[1].ports = vec!["0.0.0.0:9000-9002->90-92/udp".to_owned(), "443/tcp".to_owned()];
        containers[1].networks = vec!["front".to_owned()];
        containers[0].health = Some("starting".to_owned());
        containers[1].health = Some("healthy".to_owned());
        containers[2].mounts = Vec::new();
        containers[2].targets = Vec::new();
        let mut words = vec!["-a", "--format", "{{.Names}}"];
        words.extend(filters.iter().flat_map(|filter| ["-f", filter]));
        let request = flags_of::<PsFlags>(&parsed(&ENTRY, &words)?)?.into_request()?;
        render(&containers, &request, NOW).map(|text| text.lines().collect::<Vec<_>>().join(" "))
    };
    assert_eq!(names(&["exited=3"]).unwrap(), "old-web");
    assert_eq!(names(&["exited=0"]).unwrap(), "");
    assert_eq!(names(&["before=old-web"]).unwrap(), "new");
    assert_eq!(names(&["since=old-web"]).unwrap(), "web db");
    assert_eq!(names(&["since=ddd", "before=web"]).unwrap(), "db old-web");
    assert_eq!(names(&["volume=data"]).unwrap(), "web db new");
    assert_eq!(names(&["volume=/srv", "id=^a"]).unwrap(), "web");
    assert_eq!(names(&["network=front"]).unwrap(), "db");
    assert_eq!(names(&["network=front", "network=none"]).unwrap(), "web db old-web new");
    assert_eq!(names(&["publish=8080"]).unwrap(), "web old-web new");
    assert_eq!(names(&["publish=9001/udp"]).unwrap(), "db");
    assert_eq!(names(&["publish=9001"]).unwrap(), "");
    assert_eq!(names(&["expose=443"]).unwrap(), "db");
    assert_eq!(names(&["expose=80-100/udp"]).unwrap(), "db");
    // One that is paused has its health, which its status does not show.
    assert_eq!(names(&["health=healthy"]).unwrap(), "db");
    assert_eq!(names(&["health=healthy", "status=paused"]).unwrap(), "db");
    assert_eq!(names(&["health=starting"]).unwrap(), "web");
    assert_eq!(names(&["health=none"]).unwrap(), "old-web new");
    assert_eq!(names(&["health=unhealthy"]).unwrap(), "");
    assert_eq!(names(&["status=restarting"]).unwrap(), "");
    assert_eq!(names(&["status=removing", "status=dead", "status=created"]).unwrap(), "new");
    assert_eq!(names(&["is-task=false"]).unwrap(), "web db old-web new");
    assert_eq!(names(&["is-task=true"]).unwrap(), "");
}

#[test]
fn a_container_that_a_filter_names_need_not_run() {
    let request = |words: &[&str]| flags_of::<PsFlags>(&parsed(&ENTRY, words).unwrap()).unwrap().into_request();
    for (words, wanted) in [
        (&[][..], Which::Running),
        (&["-f", "name=web"], Which::Running),
        (&["-f", "since=old-web"], Which::All),
        (&["-f", "name=web", "-f", "before=old-web"], Which::All),
        (&["-a"], Which::All),
        (&["-n", "2"], Which::Last(2)),
        (&["-n", "2", "-f", "before=old-web"], Which::All),
    ] {
        assert_eq!(which(&request(words).unwrap()), wanted, "{words:?}");
    }
    // All made in one moment: nothing is older or newer, and nothing that does not run is shown.
    assert_eq!(listed(&["-q", "-f", "since=old-web"]).unwrap(), "");
}

#[test]
fn a_wrong_filter_names_key_and_what_is_accepted() {
    let error = |filter: &str| listed(&["-f", filter]).unwrap_err();
    assert_eq!(error("x").code, 125);
    let unknown = error("colour=red");
    assert!(
        unknown.message.contains("\"colour=red\"") && unknown.message.contains("ancestor, before, exited"),
        "{unknown}"
    );
    assert_eq!(error("statsu=x").hint.as_deref(), Some("did you mean status?"));
    for wrong in ["status=asleep", "health=ill", "exited=x", "publish=x", "is-task=maybe", "before=nobody", "name=["] {
        let error = error(wrong);
        let (_, value) = wrong.split_once('=').unwrap();
        assert!(error.code == 1 && error.message.contains(value), "{wrong}: {error}");
    }
}

#[test]
fn labels_sizes_and_limits_in_templates() {
    assert_eq!(listed(&["--format", "{{.Label \"tier\"}}|"]).unwrap(), "front|\n|\n");
    assert_eq!(listed(&["-n", "1", "--format", "{{.Mounts}} {{.LocalVolumes}}"]).unwrap(), "data,/srv/a-long-na… 1\n");
    assert_eq!(listed(&["-q", "-n", "0"]).unwrap(), listed(&["-q"]).unwrap());
    assert_eq!(listed(&["-n", "x"]).unwrap_err().code, 125);
    let request =
        |words: &[&str]| flags_of::<PsFlags>(&parsed(&ENTRY, words).unwrap()).unwrap().into_request().unwrap();
    assert!(request(&["--format", "{{.Size}}"]).shows_size && !request(&["--format", "{{.ID}}"]).shows_size);
}
