//! Real servers from Debian's packages in images that are made the way the official ones are: an entry point that gives
//! the data directory away and drops to the service's user, or no root at any time; low ports; volumes; health checks.
//!
//! Each is started, serves, reloads, is healthy, comes back after it ended, keeps its volume when it is removed, and
//! stops in time with its own exit code. All with the default profile, as root and as an ordinary user.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use bulkhead_tests::debian::archive;
use bulkhead_tests::{Bench, Said, eventually, skip};

const PACKAGES: &str = "nginx-light,redis-server,postgresql,mariadb-server,nodejs,tomcat10";

/// What the services do not need, or make themselves on first use.
const LEFT_OUT: &[&str] = &[
    "./usr/share/doc/*",
    "./usr/share/locale/*",
    "./usr/share/man/*",
    "./usr/share/i18n/*",
    "./var/lib/mysql/*",
    "./var/lib/postgresql/*",
];

/// A service, and how to talk to it.
struct Service {
    /// Its name, and the directory in `tests/servers` with the files of its image.
    name: &'static str,
    /// Shell lines that make the image of the packages, as root in a container.
    prepare: &'static str,
    /// Instructions of the image.
    changes: &'static [&'static str],
    /// Where its data is.
    data: &'static str,
    /// Its health check.
    health: &'static str,
    /// Flags of `run`.
    flags: &'static [&'static str],
    /// User that the first process has in the end.
    user: &'static str,
    /// A client: says "ready" when it serves.
    ready: &'static str,
    /// A client that writes what `read` finds.
    write: &'static str,
    /// A client that prints "kept" when it finds what was written.
    read: &'static str,
    /// Changes a setting while it runs, and prints "reloaded" when it holds.
    reload: Option<&'static str>,
    /// Makes the service end.
    end: &'static str,
    /// Exit code when it is stopped.
    code: i64,
}

const NGINX: Service = Service {
    name: "nginx",
    prepare: "echo welcome > /usr/share/nginx/html/index.html",
    changes: &["ENTRYPOINT [\"/docker-entrypoint.sh\"]", "CMD [\"nginx\", \"-g\", \"daemon off;\"]", "EXPOSE 80"],
    data: "/usr/share/nginx/html",
    health: "get 80 /index.html | grep -q welcome",
    flags: &["-e", "NGINX_PORT=80", "--stop-signal", "SIGQUIT"],
    user: "root",
    ready: "get 80 / | grep -q welcome && stat -c %U /proc/[0-9]* 2>/dev/null | grep -q www-data && echo ready",
    write: "echo kept > /usr/share/nginx/html/note",
    read: "get 80 /note | tail -n 1",
    reload: Some(
        "sed -i 's/listen 80;/listen 80; listen 81;/' /etc/nginx/conf.d/default.conf && nginx -t 2>&1 && \
         nginx -s reload; for i in 1 2 3 4 5 6 7 8 9 10; do get 81 / | grep -q welcome && echo reloaded && break; sleep 0.2; done",
    ),
    end: "nginx -s stop",
    code: 0,
};

const REDIS: Service = Service {
    name: "redis",
    prepare: "mkdir /data && chown redis:redis /data",
    changes: &[
        "WORKDIR /data",
        "VOLUME /data",
        "ENTRYPOINT [\"/docker-entrypoint.sh\"]",
        "CMD [\"redis-server\"]",
        "EXPOSE 6379",
    ],
    data: "/data",
    health: "redis-cli ping | grep -q PONG",
    flags: &[],
    user: "redis",
    ready: "redis-cli ping | grep -q PONG && echo ready",
    write: "redis-cli set note kept && redis-cli save",
    read: "redis-cli get note",
    reload: Some(
        "redis-cli config set maxmemory 20mb && redis-cli config get maxmemory | grep -q 20971520 && echo reloaded",
    ),
    end: "redis-cli shutdown",
    code: 0,
};

const POSTGRES: Service = Service {
    name: "postgres",
    prepare: "mkdir -p /var/lib/postgresql/data && chown -R postgres:postgres /var/lib/postgresql && \
        chmod 700 /var/lib/postgresql/data",
    changes: &[
        "ENV PGDATA=/var/lib/postgresql/data LANG=C.UTF-8 \
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/15/bin",
        "VOLUME /var/lib/postgresql/data",
        "ENTRYPOINT [\"/docker-entrypoint.sh\"]",
        "CMD [\"postgres\"]",
        "EXPOSE 5432",
    ],
    data: "/var/lib/postgresql/data",
    health: "pg_isready -h 127.0.0.1",
    flags: &["-e", "POSTGRES_PASSWORD=secret", "--stop-signal", "SIGINT"],
    user: "postgres",
    ready: "PGPASSWORD=secret psql -h 127.0.0.1 -U postgres app -Atc \"SELECT 'ready'\"",
    write: "PGPASSWORD=secret psql -h 127.0.0.1 -U postgres app -c \"CREATE TABLE note AS SELECT 'kept' AS text\"",
    read: "PGPASSWORD=secret psql -h 127.0.0.1 -U postgres app -Atc 'SELECT text FROM note'",
    reload: Some(
        "q() { PGPASSWORD=secret psql -h 127.0.0.1 -U postgres app -Atc \"$1\"; }; q \"ALTER SYSTEM SET work_mem = '5MB'\" && \
         q 'SELECT pg_reload_conf()' && sleep 0.5 && q 'SHOW work_mem' | grep -q 5MB && echo reloaded",
    ),
    // Without a checkpoint: the next start has to recover.
    end: "kill -QUIT 1",
    code: 0,
};

