//! AppArmor on a kernel that has it: a profile confines the program, and one that cannot be enforced stops the start.

use std::process::Command;

use bulkhead_tests::oci::Runtime;
use bulkhead_tests::{Said, is_root, skip};
use serde_json::{Value, json};

/// A loaded profile, which is removed when this is dropped.
struct Profile {
    name: String,
    file: std::path::PathBuf,
}

impl Profile {
    fn load(runtime: &Runtime) -> Self {
        let name = format!("bulkhead-test-{}", runtime.unique());
        let file = runtime.path("profile");
        let rules =
            "file, capability, network, mount, umount, signal, ptrace, unix, deny /data/secret r,".replace(", ", ",\n");
        let text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{\n{rules}\n}}\n");
        std::fs::write(&file, text).expect("a file");
        let profile = Self { name, file };
        profile.parser("-r").done();
        profile
    }

    fn parser(&self, flag: &str) -> Said {
        Command::new("apparmor_parser").args([flag, "-K"]).arg(&self.file).output().expect("apparmor_parser").into()
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        drop(self.parser("-R"));
    }
}

#[test]
fn an_apparmor_profile_confines_the_program() {
    let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
    if !enabled.starts_with('Y') {
        return skip("an_apparmor_profile_confines_the_program", "AppArmor in the kernel");
    }
    if !is_root() {
        return skip("an_apparmor_profile_confines_the_program", "root, who loads the profile");
    }
    let runtime = Runtime::new();
    let profile = Profile::load(&runtime);
    std::fs::write(runtime.path("rootfs/data/secret"), "secret\n").expect("a file");
    std::fs::write(runtime.path("rootfs/data/public"), "public\n").expect("a file");
    let with = |name: &str| {
        let name = name.to_owned();
        move |config: &mut Value| config["process"]["apparmorProfile"] = json!(name)
    };
    let script = "cat /proc/self/attr/current /data/public; cat /data/secret";
    let said = runtime.sh(script, with(&profile.name));
    assert_eq!(said.out, format!("{} (enforce)\npublic\n", profile.name), "{said:?}");
    assert!(said.code != 0 && said.err.contains("Permission denied"), "{said:?}");
    // The control: without it the file is read.
    assert!(runtime.sh("cat /data/secret", |_| {}).ok().contains("secret"));

    // A process that comes later has it too, or one of its own.
    runtime.bundle("a", "exec sleep 1000", with(&profile.name));
    runtime.create("a", &[]).done();
    runtime.on("start", "a", &[]).done();
    let said = runtime.on("exec", "a", &["cat", "/data/secret"]);
    assert!(said.code != 0 && said.err.contains("Permission denied"), "{said:?}");
    let said = runtime.say(&["exec", "--apparmor", "unconfined", &runtime.id("a"), "cat", "/data/secret"]);
    assert_eq!(said.ok(), "secret\n");
    runtime.on("delete", "a", &["--force"]).done();

    // One that is not loaded.
    let said = runtime.sh("echo RUNS", with("bulkhead-test-nobody-has-it"));
    assert!(
        said.code != 0 && !said.out.contains("RUNS") && said.err.contains("bulkhead-test-nobody-has-it"),
        "{said:?}"
    );
}