const MARIADB: Service = Service {
    name: "mariadb",
    prepare: "mkdir -p /var/lib/mysql && chown mysql:mysql /var/lib/mysql",
    changes: &["VOLUME /var/lib/mysql", "ENTRYPOINT [\"/docker-entrypoint.sh\"]", "CMD [\"mariadbd\"]", "EXPOSE 3306"],
    data: "/var/lib/mysql",
    health: "mariadb-admin -h 127.0.0.1 -u app -psecret ping",
    flags: &["-e", "MARIADB_PASSWORD=secret"],
    user: "mysql",
    ready: "mariadb -h 127.0.0.1 -u app -psecret app -Ne \"SELECT 'ready'\"",
    write: "mariadb -h 127.0.0.1 -u app -psecret app -e \"CREATE TABLE note AS SELECT 'kept' AS text\"",
    read: "mariadb -h 127.0.0.1 -u app -psecret app -Ne 'SELECT text FROM note'",
    reload: Some("mariadb-admin -h 127.0.0.1 -u app -psecret reload && echo reloaded"),
    end: "mariadb-admin -h 127.0.0.1 -u app -psecret shutdown",
    code: 0,
};

const NODE: Service = Service {
    name: "node",
    prepare: "useradd --uid 1000 --user-group --create-home node && mkdir /srv/data && chown node:node /srv/data",
    changes: &[
        "USER node",
        "WORKDIR /srv/app",
        "VOLUME /srv/data",
        "ENV NODE_ENV=production",
        "ENTRYPOINT [\"/docker-entrypoint.sh\"]",
        "CMD [\"server.js\"]",
        "EXPOSE 80",
    ],
    data: "/srv/data",
    health: "get 80 / | grep -q uid",
    flags: &[],
    user: "node",
    ready: "get 80 / | grep -q 'uid 1000' && echo ready",
    write: "printf 'PUT / HTTP/1.0\\r\\nContent-Length: 4\\r\\n\\r\\nkept' | talk 80 | grep kept",
    read: "get 80 / | grep -o kept",
    reload: None,
    end: "kill -TERM 1",
    code: 0,
};

const TOMCAT: Service = Service {
    name: "tomcat",
    prepare: "id tomcat >/dev/null 2>&1 || useradd --system --user-group tomcat; mkdir /srv/tomcat && \
        chown tomcat:tomcat /srv/tomcat",
    changes: &[
        "USER tomcat",
        "WORKDIR /srv/tomcat",
        "VOLUME /srv/tomcat",
        "ENTRYPOINT [\"/docker-entrypoint.sh\"]",
        "CMD [\"/usr/share/tomcat10/bin/catalina.sh\", \"run\"]",
        "EXPOSE 8080",
    ],
    data: "/srv/tomcat",
    health: "get 8080 / | grep -q page",
    flags: &[],
    user: "tomcat",
    ready: "get 8080 / | grep -q 'from a page: 42' && echo ready",
    write: "echo kept > /srv/tomcat/webapps/ROOT/note.txt",
    read: "get 8080 /note.txt | tail -n 1",
    reload: None,
    end: "kill -TERM 1",
    // The virtual machine ends in order, and says by which signal.
    code: 143,
};

/// The store with the packages' root file system, shared by the tests that run at the same time.
fn store(test: &str) -> Option<Arc<Bench>> {
    static SHARED: Mutex<Weak<Bench>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(bench) = shared.upgrade() {
        return Some(bench);
    }
    let Some(archive) = archive("servers-1", PACKAGES, LEFT_OUT) else {
        skip(test, "the archive that root's run of this test makes with debootstrap");
        return None;
    };
    let bench = Arc::new(Bench::new());
    bench.say(&["import", archive.to_str().unwrap(), "debian:servers"]).done();
    *shared = Arc::downgrade(&bench);
    Some(bench)
}

impl Service {
    /// Makes the image: its files and its user in a container of the base, kept as an image with instructions.
    fn image(&self, bench: &Bench) -> String {
        let home =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let files = Command::new("tar")
            .args(["--owner=0", "--group=0", "-C"])
            .arg(home.join("servers").join(self.name))
            .args(["-c", ".", "-C"])
            .arg(home.join("servers/common"))
            .arg(".")
            .output()
            .unwrap();
        assert!(files.status.success());
        let build = format!("build-{}", self.name);
        let script = format!("set -e; tar -C / --no-same-owner --no-overwrite-dir -x; {}", self.prepare);
        let words = ["run", "-i", "--name", &build, "debian:servers", "sh", "-c", &script];
        bench.feed(&words, &files.stdout).1.done();
        let image = format!("{}:test", self.name);
        let mut words = vec!["commit"];
        words.extend(self.changes.iter().flat_map(|change| ["-c", *change]));
        words.extend([build.as_str(), image.as_str()]);
        bench.say(&words).done();
        bench.say(&["rm", &build]).done();
        image
    }

    fn start(&self, bench: &Bench, image: &str) {
        let volume = format!("{}-data:{}", self.name, self.data);
        let words = ["run", "-d", "--name", self.name, "-v", &volume, "--restart", "always"];
        let health = ["--health-cmd", self.health, "--health-interval", "1s"];
        bench.say(&[&words, &health[..], self.flags, &[image]].concat()).done();
        self.answers(bench, 60, self.ready, "ready");
    }

    /// Runs a client inside.
    fn client(&self, bench: &Bench, script: &str) -> Said {
        bench.say(&["exec", self.name, "bash", "-c", script])
    }

    /// Waits until a client's last line is `wanted`.
    fn answers(&self, bench: &Bench, seconds: u64, script: &str, wanted: &str) {
        let mut last = None;
        let good = eventually(seconds, || {
            let said = self.client(bench, script);
            let good = said.out.lines().last() == Some(wanted);
            last = Some(said);
            good || {
                std::thread::sleep(Duration::from_millis(100));
                false
            }
        });
        assert!(good, "{}: {script}: {last:#?}\n{:#?}", self.name, bench.say(&["logs", self.name]));
    }

    /// Stops it, which must not take the time after which it would be killed.
    fn stop(&self, bench: &Bench) {
        let before = Instant::now();
        bench.say(&["stop", self.name]).done();
        assert!(before.elapsed() < Duration::from_secs(9), "{}: {:?}", self.name, before.elapsed());
        let state = bench.state(self.name);
        assert_eq!(state, ("exited".to_owned(), self.code), "{}: {:#?}", self.name, bench.say(&["logs", self.name]));
    }

    fn lives(&self, test: &str) {
        let Some(bench) = store(test) else { return };
        let image = self.image(&bench);
        self.start(&bench, &image);
        let user = bench.say(&["exec", self.name, "stat", "-c", "%U", "/proc/1"]).ok();
        assert_eq!(user.trim(), self.user, "{}", self.name);
        let weak = bench.say(&["explain", self.name]);
        assert!(weak.out.contains("nothing: it has the hardened defaults"), "{weak:?}");
        let healthy = || bench.look(self.name, "/State/Health/Status") == "healthy";
        assert!(eventually(30, healthy), "{}: {}", self.name, bench.look(self.name, "/State/Health"));
        if let Some(reload) = self.reload {
            self.answers(&bench, 10, reload, "reloaded");
        }
        bench.say(&["exec", self.name, "bash", "-c", self.write]).done();
        self.answers(&bench, 10, self.read, "kept");
        // It ends, and its policy brings it back with its data.
        drop(self.client(&bench, self.end));
        let again = || bench.look(self.name, "/RestartCount").as_i64().is_some_and(|n| n >= 1);
        assert!(eventually(30, again), "{}: {}", self.name, bench.look(self.name, "/State"));
        self.answers(&bench, 60, self.read, "kept");
        self.stop(&bench);
        bench.say(&["rm", self.name]).done();
        // Another container finds what the removed one has left.
        self.start(&bench, &image);
        self.answers(&bench, 10, self.read, "kept");
        self.stop(&bench);
        bench.say(&["rm", self.name]).done();
        bench.say(&["volume", "rm", &format!("{}-data", self.name)]).done();
        bench.say(&["rmi", &image]).done();
    }
}

#[test]
fn nginx_lives() {
    NGINX.lives("nginx_lives");
}

#[test]
fn redis_lives() {
    REDIS.lives("redis_lives");
}

#[test]
fn postgres_lives() {
    POSTGRES.lives("postgres_lives");
}

#[test]
fn mariadb_lives() {
    MARIADB.lives("mariadb_lives");
}

#[test]
fn node_lives() {
    NODE.lives("node_lives");
}

#[test]
fn tomcat_lives() {
    TOMCAT.lives("tomcat_lives");
}
